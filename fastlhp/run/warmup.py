"""How long a configuration needs to settle: ``warmup = "auto"``.

It depends on the configuration and the seed alone, so it is the same on any machine, with any threads, and after an
interruption.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError
from fastlhp.results.counters import VM_INDEX

if TYPE_CHECKING:
    from fastlhp.model.configuration import Configuration, Parts
    from fastlhp.model.study import Study

__all__ = ["mser_5", "settled", "settled_parts"]

PILOTS = range(2**20, 2**20 + 16)
"""Replications that are simulated to find the warm-up; no study has so many that these were its own."""
PARTS = 200
_SERIES = ("acquisitions", "spin_ns")
_BATCH = 5


def mser_5(series: npt.NDArray[np.float64]) -> int:
    """Return how many values at the beginning of a series should be left out, by MSER-5.

    Parameters
    ----------
    series : ndarray of float64, shape (n,)
        A time series; n is a multiple of 5.

    Returns
    -------
    int
        A multiple of 5, at most n / 2.

    Notes
    -----
    Of all places to cut, the rule [1]_ takes the one after which the mean is known best, as if what follows were
    independent: where the sum of squares about the mean, divided by the square of the number of values, is least. In
    MSER-5 [2]_ the values are means of batches of five. Behind the middle too few are left for this to be trusted.

    References
    ----------
    .. [1] K. P. White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6),
       1997.
    .. [2] K. P. White, M. J. Cobb, S. C. Spratt, "A comparison of five steady-state truncation heuristics for
       simulation", Winter Simulation Conference, 2000.

    Examples
    --------
    >>> mser_5(np.array([9.0] * 5 + [3.0] * 5 + [0.0, 1.0, 0.0, 1.0, 0.0] * 8))
    10
    """
    means = series.reshape(-1, _BATCH).mean(axis=1)
    cuts = range(len(means) // 2 + 1)
    scatter = [means[cut:].var() / (len(means) - cut) for cut in cuts]
    return _BATCH * int(np.argmin(scatter))


@functools.lru_cache(maxsize=1024)
def _warmup_ns(study: Study, index: int) -> int:
    """Return the warm-up of a configuration, in ns."""
    from fastlhp.engine.block import simulate_parts
    from fastlhp.engine.encode import Encoded

    configuration = study.configurations[index]
    try:
        vm, _, _ = simulate_parts(Encoded(configuration), study.seed, PILOTS, PARTS)
    except FastlhpError:
        return 0  # The configuration fails without a warm-up, too, and says why.
    cut = max(mser_5(vm[..., VM_INDEX[name]].sum(axis=2).mean(axis=0)) for name in _SERIES)
    return -(-configuration.duration_ns * cut // PARTS)


def settled(study: Study, index: int) -> Configuration:
    """Return a configuration with its warm-up, which is found by pilots if the study leaves it to them.

    Parameters
    ----------
    study : Study
        The study.
    index : int
        Number of the configuration.

    Notes
    -----
    Sixteen pilots of the length of the measured window begin without a warm-up, with draws of their own. Their numbers
    of acquisitions and their time spent spinning, in 200 parts of the window, are averaged over the pilots; of the
    two, the one that settles later decides.
    """
    configuration = study.configurations[index]
    if not configuration.has_auto_warmup:
        return configuration
    return dataclasses.replace(configuration, warmup_ns=_warmup_ns(study, index), has_auto_warmup=False)


def settled_parts(study: Study, indices: npt.NDArray[np.int64]) -> Parts:
    """Return configurations by parts, as `settled` returns one."""
    parts = study.configurations.parts(indices)
    if not parts.has_auto_warmup.any():
        return parts
    warmup_ns = parts.warmup_ns.copy()
    for at in np.flatnonzero(parts.has_auto_warmup):
        warmup_ns[at] = _warmup_ns(study, int(indices[at]))
    return parts._replace(warmup_ns=warmup_ns, has_auto_warmup=np.zeros(len(indices), np.bool_))
