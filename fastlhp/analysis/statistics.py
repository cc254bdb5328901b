"""Estimates, intervals and tests from replications: arrays in, arrays out.

Replications are independent of each other, what happens within one is not: they are the sample. The last axis of
every array of values is the replication; the axes before it broadcast.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from fastlhp.results.metrics import ratio

__all__ = [
    "FEW",
    "Method",
    "Sample",
    "bca_interval",
    "expanded",
    "few_interval",
    "fieller_interval",
    "holm",
    "none_seen_bound",
    "p_value",
    "standard_error",
    "students_t",
]

Array = npt.NDArray[Any]
Method = Literal["student", "bca"]

FEW = 30
"""Below so many events an interval follows from their number, not from their spread alone."""

_RESAMPLES = 9999
_SEED = 0
# Resamples at a time, and how many of their values; the bootstrap keeps a few arrays of that size.
_BATCH, _BLOCK = 100, 8_000_000


@dataclass(frozen=True, eq=False)
class Sample:
    """Replications of an estimate ``sum(y) / sum(x)``; a plain mean has ``x = 1``.

    Attributes
    ----------
    y, x : ndarray of float64, shape (..., replication)
        Numerator and denominator of each replication; 0 where a replication has no value.
    valid : ndarray of bool, shape (..., replication)
        Which replications have a value.
    """

    y: Array
    x: Array
    valid: Array

    @classmethod
    def of(cls, y: Array, x: Array | None = None, where: Array | None = None) -> "Sample":
        """Make a sample; a replication with NaN in `y` or `x`, or left out by `where`, has no value."""
        valid = np.isfinite(y) if x is None else np.isfinite(y) & np.isfinite(x)
        if where is not None:
            valid &= where
        return cls(np.where(valid, y, 0.0), np.where(valid, 1.0 if x is None else x, 0.0), valid)

    @cached_property
    def n(self) -> Array:
        """Number of replications with a value, shape (...)."""
        return np.asarray(np.count_nonzero(self.valid, axis=-1))

    @cached_property
    def _constant(self) -> tuple[Array, Array]:
        """Which rows have the same ratio in all replications, and that ratio."""
        each = ratio(self.y, self.x)
        known = np.isfinite(each)
        first = np.take_along_axis(each, np.argmax(known, axis=-1)[..., None], axis=-1)
        same = np.all(known & (each == first) | ~known & (self.y == 0), axis=-1)
        return same & known.any(axis=-1), first[..., 0]

    @cached_property
    def mean(self) -> Array:
        """The estimate, shape (...); NaN where the denominator is zero."""
        mean = ratio(self.y.sum(axis=-1), self.x.sum(axis=-1))
        # Rounding must not give equal values a spread.
        constant, value = self._constant
        return np.asarray(np.where(constant, value, mean))

    @cached_property
    def influence(self) -> Array:
        """How far each replication draws the estimate, shape (..., replication).

        The linearised ratio (delta method): ``(y - r x) / mean(x)``, which sums to zero. Estimates that share
        their random numbers have correlated influences, so the difference of two has the standard error of
        the difference of their influences.
        """
        influence = ratio(
            self.y - self.mean[..., None] * self.x, ratio(self.x.sum(axis=-1), self.n)[..., None]
        )
        influence[self._constant[0]] = 0.0
        return influence

    @cached_property
    def standard_error(self) -> Array:
        """Standard error of the estimate, shape (...); NaN for fewer than two replications."""
        return standard_error(self.influence, self.n)

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Return the ends of Student's interval with ``n - 1`` degrees of freedom."""
        half = students_t(self.n, confidence) * self.standard_error
        return self.mean - half, self.mean + half

    def part(self, rows: Any) -> "Sample":
        """Return the sample of some rows."""
        return Sample(self.y[rows], self.x[rows], self.valid[rows])


