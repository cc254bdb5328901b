"""Intervals against exact values: what the chain says must be covered as often as they promise.

Very many replications of two small configurations are taken as studies of 32 replications each.
"""

import numpy as np
import pytest
from made_up import results_of

import fastlhp
from fastlhp.analysis.comparison import compare
from fastlhp.results.metrics import METRICS

GROUPS, N = 1500, 32
METRICS_SHOWN = (
    "wasted_fraction",
    "throughput",
    "efficiency",
    "lhp_probability",
    "lhp_per_preemption",
    "wait_mean",
)
STUDY = {
    "study": {"name": "exact", "seed": 11, "duration": "5ms", "warmup": "20ms", "replications": GROUPS * N},
    "host": {"pcpus": 2, "frequency": "1GHz"},
    "policy": {"scheduler": {"kind": "global", "slice": {"exponential": "60us"}}},
    "vm": [
        {
            "name": "vm",
            "count": 2,
            "vcpus": 2,
            "lock": {"kind": "ticket", "count": 1},
            "user": {"exponential": "40us"},
            "hold": {"exponential": "5us"},
        }
    ],
    "sweep": {"vm.vm.lock.kind": ["test_and_set", "ticket"]},
}

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def exact():
    return fastlhp.exact(STUDY)


@pytest.fixture(scope="module")
def groups():
    """The results of `GROUPS` studies, each of two locks."""
    results = fastlhp.run(STUDY)
    needed = dict.fromkeys(
        part
        for name in METRICS_SHOWN
        for part in (name, *METRICS[name].numerator, *METRICS[name].denominator, *METRICS[name].trials)
    )
    columns = {
        "host.group": np.repeat(np.arange(GROUPS), 2),
        "vm.vm.lock.kind": ["test_and_set", "ticket"] * GROUPS,
    }
    arrays = {
        name: np.asarray(results[name]).reshape(2, GROUPS, N).swapaxes(0, 1).reshape(2 * GROUPS, N)
        for name in needed
    }
    return results_of(columns, **arrays)


@pytest.mark.parametrize("method", ["student", "bca"])
@pytest.mark.parametrize("metric", METRICS_SHOWN)
def test_estimates(groups, exact, metric, method):
    summary = groups.summary(metric, method=method)
    true = np.tile(exact[metric], GROUPS)
    covered = np.mean(((summary.low <= true) & (true <= summary.high)).reshape(GROUPS, 2), axis=0)
    assert np.all((covered > 0.93) & (covered < 0.97))


@pytest.mark.parametrize("metric", METRICS_SHOWN)
def test_comparisons(groups, exact, metric):
    effects = compare(groups, metrics=[metric]).metrics[0].effects
    difference, quotient = exact[metric][1] - exact[metric][0], exact[metric][1] / exact[metric][0]
    for true, low, high in (
        (difference, effects.difference_low, effects.difference_high),
        (quotient, effects.ratio_low, effects.ratio_high),
    ):
        covered = np.mean((low[:, 1] <= true) & (true <= high[:, 1]))
        assert 0.93 < covered < 0.97
