"""How long locks are waited for, and how long preempted holders are off CPU."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.sweep import AnalysisError
from fastlhp.results.results import Results
from fastlhp.view.arrangement import Groups, arranged, parameters
from fastlhp.view.axes import percent, unit_formatter
from fastlhp.view.panels import Panels, legend_of, what_is_shown
from fastlhp.view.style import COLOURS, LINES, drawing, finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["lock_waits"]

Array = npt.NDArray[Any]

_WHAT = {"wait": "contended lock wait", "holder_off": "preempted holder off CPU"}
_MOST_LINES, _MOST_ROWS = 6, 3
_HARDLY_ANY = 0.01


@drawing()
def lock_waits(results: Results) -> "Figure":
    """Draw how many lock waits, and off-CPU spells of preempted holders, are longer than a time.

    Parameters
    ----------
    results : Results
        What a study gave.

    Returns
    -------
    matplotlib.figure.Figure
        Survival functions on logarithmic axes, a line for each policy; all other configurations are pooled, but
        for a few panels. Its label says in a sentence what is seen.

    Raises
    ------
    AnalysisError
        If there are no results, or no lock was contended.
    MissingExtraError
        If matplotlib is not installed.
    """
    from matplotlib.ticker import NullLocator

    plan = arranged(results, parameters(results), [], most_lines=_MOST_LINES, most_panels=_MOST_ROWS)
    cell, (rows, n_lines) = plan.at()
    counts = {}
    for name in _WHAT:
        histogram, edges = results.histogram(name)
        pooled = np.array([histogram[cell == k].sum(axis=0) for k in range(rows * n_lines)])
        if pooled.any():
            counts[name] = pooled.reshape(rows, n_lines, -1)
    if not counts:
        raise AnalysisError("no lock was contended, so there are no waits to draw")

    titles = [", ".join(filter(None, [name, _WHAT[kind]])) for name in plan.panels.names for kind in counts]
    height = 3.2 if rows == 1 else 2.5
    made = Panels.of(Groups((), np.empty(0), titles), height, columns=len(counts))
    each = [counts[kind][row] for row in range(rows) for kind in counts]
    for axes, lines in zip(made.axes, each, strict=True):
        for i, line in enumerate(lines):
            _survival(axes, i, line, edges)
    fewest = min(1 / line.sum() for lines in each for line in lines if line.any())
    made.axes[0].set(yscale="log", ylim=(fewest / 1.5, 1.5))
    made.axes[0].yaxis.set_major_formatter(percent)
    for axes, lines in zip(made.axes, counts.values(), strict=False):
        axes.set(xscale="log", xlim=_times(lines, edges))
        axes.xaxis.set_major_formatter(unit_formatter("s"))
    for axes in made.axes:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
    axes = made.axes[0]
    made.label("time", "share that is longer")
    made.figure.set_label(f"lock waits and off-CPU times of holders{what_is_shown(plan, 'lines')}")
    notes = [results.attributes.title, "pooled over replications and VMs"]
    notes += [note.replace("averaged", "pooled") for note in plan.notes]
    title = "How long contended locks are waited for, and preempted holders are off CPU"
    return finished(made.figure, title, notes, *legend_of(plan.lines, axes.get_lines()))


def _times(counts: Array, edges: Array) -> tuple[float, float]:
    """Return the ends of the axis, which begins where the first line begins to fall."""
    lines = counts.reshape(-1, counts.shape[-1])
    # The first bin, which holds 0 as well, is a step at the beginning.
    later = lines[:, 1:].cumsum(axis=1)
    begun = np.any(later > _HARDLY_ANY * lines[:, 1:].sum(axis=1, keepdims=True), axis=0)
    first = 1 + int(begun.argmax()) if begun.any() else 0
    last = int(np.flatnonzero(lines.any(axis=0))[-1])
    return edges[first] / 1.1, edges[last] * 1.1


def _survival(axes: "Axes", i: int, counts: Array, edges: Array) -> None:
    """Draw the share of the times in a histogram that are longer than each edge."""
    x, y = np.empty(0), np.empty(0)
    if counts.any():
        longer = np.concatenate([[1.0], 1 - np.cumsum(counts) / counts.sum()])
        first, last = np.flatnonzero(counts)[[0, -1]]
        # The last edge has nothing above it, which a logarithmic axis cannot show.
        x, y = edges[first : last + 1], longer[first : last + 1]
    axes.plot(x, y, color=COLOURS[i], linestyle=LINES[i], linewidth=2.4 - 0.2 * i)
