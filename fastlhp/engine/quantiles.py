"""Quantile tables: how a distribution becomes the segments that the draws interpolate.

A table gives the quantile as a function of a standard exponential variate E = -log(1 - u), not of u: so both tails
stay resolved, the upper one down to a probability of 2^-32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine.draws import FIRST_OCTAVE, LAST_OCTAVE, SEGMENTS_PER_OCTAVE
from fastlhp.engine.state import LONGEST_NS
from fastlhp.model.distributions import (
    Distribution,
    Empirical,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
)


def knots() -> NDArray[np.float64]:
    """Ends of the segments, in units of the exponential variate; shape (N_SEGMENTS + 1,)."""
    octaves = np.arange(FIRST_OCTAVE, LAST_OCTAVE + 1)
    steps = 1.0 + np.arange(SEGMENTS_PER_OCTAVE) / SEGMENTS_PER_OCTAVE
    inner = (np.exp2(octaves.astype(float))[:, None] * steps[None, :]).ravel()
    return np.concatenate(([0.0], inner, [2.0 ** (LAST_OCTAVE + 1)]))


@lru_cache(maxsize=4096)
def segments(distribution: Distribution) -> NDArray[np.float32]:
    """Table of a distribution.

    Parameters
    ----------
    distribution : Distribution
        Any but a constant and an exponential one, which need none.

    Returns
    -------
    ndarray of float32, shape (N_SEGMENTS, 2)
        Intercept and slope in ns of each segment over E. Values beyond 2^30 ns are cut. The mean over E is that of the
        distribution so cut, to single precision.
    """
    e = knots()
    x = np.minimum(quantile(distribution, e), float(LONGEST_NS))
    slope = np.diff(x) / np.diff(e)
    intercept = x[:-1] - slope * e[:-1]
    # Integral of (a + b*E) * exp(-E) over each segment, to make the mean exact.
    survival = np.exp(-e)
    mass = -np.diff(survival)
    moment = e[:-1] * survival[:-1] - e[1:] * survival[1:] + mass
    mean = float(np.sum(intercept * mass + slope * moment))
    target = _mean_below(distribution, float(LONGEST_NS), mean)
    table = np.stack([intercept, slope], axis=1) * (target / mean if mean > 0 else 1.0)
    return np.ascontiguousarray(table, dtype=np.float32)


def _mean_below(distribution: Distribution, longest: float, fallback: float) -> float:
    """Mean that the table should have: the distribution's own unless its tail is cut."""
    beyond = float(quantile(distribution, np.array([2.0 ** (LAST_OCTAVE + 1) * 0.7]))[0]) > longest
    return fallback if beyond else distribution.mean_ns


def quantile(distribution: Distribution, e: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantile in ns at cumulative probability 1 - exp(-e).

    Parameters
    ----------
    distribution : Distribution
        Any but a constant.
    e : ndarray of float64
        Standard exponential variates, >= 0.

    Returns
    -------
    ndarray of float64
        Same shape.
    """
    from scipy import special

    survival = np.exp(-e)
    below = -np.expm1(-e)
    d: Any = distribution
    if isinstance(d, Uniform):
        return d.low_ns + (d.high_ns - d.low_ns) * below
    if isinstance(d, Lognormal):
        sigma = np.sqrt(np.log1p(d.cv**2))
        normal = np.where(e < 0.5, special.ndtri(np.maximum(below, 1e-300)), -special.ndtri(survival))
        return np.asarray(d.mean_ns * np.exp(sigma * normal - sigma**2 / 2))
    if isinstance(d, Gamma):
        shape = d.cv**-2.0
        scale = d.mean_ns / shape
        lower = special.gammaincinv(shape, below)
        upper = special.gammainccinv(shape, survival)
        return np.asarray(scale * np.where(e < 0.5, lower, upper))
    if isinstance(d, Weibull):
        scale = d.mean_ns / special.gamma(1 + 1 / d.shape)
        return np.asarray(scale * e ** (1 / d.shape))
    if isinstance(d, Pareto):
        ratio = (d.minimum_ns / d.maximum_ns) ** d.alpha
        return np.asarray(d.minimum_ns * (ratio + (1 - ratio) * survival) ** (-1 / d.alpha))
    if isinstance(d, Hyperexponential):
        return _hyperexponential(np.array(d.probabilities), np.array(d.means_ns), e)
    if isinstance(d, Empirical):
        return np.quantile(np.array(d.samples_ns, dtype=float), below)
    raise TypeError(f"no quantiles for {distribution!r}")


def _hyperexponential(
    probabilities: NDArray[np.float64], means: NDArray[np.float64], e: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve ``-log(survival(x)) = e`` by bisection: the left side grows with x."""
    active = probabilities > 0
    log_p, means = np.log(probabilities[active]), means[active]
    zero = means == 0
    means = np.where(zero, 1e-300, means)
    low = np.zeros_like(e)
    high = np.full_like(e, (float(e.max()) + 40.0) * means.max() + 1.0)
    for _ in range(200):
        middle = (low + high) / 2
        terms = log_p[:, None] - middle[None, :] / means[:, None]
        peak = terms.max(axis=0)
        hazard = -(peak + np.log(np.exp(terms - peak).sum(axis=0)))
        below = hazard < e
        low = np.where(below, middle, low)
        high = np.where(below, high, middle)
    return (low + high) / 2
