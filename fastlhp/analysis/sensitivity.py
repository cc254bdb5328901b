"""Which swept parameter decides: shares of the variance of a metric over the configurations of a study."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.comparison import metric_with_error
from fastlhp.analysis.polynomials import expansion, values_of_numbers
from fastlhp.analysis.statistics import Sample, standard_error, students_t
from fastlhp.analysis.sweep import AnalysisError, groups, numbers
from fastlhp.results.metrics import METRICS, ratio
from fastlhp.results.results import Results

__all__ = ["Curve", "Sensitivity", "equal_bins", "group_sums", "sensitivity"]

Array = npt.NDArray[Any]

# A parameter with at most so many values, each in so many configurations on average, is taken as it is; others
# are put into bins.
_MOST_BINS, _LEVEL = 30, 4
# Groups of configurations that are left out in turn.
_GROUPS = 20
_SEED = 0
# Polynomials that explain less of the variance do not tell whose it is.
_MOSTLY = 0.5


@dataclass(frozen=True, eq=False)
class Curve:
    """Partial dependence of a metric on a swept parameter: its average over all the others.

    Attributes
    ----------
    labels : ndarray, shape (level,)
        Values of the parameter; of a sampled one the mean of each bin.
    mean, low, high : ndarray of float64, shape (level,)
        Average over the configurations with that value, and its interval.
    units : str
        "s" if the values are means of durations, else "1".
    """

    labels: Array
    mean: Array
    low: Array
    high: Array
    units: str = "1"


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Sensitivity indices of a metric; arrays of shape (path,).

    Attributes
    ----------
    metric, units : str
        Which metric, and its unit.
    confidence : float
        Of the intervals.
    design : {"grid", "sampled"}
        Whether every combination of the swept values was simulated.
    n_configurations : int
        Number of configurations behind the indices.
    paths : list of str
        The swept parameters.
    spread : float
        Standard deviation of the true metric over the configurations, without the noise of the replications.
    first, first_low, first_high : ndarray of float64
        First-order index: share of the variance that the parameter explains by itself.
    total, total_low, total_high : ndarray of float64
        Total index: share that is left if all the others are known. NaN where the configurations of a sampled design
        do not tell.
    decisive : list of str
        The parameter with the largest index, and those that cannot be told from it; empty if no variance can be
        told from the noise.
    curves : dict of str to Curve
        Partial dependence on each parameter.
    """

    metric: str
    units: str
    confidence: float
    design: Literal["grid", "sampled"]
    n_configurations: int
    paths: list[str]
    spread: float
    first: Array
    first_low: Array
    first_high: Array
    total: Array
    total_low: Array
    total_high: Array
    decisive: list[str]
    curves: dict[str, Curve]


@dataclass(frozen=True, eq=False)
class _Estimate:
    """Estimates of some parameters, and what they are if a part of the data is left out.

    Attributes
    ----------
    value : ndarray of float64, shape (...)
        The estimates.
    without : ndarray of float64, shape (..., replication)
        Without each replication.
    less : ndarray of float64, shape (..., group)
        Without each group of configurations; no groups if the configurations are no sample.
    """

    value: Array
    without: Array
    less: Array

    def error(self) -> Array:
        """Return the jackknife's standard error."""
        return np.asarray(np.sqrt(_jackknife(self.without) + _jackknife(self.less)))

    def half_width(self, confidence: float) -> Array:
        """Return half of the interval: Student's, for the smaller of the two samples."""
        sizes = [n for n in (self.without.shape[-1], self.less.shape[-1]) if n]
        return np.asarray(students_t(np.array(min(sizes)), confidence) * self.error())


def _jackknife(without: Array) -> Array:
    """Return the variance of an estimate from its values without each part; 0 if there are no parts."""
    n = without.shape[-1]
    if n == 0:
        return np.zeros(without.shape[:-1])
    deviation = without - without.mean(axis=-1, keepdims=True)
    return np.asarray((n - 1) / n * np.sum(deviation**2, axis=-1))


