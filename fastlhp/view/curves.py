"""A metric against a swept parameter."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.averages import averages
from fastlhp.analysis.sweep import AnalysisError
from fastlhp.results.results import Results
from fastlhp.view.arrangement import FEW_LEVELS, Parameter, arranged, by_influence, chosen, parameters
from fastlhp.view.axes import is_wide, meaning, metric_formatter, metric_label, number_axis
from fastlhp.view.panels import Panels, legend_of, replications_note, what_is_shown
from fastlhp.view.style import COLOURS, LINES, MARKERS, drawing, finished, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve"]

Array = npt.NDArray[Any]

_MOST_LINES, _MOST_PANELS, _MOST_BINS = 6, 6, 16
# Bands do not reach higher than so many times the highest line.
_MOST_BAND = 2.5
_DOT = 6.5
_IN_BIN = 4


@drawing()
def curve(results: Results, metric: str, along: str | None = None, *, confidence: float = 0.95) -> "Figure":
    """Draw a metric against a swept parameter, with bands of confidence.

    Parameters
    ----------
    results : Results
        What a study gave.
    metric : str
        Name of a metric.
    along : str, optional
        A swept path or its end; by default the number that decides the metric most.
    confidence : float, optional
        Of the bands; in (0, 1).

    Returns
    -------
    matplotlib.figure.Figure
        With a line for each policy, and panels for the other swept parameters or averages over them. Its label
        says in a sentence what is seen.

    Raises
    ------
    AnalysisError
        If nothing, or nothing of that name, is swept, or there are no values.
    UnknownMetricError
        If there is no such metric.
    MissingExtraError
        If matplotlib is not installed.
    """
    from matplotlib.ticker import NullFormatter

    title = meaning(results, metric)
    known = parameters(results)
    if along is not None:
        x = chosen(results, known, along)
    elif known:
        x = by_influence(results, known.values(), metric)[0]
    else:
        raise AnalysisError("nothing is swept in this study: there is one configuration only")
    plan = arranged(results, known, [x], most_lines=_MOST_LINES, most_panels=_MOST_PANELS, metric=metric)
    number = x.values is not None
    notes = [results.attributes.title]
    notes.append(replications_note(results, metric, confidence, "bands" if number else "intervals"))
    if plan.sampled and len(x) > FEW_LEVELS:
        # With fewer in a bin, what its configurations are like could not be told from chance.
        in_line = np.count_nonzero(plan.cell >= 0) // (len(plan.lines) * len(plan.panels))
        x = x.binned(int(np.clip(in_line // _IN_BIN, 4, _MOST_BINS)))
        notes.append(f"{x.name} in {len(x)} bins")
    group, shape = plan.at(x)
    found = averages(results, metric, group, int(np.prod(shape)), sampled=plan.sampled, confidence=confidence)
    mean, low, high = (values.reshape(shape) for values in (found.mean, found.low, found.high))
    there = np.isfinite(mean)
    if not there.any():
        raise AnalysisError(f"there is no {metric} to draw")
    # That nothing was seen bounds a probability from above, but such a band would hide the other lines.
    unseen = (mean == 0) & (high > 0)
    if unseen.any():
        low[unseen] = high[unseen] = np.nan
        notes.append(f"no {'band' if number else 'interval'} where no event was seen")
    wide = is_wide(mean[there])
    bottom, top = _limits(mean[there], low[np.isfinite(low)], high[np.isfinite(high)], wide)
    if np.nanmax(high, initial=0) > top:
        notes.append(f"{'bands' if number else 'intervals'} beyond the axis are cut")

    low = np.maximum(low, bottom)
    if number:
        made = Panels.of(plan.panels, 2.6 if len(plan.panels) > 1 else 3.4)
        draw, metric_axis = _lines, "y"
    else:
        made = Panels.of(plan.panels, 0.7 + len(x) * max(0.26, 0.13 * len(plan.lines)))
        draw, metric_axis = _dots, "x"
    for axes, *values in zip(made.axes, mean, low, high, strict=True):
        draw(axes, x, *values)
    # The panels share their axes.
    axes = made.axes[0]
    limits: dict[str, Any] = {f"{metric_axis}lim": (bottom, top)}
    if wide:
        limits[f"{metric_axis}scale"] = "log"
    axes.set(**limits)
    value = axes.yaxis if number else axes.xaxis
    value.set_major_formatter(metric_formatter(results, metric))
    value.set_minor_formatter(NullFormatter())
    if number:
        number_axis(axes, x, made.width)
        made.label(shortened(x.path, 60), metric_label(results, metric))
    else:
        axes.set_yticks(range(len(x)), x.labels)
        axes.set_ylim(len(x) - 0.5, -0.5)
        made.label(metric_label(results, metric), shortened(x.path, 60))
    made.figure.set_label(f"{metric} along {x.path}{what_is_shown(plan, 'lines')}")
    return finished(made.figure, title, [*notes, *plan.notes], *legend_of(plan.lines, axes.get_lines()))


def _look(i: int) -> dict[str, Any]:
    """Return what line `i` looks like; later ones are thinner, so that equal lines are all seen."""
    return {
        "color": COLOURS[i],
        "marker": MARKERS[i],
        "markersize": 7.5 - 0.7 * i,
        "linewidth": 2.6 - 0.25 * i,
        "markeredgewidth": 0,
    }


def _lines(axes: "Axes", x: Parameter, mean: Array, low: Array, high: Array) -> None:
    places = np.asarray(x.values)
    for i, values in enumerate(mean):
        look = _look(i)
        axes.plot(places, values, linestyle=LINES[i], markevery=1 + len(places) // 16, **look)
        axes.fill_between(places, low[i], high[i], color=look["color"], alpha=0.2, linewidth=0)


def _dots(axes: "Axes", x: Parameter, mean: Array, low: Array, high: Array) -> None:
    for i, values in enumerate(mean):
        places = np.arange(len(x)) + 0.7 * ((i + 0.5) / len(mean) - 0.5)
        look = _look(i) | {"linestyle": "none", "markersize": _DOT}
        axes.plot(values, places, **look)
        axes.hlines(places, low[i], high[i], color=look["color"], linewidth=1.6)


def _limits(mean: Array, low: Array, high: Array, wide: bool) -> tuple[float, float]:
    """Return the ends of the axis of the metric, which shows all means and most of the bands."""
    largest = mean.max() if mean.max() > 0 else 1.0
    top = min(high.max(initial=largest), _MOST_BAND * largest)
    if not wide:
        return -0.02 * top, 1.06 * top
    return max(low[low > 0].min(initial=mean.min()), mean.min() / _MOST_BAND) / 1.3, 1.3 * top
