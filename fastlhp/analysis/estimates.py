"""Estimates of results: a metric of each configuration, from its replications."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.statistics import FEW, Method, Sample, bca_interval, few_interval, none_seen_bound
from fastlhp.results.counters import Status
from fastlhp.results.metrics import METRICS, Metric, missing_value
from fastlhp.results.results import Results, Summary

__all__ = ["estimate", "replications", "summarize"]

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
    sample = _sample(metric, read)
    low, high = (bca_interval if method == "bca" else Sample.interval)(sample, confidence)
    if metric.trials or metric.is_count:
        low, high = _with_few(metric, read, sample, confidence, low, high)
    # An estimate that is impossible, but for rounding, must not leave its interval.
    low, high = np.fmax(low, 0.0), np.fmax(np.fmin(high, metric.largest), sample.mean)
    unknown = (sample.n < 2) | np.isnan(sample.mean)
    low[unknown] = high[unknown] = np.nan
    return Summary(
        metric.name, metric.units, confidence, sample.mean, sample.standard_error, low, high, sample.n
    )


def _with_few(
    metric: Metric, read: Read, sample: Sample, confidence: float, low: Array, high: Array
) -> tuple[Array, Array]:
    """Return the intervals with exact ones where there are few events."""
    seen = sample.y.sum(axis=1)
    if metric.is_count:
        few = (seen > 0) & (seen < FEW)
        ends = few_interval(
            seen, sample.n * sample.standard_error, sample.n, np.full(seen.shape, np.inf), confidence
        )
        return np.where(few, ends[0] / sample.n, low), np.where(few, ends[1] / sample.n, high)
    trials = sample.x.sum(axis=1)
    few = (seen > 0) & (np.fmin(seen, trials - seen) < FEW)
    ends = few_interval(sample.mean, sample.standard_error, sample.n, trials, confidence)
    low, high = np.where(few, ends[0], low), np.where(few, ends[1], high)
    totals = [Sample.of(_as_float(read(name)), where=sample.valid).y.sum(axis=1) for name in metric.trials]
    bound = np.min([np.where(total > 0, total, np.inf) for total in totals], axis=0)
    none = (seen == 0) & np.isfinite(bound)
    return low, np.where(none, none_seen_bound(bound, confidence), high)


def _without_error(results: Results, metric: str, confidence: float) -> Summary:
    """Summarise a metric that has one value per configuration."""
    values = np.asarray(results[metric], dtype=np.float64)
    nothing = np.full(len(values), np.nan)
    n = np.where(results.status == Status.OK, results["replications"], 0)
    return Summary(
        metric, results.units(metric), confidence, values, nothing, nothing.copy(), nothing.copy(), n
    )
