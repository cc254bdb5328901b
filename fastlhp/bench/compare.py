"""Contenders in turn, for several rounds: their speeds, ratios and answers."""

import math
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlhp.bench.contenders import CASES, METRICS, Case, Contender
from fastlhp.view.style import COLOURS, SMALL, drawing, finished, matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_markdown", "as_table", "disagreeing", "figure", "machine", "measure"]

_AGREEMENT = 4.0  # standard errors
# fastlhp simulates this many times what C does: full blocks, hardly any half-empty at the end.
_WORK_FACTOR = 8


def measure(
    name: str,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds: float,
    report: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure one case.

    Every round runs all contenders one after another, in an order that rotates, so that a machine that slows down or
    speeds up treats them alike.

    Parameters
    ----------
    name : str
        Of the case.
    contenders : sequence of Contender
        Those that can run it; the first is the reference.
    rounds : int
        How many.
    seconds : float
        About how long a contender runs in a round.
    report : callable, optional
        Is told what comes next.

    Returns
    -------
    dict
        Ready for JSON.
    """
    case = CASES[name]
    for c in contenders:
        report(f"{name}: trial of {c.name}")
        _choose_replications(c, contenders, case, seconds)
        c.rounds = []
    for r in range(rounds):
        shift = r % len(contenders)
        for c in [*contenders[shift:], *contenders[:shift]]:
            report(f"{name}: round {r + 1} of {rounds}, {c.name}")
            c.rounds.append(c.run(case, c.replications, 1000 + r))
    reference = contenders[0]
    return {
        "case": name,
        "times": case.describe(),
        "reference": reference.name,
        "rounds": rounds,
        "exact_throughput": case.exact_throughput,
        "contenders": [_record(c, reference) for c in contenders],
    }


def _choose_replications(c: Contender, contenders: Sequence[Contender], case: Case, seconds: float) -> None:
    """Size a contender's round by a short trial, which also compiles what is compiled on first use."""
    trial = c.run(case, c.minimum, 1)
    wanted = c.minimum * seconds / trial.seconds
    for other in contenders:
        if other.name == c.work_like:
            # More than the reference does, but not for much longer.
            wanted = min(_WORK_FACTOR * other.replications, 3 * wanted)
    c.replications = max(c.minimum, c.multiple * math.ceil(wanted / c.multiple))


def _record(c: Contender, reference: Contender) -> dict[str, Any]:
    by_round = statistics.median(a.rate / b.rate for a, b in zip(c.rounds, reference.rounds, strict=True))
    difference = None if c is reference else _difference(c, reference)
    return {
        "contender": c.name,
        "replications_per_round": c.replications,
        "events_per_second": c.rate,
        "events_per_second_by_round": [m.rate for m in c.rounds],
        "seconds_by_round": [m.seconds for m in c.rounds],
        "ratio_of_medians": c.rate / reference.rate,
        "median_of_round_ratios": by_round,
        "largest_difference_in_standard_errors": difference,
        "agrees": None if difference is None else difference < _AGREEMENT,
        "answers": {
            m: {"mean": mean, "standard_error": error}
            for m in METRICS
            for mean, error in [c.answer(m)]
            if not math.isnan(mean)
        },
    }


def _difference(c: Contender, reference: Contender) -> float:
    """Largest difference from the reference over the metrics that both have, in standard errors."""
    largest = 0.0
    for metric in METRICS:
        (a, a_error), (b, b_error) = c.answer(metric), reference.answer(metric)
        error = math.hypot(a_error, b_error)
        if a != b and not math.isnan(a - b):
            largest = max(largest, abs(a - b) / error if error > 0 else math.inf)
    return largest


def disagreeing(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Return who disagrees with the reference, and where."""
    return [
        f"{c['contender']} in {case['case']}"
        for case in cases
        for c in case["contenders"]
        if c["agrees"] is False
    ]


def machine() -> dict[str, Any]:
    """Return what a table was measured on."""
    names = [
        line.partition(":")[2].strip()
        for path in (Path("/proc/cpuinfo"),)
        if path.exists()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }


def as_table(case: dict[str, Any]) -> str:
    """Return the table of a case that was measured."""
    header = ["contender", "Mevents/s", "ns/event", f"x {case['reference']}", "by round"]
    rows = [[*header, "throughput /s", "LHP probability", "wasted fraction", "agrees"]]
    for c in case["contenders"]:
        rate, difference = c["events_per_second"], c["largest_difference_in_standard_errors"]
        rows.append(
            [
                c["contender"],
                f"{rate / 1e6:.2f}",
                f"{1e9 / rate:.2f}",
                _ratio(c["ratio_of_medians"]),
                _ratio(c["median_of_round_ratios"]),
                _answer(c, "throughput", "{:.0f} +- {:.0f}"),
                _answer(c, "lhp_probability", "{:.2e} +- {:.0e}"),
                _answer(c, "wasted_fraction", "{:.4f} +- {:.4f}"),
                "-" if difference is None else f"{'yes' if c['agrees'] else 'NO'} ({difference:.1f})",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{case['case']}: {case['times']}"]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
    if case["exact_throughput"] is not None:
        lines.append(
            f"exact throughput in equilibrium (machine repairman): {case['exact_throughput']:.0f} /s"
        )
    return "\n".join(lines) + "\n"


def as_markdown(cases: Sequence[dict[str, Any]]) -> str:
    """Return one table for all cases: ns per event, and how many times as fast as the reference (by round)."""
    names = list(dict.fromkeys(c["contender"] for case in cases for c in case["contenders"]))
    lines = [f"| case | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for case in cases:
        cells = dict.fromkeys(names, "")
        for c in case["contenders"]:
            cells[c["contender"]] = (
                f"{1e9 / c['events_per_second']:.1f} ({_ratio(c['median_of_round_ratios'])})"
            )
        lines.append(f"| `{case['case']}` | {' | '.join(cells.values())} |")
    return "\n".join(lines) + "\n"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.1 else f"1/{1 / ratio:.0f}"


def _answer(c: dict[str, Any], metric: str, text: str) -> str:
    answer = c["answers"].get(metric)
    return text.format(answer["mean"], answer["standard_error"]) if answer else "-"


@drawing()
def figure(cases: Sequence[dict[str, Any]]) -> "Figure":
    """Draw ns per event of all contenders, case by case; each dot says how many times as fast as the reference it is.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    from matplotlib.patches import Patch
    from matplotlib.ticker import NullFormatter

    names = list(dict.fromkeys(c["contender"] for case in cases for c in case["contenders"]))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    rows = [c for case in cases for c in case["contenders"]]
    sizes = [len(case["contenders"]) for case in cases]
    gap = np.repeat(np.arange(len(cases)), sizes)
    places = np.arange(len(rows)) + gap
    ns = [1e9 / c["events_per_second"] for c in rows]
    made = matplotlib().figure.Figure(figsize=(7.4, 0.7 + 0.2 * (len(rows) + len(cases))))
    axes = made.add_subplot()
    # Bars on a logarithmic axis would have any length.
    axes.scatter(ns, places, color=[colours[c["contender"]] for c in rows])
    for place, x, c in zip(places, ns, rows, strict=True):
        axes.annotate(f"   {_ratio(c['median_of_round_ratios'])}", (x, place), va="center", size=SMALL)
    axes.set_yticks([places[gap == i].mean() for i in range(len(cases))], [case["case"] for case in cases])
    axes.set(xscale="log", xlabel="ns per event", ylim=(places[-1] + 1, -1))
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    notes = [f"less is faster; beside the dots, how many times as fast as {cases[0]['reference']}"]
    return finished(made, "Time per event", notes, [Patch(color=colours[name]) for name in names], names)
