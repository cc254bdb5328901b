"""A metric, and which policy is the best, over two swept parameters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.averages import averages
from fastlhp.analysis.comparison import compare
from fastlhp.analysis.sweep import AnalysisError
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Results
from fastlhp.view.arrangement import (
    FEW_LEVELS,
    Groups,
    Parameter,
    arranged,
    by_influence,
    chosen,
    parameters,
    require_results,
)
from fastlhp.view.axes import is_wide, level_axis, meaning, metric_formatter
from fastlhp.view.panels import Panels, what_is_shown
from fastlhp.view.style import COLOURS, GREY, drawing, finished, shortened, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["heat_map", "winner_map"]

Array = npt.NDArray[Any]

_MOST_PANELS, _MOST_BINS = 6, 10
_MOST_COLOURS = len(COLOURS)


@drawing()
def heat_map(results: Results, metric: str, x: str | None = None, y: str | None = None) -> "Figure":
    """Draw a metric over two swept parameters, as colours.

    Parameters
    ----------
    results : Results
        What a study gave.
    metric : str
        Name of a metric.
    x, y : str, optional
        Swept paths or their ends; by default the numbers that decide the metric most.

    Returns
    -------
    matplotlib.figure.Figure
        With panels for the policies or averages over them, and averages over the other swept parameters. Its
        label says in a sentence what is seen.

    Raises
    ------
    AnalysisError
        If fewer than two parameters, or none of these names, are swept, or there are no values.
    UnknownMetricError
        If there is no such metric.
    MissingExtraError
        If matplotlib is not installed.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    title = meaning(results, metric)
    known = parameters(results)
    across, up = _axes(results, known, metric, x, y)
    plan = arranged(results, known, [across, up], most_lines=1, most_panels=_MOST_PANELS, metric=metric)
    across, up = (it.binned(_MOST_BINS) if len(it) > FEW_LEVELS else it for it in (across, up))
    group, shape = plan.at(up, across)
    found = averages(results, metric, group, int(np.prod(shape)), sampled=plan.sampled)
    values = found.mean.reshape(shape)[:, 0]
    there = values[np.isfinite(values)]
    if not there.size:
        raise AnalysisError(f"there is no {metric} to draw")
    norm = (LogNorm if is_wide(there) else Normalize)(there.min(), there.max())
    made = Panels.of(plan.panels, 0.9 + 0.3 * max(len(up), 4))
    write = metric_formatter(results, metric)
    room = made.width / len(across)
    for axes, table in zip(made.axes, values, strict=True):
        axes.pcolormesh(table, cmap="cividis", norm=norm, edgecolors="white", linewidth=0.4)
        _grid(axes)
        for (row, column), value in np.ndenumerate(table):
            if not np.isfinite(value):
                continue
            text = write(float(f"{value:.2g}"))
            if text_width(text) < 0.85 * room:
                colour = "white" if norm(value) < 0.55 else "black"
                axes.text(
                    column + 0.5, row + 0.5, text, color=colour, ha="center", va="center", in_layout=False
                )
    _levels(made, across, up)
    # Beside all panels, so that these keep the same size.
    made.figure.colorbar(
        ScalarMappable(norm, "cividis"), ax=made.axes, format=write, label=metric, pad=0.02
    ).ax.minorticks_off()
    made.figure.set_label(f"{metric} over {across.path} and {up.path}{what_is_shown(plan, 'lines')}")
    notes = [results.attributes.title, *_binned(known, across, up), *plan.notes]
    if there.size < values.size:
        notes.append("grey: not simulated, or no value")
    if np.isfinite(found.half_width).any():
        half = write(float(f"{np.nanmax(found.half_width):.2g}"))
        notes.append(f"{100 * found.confidence:g} % intervals reach up to {half} to either side")
    return finished(made.figure, title, notes)


