"""Estimates of results: a metric of each configuration, from its replications."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.statistics import (
    FEW,
    Method,
    Sample,
    bca_interval,
    few_interval,
    none_seen_bound,
    students_t,
)
from fastlhp.results.counters import Status
from fastlhp.results.metrics import METRICS, Block, Metric, missing_value
from fastlhp.results.results import Moments, Results, Summary

__all__ = ["block_moments", "estimate", "estimate_of", "moments", "replications", "summarize"]

Array = npt.NDArray[Any]
Read = Callable[[str], Array]


def replications(results: Results, metric: str) -> Sample:
    """Return the replications behind the estimate of a metric, shape (configuration, replication).

    Raises
    ------
    UnknownMetricError
        If there is no such metric.
    """
    it = METRICS.get(metric)
    return Sample.of(_as_float(results[metric])) if it is None else _sample(it, results.__getitem__)


def _sample(metric: Metric, read: Read) -> Sample:
    if not metric.denominator:
        return Sample.of(_as_float(read(metric.name)))
    parts = {name: _as_float(read(name)) for name in dict.fromkeys((*metric.numerator, *metric.denominator))}
    return Sample.of(
        np.sum([parts[name] for name in metric.numerator], axis=0),
        np.sum([parts[name] for name in metric.denominator], axis=0),
    )


def _as_float(values: Array) -> Array:
    """Return float64 with NaN for missing values."""
    values = np.asarray(values)
    if values.dtype.kind != "i":
        return values
    return np.where(values == missing_value(values.dtype), np.nan, values.astype(np.float64))


def summarize(results: Results, metric: str, confidence: float = 0.95, method: Method = "student") -> Summary:
    """Estimate a metric of each configuration from its replications.

    Parameters
    ----------
    results : Results
        What a study gave.
    metric : str
        Name of a metric.
    confidence : float, optional
        Probability that an interval covers the true value; in (0, 1).
    method : {"student", "bca"}, optional
        How intervals are made.

    Returns
    -------
    Summary
        All arrays of shape (configuration,).

    Raises
    ------
    UnknownMetricError
        If there is no such metric; also a KeyError.
    ValueError
        If `confidence` is not in (0, 1), or there is no such method.

    Notes
    -----
    The estimate is the mean over the replications, for a ratio the pooled one ``r = sum(y) / sum(x)`` with the
    standard error of the linearised estimator (delta method) ``sqrt(sum((y - r x)^2) / (n (n - 1))) /
    mean(x)``. Intervals are Student's with ``n - 1`` degrees of freedom, or the bootstrap's (`bca_interval`),
    cut at values that the metric cannot have. Replications without a value are left out. With a single
    replication, and for metrics with one value per configuration, the error is unknown (NaN). Data without any
    spread give an interval of width zero.

    Counts and probabilities that are made of fewer than 30 events (or of fewer than 30 that failed to happen)
    have the exact interval of `few_interval` instead, with either method.

    Where a probability is estimated as 0 because nothing was seen in any replication, the spread says
    nothing, and the upper end is the exact binomial (Clopper and Pearson) one, ``1 - (alpha / 2)^(1 /
    trials)``. Acquisitions within a replication are not independent, so they are not the trials:
    preemptions are, as if all acquisitions between two preemptions stood or fell together. This is
    conservative, since a preemption hits one acquisition at most; it assumes that different preemptions
    hit holders independently. Without any preemption the acquisitions are counted, because then it is
    their being preempted that was never seen.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    if method not in ("student", "bca"):
        raise ValueError(f"method must be student or bca, got {method!r}")
    it = METRICS.get(metric)
    if it is None:
        return _without_error(results, metric, confidence)
    if method == "student":
        return estimate_of(it, results.moments(metric), confidence)
    return estimate(it, results.__getitem__, confidence, method)


def estimate(metric: Metric, read: Read, confidence: float, method: Method = "student") -> Summary:
    """Estimate a metric; see `summarize`.

    Parameters
    ----------
    metric : Metric
        Which one.
    read : callable
        Returns the values of the metric of a name, of shape (configuration, replication).
    confidence, method
        As of `summarize`.
    """
    ends = bca_interval(_sample(metric, read), confidence) if method == "bca" else None
    return estimate_of(metric, moments(metric, read), confidence, ends)


