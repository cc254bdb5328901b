"""Axes of figures: units, and ticks that do not overlap."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Results
from fastlhp.view.arrangement import FEW_LEVELS, Parameter
from fastlhp.view.style import SMALL, shortened, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.ticker import Formatter

__all__ = [
    "fitting",
    "is_wide",
    "level_axis",
    "meaning",
    "metric_formatter",
    "metric_label",
    "number_axis",
    "percent",
    "unit_formatter",
]

Array = npt.NDArray[Any]

# An axis is logarithmic where the largest value is so many times the smallest.
_WIDE_PARAMETER, _WIDE_METRIC = 20, 50


def percent(value: float, _: Any = None) -> str:
    """Return a share as percent."""
    return f"{np.format_float_positional(100 * value, 6, fractional=False, trim='-')} %"


def unit_formatter(units: str) -> "Formatter":
    """Return how a number of a unit is written: with a prefix and the unit."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(unit={"s": "s", "s-1": "/s"}.get(units, ""))


def metric_formatter(results: Results, metric: str) -> "Formatter":
    """Return how a metric is written at ticks: shares as percent, others with their unit."""
    from matplotlib.ticker import FuncFormatter

    share = metric in METRICS and METRICS[metric].largest == 1
    return FuncFormatter(percent) if share else unit_formatter(results.units(metric))


def metric_label(results: Results, metric: str) -> str:
    """Return what stands at the axis of a metric; units that are not at the ticks included."""
    return f"{metric} [cycles]" if results.units(metric) == "cycles" else metric


def meaning(results: Results, metric: str) -> str:
    """Return what a metric means, short enough for a title."""
    return results.long_name(metric).partition(":")[0]


def is_wide(values: Array, factor: float = _WIDE_METRIC) -> bool:
    """Say whether numbers differ so much that only a logarithmic axis shows them all."""
    return bool(len(values) and values.min() > 0 and values.max() >= factor * values.min())


def number_axis(axes: "Axes", parameter: Parameter, length: float) -> None:
    """Prepare the x axis for the values of a swept number; it is about `length` inches long."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    values = parameter.values
    assert values is not None
    wide = is_wide(values, _WIDE_PARAMETER)
    if wide:
        axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    if len(values) > FEW_LEVELS:
        axes.xaxis.set_major_formatter(unit_formatter(parameter.units))
        return
    place = np.log(values) if wide else values
    # The margins are 5 % on both sides.
    inches = length / 1.1 * (place - place[0]) / (place[-1] - place[0])
    shown = fitting(inches, [text_width(label, SMALL) for label in parameter.labels])
    axes.xaxis.set_major_locator(FixedLocator(values[shown].tolist()))
    axes.xaxis.set_major_formatter(FixedFormatter([parameter.labels[i] for i in shown]))


def level_axis(axis: "Axis", parameter: Parameter, length: float, *, upright: bool = False) -> None:
    """Prepare an axis for levels at 0, 1, ... which are a cell wide each.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
        Of the levels.
    parameter : Parameter
        What is along it.
    length : float
        Of the axis, in inches, or a bit less.
    upright : bool, optional
        Whether the axis is upright, so that lines of text are above each other.
    """
    labels = [shortened(label, 24) for label in parameter.labels]
    inches = (np.arange(len(labels)) + 0.5) * length / len(labels)
    sizes = [0.14 if upright else text_width(label, SMALL) for label in labels]
    shown = fitting(inches, sizes)
    axis.set_ticks([i + 0.5 for i in shown], [labels[i] for i in shown])


def fitting(places: Array, sizes: Sequence[float], gap: float = 0.08) -> list[int]:
    """Return which of some texts, centred at ascending places, can stand beside each other; the ends come first."""
    last = len(sizes) - 1

    def apart(i: int, j: int) -> bool:
        return bool(places[j] - places[i] >= (sizes[i] + sizes[j]) / 2 + gap)

    shown = [0]
    for i in range(1, last):
        if apart(shown[-1], i) and apart(i, last):
            shown.append(i)
    if last and apart(shown[-1], last):
        shown.append(last)
    return shown
