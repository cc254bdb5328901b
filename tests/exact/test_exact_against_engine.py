"""The engine against the chain: every rate and time average of every VM, in many small configurations.

Replications are independent, so their spread gives the standard error of a mean. All comparisons of this file together
fail by chance with a probability of at most `FAMILY_ERROR` (Bonferroni, Student's t). The same comparison rejects
a theory in which one rate is 5 % off.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from exact_cases import CASES, SMALL
from scipy import stats

import fastlhp
from fastlhp.exact.results import EXACT_METRICS, ExactResults
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Results

FEW, MANY = 800, 1600
"""Replications by day and by night: pinned orders and placements last for ever, so that only more replications help."""
FAMILY_ERROR = 0.01
# Those that are ratios of others, or others in another unit, say nothing more.
COMPARED = [
    name
    for name in EXACT_METRICS
    if not METRICS[name].denominator and name not in ("throughput", "wasted_cycles", "wasted_fraction")
]
N_CHECKS = len(CASES) * len(COMPARED) * 4
"""At least the number of comparisons: no case has more than four VMs."""
LIMIT = float(stats.t.isf(FAMILY_ERROR / N_CHECKS / 2, FEW - 1))
LEAST_EVENTS = 100
"""The mean of fewer events than this is not near enough to normal."""


def simulated(case: dict[str, Any], replications: int) -> Results:
    return fastlhp.run(case, replications=replications, threads=1)


def differences(results: Results, theory: ExactResults) -> list[str]:
    """What the simulation and the theory disagree on."""
    found = []
    for name in COMPARED:
        if "vm" in METRICS[name].levels:
            samples, expected = results.vm(name)[0], theory.vm(name)[0]
        else:
            samples, expected = results[name][0][:, None], theory[name]
        for m, value in enumerate(np.asarray(expected)):
            sample = np.asarray(samples[:, m], dtype=np.float64)
            error = sample.std(ddof=1) / np.sqrt(len(sample))
            if METRICS[name].is_count and 0 < value * len(sample) < LEAST_EVENTS:
                raise AssertionError(f"{name} of {m}: only {value * len(sample):g} expected")
            # What is the same in every replication, such as 0, must be just that in theory, but for rounding.
            if abs(sample.mean() - value) > max(LIMIT * error, 1e-9 * abs(value), 1e-12):
                found.append(
                    f"{name} of {m}: {sample.mean():.6g} +- {error:.2g}, theory {value:.6g}, "
                    f"{(sample.mean() - value) / error if error else np.inf:.1f} standard errors"
                )
    return found


def check(name: str, replications: int) -> None:
    case = CASES[name]
    results = simulated(case, replications)
    assert not (found := differences(results, fastlhp.exact(case))), "\n".join(found)
    wrong = copy.deepcopy(case)
    wrong["vm"][0]["hold"]["exponential"] = f"{float(wrong['vm'][0]['hold']['exponential'][:-2]) * 1.05}us"
    assert differences(results, fastlhp.exact(wrong))


@pytest.mark.parametrize("name", SMALL)
def test_engine(name: str) -> None:
    """A few of them, so that a mistake shows soon."""
    check(name, FEW)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in CASES if name not in SMALL])
def test_engine_in_all_cases(name: str) -> None:
    """All the others."""
    check(name, MANY)
