"""Pictures of traces: what is in them, not their pixels."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.patches import Rectangle

from fastlhp.data_files import data_path, toml_names
from fastlhp.errors import FastlhpError
from fastlhp.run.record import record
from fastlhp.run.trace import Role, State, Trace
from fastlhp.view import timeline as drawing
from fastlhp.view.style import rendered
from fastlhp.view.timeline import Look, looks_of_pcpus, looks_of_vcpus, timeline

NAMES = toml_names("timelines")
ALWAYS = {"user mode", "context switch, VM exit", "ready, waits for a pCPU"}
LOCKS = ALWAYS | {"holds a lock", "spins, holder runs"}
LOST = {"holds a lock, off CPU", "a lock holder loses its pCPU"}
LABELS = {
    "overcommitment": ALWAYS,
    "lock_holder_preemption": LOCKS | LOST | {"spins, holder off CPU"},
    "coscheduling": LOCKS | LOST,
    "cpu_fragmentation": LOCKS | LOST | {"idle, though a vCPU is ready"},
    "priority_inversion": LOCKS
    | LOST
    | {"idle, though a vCPU is ready", "ready, a lighter VM runs instead", "halted"},
    "preemption_delay": LOCKS | {"slice extended by the guard"},
}


def ready(name: str) -> Trace:
    return record(data_path("timelines", f"{name}.toml"))


def busy(**host: Any) -> Trace:
    """Far more changes than a row can show."""
    return record(
        {
            "study": {"name": "busy $x$", "seed": 1, "duration": "40ms", "replications": 1},
            "host": {"pcpus": 2, "frequency": "1GHz"} | host,
            "policy": {"scheduler": {"kind": "round_robin", "slice": "5ms"}},
            "vm": [
                {
                    "name": "guest",
                    "count": 2,
                    "vcpus": 2,
                    "lock": {"kind": "ticket"},
                    "user": {"exponential": "20us"},
                    "hold": {"exponential": "2us"},
                }
            ],
            "sweep": {"vm.guest.lock.kind": ["ticket"]},
        }
    )


@pytest.mark.parametrize("name", NAMES)
def test_ready_studies(name: str) -> None:
    """A row for each pCPU and vCPU, time in ms, and a legend of what is seen and nothing else, below the plot."""
    trace = ready(name)
    figure = timeline(trace)
    upper, lower = figure.axes
    n_pcpu = trace.configuration.host.pcpus
    assert [label.get_text() for label in upper.get_yticklabels()] == [str(p) for p in range(n_pcpu)]
    assert [label.get_text() for label in lower.get_yticklabels()] == trace.vcpu_names
    assert lower.get_xlabel() == "simulated time (ms)"
    assert lower.get_xlim() == (trace.begin_ns / 1e6, trace.end_ns / 1e6)
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == LABELS[name]
    figure.draw_without_rendering()
    bottom = lower.get_tightbbox().y0
    assert legend.get_window_extent().y1 <= bottom
    edges = [text.get_window_extent() for text in legend.get_texts()]
    assert max(edge.x1 for edge in edges) <= figure.bbox.x1


def test_the_same_bytes_every_time() -> None:
    for kind in ("png", "svg", "pdf"):
        assert rendered(timeline(ready(NAMES[0])), kind) == rendered(timeline(ready(NAMES[0])), kind)


def test_names_stand_inside_their_bars() -> None:
    """At the middle of a time in which that vCPU has that pCPU, and not wider than it."""
    trace = ready("cpu_fragmentation")
    figure = timeline(trace)
    figure.draw_without_rendering()
    upper = figure.axes[0]
    assert len(upper.texts) == 4 + 4 + 4 + 4 + 4  # of 8 slots, 4 with three vCPUs and 4 with two
    for text in upper.texts:
        x, y = text.get_position()
        row = np.searchsorted(trace.times, x * 1e6) - 1
        vcpu = trace.vcpu_on[row, int(y)]
        assert trace.vcpu_names[vcpu] == text.get_text()
        box = text.get_window_extent().transformed(upper.transData.inverted())
        inside = (trace.times[:-1] >= box.x0 * 1e6) & (trace.times[1:] <= box.x1 * 1e6)
        assert (trace.vcpu_on[inside, int(y)] == vcpu).all()


def test_several_locks_are_told_apart_by_number() -> None:
    """The number in a bar is that of the lock that the vCPU holds or spins for there; of a single lock there is none."""
    study = {
        "study": {"name": "locks", "seed": 3, "duration": "40ms", "replications": 1},
        "host": {"pcpus": 4, "frequency": "1GHz"},
        "policy": {"scheduler": {"kind": "round_robin", "slice": "10ms"}},
        "vm": [
            {
                "name": name,
                "vcpus": 4,
                "lock": {"kind": "ticket", "count": count},
                "user": {"exponential": "1ms"},
                "hold": {"exponential": "700us"},
            }
            for name, count in (("one", 1), ("three", 3))
        ],
    }
    trace = record(study)
    lower = timeline(trace).axes[1]
    tops = lower.get_yticks() - 0.5
    written = set()
    for text in lower.texts:
        x, y = text.get_position()
        vcpu = int(np.argmin(abs(tops + 0.5 - y)))
        row = np.searchsorted(trace.times, x * 1e6) - 1
        assert trace.lock_names[trace.lock[row, vcpu]] == f"three.0/lock {text.get_text()}"
        written.add(text.get_text())
    assert written == {"0", "1", "2"}


def test_preempted_holders_are_marked() -> None:
    trace = ready("lock_holder_preemption")
    (marks,) = [c for c in timeline(trace).axes[0].collections if len(c.get_offsets()) > 1]
    lost = trace.preemptions[trace.preemptions["role"] == Role.HOLDS]
    np.testing.assert_allclose(marks.get_offsets(), np.column_stack([lost["at_ns"] / 1e6, lost["pcpu"]]))


def test_an_extension_ends_when_its_vcpu_yields() -> None:
    """The outline of an extended slice leaves out the exit by which the vCPU gives up the rest of it."""
    study = {
        "study": {"name": "extra", "seed": 1, "duration": "40ms", "replications": 1},
        "host": {"pcpus": 2, "frequency": "1GHz", "vm_exit": "50us"},
        "policy": {
            "scheduler": {"kind": "round_robin", "slice": "1ms"},
            "guard": {"kind": "extra_slice", "length": "1ms"},
            "response": {"kind": "yield", "spin_threshold": "20us"},
        },
        "vm": [
            {
                "name": "guest",
                "count": 2,
                "vcpus": 2,
                "lock": {"kind": "ticket"},
                "user": {"exponential": "50us"},
                "hold": {"exponential": "200us"},
            }
        ],
    }
    trace = record(study)
    (upper, _) = timeline(trace).axes
    outlines = [patch for patch in upper.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    ends = {(round(it.get_x() + it.get_width(), 6), int(it.get_y())) for it in outlines}
    exits = np.concatenate([trace.pcpu_spans(p) for p in range(2)])
    exits = exits[exits["state"] == State.EXIT]
    begun = {(round(begin / 1e6, 6), p) for begin, p in exits[["begin_ns", "pcpu"]].tolist()}
    assert len(ends & begun) >= 2
    for it in outlines:
        at = (exits["begin_ns"] + exits["end_ns"]) / 2e6
        assert not np.any(
            (exits["pcpu"] == int(it.get_y())) & (it.get_x() < at) & (at < it.get_x() + it.get_width())
        )


def area(shapes: list[Any]) -> float:
    """Of polygons, by the shoelace formula."""
    total = 0.0
    for shape in shapes:
        x, y = (shape - shape[0]).T
        total += abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    return total


@pytest.mark.parametrize("n_rows", [50, 5000])
def test_areas_are_times(n_rows: int) -> None:
    """Whether a row shows every change or shares: the area of a colour is its time, and shares stand on one another."""
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.integers(1, 1000, n_rows + 1)) + 10**9
    keys = rng.choice([Look.USER, Look.HOLDING, Look.SPINNING_LHP, len(Look) + 1], n_rows)
    drawn = list(drawing._shapes(times, keys))
    assert max(shape[:, 1].max() for _, _, shapes in drawn for shape in shapes) == pytest.approx(1)
    found = {key: (share, area(shapes)) for key, share, shapes in drawn}
    for key in np.unique(keys):
        assert found[key][0] == (n_rows == 5000)
        assert found[key][1] == pytest.approx(np.diff(times) @ (keys == key), rel=1e-9)


def test_thin_looks_are_drawn_where_there_is_nothing_else() -> None:
    """Of a row that shows shares: a ready vCPU is a line, not a share."""
    times = np.arange(4001)
    keys = np.where(np.arange(4000) < 2000, Look.READY, np.arange(4000) % 2 * Look.HOLDING)
    shapes = {key: (share, area(found)) for key, share, found in drawing._shapes(times, keys)}
    assert shapes == {
        Look.READY: (False, pytest.approx(2000)),
        Look.USER: (True, pytest.approx(1000)),
        Look.HOLDING: (True, pytest.approx(1000)),
    }


def test_shares_are_said() -> None:
    figure = timeline(busy())
    notes = " ".join(text.get_text() for text in figure.texts)
    assert "busy $x$" in notes and "vm.guest.lock.kind = ticket" in notes
    assert "rows that change more than 400 times show shares of each 100us" in notes
    assert rendered(figure, "svg").count(b"<path") < 20_000


def test_looks() -> None:
    """Those that are made of more than a state."""
    trace = ready("priority_inversion")
    looks = looks_of_vcpus(trace)
    assert (looks[trace.inverted] == Look.INVERTED).all()
    holds = (trace.role == Role.HOLDS) & (trace.state == State.READY)
    assert holds.any() and (looks[holds] == Look.PREEMPTED_HOLDER).all()
    on_pcpu = looks_of_pcpus(trace)
    someone_waits = (trace.state == State.READY).any(axis=1)
    idle = trace.vcpu_on < 0
    assert (on_pcpu[idle & someone_waits[:, np.newaxis]] == Look.FRAGMENTED).all()
    assert ((on_pcpu == Look.IDLE) == (idle & ~someone_waits[:, np.newaxis])).all()


def test_the_next_in_line_off_cpu() -> None:
    trace = busy()
    looks = looks_of_vcpus(trace)
    granted = (trace.role == Role.GRANTED) & (trace.state == State.READY)
    assert granted.any() and (looks[granted] == Look.PREEMPTED_NEXT).all()


def test_too_many_rows() -> None:
    with pytest.raises(FastlhpError, match="room for 16 pCPUs and 40 vCPUs, found 17 and 4; .*json"):
        timeline(busy(pcpus=17))


@pytest.mark.parametrize(
    ("length_ns", "unit"),
    [(100, "ns"), (5_000, "us"), (1_000_000, "us"), (2_000_000, "ms"), (3 * 10**9, "s")],
)
def test_units(length_ns: int, unit: str) -> None:
    assert drawing._scale(length_ns)[0] == unit


def test_colours_of_many_vms_differ() -> None:
    colours = [drawing._colour_of_vm(m) for m in range(12)]
    assert len(set(colours)) == 12
    assert drawing._ink_on("#FFFFFF") == "black" and drawing._ink_on("#0072B2") == "white"
