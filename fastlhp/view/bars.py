"""What the pCPUs spend their time on."""

from typing import TYPE_CHECKING

import numpy as np

from fastlhp.results.metrics import ratio
from fastlhp.results.results import Results
from fastlhp.view.arrangement import Arrangement, Groups, arranged, parameters, require_results
from fastlhp.view.axes import percent
from fastlhp.view.panels import Panels, what_is_shown
from fastlhp.view.style import COLOURS, GREY, drawing, finished, fitted, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["time_split"]

_BLUE, _VERMILLION, _GREEN, _ORANGE, _PURPLE, _SKY, _BLACK, _YELLOW = COLOURS
# All pCPU time, and what it is called.
_PARTS = {
    "user_time": ("user", _GREEN),
    "kernel_time": ("kernel", _SKY),
    "hold_time": ("critical section", _BLUE),
    "spin_contention": ("spin: holder runs", _YELLOW),
    "spin_lhp": ("spin: holder off CPU (LHP)", _VERMILLION),
    "spin_lwp": ("spin: next waiter off CPU (LWP)", _ORANGE),
    "switch_time": ("context switch", _PURPLE),
    "exit_time": ("VM exit", _BLACK),
    "idle_time": ("idle", GREY),
}
_MOST_BARS, _MOST_PANELS, _WIDEST_NAME = 16, 4, 3.2


@drawing()
def time_split(results: Results) -> "Figure":
    """Draw what the pCPUs spend their time on, as stacked bars.

    Parameters
    ----------
    results : Results
        What a study gave.

    Returns
    -------
    matplotlib.figure.Figure
        With a bar for each policy (of a small study for each configuration), and panels for the other swept
        parameters or averages over them. Its label says in a sentence what is seen.

    Raises
    ------
    AnalysisError
        If there are no results.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_results(results)
    known, n = parameters(results), len(results)
    if n <= _MOST_BARS:
        plan = Arrangement(Groups.of(known.values(), n, brief=True), Groups.of((), n), False, [])
    else:
        plan = arranged(results, known, [], most_lines=_MOST_BARS, most_panels=_MOST_PANELS)
    cell, shape = plan.at()
    capacity = results.context.pcpus * results.context.duration_s
    shares = {}
    for metric in _PARTS:
        share = ratio(results.summary(metric).mean, capacity)
        shown = (cell >= 0) & np.isfinite(share)
        count = np.bincount(cell[shown], minlength=int(np.prod(shape)))
        shares[metric] = ratio(np.bincount(cell[shown], share[shown], len(count)), 1.0 * count).reshape(shape)

    bars = shape[1]
    names = [fitted(name, _WIDEST_NAME) for name in plan.lines.names]
    room = 0.7 + max(text_width(name) for name in names)
    made = Panels.of(plan.panels, 0.75 + 0.27 * bars, labels=room)
    handles, labels = [], []
    left = np.zeros(shape)
    for metric, (name, colour) in _PARTS.items():
        width = np.nan_to_num(shares[metric])
        for axes, widths, lefts in zip(made.axes, width, left, strict=True):
            drawn = axes.barh(
                range(bars), widths, 0.78, lefts, color=colour, edgecolor="white", linewidth=0.4
            )
        left += width
        if width.any():
            handles.append(drawn)
            labels.append(name)
    axes = made.axes[0]
    axes.set_yticks(range(bars), names)
    axes.set_ylim(bars - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(percent)
    for axes in made.axes:
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    made.label("share of the pCPU time", plan.lines.title)
    made.figure.set_label(f"where the pCPU time goes{what_is_shown(plan, 'bars')}")
    replications = results.n_replications
    source = f"means of {replications} replications" if replications > 1 else "one replication"
    notes = [results.attributes.title, source, *plan.notes]
    return finished(made.figure, "Where the pCPU time goes", notes, handles, labels)
