"""Replications that differ for ever because of how they started."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.estimates import replications
from fastlhp.results.metrics import ratio
from fastlhp.results.results import Results

__all__ = ["frozen_disorder", "frozen_disorder_warning"]

Array = npt.NDArray[Any]

# How much the waste of a slice may vary, as a multiple of its mean; random slices gave up to 3.
_OF_A_SLICE = 3.0
_MOST_NAMED = 5


def frozen_disorder(results: Results) -> Array:
    """Find configurations whose replications differ in a way that longer runs will not reduce.

    Parameters
    ----------
    results : Results
        What a study gave.

    Returns
    -------
    ndarray of bool, shape (configuration,)

    Notes
    -----
    If every slice has the same length, no pCPU idles and nothing ends a slice early, run queues keep their order
    and pCPUs their phases for ever. Then each replication has the number of preemptions that time and slice
    give, but for one on each pCPU, and none has idle time: this is what is looked for. The spread counts as
    frozen if the coefficient of variation of `wasted_fraction` is above ``3 / sqrt(slices)`` for the slices of a
    pCPU, more than the average over so many slices that start anew would have. Slowly mixing systems, in which
    slice ends are put off or given up now and then, are not found.
    """
    idle, preemptions = (replications(results, name) for name in ("idle_time", "preemptions"))
    waste = replications(results, "wasted_fraction")
    most = np.max(preemptions.y, axis=1)
    least = np.min(np.where(preemptions.valid, preemptions.y, np.inf), axis=1)
    pcpus = results.context.pcpus
    constant = (least > 0) & (most - least <= pcpus) & ~np.any(idle.y > 0, axis=1)
    variation = ratio(np.sqrt(waste.n) * waste.standard_error, waste.mean)
    return np.asarray(constant & (variation * np.sqrt(least / pcpus) > _OF_A_SLICE))


def frozen_disorder_warning(results: Results) -> str:
    """Return a sentence that names the configurations with frozen disorder; empty if there are none."""
    found = np.flatnonzero(frozen_disorder(results))
    if not len(found):
        return ""
    named = ", ".join(f"#{i}" for i in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return (
        f"Frozen disorder in {named}{more}: slices never shift, so replications differ for ever by how they "
        "started; more replications, not longer runs, make the intervals smaller"
    )