def sensitivity(results: Results, metric: str, *, confidence: float = 0.95) -> Sensitivity:
    """Decompose the variance of a metric over the configurations by the swept parameters.

    Parameters
    ----------
    results : Results
        What a study gave.
    metric : str
        Name of a metric.
    confidence : float, optional
        Of the intervals; in (0, 1).

    Returns
    -------
    Sensitivity

    Raises
    ------
    AnalysisError
        If nothing is swept, the metric has no value per replication, or fewer than two configurations have an
        estimate.
    UnknownMetricError
        If there is no such metric.

    Notes
    -----
    On a full grid, with mu the true metric of the cells, the first-order index of parameter i is
    ``V_i / V = Var(E[mu | x_i]) / Var(mu)`` and the total index ``1 - Var(E[mu | x_~i]) / Var(mu)`` [1]_, all
    values of a parameter being equally likely. The variance of estimates would count noise as an effect, and
    with common random numbers the noise of the cells is correlated. But different replications are
    independent, so for every such quadratic form Q, with its bilinear form Q(f, g), the mean of ``Q(y_r, y_s)``
    over pairs of different replications is unbiased for Q(mu); it is ``(n Q(mean y) - mean Q(y_r)) / (n - 1)``.
    Intervals are Student's with the jackknife's standard error over replications, cut at 0 and 1.

    Of other designs, in which parameters are sampled or configurations are missing, first-order indices are
    estimated from the given data: values of a parameter are put into bins of equally many configurations, and
    ``V_i`` is ``(SSB - (m - 1) SSW / (N - m)) / N`` for m bins, where the second term is what the spread within
    the bins adds to that between them (analysis of variance; [2]_ for the idea). Such a design is a sample
    itself, so the variance of the jackknife over groups of configurations is added; the intervals are rather
    too long. Total indices are those of products of polynomials in the ranks of the numbers (contrasts of what is no
    number), fitted to the configurations by least squares (polynomial chaos [3]_): parameter i has the squares of the
    coefficients of all terms that it is in, freed from noise and from what the lack of fit adds to them. The terms are
    all up to the total degree that best predicts each configuration from the others. The indices are shares of the
    variance that is fitted; the intervals reach from those of the terms of i in all variance to what the terms
    without i leave of it, so they also hold what the polynomials cannot follow. Parameters have to be independent.

    References
    ----------
    .. [1] T. Homma, A. Saltelli, "Importance measures in global sensitivity analysis of nonlinear models",
       Reliability Engineering and System Safety 52, 1996.
    .. [2] E. Plischke, E. Borgonovo, C. L. Smith, "Global sensitivity measures from given data", European
       Journal of Operational Research 226, 2013.
    .. [3] B. Sudret, "Global sensitivity analysis using polynomial chaos expansions", Reliability Engineering and
       System Safety 93, 2008.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    sample = metric_with_error(results, metric)
    if not results.configurations:
        raise AnalysisError("nothing is swept in this study: there is one configuration only")
    known = np.isfinite(sample.mean)
    if np.count_nonzero(known) < 2:
        raise AnalysisError(f"fewer than two configurations have an estimate of {metric}")
    sample = sample.part(known)
    columns = {path: labels[known] for path, labels in results.configurations.items()}
    # Each replication's own value of the estimate, linearised.
    values = sample.mean[:, None] + sample.influence
    cells = _grid(columns, values) if np.all(known) else None
    if cells is not None:
        first, index, variance, curves = _of_grid(columns, *cells, confidence)
        total = _with_interval(index, confidence)
    else:
        first, variance, curves = _of_sample(columns, values, confidence)
        index, total = first, _totals_of_sample(columns, values, confidence)
    paths = list(columns)
    shown = variance.value > variance.half_width(confidence) if values.shape[1] > 2 else variance.value > 0
    return Sensitivity(
        metric,
        METRICS[metric].units,
        confidence,
        "sampled" if cells is None else "grid",
        len(values),
        paths,
        float(np.sqrt(np.maximum(variance.value, 0.0))),
        *_with_interval(first, confidence),
        *total,
        _decisive(index, paths, confidence) if shown else [],
        dict(zip(paths, curves, strict=True)),
    )


def _with_interval(it: _Estimate, confidence: float) -> tuple[Array, Array, Array]:
    half = it.half_width(confidence)
    return it.value, np.clip(it.value - half, 0.0, 1.0), np.clip(it.value + half, 0.0, 1.0)


def _decisive(index: _Estimate, paths: Sequence[str], confidence: float) -> list[str]:
    """Return the path with the largest index, and those whose index cannot be told from it."""
    if np.isnan(index.value).all():
        return []
    order = np.argsort(-index.value, kind="stable")
    top = order[0]
    lead = _Estimate(
        index.value[top] - index.value, index.without[top] - index.without, index.less[top] - index.less
    )
    half = np.nan_to_num(lead.half_width(confidence))
    return [paths[i] for i in order if i == top or lead.value[i] <= half[i]]


def _unbiased(projected: Array) -> tuple[Array, Array]:
    """Estimate a sum of squares of true means from replications.

    Parameters
    ----------
    projected : ndarray of float64, shape (part, replication)
        What is squared and summed, of each replication.

    Returns
    -------
    value : ndarray of float64, shape ()
        Mean of the products of different replications; with a single one its square.
    without : ndarray of float64, shape (replication,)
        The same without each replication; NaN for fewer than three.
    """
    n = projected.shape[1]
    mean = projected.mean(axis=1)
    square, own = np.sum(mean**2), np.sum(projected**2, axis=0)
    if n == 1:
        return square, np.full(1, np.nan)
    value = (n * square - own.mean()) / (n - 1)
    if n == 2:
        return value, np.full(2, np.nan)
    left = (n**2 * square - 2 * n * (mean @ projected) + own) / (n - 1) ** 2
    return value, ((n - 1) * left - (own.sum() - own) / (n - 1)) / (n - 2)


def _share(part: tuple[Array, Array], whole: tuple[Array, Array]) -> tuple[Array, Array]:
    """Divide estimates; NaN where there is no variance to share."""
    value, without = (
        np.where(b > 0, ratio(np.asarray(a), np.asarray(b)), np.nan) for a, b in zip(part, whole, strict=True)
    )
    return value, without


def _grid(columns: dict[str, Array], values: Array) -> tuple[Array, list[Array]] | None:
    """Return the values as an array with an axis for each path, and the paths' labels; None if cells lack."""
    codes, firsts = zip(*(groups([labels], len(values)) for labels in columns.values()), strict=True)
    shape = tuple(len(first) for first in firsts)
    if np.prod([float(n) for n in shape]) != len(values):
        return None
    flat = np.ravel_multi_index(codes, shape)
    if len(np.unique(flat)) < len(values):
        return None
    cells = np.empty_like(values)
    cells[flat] = values
    labels = [labels[first] for labels, first in zip(columns.values(), firsts, strict=True)]
    return cells.reshape(*shape, values.shape[1]), labels


