import numpy as np
import pytest
from made_up import results_of

import fastlhp
from fastlhp.analysis.disorder import frozen_disorder, frozen_disorder_warning
from fastlhp.results.table import as_json, as_table

N = 32


def results(n_configurations=1, **changes):
    """Make results on four pCPUs with 400 slices each whose replications differ by a tenth in waste."""
    rng = np.random.default_rng(1)
    shape = (n_configurations, N)
    arrays = {
        "preemptions": 1600 + rng.integers(0, 4, shape),
        "idle_time": np.zeros(shape),
        "wasted_fraction": 0.3 * rng.uniform(0.5, 1.5, shape),
        **changes,
    }
    return results_of({"policy.guard": range(n_configurations)}, **arrays)


def test_it_is_found():
    assert frozen_disorder(results()).all()
    many = frozen_disorder_warning(results(8))
    assert many.startswith("Frozen disorder in #0, #1, #2, #3, #4 and 3 more: slices never shift")
    assert many in as_table(results(8)) and many in as_json(results(8))


@pytest.mark.parametrize(
    "change",
    [
        {"preemptions": 1600 + np.arange(N)[None, :]},
        {"preemptions": np.zeros((1, N), dtype=int)},
        {"idle_time": np.eye(1, N)},
        {"wasted_fraction": 0.3 + 0.05 * np.sin(np.arange(N))[None, :]},
        {"wasted_fraction": np.zeros((1, N))},
        {"wasted_fraction": np.full((1, N), np.nan)},
    ],
)
def test_what_moves_or_agrees_is_not(change):
    assert not frozen_disorder(results(**change)).any()
    assert "Frozen" not in as_table(results(**change))


def test_it_needs_replications():
    few = {
        name: np.asarray(results()[name])[:, :1] for name in ("preemptions", "idle_time", "wasted_fraction")
    }
    assert not frozen_disorder(results_of({"policy.guard": [0]}, **few)).any()
    failed = {name: np.asarray(results()[name]) for name in few}
    assert not frozen_disorder(results_of({"policy.guard": [0]}, status=[1], **failed)).any()


@pytest.mark.nightly
def test_longer_runs_do_not_reduce_it():
    study = {
        "study": {"name": "frozen", "seed": 3, "duration": "4s", "warmup": "200ms", "replications": 64},
        "host": {"pcpus": 4, "frequency": "2GHz"},
        "policy": {"scheduler": {"kind": "round_robin", "slice": "10ms"}},
        "vm": [
            {
                "name": "guest",
                "vcpus": 4,
                "count": 2,
                "user": {"exponential": "40us"},
                "hold": {"exponential": "2us"},
                "lock": {"kind": "test_and_set", "count": 1},
            }
        ],
        "sweep": {
            "policy.scheduler.slice": ["10ms", {"exponential": "10ms"}],
            "study.duration": ["4s", "16s"],
        },
    }
    found = fastlhp.run(study)
    assert frozen_disorder(found).tolist() == [True, True, False, False]
    spread = np.asarray(found["wasted_fraction"]).std(axis=1)
    # Halved where slices are random; the ratio of two spreads from 64 replications has an error of 13 %.
    assert spread[0] / spread[1] < 1.4
    assert 1.5 < spread[2] / spread[3] < 2.7
