"""Every kind of distribution, drawn by the compiled code from its own generator, against scipy.stats.

A draw is the distribution's value rounded to whole ns. So the share of draws that are at most k estimates F(k + 1/2),
and the tests compare it with exactly that; the means here are 1 us and more, where rounding moves the mean by less than
1e-4 ns and adds 1/12 ns^2 to the variance, far below their errors. What remains systematic is the table of straight
segments (relative error of a quantile about 1e-4) and single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fastlhp.engine import draws
from fastlhp.engine.encode import Shared
from fastlhp.engine.jit import kernel
from fastlhp.engine.state import int64_at
from fastlhp.model.distributions import (
    Constant,
    Distribution,
    Empirical,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
)

N_DRAWS = 100_000
LIMIT = 4.0
"""Standard errors that a mean or a variance may be off; with some 25 checks a chance of 0.2 % that one is."""
LEAST_P = 1e-3


@kernel
def fill(distribution, address, n):
    """Durations drawn from the stream of a key, which is any."""
    for i in range(n):
        w0, _ = draws.philox2x32(i, 0x5EED, 0x0DDB1A5E)
        int64_at(address, i).value = draws.duration(distribution, np.int64(w0))


@pytest.fixture(scope="module")
def sample() -> Callable[[Distribution], NDArray[np.float64]]:
    """Draw from a distribution as the engine does: record, Philox, quantile."""
    shared = Shared()

    def draw(distribution: Distribution) -> NDArray[np.float64]:
        out = np.zeros(N_DRAWS, np.int64)
        fill(shared.distribution(distribution), out.ctypes.data, N_DRAWS)
        return out.astype(float)

    return draw


class Mixture:
    """Hyperexponential distribution, which scipy.stats does not have."""

    def __init__(self, probabilities: tuple[float, ...], means: tuple[float, ...]) -> None:
        self.p, self.m = np.array(probabilities), np.array(means)

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1 - np.exp(-x[:, None] / self.m) @ self.p)

    def mean(self) -> float:
        return float(self.p @ self.m)

    def var(self) -> float:
        return float(2 * self.p @ self.m**2 - self.mean() ** 2)


class Quantiles:
    """The distribution between measured samples: a broken line as quantile function."""

    def __init__(self, samples: tuple[float, ...]) -> None:
        self.x = np.array(samples)

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(x, self.x, np.linspace(0, 1, self.x.size))

    def mean(self) -> float:
        return float((self.x[1:] + self.x[:-1]).mean() / 2)

    def var(self) -> float:
        a, b = self.x[:-1], self.x[1:]
        return float(((a * a + a * b + b * b) / 3).mean() - self.mean() ** 2)


def lognormal(mean: float, cv: float) -> Any:
    sigma = np.sqrt(np.log1p(cv**2))
    return stats.lognorm(sigma, scale=mean * np.exp(-(sigma**2) / 2))


# Symmetric, so that the broken line has the mean of the samples.
SAMPLES = (5_000.0, 9_000.0, 10_000.0, 11_000.0, 15_000.0)
DISTRIBUTIONS: dict[str, tuple[Distribution, Any]] = {
    "exponential": (Exponential(10_000.0), stats.expon(scale=10_000)),
    "long exponential": (Exponential(3e7), stats.expon(scale=3e7)),
    "uniform": (Uniform(2_000.0, 9_000.0), stats.uniform(2_000, 7_000)),
    "lognormal": (Lognormal(10_000.0, 1.5), lognormal(10_000, 1.5)),
    "wide lognormal": (Lognormal(10_000.0, 4.0), lognormal(10_000, 4.0)),
    "gamma": (Gamma(10_000.0, 2.0), stats.gamma(0.25, scale=40_000)),
    "erlang": (Gamma(10_000.0, 0.5), stats.gamma(4, scale=2_500)),
    "weibull": (
        Weibull(10_000.0, 0.7),
        stats.weibull_min(0.7, scale=10_000 / stats.weibull_min(0.7).mean()),
    ),
    "pareto": (Pareto(1_000.0, 1.5, 1e6), stats.truncpareto(1.5, 1e3, scale=1_000)),
    "hyperexponential": (
        Hyperexponential((0.3, 0.7), (30_000.0, 2_000.0)),
        Mixture((0.3, 0.7), (30_000.0, 2_000.0)),
    ),
    "empirical": (Empirical(SAMPLES), Quantiles(SAMPLES)),
}


def distance(x: NDArray[np.float64], cdf: Callable[[Any], Any]) -> float:
    """Kolmogorov-Smirnov distance of rounded values: at each value, below it and up to it."""
    values, counts = np.unique(x, return_counts=True)
    share = np.cumsum(counts) / x.size
    up_to = np.abs(share - cdf(values + 0.5)).max()
    below = np.abs(share - counts / x.size - cdf(np.maximum(values - 0.5, 0.0))).max()
    return float(max(up_to, below))


def test_every_kind_is_here() -> None:
    """A new kind of distribution has to be added to this file."""
    kinds = {type(distribution) for distribution, _ in DISTRIBUTIONS.values()} | {Constant}
    assert kinds == set(Distribution.__subclasses__())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_moments(name: str, sample: Callable[[Distribution], NDArray[np.float64]]) -> None:
    """Mean and variance, within their standard errors as estimated from the draws."""
    distribution, theory = DISTRIBUTIONS[name]
    x = sample(distribution)
    deviation = x - theory.mean()
    assert abs(deviation.mean()) < LIMIT * x.std() / np.sqrt(x.size)
    squares = deviation**2
    assert abs(squares.mean() - theory.var()) < LIMIT * squares.std() / np.sqrt(x.size)
    assert distribution.mean_ns == pytest.approx(theory.mean(), rel=1e-9)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_shape(name: str, sample: Callable[[Distribution], NDArray[np.float64]]) -> None:
    """The Kolmogorov-Smirnov distance is that of a sample of the distribution; it sees a scale that is 10 % off."""
    distribution, theory = DISTRIBUTIONS[name]
    x = sample(distribution)
    assert stats.kstwo.sf(distance(x, theory.cdf), x.size) > LEAST_P
    assert stats.kstwo.sf(distance(x, lambda at: theory.cdf(at / 1.1)), x.size) < LEAST_P


def test_constant(sample: Callable[[Distribution], NDArray[np.float64]]) -> None:
    """A constant is itself, up to the longest duration."""
    for value in (0, 1, 12_345, 2**30):
        assert (sample(Constant(value)) == value).all()


def test_long_tails_are_cut(sample: Callable[[Distribution], NDArray[np.float64]]) -> None:
    """No draw is longer than 2^30 ns."""
    assert sample(Exponential(1e9)).max() == 2**30
    assert sample(Lognormal(1e9, 3.0)).max() <= 2**30