def moments(metric: Metric, read: Read) -> Moments:
    """Return the moments of a metric; `read` as of `estimate`."""
    sample = _sample(metric, read)
    totals = [Sample.of(_as_float(read(name)), where=sample.valid).y.sum(axis=1) for name in metric.trials]
    known = [np.where(total > 0, total, np.inf) for total in totals]
    return Moments(
        sample.mean,
        sample.standard_error,
        sample.n,
        sample.y.sum(axis=1),
        sample.x.sum(axis=1),
        np.min(known, axis=0) if known else np.full(sample.n.shape, np.inf),
    )


def block_moments(block: Block) -> dict[str, Array]:
    """Return the moments of all metrics of a block, by name of the moment, each of shape (configuration, metric).

    Their bits depend on the configuration alone, not on what else is in the block.
    """
    shape = len(block.replications), len(METRICS)
    dtypes = {it.name: np.dtype(np.int64 if it.name == "n" else np.float64) for it in fields(Moments)}
    found = {name: np.full(shape, missing_value(dtype), dtype) for name, dtype in dtypes.items()}
    for n in np.unique(block.replications[block.replications > 0]):
        rows = np.flatnonzero(block.replications == n)

        @functools.cache
        def read(name: str, rows: Array = rows, n: int = n) -> Array:
            # Missing values at the end would be summed, too, and change the order of the others.
            return np.ascontiguousarray(block.metric(METRICS[name], "host")[rows, :n])

        for column, metric in enumerate(METRICS.values()):
            its = moments(metric, read)
            for name, values in found.items():
                values[rows, column] = getattr(its, name)
    return found


def estimate_of(
    metric: Metric, its: Moments, confidence: float, ends: tuple[Array, Array] | None = None
) -> Summary:
    """Estimate a metric from its moments; see `summarize`.

    Parameters
    ----------
    metric : Metric
        Which one.
    its : Moments
        Of that metric.
    confidence : float
        As of `summarize`.
    ends : tuple of ndarray, optional
        Of the intervals, where they do not follow from few events; by default Student's.
    """
    if ends is None:
        half = students_t(its.n, confidence) * its.standard_error
        ends = its.mean - half, its.mean + half
    low, high = ends
    if metric.trials or metric.is_count:
        low, high = _with_few(metric, its, confidence, low, high)
    # An estimate that is impossible, but for rounding, must not leave its interval.
    low, high = np.fmax(low, 0.0), np.fmax(np.fmin(high, metric.largest), its.mean)
    unknown = (its.n < 2) | np.isnan(its.mean)
    low[unknown] = high[unknown] = np.nan
    return Summary(metric.name, metric.units, confidence, its.mean, its.standard_error, low, high, its.n)


def _with_few(
    metric: Metric, its: Moments, confidence: float, low: Array, high: Array
) -> tuple[Array, Array]:
    """Return the intervals with exact ones where there are few events."""
    seen = its.numerator
    if metric.is_count:
        few = (seen > 0) & (seen < FEW)
        ends = few_interval(seen, its.n * its.standard_error, its.n, np.full(seen.shape, np.inf), confidence)
        return np.where(few, ends[0] / its.n, low), np.where(few, ends[1] / its.n, high)
    few = (seen > 0) & (np.fmin(seen, its.denominator - seen) < FEW)
    ends = few_interval(its.mean, its.standard_error, its.n, its.denominator, confidence)
    low, high = np.where(few, ends[0], low), np.where(few, ends[1], high)
    none = (seen == 0) & np.isfinite(its.trials)
    return low, np.where(none, none_seen_bound(its.trials, confidence), high)


def _without_error(results: Results, metric: str, confidence: float) -> Summary:
    """Summarise a metric that has one value per configuration."""
    values = np.asarray(results[metric], dtype=np.float64)
    nothing = np.full(len(values), np.nan)
    n = np.where(results.status == Status.OK, results["replications"], 0)
    return Summary(
        metric, results.units(metric), confidence, values, nothing, nothing.copy(), nothing.copy(), n
    )
