"""Which policy is better, by how much, how sure, and where: paired by common random numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from fastlhp.analysis.estimates import replications
from fastlhp.analysis.statistics import (
    Sample,
    fieller_interval,
    holm,
    p_value,
    standard_error,
    students_t,
)
from fastlhp.analysis.sweep import AnalysisError, Layout, arrange, paths_of
from fastlhp.results.metrics import CONFIGURATION_METRICS, METRICS, ratio
from fastlhp.results.results import Results, Summary

__all__ = ["COMPARED", "Comparison", "Effects", "MetricComparison", "compare"]

Array = npt.NDArray[Any]

COMPARED: tuple[str, ...] = ("wasted_fraction", "lhp_probability", "throughput")
"""What is compared unless other metrics are asked for."""

# Pairs of alternatives are looked at in blocks of about so many.
_PAIRS = 2_000_000


@dataclass(frozen=True, eq=False)
class Effects:
    """Alternatives beside the baseline; arrays of shape (setting, alternative), NaN where there is nothing.

    Attributes
    ----------
    estimate : ndarray of float64
        Of the metric.
    difference, difference_low, difference_high : ndarray of float64
        Estimate less that of the baseline, and its interval.
    ratio, ratio_low, ratio_high : ndarray of float64
        Estimate over that of the baseline, and its interval, which reaches infinity where the baseline's
        estimate cannot be told from 0.
    p : ndarray of float64
        That there is no difference, Holm-corrected over the whole array.
    gain : ndarray of float64
        Variance of the difference without pairing over that with it.
    best : ndarray of bool
        Which alternatives cannot be told from the best.
    winner : ndarray of int64, shape (setting,)
        The alternative with the best estimate; -1 if there is none.
    """

    estimate: Array
    difference: Array
    difference_low: Array
    difference_high: Array
    ratio: Array
    ratio_low: Array
    ratio_high: Array
    p: Array
    gain: Array
    best: Array
    winner: Array


@dataclass(frozen=True, eq=False)
class MetricComparison:
    """One metric compared.

    Attributes
    ----------
    metric, units : str
        Which metric, and its unit.
    higher_is_better : bool
        Whether the best is the highest.
    summary : Summary
        Estimates of the configurations, for themselves.
    effects : Effects
        In each setting.
    overall : Effects
        Averaged over the settings `averaged`; arrays of shape (1, alternative).
    averaged : ndarray of bool, shape (setting,)
        Settings in which all alternatives have an estimate, but for those that have none anywhere.
    """

    metric: str
    units: str
    higher_is_better: bool
    summary: Summary
    effects: Effects
    overall: Effects
    averaged: Array


@dataclass(frozen=True, eq=False)
class Comparison:
    """Alternatives compared in one or more metrics.

    Attributes
    ----------
    layout : Layout
        Settings, alternatives and the configurations.
    baseline : int
        The alternative that the others are compared with.
    confidence : float
        Of the intervals, and of the sets of the best.
    n_replications : int
        Replications of each configuration.
    metrics : tuple of MetricComparison
        One for each metric.
    """

    layout: Layout
    baseline: int
    confidence: float
    n_replications: int
    metrics: tuple[MetricComparison, ...]


def compare(
    results: Results,
    by: str | Sequence[str] = "policy",
    metrics: Sequence[str] = COMPARED,
    *,
    baseline: str | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Compare configurations that differ in some swept parameters only.

    Parameters
    ----------
    results : Results
        What a study gave.
    by : str or sequence of str, optional
        What is compared: a swept path, its end, or ``policy``, which means all swept paths below ``policy`` and
        below the ``lock`` of a VM; or several of these together.
    metrics : sequence of str, optional
        In which metrics.
    baseline : str, optional
        The alternative that the others are compared with: its name, or a part of it that no other has; by
        default the first one of the study.
    confidence : float, optional
        Of the intervals; in (0, 1).

    Returns
    -------
    Comparison

    Raises
    ------
    AnalysisError
        If nothing of that name is swept, no two configurations differ in it alone, there is no such
        alternative, or a metric has no value per replication.
    UnknownMetricError
        If there is no such metric.

    Notes
    -----
    Replication r of every configuration has the same random numbers, so estimates are compared replication by
    replication. With the influence ``u_r = (y_r - m x_r) / mean(x)`` of replication r on the estimate
    ``m = sum(y) / sum(x)``, a difference ``m_a - m_b`` has the variance ``sum((u_ar - u_br)^2) / (n (n - 1))``;
    its interval and p-value are Student's with n - 1 degrees of freedom, the interval of the ratio is
    Fieller's. Pairing has gained the factor ``(v_a + v_b) / v_(a-b)``.

    The set of the best leaves out an alternative if another one is better in a one-sided test at the level
    ``(1 - confidence) / (k - 1)`` for k alternatives. So it holds the true best with probability `confidence`
    (multiple comparisons with the best [1]_, by Bonferroni's inequality for any correlation), in each setting.
    The p-values are Holm's [2]_ over all settings.

    References
    ----------
    .. [1] J. C. Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best",
       Annals of Statistics 12, 1984; for common random numbers B. L. Nelson, F. J. Matejcik, "Using common
       random numbers for indifference-zone selection and multiple comparisons in simulation", Management
       Science 41, 1995.
    .. [2] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
       Statistics 6, 1979.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    names = [by] if isinstance(by, str) else by
    layout = arrange(results, list(dict.fromkeys(path for name in names for path in paths_of(results, name))))
    if not np.any(np.count_nonzero(layout.index >= 0, axis=1) > 1):
        raise AnalysisError(f"no two configurations differ only in {', '.join(layout.alternatives)}")
    b = _baseline(layout, baseline)
    compared = tuple(_compare(results, layout, b, metric, confidence) for metric in dict.fromkeys(metrics))
    return Comparison(layout, b, confidence, results.n_replications, compared)


def _baseline(layout: Layout, wanted: str | None) -> int:
    if wanted is None:
        return 0
    names = layout.names
    if wanted in names:
        return names.index(wanted)
    parts = [part.strip() for part in wanted.split(",")]
    found = [k for k, name in enumerate(names) if all(part in name for part in parts)]
    if len(found) == 1:
        return found[0]
    which = [names[k] for k in found] or names
    text = "; ".join(which[:12]) + ("; ..." if len(which) > 12 else "")
    if found:
        raise AnalysisError(f"{wanted!r} may be any of: {text}")
    raise AnalysisError(f"there is no alternative {wanted!r}; choose from: {text}")


def metric_with_error(results: Results, metric: str) -> Sample:
    """Return the replications of a metric that has some.

    Raises
    ------
    AnalysisError
        If it has one value per configuration.
    """
    if metric in CONFIGURATION_METRICS:
        raise AnalysisError(f"{metric} has one value per configuration, so its error is not known")
    return replications(results, metric)


def _compare(
    results: Results, layout: Layout, baseline: int, metric: str, confidence: float
) -> MetricComparison:
    rows = metric_with_error(results, metric)
    present = (layout.index >= 0) & (rows.n > 0)[layout.index]
    valid = rows.valid[layout.index] & present[..., None]
    # A replication without a value in one alternative has no partner in the others.
    common = np.all(valid | ~present[..., None], axis=1, keepdims=True)
    sample = Sample.of(rows.y[layout.index], rows.x[layout.index], valid & common)
    it = METRICS[metric]
    effects = _effects(sample.mean, sample.influence, sample.n, baseline, it.higher_is_better, confidence)

    known = np.isfinite(sample.mean)
    somewhere = known.any(axis=0)
    averaged = somewhere.any() & np.all(known | ~somewhere, axis=1)
    mean, influence = sample.mean[averaged], sample.influence[averaged]
    n = np.where(present, sample.n, results.n_replications)[averaged]
    if not averaged.any():
        mean, influence = np.full((1, *known.shape[1:]), np.nan), np.full((1, *sample.y.shape[1:]), np.nan)
        n = np.zeros(mean.shape, dtype=np.int64)
    overall = _effects(
        mean.mean(axis=0, keepdims=True),
        influence.mean(axis=0, keepdims=True),
        n.min(axis=0, keepdims=True),
        baseline,
        it.higher_is_better,
        confidence,
    )
    summary = results.summary(metric, confidence)
    return MetricComparison(metric, it.units, it.higher_is_better, summary, effects, overall, averaged)


def _effects(
    mean: Array, influence: Array, n: Array, baseline: int, higher_is_better: bool, confidence: float
) -> Effects:
    """Compare; `mean` and `n` have shape (setting, alternative), `influence` a last axis of replications."""
    base = slice(baseline, baseline + 1)
    error = standard_error(influence, n)
    paired = standard_error(influence - influence[:, base], n)
    covariance = ratio(
        np.sum(influence * influence[:, base], axis=-1), np.asarray(n * (n - 1), dtype=np.float64)
    )
    difference = mean - mean[:, base]
    half = students_t(n, confidence) * paired
    low, high = fieller_interval(
        mean, mean[:, base], (error**2, error[:, base] ** 2, covariance), n, confidence
    )
    p = p_value(difference, paired, n)
    gain = ratio(error**2 + error[:, base] ** 2, paired**2)
    for array in (p, gain):
        array[:, base] = np.nan
    best = _best(mean if higher_is_better else -mean, influence, n, confidence)
    wins = np.where(np.isnan(mean), -np.inf, mean if higher_is_better else -mean)
    winner = np.where(np.isnan(mean).all(axis=1), -1, np.argmax(wins, axis=1))
    return Effects(
        mean,
        difference,
        difference - half,
        difference + half,
        ratio(mean, mean[:, base]),
        low,
        high,
        holm(p),
        gain,
        best,
        winner,
    )


def _best(score: Array, influence: Array, n: Array, confidence: float) -> Array:
    """Return which alternatives are not beaten by another one, shape (setting, alternative)."""
    known = np.isfinite(score)
    best = known.copy()
    n_known = np.count_nonzero(known, axis=1)
    count = np.min(n, axis=1, where=known, initial=influence.shape[-1])
    tested = np.flatnonzero((n_known > 1) & (count > 1))
    k, count = n_known[tested], count[tested]
    t = special.stdtrit(count - 1, 1 - (1 - confidence) / (k - 1))
    scale = (t / np.sqrt(count * (count - 1)))[:, None, None]
    # Best first: an alternative is beaten by those before it only. Those without an estimate are last.
    order = np.argsort(np.where(known, -score, np.inf)[tested], axis=1, kind="stable")
    n_all = score.shape[1]
    for some in _blocks(len(tested), n_all**2):
        at = tested[some, None], order[some]
        value, u = score[at], np.nan_to_num(influence[at]) * scale[some]
        square = np.sum(u**2, axis=2)
        for rows in _blocks(n_all, len(some) * n_all):
            before = slice(rows[-1] + 1)
            spread = -2 * (u[:, rows] @ u[:, before].swapaxes(1, 2))
            spread += square[:, None, before]
            spread += square[:, rows, None]
            lead = value[:, None, before] - value[:, rows, None]
            beaten = np.any((lead > 0) & (lead * lead > spread), axis=2)
            best[at[0], order[some][:, rows]] &= ~beaten
    return best


def _blocks(n: int, pairs: int) -> list[Array]:
    """Put 0, 1, ... n - 1, with so many pairs each, into blocks that are not too large."""
    return np.array_split(np.arange(n), max(1, -(-n * pairs // _PAIRS)))
