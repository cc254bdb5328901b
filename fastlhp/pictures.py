"""The pictures of the policy catalogue: what a policy does, on a timeline of a small study.

There is a study for each family of policies in ``data/catalogue``, in which each policy is a configuration: all with
the same guests and the same draws. ``python -m fastlhp.pictures`` draws those that the catalogue shows.
"""

import re
from pathlib import Path

from fastlhp.data_files import data_path
from fastlhp.model.configuration import Configuration
from fastlhp.model.study import Study, load
from fastlhp.policies import FAMILIES, kinds

__all__ = ["CAPTIONS", "PICTURES", "drawn", "picture_name"]

PICTURES = Path(__file__).resolve().parent / "docs" / "pictures"

CAPTIONS = {
    "scheduler credit": (
        "a vCPU that wakes up with credit left preempts, as at 57 and 65 ms; from 28 ms on pCPU 1 keeps "
        "one vCPU, and pCPU 0 serves the other three"
    ),
    "scheduler fair": (
        "a vCPU that wakes up preempts one that has run for longer, as at 26 and 41 ms, also a holder"
    ),
    "scheduler gang": (
        "both pCPUs change VMs at the same instants, so nobody spins for a holder that does not run; "
        "where a VM sleeps, pCPUs idle (struck through)"
    ),
    "scheduler global": "a vCPU goes on wherever a pCPU becomes free: the names change places",
    "scheduler relaxed_coscheduling": (
        "vCPUs that are too far ahead of a sibling are co-stopped (upright strokes) until it has caught up"
    ),
    "scheduler round_robin": (
        "every vCPU keeps its pCPU, and slices end whatever a guest is doing: at 20 ms within a critical "
        "section, and the sibling spins for a whole slice"
    ),
    "guard delay": "the slice of a holder is extended (framed) up to the release; no holder is preempted",
    "guard driver": (
        "every slice is extended (framed) until the guest, without a lock, has served the interrupt (dark"
        " grey)"
    ),
    "guard extra_slice": (
        "the slice of a holder is extended (framed) by 1 ms, which may end within the next critical section"
    ),
    "guard monitor": (
        "a slice that ends in the kernel is extended (framed) until the guest is back in user mode, also "
        "that of a spinning guest"
    ),
    "guard monitor_halt": (
        "every slice is extended (framed) by 2 ms, in the hope of a halt; where none comes, holders are "
        "preempted all the same"
    ),
    "guard none": "at the triangles holders lose their pCPUs, and siblings spin until these run again",
    "response directed_yield": (
        "after 1 ms of spinning for a preempted holder (vermillion) the holder runs on the pCPU of the "
        "spinner, as at 17 and 27 ms"
    ),
    "response halt": (
        "after 1 ms of spinning a vCPU blocks (orange line) until it is kicked, and the pCPU goes to another"
    ),
    "response none": (
        "vCPUs spin for preempted holders (vermillion) until these run again or their slices end"
    ),
    "response notify": (
        "the guest tells the hypervisor every 1 ms that it spins (the exits in light blue), and spins on"
    ),
    "response yield": (
        "after 1 ms of spinning (vermillion) a vCPU goes to the tail of the queue, behind one of another VM"
    ),
    "lock hybrid_queue": (
        "as in pv_queue, but arrivals go on trying while the head of the line sleeps: at 20 ms a vCPU "
        "spins (vermillion) that blocks in the picture of pv_queue"
    ),
    "lock informed": (
        "a vCPU late in its slice yields instead of trying, so slices end early; only a long wait leads "
        "to a preempted holder, at 38 ms"
    ),
    "lock preemptable_ticket": (
        "waiters go past a next in line that is off CPU after 0.5 ms of spinning for each ticket, so that"
        " it is so for short times only (orange, crossed)"
    ),
    "lock pv_queue": (
        "waiters block (orange lines), at once if the one before them does not run, and the lock may be "
        "stolen from a head that is off CPU (crossed)"
    ),
    "lock pv_ticket": (
        "waiters block after 0.5 ms of spinning (orange lines), and the one whose turn it is is kicked"
    ),
    "lock queue": "the same order as of the ticket lock, but handovers to one of several waiters are shorter",
    "lock test_and_set": (
        "the lock goes to whoever runs, so nobody waits for a waiter that is off CPU; only preempted "
        "holders (crossed) do harm"
    ),
    "lock ticket": (
        "from 7 ms on the next in line is off CPU (orange, crossed), and all others spin for nothing"
    ),
}
"""What is to be seen in the picture of a policy, by family and kind."""

_WIDTH = 7.2  # inches, of a page's text
_TEXT_STYLE = re.compile(r" font-family: [^;]*;")
_RECTANGLE = re.compile(r"M (\S+) (\S+) ?\nL (\S+) \2 ?\nL \3 (\S+) ?\nL \1 \4 ?\nz ?\n?")


def picture_name(family: str, kind: str) -> str:
    """Return the name of the file of a policy's picture."""
    return f"{family}-{kind}.svg"


def drawn(family: str, kind: str) -> str:
    """Return the picture of a policy, as SVG.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    from fastlhp.run.record import record
    from fastlhp.view.style import rendered
    from fastlhp.view.timeline import timeline

    study = load(data_path("catalogue", f"{family}.toml"))
    trace = record(study, configuration=_index(study, family, kind))
    return _compact(rendered(timeline(trace, _WIDTH), "svg", text="none").decode())


def _index(study: Study, family: str, kind: str) -> int:
    """Return which configuration of a study has a policy."""

    def policy(configuration: Configuration) -> str:
        of = configuration.vms[0] if family == "lock" else configuration
        return str(getattr(of, family).KIND)

    return [policy(configuration) for configuration in study.configurations].index(kind)


def _compact(svg: str) -> str:
    """Return a picture with less text: coordinates to a hundredth of a point, rectangles as such, fonts said once."""
    svg = svg[svg.index("<svg") :].replace(
        "</style>", "text{font-family: 'DejaVu Sans', Verdana, sans-serif}</style>"
    )
    svg = re.sub(r"-?\d+\.\d{3,}(?:e-\d+)?", lambda match: f"{round(float(match[0]), 2) + 0.0:g}", svg)
    svg = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", _TEXT_STYLE.sub("", svg))
    svg = _RECTANGLE.sub(r"M\1 \2H\3V\4H\1z", svg)
    return re.sub(r"\n\s+", "\n", svg)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for family in FAMILIES:
        for kind in kinds(family):
            path = PICTURES / picture_name(family, kind)
            path.write_text(drawn(family, kind), encoding="utf-8")