@drawing()
def winner_map(
    results: Results, metric: str | None = None, x: str | None = None, y: str | None = None
) -> "Figure":
    """Draw which policy is the best, over two swept parameters.

    Parameters
    ----------
    results : Results
        What a study gave.
    metric : str, optional
        In which metric; by default ``wasted_fraction``.
    x, y : str, optional
        Swept paths or their ends; by default those that decide the metric most, numbers first.

    Returns
    -------
    matplotlib.figure.Figure
        Cells have the colour of the policy that is the best in most settings of the other swept parameters, and
        are hatched unless it is so in all of them and can be told from all others. Its label says in a sentence
        what is seen.

    Raises
    ------
    AnalysisError
        If no policies besides two other parameters are swept, or the metric has no value per replication.
    UnknownMetricError
        If there is no such metric.
    MissingExtraError
        If matplotlib is not installed.
    """
    from matplotlib.patches import Patch

    metric = metric or "wasted_fraction"
    meaning(results, metric)
    require_results(results)
    known = parameters(results)
    across, up = _axes(results, known, metric, x, y)
    kinds = [it for it in known.values() if it.is_kind and it not in (across, up)]
    if not kinds:
        raise AnalysisError(
            "no kinds of policies are swept that are not on the axes, so there is nothing to choose"
        )
    comparison = compare(results, [it.path for it in kinds], [metric])
    shown = (across, up)
    across, up = (it.binned(_MOST_BINS) if len(it) > FEW_LEVELS else it for it in shown)

    effects, index = comparison.metrics[0].effects, comparison.layout.index
    # Any configuration of a setting tells where it is.
    first = index.max(axis=1)
    n_policies, shape = index.shape[1], (len(up), len(across))
    cell = up.code[first] * len(across) + across.code[first]
    won = effects.winner >= 0
    wins = np.zeros((len(up) * len(across), n_policies), dtype=np.int64)
    np.add.at(wins, (cell[won], effects.winner[won]), 1)
    winner = np.where(wins.any(axis=1), wins.argmax(axis=1), -1)
    # Clear where the winner alone is among the best, everywhere in the cell.
    alone = (effects.winner == winner[cell]) & (np.count_nonzero(effects.best, axis=1) == 1)
    unclear = np.bincount(cell[won & ~alone], minlength=len(winner)) > 0

    names = Groups.of(kinds, len(results), brief=True, beside=shown)
    called = [names.names[names.code[int(index[:, k].max())]] for k in range(n_policies)]
    count = np.bincount(winner[winner >= 0], minlength=n_policies)
    order = [int(k) for k in np.argsort(-count, kind="stable") if count[k]]
    if not order:
        raise AnalysisError(f"there is no {metric} to compare")
    colours = {k: COLOURS[i] if i < _MOST_COLOURS else GREY for i, k in enumerate(order)}
    made = Panels.of(Groups((), np.empty(0), [""]), 0.6 + 0.36 * max(len(up), 2))
    axes = made.axes[0]
    _grid(axes)
    for number, k in enumerate(winner.tolist()):
        if k >= 0:
            row, column = divmod(number, shape[1])
            axes.bar(
                column + 0.5, 1, 1, row, color=colours[k], edgecolor="white",
                hatch="///" if unclear[number] else None, linewidth=0.4,
            )  # fmt: skip
    _levels(made, across, up)
    handles = [Patch(color=colours[k]) for k in order[:_MOST_COLOURS]]
    labels = [shortened(called[k], 60) for k in order[:_MOST_COLOURS]]
    if len(order) > _MOST_COLOURS:
        handles.append(Patch(color=GREY))
        labels.append(f"{len(order) - _MOST_COLOURS} others")
    if unclear.any():
        handles.append(Patch(facecolor="#777777", edgecolor="white", hatch="///"))
        labels.append("cannot be told from others")
    made.figure.set_label(f"the best of {n_policies} policies in {metric} over {across.path} and {up.path}")
    extreme = "highest" if METRICS[metric].higher_is_better else "lowest"
    notes = [
        results.attributes.title,
        *_binned(known, across, up),
        f"{100 * comparison.confidence:g} % sure unless hatched",
    ]
    others = [it.name for it in known.values() if it not in shown and it not in kinds]
    if others:
        notes.append(f"solid where it is so for all settings of {', '.join(others)}")
    title = f"Which policy has the {extreme} {metric}"
    return finished(made.figure, title, notes, handles, labels, names.title)


def _axes(
    results: Results, known: Mapping[str, Parameter], metric: str, x: str | None, y: str | None
) -> tuple[Parameter, Parameter]:
    """Return what is across and up."""
    given = [None if name is None else chosen(results, known, name) for name in (x, y)]
    free = [it for it in by_influence(results, known.values(), metric) if it not in given]
    # What is no policy makes the better axis.
    free.sort(key=lambda it: it.is_kind)
    across, up = (it or (free.pop(0) if free else None) for it in given)
    if across is None or up is None or across is up:
        raise AnalysisError(f"a map needs two swept parameters; choose from: {', '.join(known) or 'none'}")
    return across, up


def _binned(known: Mapping[str, Parameter], *axes: Parameter) -> list[str]:
    """Return notes about numbers that were put into bins."""
    return [f"{it.name} in {len(it)} bins" for it in axes if len(it) < len(known[it.path])]


def _grid(axes: Any) -> None:
    axes.set_facecolor("#E8E8E8")
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _levels(made: Panels, across: Parameter, up: Parameter) -> None:
    axes = made.axes[0]
    axes.set(xlim=(0, len(across)), ylim=(0, len(up)))
    level_axis(axes.xaxis, across, made.width)
    level_axis(axes.yaxis, up, 0.3 * len(up), upright=True)
    made.label(shortened(across.path, 60), shortened(up.path, 60))
