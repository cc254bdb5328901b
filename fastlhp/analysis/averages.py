"""Averages of a metric over groups of configurations."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.estimates import replications
from fastlhp.analysis.sensitivity import group_sums
from fastlhp.analysis.statistics import standard_error, students_t
from fastlhp.results.metrics import METRICS, ratio
from fastlhp.results.results import Results, Summary

__all__ = ["averages"]

Array = npt.NDArray[Any]


def averages(
    results: Results,
    metric: str,
    group: Array,
    n_groups: int,
    *,
    sampled: bool = False,
    confidence: float = 0.95,
) -> Summary:
    """Average a metric over groups of configurations.

    Parameters
    ----------
    results : Results
        What a study gave.
    metric : str
        Name of a metric.
    group : ndarray of int64, shape (configuration,)
        Number of each configuration's group, from 0; -1 leaves it out.
    n_groups : int
        Number of groups.
    sampled : bool, optional
        Whether the configurations of a group are a sample of those that the average is about, and not all of
        them.
    confidence : float, optional
        Probability that an interval covers the true value; in (0, 1).

    Returns
    -------
    Summary
        All arrays of shape (group,); NaN for a group without any estimate. A group of one configuration, unless
        it is a sample, has the estimate and the interval of that configuration.

    Raises
    ------
    UnknownMetricError
        If there is no such metric; also a KeyError.

    Notes
    -----
    Each configuration has the same weight. Replication r of all configurations shares its random numbers, so the
    error of an average is that of the influences on it, which are averaged replication by replication (see
    `fastlhp.analysis.statistics.Sample`). Of a sample, the variance of its mean over the configurations is added.
    Intervals are Student's, cut at values that the metric cannot have.
    """
    single = results.summary(metric, confidence)
    inside = np.flatnonzero((group >= 0) & np.isfinite(single.mean))
    # Groups with an estimate, and the group of each configuration among these.
    known, code = np.unique(group[inside], return_inverse=True)
    size = np.bincount(code)
    value = single.mean[inside]
    mean = ratio(np.bincount(code, value), size.astype(np.float64))
    error = np.full(len(known), np.nan)
    n = np.full(len(known), results.n_replications)
    np.minimum.at(n, code, single.n[inside])
    if metric in METRICS and len(known):
        influence, _ = group_sums(code, replications(results, metric).part(inside).influence)
        error = standard_error(influence / size[:, None], n)
    if sampled:
        within = np.bincount(code, (value - mean[code]) ** 2)
        error = np.sqrt(error**2 + ratio(within, size * (size - 1.0)))
    half = students_t(n, confidence) * error
    largest = METRICS[metric].largest if metric in METRICS else np.inf
    low, high = np.fmax(mean - half, 0.0), np.fmax(np.fmin(mean + half, largest), mean)
    # Where no event was seen at all, the spread says nothing.
    unseen = (mean == 0) & (np.bincount(code, np.nan_to_num(single.high[inside])) > 0)
    unknown = np.isnan(half) | unseen
    low[unknown] = high[unknown] = np.nan
    if not sampled:
        alone = inside[size[code] == 1]
        at = code[size[code] == 1]
        for ours, of_one in ((mean, single.mean), (error, single.standard_error)):
            ours[at] = of_one[alone]
        low[at], high[at] = single.low[alone], single.high[alone]

    out = [np.full(n_groups, np.nan) for _ in range(4)]
    for array, values in zip(out, (mean, error, low, high), strict=True):
        array[known] = values
    replicated = np.zeros(n_groups, dtype=np.int64)
    replicated[known] = n
    return Summary(metric, single.units, confidence, out[0], out[1], out[2], out[3], replicated)
