"""Configurations that had not settled: the first half of the measured window differs from the second."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.statistics import FEW, Sample, holm, p_value, standard_error
from fastlhp.results.metrics import ratio
from fastlhp.results.results import Results

__all__ = ["Transients", "transient_warning", "transients"]

Array = npt.NDArray[Any]

LEVEL = 0.01
"""How often a file without any transient may be warned of."""
LEAST_CHANGE = 0.05
"""Smaller changes are not worth a warning."""

_METRICS = {
    "throughput": ("acquisitions", None),
    "wasted_fraction": ("spin_time", None),
    "lhp_probability": ("lhp_acquisitions", "acquisitions"),
}
_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Transients:
    """How the second half of the window differs from the first.

    Attributes
    ----------
    metrics : tuple of str
        What was looked at.
    change : ndarray of float64, shape (metric, configuration)
        Second half less first, as a share of the mean of both; NaN if not known.
    p : ndarray of float64, shape (metric, configuration)
        That there is no difference, Holm-corrected over the whole array.
    found : ndarray of bool, shape (metric, configuration)
        Where the difference is real and large enough to matter.
    """

    metrics: tuple[str, ...]
    change: Array
    p: Array
    found: Array


def transients(results: Results) -> Transients:
    """Compare the two halves of the measured window, configuration by configuration.

    Parameters
    ----------
    results : Results
        What a study gave. Files of older versions do not have the halves; in them nothing is found.

    Notes
    -----
    A paired t-test over the replications, of a ratio with its linearised estimates, corrected by Holm for all
    configurations and metrics together: if there is no transient anywhere, something is found in at most 1 % of files.
    Changes below 5 % do not count. Nor does what is made of fewer than 30 events in a half, since a t-test is not to be
    trusted there.
    """
    early = {name: _known(results.first_half(name)) for name in dict.fromkeys(_names())}
    late = {name: _known(results[name]) - early[name] for name in early}
    change, p = [], []
    for numerator, denominator in _METRICS.values():
        halves = [
            Sample.of(half[numerator], half[denominator] if denominator else None) for half in (early, late)
        ]
        first, second = halves
        difference = second.mean - first.mean
        error = standard_error(second.influence - first.influence, first.n)
        rare = np.any([half.y.sum(axis=-1) < FEW for half in halves], axis=0) if denominator else False
        change.append(np.where(rare, np.nan, ratio(difference, (first.mean + second.mean) / 2)))
        p.append(np.where(rare, np.nan, p_value(difference, error, first.n)))
    corrected = holm(np.array(p))
    return Transients(
        tuple(_METRICS),
        np.array(change),
        corrected,
        (corrected < LEVEL) & (np.abs(change) > LEAST_CHANGE),
    )


def _names() -> list[str]:
    return [name for pair in _METRICS.values() for name in pair if name]


def _known(values: Array) -> Array:
    values = np.asarray(values, dtype=np.float64)
    return np.where(values < 0, np.nan, values)


def transient_warning(results: Results) -> str:
    """Return sentences that name the configurations with a transient; empty if there are none."""
    it = transients(results)
    found = np.flatnonzero(it.found.any(axis=0))
    if not len(found):
        return ""
    named = []
    for i in found[:_MOST_NAMED]:
        worst = int(np.argmax(np.where(it.found[:, i], np.abs(it.change[:, i]), 0)))
        named.append(f"#{i} ({it.metrics[worst]} {100 * it.change[worst, i]:+.0f} %)")
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return (
        f"Transient in {', '.join(named)}{more}: the second half of the window differs from the first; make the "
        "warm-up longer. If that does not help, the system is metastable, and figures are of this start, warm-up and "
        "window only"
    )