def _of_grid(
    columns: dict[str, Array], cells: Array, labels: list[Array], confidence: float
) -> tuple[_Estimate, _Estimate, _Estimate, list[Curve]]:
    axes = tuple(range(len(columns)))
    n = cells.shape[-1]
    centred = cells - cells.mean(axis=axes)

    def variance(means: Array) -> tuple[Array, Array]:
        flat = means.reshape(-1, n)
        return _unbiased(flat / np.sqrt(len(flat)))

    whole = variance(centred)
    first, total, curves = [], [], []
    for i in axes:
        others = tuple(axis for axis in axes if axis != i)
        first.append(_share(variance(centred.mean(axis=others)), whole))
        value, without = _share(variance(centred.mean(axis=i)), whole)
        total.append((1 - value, 1 - without))
        curves.append(_curve(labels[i], cells.mean(axis=others), np.zeros(len(labels[i])), confidence))
    return _stacked(first), _stacked(total), _Estimate(*whole, np.empty(0)), curves


def _stacked(parts: list[tuple[Array, Array]], less: Array | None = None) -> _Estimate:
    value, without = (np.array(arrays) for arrays in zip(*parts, strict=True))
    return _Estimate(value, without, np.empty((len(parts), 0)) if less is None else less)


def _curve(labels: Array, means: Array, more: Array, confidence: float, units: str = "1") -> Curve:
    """Return a curve from the means of each replication, shape (level, replication), and a further variance."""
    sample = Sample.of(means)
    error = np.sqrt(standard_error(sample.influence, sample.n) ** 2 + more)
    half = students_t(sample.n, confidence) * error
    return Curve(labels, sample.mean, sample.mean - half, sample.mean + half, units)


def _of_sample(
    columns: dict[str, Array], values: Array, confidence: float
) -> tuple[_Estimate, _Estimate, list[Curve]]:
    binned = [_bins(labels) for labels in columns.values()]
    n = len(values)

    def shares(keep: Array) -> tuple[list[tuple[Array, Array]], tuple[Array, Array]]:
        y = values[keep]
        centred = y - y.mean(axis=0)
        whole = _unbiased(centred / np.sqrt(len(y)))
        return [_share(_between(codes[keep], centred, whole), whole) for codes, *_ in binned], whole

    parts, whole = shares(np.arange(n))
    less, spread = [], []
    for keep in _without_groups(n):
        some, variance = shares(keep)
        less.append([value for value, _ in some])
        spread.append(variance[0])
    curves = []
    for codes, labels, units in binned:
        sums, counts = group_sums(codes, values)
        means = sums / counts[:, None]
        within = np.bincount(codes, (values.mean(axis=1) - means.mean(axis=1)[codes]) ** 2)
        curves.append(_curve(labels, means, ratio(within, counts * (counts - 1.0)), confidence, units))
    return _stacked(parts, np.array(less).T), _Estimate(*whole, np.array(spread)), curves


