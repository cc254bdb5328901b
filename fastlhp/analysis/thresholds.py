"""How far a condition holds along a swept parameter."""

import operator
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.comparison import metric_with_error
from fastlhp.analysis.statistics import expanded
from fastlhp.analysis.sweep import AnalysisError, groups, numbers, paths_of, seconds
from fastlhp.results.results import Results

__all__ = ["Answer", "Condition", "Reach", "until"]

Array = npt.NDArray[Any]
Answer = Literal["up to", "from", "everywhere", "nowhere", "not monotonic", "unknown"]

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S.*?)\s*")
_RESAMPLES = 4000
_MOST_DRAWN = 1000
_SEED = 0
# Values of one resampled block.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Condition:
    """A metric compared with a number.

    Attributes
    ----------
    metric : str
        Which metric.
    relation : str
        ``<``, ``<=``, ``>`` or ``>=``.
    threshold : float
        In the metric's unit.
    text : str
        As it was written.
    """

    metric: str
    relation: str
    threshold: float
    text: str

    @classmethod
    def of(cls, results: Results, text: str) -> "Condition":
        """Read a condition such as ``wasted_fraction < 0.05`` or ``wait_mean <= 20us``."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise AnalysisError(
                f"cannot read the condition {text!r}; write METRIC < VALUE (or <=, >, >=), such as "
                "wasted_fraction < 0.05"
            )
        metric, relation, value = match.groups()
        units = results.units(metric)
        try:
            threshold = float(value)
        except ValueError:
            duration = seconds(value) if units == "s" else None
            if duration is None:
                also = ' or a duration such as "20us"' if units == "s" else ""
                raise AnalysisError(f"cannot read the value {value!r}; write a number{also}") from None
            threshold = duration
        if not np.isfinite(threshold):
            raise AnalysisError(f"cannot compare with {value}; write a finite number")
        return cls(metric, relation, threshold, f"{metric} {relation} {value}")

    def margin(self, values: Array) -> Array:
        """Return by how much the condition holds; negative where it does not."""
        return (self.threshold - values) if self.relation in ("<", "<=") else (values - self.threshold)

    def holds(self, values: Array) -> Array:
        """Return where the condition holds."""
        return np.asarray(_COMPARE[self.relation](values, self.threshold))


@dataclass(frozen=True, eq=False)
class Reach:
    """How far a condition holds along an axis; arrays of shape (curve,).

    Attributes
    ----------
    condition : Condition
        Which condition.
    along : str
        The swept path of the axis.
    axis : ndarray of float64
        Its values in ascending order; durations in s.
    units : str
        "s" if they are durations, else "1".
    confidence : float
        Of the intervals.
    curves : dict of str to ndarray
        The other swept parameters of each curve, those that are compared last.
    n_compared : int
        How many of these are compared.
    answer : list of str
        "up to": it holds up to `value` and not beyond; "from": from there on; "everywhere", "nowhere";
        "not monotonic": neither; "unknown": fewer than two points have an estimate.
    value : ndarray of float64
        Where it ceases or begins to hold, interpolated linearly between two values of the axis; the last
        value of the axis for "everywhere"; else NaN.
    low, high : ndarray of float64
        Interval of that place; infinite beyond the ends of the axis.
    largest : ndarray of float64
        The largest value of the axis at which the condition holds; NaN if it holds nowhere.
    """

    condition: Condition
    along: str
    axis: Array
    units: str
    confidence: float
    curves: dict[str, Array]
    n_compared: int
    answer: list[Answer]
    value: Array
    low: Array
    high: Array
    largest: Array


def until(
    results: Results, condition: str, along: str, *, by: str = "policy", confidence: float = 0.95
) -> Reach:
    """Find how far a condition holds along a swept parameter, for each combination of the others.

    Parameters
    ----------
    results : Results
        What a study gave.
    condition : str
        Such as ``wasted_fraction < 0.05`` or ``wait_mean <= 20us``.
    along : str
        A swept path, or its end, whose values are numbers or durations.
    by : str, optional
        What is compared, as of `fastlhp.analysis.compare`; all other swept paths if no policy is swept.
    confidence : float, optional
        Of the intervals; in (0, 1).

    Returns
    -------
    Reach

    Raises
    ------
    AnalysisError
        If the condition cannot be read, or `along` has fewer than two values that are numbers.
    UnknownMetricError
        If there is no such metric.

    Notes
    -----
    The estimates at neighbouring values of the axis are joined by straight lines. The interval is that of the
    bootstrap over whole replications, which are the same for all configurations: the percentiles of where the
    resampled curves cross, at the confidence of `fastlhp.analysis.statistics.expanded`. It knows nothing of how
    the true curve runs between two values of the axis.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    wanted = Condition.of(results, condition)
    sample = metric_with_error(results, wanted.metric)
    (path, *more) = paths_of(results, along)
    if more:
        raise AnalysisError(f"{along!r} means several paths; choose from: {', '.join((path, *more))}")
    columns = results.configurations
    x, units = numbers(path, columns[path])
    axis = np.unique(x)
    if len(axis) < 2:
        raise AnalysisError(f"{path} has one value only")
    try:
        compared = [p for p in paths_of(results, by) if p != path]
    except AnalysisError:
        if by != "policy":
            raise
        compared = [p for p in columns if p != path]
    others = [p for p in columns if p != path and p not in compared] + compared
    curve, first = groups([columns[p] for p in others], len(results))
    index = np.full((len(first), len(axis)), -1, dtype=np.int64)
    index[curve, np.searchsorted(axis, x)] = np.arange(len(results))
    known = (index >= 0) & np.isfinite(sample.mean)[index]

    reach = Reach(
        wanted,
        path,
        axis,
        units,
        confidence,
        {p: columns[p][first] for p in others},
        len(compared),
        ["unknown"] * len(first),
        *(np.full(len(first), np.nan) for _ in range(4)),
    )
    # Very many replications are drawn in groups, so that the weights of the resamples fit into the memory.
    n = min(results.n_replications, _MOST_DRAWN)
    starts = np.arange(n) * results.n_replications // n
    summed = [np.add.reduceat(values, starts, axis=1) for values in (sample.y, sample.x)]
    weights = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), _RESAMPLES).astype(np.float64)
    tail = (1 - expanded(confidence, n)) / 2 if n > 1 else 0.0
    cuts = (np.floor(tail * (_RESAMPLES - 1)), np.ceil((1 - tail) * (_RESAMPLES - 1)))
    for rows in np.array_split(np.arange(len(first)), -(-index.size * _RESAMPLES // _BLOCK)):
        resampled = np.full((_RESAMPLES, len(rows), len(axis)), np.nan)
        if n > 1:
            above, below = (weights @ values[index[rows].ravel()].T for values in summed)
            np.divide(above, below, out=resampled.reshape(above.shape), where=below != 0)
        for j, c in enumerate(rows):
            points = known[c]
            if np.count_nonzero(points) < 2:
                continue
            at, mean = axis[points], sample.mean[index[c, points]]
            holds = wanted.holds(mean)
            answer = _answer(holds)
            reach.answer[c] = answer
            if holds.any():
                reach.largest[c] = at[holds][-1]
            if answer == "not monotonic":
                continue
            ends = _ends(at, wanted.margin(mean), holds, answer)
            reach.value[c] = at[-1] if answer == "everywhere" else ends if np.isfinite(ends) else np.nan
            if n > 1:
                some = resampled[:, j, points]
                found = np.sort(_ends(at, wanted.margin(some), wanted.holds(some), answer))
                reach.low[c], reach.high[c] = (found[int(cut)] for cut in cuts)
    return reach


def _answer(holds: Array) -> Answer:
    if holds.all():
        return "everywhere"
    if not holds.any():
        return "nowhere"
    if np.count_nonzero(np.diff(holds)) > 1:
        return "not monotonic"
    return "up to" if holds[0] else "from"


def _ends(at: Array, margin: Array, holds: Array, answer: Answer) -> Array:
    """Return where the condition ceases to hold, or for "from" begins to; curves along the last axis."""
    if answer != "from":
        return _ceases(at, margin, holds)
    place = _ceases(at[::-1], margin[..., ::-1], holds[..., ::-1])
    return np.where(np.isinf(place), -place, place)


def _ceases(at: Array, margin: Array, holds: Array) -> Array:
    """Return where curves first fail; minus infinity if at once, infinity if never."""
    j = np.argmin(holds, axis=-1)[..., None]
    i = np.maximum(j - 1, 0)
    before, after = (np.nan_to_num(np.take_along_axis(margin, k, -1)) for k in (i, j))
    part = np.zeros(before.shape)
    np.divide(before, before - after, out=part, where=before > after)
    place = (at[i] + part * (at[j] - at[i]))[..., 0]
    place = np.where(j[..., 0] == 0, -np.inf, place)
    return np.where(holds.all(axis=-1), np.inf, place)