def standard_error(influence: Array, n: Array) -> Array:
    """Return the standard error of an estimate from its influences; NaN for fewer than two replications."""
    return np.sqrt(ratio(np.sum(influence**2, axis=-1), np.asarray(n * (n - 1), dtype=np.float64)))


def students_t(n: Array, confidence: float) -> Array:
    """Return the quantile of Student's t that an interval from `n` replications takes; NaN below two."""
    # Most configurations have the same number, and a quantile takes long.
    few, code = np.unique(n, return_inverse=True)
    t = np.where(few < 2, np.nan, special.stdtrit(np.maximum(few - 1, 1), 0.5 + confidence / 2))
    return np.asarray(t[code].reshape(np.shape(n)))


def few_interval(
    mean: Array, standard_error: Array, n: Array, trials: Array, confidence: float
) -> tuple[Array, Array]:
    """Return exact intervals of probabilities and counts made of few events.

    Parameters
    ----------
    mean, standard_error : ndarray of float64
        The estimate, > 0, and its standard error.
    n : ndarray of int64
        Number of replications.
    trials : ndarray of float64
        Number of trials behind a probability, such as acquisitions; of a count infinity, and `mean` its sum.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : ndarray of float64

    Notes
    -----
    Clopper and Pearson's interval of a binomial, of a count Garwood's interval of a Poisson variable, for the
    number of trials that would give the observed spread, ``p (1 - p) / se^2``, but not more than there were.
    The factor ``(z / t)^2`` is for the error of the spread itself [1]_. Conservative, as all exact intervals.

    References
    ----------
    .. [1] E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with small expected number of
       positive counts estimated from survey data", Survey Methodology 24, 1998.
    """
    tail = (1 - confidence) / 2
    shrink = (special.ndtri(1 - tail) / students_t(n, confidence)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = np.isinf(trials)
        share = np.where(counts, 0.0, mean)
        # A count's mean is its sum over the replications, which stands for the trials at a rate of one.
        effective = np.fmin(np.where(counts, 1.0, trials), mean * (1 - share) / standard_error**2) * shrink
        events = effective * mean
        others = effective - events
        low = np.where(
            counts,
            special.gammaincinv(events, tail) / effective,
            special.betaincinv(events, others + 1, tail),
        )
        high = np.where(
            counts,
            special.gammaincinv(events + 1, 1 - tail) / effective,
            np.where(others > 0, special.betaincinv(events + 1, others, 1 - tail), 1.0),
        )
    return np.asarray(low), np.asarray(high)


def none_seen_bound(trials: Array, confidence: float) -> Array:
    """Return the upper end of the exact interval of a probability of which no event was seen.

    Clopper and Pearson's ``1 - (alpha / 2)^(1 / trials)``.
    """
    return np.asarray(-np.expm1(np.log((1 - confidence) / 2) / trials))


def bca_interval(
    sample: Sample, confidence: float, *, resamples: int = _RESAMPLES, seed: int = _SEED
) -> tuple[Array, Array]:
    """Return bias-corrected and accelerated bootstrap intervals of an estimate, over whole replications.

    Parameters
    ----------
    sample : Sample
        Of shape (configuration, replication).
    confidence : float
        In (0, 1).
    resamples : int, optional
        How often the replications are drawn anew.
    seed : int, optional
        Of these draws; the same data give the same interval.

    Returns
    -------
    low, high : ndarray of float64, shape (configuration,)
        For data without any spread both are the estimate. NaN for fewer than two replications.

    Notes
    -----
    Efron's interval [1]_, from `scipy.stats.bootstrap`, at the confidence of `expanded`; numerator and denominator
    of a replication stay together. Where SciPy has no answer, because a resample has no denominator, Student's
    interval is given.

    References
    ----------
    .. [1] B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association
       82, 1987.
    """
    from scipy.stats import bootstrap

    low, high = sample.interval(confidence)
    moving = (sample.standard_error > 0) & (sample.n > 1)
    for n in np.unique(sample.n[moving]):
        rows = np.flatnonzero(moving & (sample.n == n))
        for some in np.array_split(rows, -(-len(rows) * int(n) * _BATCH // _BLOCK)):
            part = sample.part(some)
            # Those without a value behind the others, and away.
            order = np.argsort(~part.valid, axis=-1, kind="stable")[:, :n]
            y, x = np.take_along_axis(part.y, order, -1), np.take_along_axis(part.x, order, -1)
            with np.errstate(divide="ignore", invalid="ignore"):
                found = bootstrap(
                    (y, x),
                    lambda y, x, axis: np.sum(y, axis=axis) / np.sum(x, axis=axis),
                    paired=True,
                    vectorized=True,
                    axis=-1,
                    n_resamples=resamples,
                    batch=_BATCH,
                    confidence_level=expanded(confidence, int(n)),
                    rng=np.random.default_rng(seed),
                ).confidence_interval
            known = np.isfinite(found.low) & np.isfinite(found.high)
            low[some] = np.where(known, found.low, low[some])
            high[some] = np.where(known, found.high, high[some])
    return low, high


def expanded(confidence: float, n: int) -> float:
    """Return the confidence at which the bootstrap's percentiles have to be taken; NaN for fewer than two.

    The spread of resampled means is too small by ``sqrt((n - 1) / n)`` and normal rather than Student's:
    T. C. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015.
    """
    tail = special.ndtr(-np.sqrt(n / max(n - 1, 1)) * students_t(np.array(n), confidence))
    return float(1 - 2 * np.fmax(tail, 1e-12)) if n > 1 else float("nan")


def fieller_interval(
    above: Array, below: Array, variances: tuple[Array, Array, Array], n: Array, confidence: float
) -> tuple[Array, Array]:
    """Return intervals of the ratio of two estimates that are not negative.

    Parameters
    ----------
    above, below : ndarray of float64
        The estimates.
    variances : tuple of ndarray of float64
        Variance of `above`, variance of `below`, their covariance.
    n : ndarray of int64
        Number of replications.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : ndarray of float64
        From 0 to infinity where `below` cannot be told from 0.

    Notes
    -----
    All ratios q at which ``above - q below`` cannot be told from 0 [1]_: between the roots of
    ``(below^2 - t^2 v_b) q^2 - 2 (above below - t^2 v_ab) q + above^2 - t^2 v_a``.

    References
    ----------
    .. [1] E. C. Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B
       16, 1954.
    """
    of_above, of_below, both = variances
    t2 = students_t(n, confidence) ** 2
    a, b, c = below**2 - t2 * of_below, above * below - t2 * both, above**2 - t2 * of_above
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    low, high = np.maximum(ratio(b - root, a), 0.0), ratio(b + root, a)
    unbounded = a <= 0
    return np.where(unbounded, 0.0, low), np.where(unbounded, np.inf, high)


def p_value(difference: Array, standard_error: Array, n: Array) -> Array:
    """Return the two-sided p-values of differences: paired t-test, over whole replications.

    Differences that are the same in all replications have no spread that a t-test could use; they get the
    p-value of the sign test, ``2^(1 - n)``. NaN for fewer than two replications.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(np.maximum(n - 1, 1), -np.abs(difference) / standard_error)
    p = np.where(standard_error == 0, np.where(difference == 0, 1.0, 2.0 ** (1 - n)), p)
    return np.where((n < 2) | np.isnan(difference), np.nan, p)


def holm(p: Array) -> Array:
    """Return p-values corrected for their number, so that any false rejection is as rare as the level says.

    Parameters
    ----------
    p : ndarray of float64
        Of any shape, all one family; NaN stays NaN and does not count.

    Notes
    -----
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979: the i-th smallest of m is multiplied by m - i + 1, and made at least as large as those before.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    out = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    values = p[known]
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1.0)
    out[known] = corrected
    return out