def _without_groups(n: int) -> list[Array]:
    """Return the configurations without each group of them."""
    drawn = np.random.default_rng(_SEED).permutation(n) % min(_GROUPS, n)
    return [np.flatnonzero(drawn != group) for group in range(drawn.max() + 1)]


def _totals_of_sample(
    columns: dict[str, Array], values: Array, confidence: float
) -> tuple[Array, Array, Array]:
    """Return total indices and the ends of their intervals; NaN if there are too few configurations."""
    coded = [_coded(labels) for labels in columns.values()]
    basis = expansion([x for x, _ in coded], [number for _, number in coded], values.mean(axis=1))
    if basis is None:
        nothing = np.full(len(columns), np.nan)
        return nothing, nothing, nothing
    of = basis.of
    varies = of.any(axis=0)

    def shares(keep: Array) -> list[list[tuple[Array, Array]]]:
        y = values[keep]
        whole = _unbiased((y - y.mean(axis=0)) / np.sqrt(len(y)))
        coefficients, noise, residuals = basis.fitted(values, keep)
        unfitted = _unbiased(residuals)

        def share(terms: Array) -> tuple[Array, Array]:
            squares = _unbiased(coefficients[terms])
            value, without = (a - noise[terms].sum() * b for a, b in zip(squares, unfitted, strict=True))
            return _share((value, without), whole)

        return [[share(own), share(varies & ~own)] for own in of]

    parts = shares(np.arange(len(values)))
    less = [[[value for value, _ in pair] for pair in shares(keep)] for keep in _without_groups(len(values))]
    own, others = (_stacked([pair[k] for pair in parts], np.array(less)[:, :, k].T) for k in range(2))
    fitted = own.value + others.value
    value = np.where(fitted > _MOSTLY, ratio(own.value, fitted), np.nan)
    # What is not fitted may belong to any of the parameters.
    low = np.minimum(own.value, 1 - others.value) - own.half_width(confidence)
    high = np.maximum(own.value, 1 - others.value) + others.half_width(confidence)
    return np.clip(value, 0.0, 1.0), np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def _coded(labels: Array) -> tuple[Array, bool]:
    """Return the values of a parameter for an expansion, and whether they are numbers."""
    try:
        return values_of_numbers(numbers("", labels)[0]), True
    except AnalysisError:
        return groups([labels], len(labels))[0], False


def _between(codes: Array, centred: Array, whole: tuple[Array, Array]) -> tuple[Array, Array]:
    """Estimate the variance of the true means of bins, without what the spread within them adds."""
    n = len(codes)
    sums, counts = group_sums(codes, centred)
    between = _unbiased(sums / np.sqrt(counts[:, None] * n))
    m = len(counts)
    if m >= n:
        return np.asarray(np.nan), np.full(centred.shape[1], np.nan)
    factor = (m - 1) / (n - m)
    value, without = (b - factor * (w - b) for b, w in zip(between, whole, strict=True))
    return value, without


def group_sums(codes: Array, values: Array) -> tuple[Array, Array]:
    """Return the sums of the rows of each code that occurs, in ascending order, and how many there are."""
    order = np.argsort(codes, kind="stable")
    _, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    return np.add.reduceat(values[order], starts, axis=0), counts


def _bins(labels: Array) -> tuple[Array, Array, str]:
    """Return the bin of each configuration, what to call the bins, and the unit of that."""
    n = len(labels)
    codes, first = groups([labels], n)
    if len(first) <= min(_MOST_BINS, n / _LEVEL):
        return codes, labels[first], "1"
    try:
        x, units = numbers("", labels)
    except AnalysisError:
        return codes, labels[first], "1"
    return *equal_bins(x, int(np.clip(np.sqrt(n), 2, _MOST_BINS))), units


def equal_bins(x: Array, most: int) -> tuple[Array, Array]:
    """Return the bin of each number, and the mean of each bin: at most so many, with about equally many numbers."""
    # Equal values share a bin.
    values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    codes = ((np.cumsum(counts) - counts / 2) * most / len(x)).astype(np.int64)[inverse]
    _, codes = np.unique(codes, return_inverse=True)
    return codes, np.bincount(codes, x) / np.bincount(codes)
