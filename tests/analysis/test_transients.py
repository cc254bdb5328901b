"""Transients: found where there are some, and seldom where there are none."""

import numpy as np
import pytest
from made_up import results_of

import fastlhp
from fastlhp.analysis.transients import transient_warning, transients
from fastlhp.results.table import as_json, as_table

N = 32


def results(n_configurations=1, change=0.0, seed=1, spread=0.1, lhp=3000):
    """Make results whose second half has more of everything."""
    rng = np.random.default_rng(seed)
    shape = (n_configurations, N)
    first, second = {}, {}
    for name, mean in (("acquisitions", 1e6), ("spin_time", 0.3), ("lhp_acquisitions", lhp)):
        first[name] = mean * rng.normal(1, spread, shape)
        second[name] = mean * rng.normal(1, spread, shape) * (1 + np.reshape(change, (-1, 1)))
        if name != "spin_time":
            first[name], second[name] = np.rint(first[name]), np.rint(second[name])
    whole = {name: first[name] + second[name] for name in first}
    return results_of({"host.pcpus": range(n_configurations)}, first_half=first, **whole)


def test_it_is_found():
    changes = np.array([0.0, 0.5, 0.0, -0.5])
    it = transients(results(4, changes))
    found = dict(zip(it.metrics, it.found.tolist(), strict=True))
    assert found["throughput"] == found["wasted_fraction"] == [False, True, False, True]
    # The same change in numerator and denominator.
    assert found["lhp_probability"] == [False] * 4
    assert it.change[0] == pytest.approx([0, 0.4, 0, -2 / 3], abs=0.1)
    warning = transient_warning(results(4, changes))
    assert warning.startswith("Transient in #1 (") and ", #3 (" in warning and "longer" in warning
    assert warning in as_table(results(4, changes)) and warning in as_json(results(4, changes))
    many = transient_warning(results(9, np.full(9, 0.5)))
    assert "#4" in many and "and 4 more" in many and "#5" not in many


def test_small_changes_and_few_events_are_not():
    assert not transients(results(4, np.full(4, 0.04), spread=0.01)).found.any()
    few = transients(results(1, 3.0, lhp=0.4))
    assert np.isnan(few.p[2]).all() and few.found[:2].all()
    assert transient_warning(results(4)) == ""


def test_one_replication_and_no_halves_say_nothing():
    one = results_of({"host.pcpus": [1]}, first_half={"acquisitions": np.array([[1]])}, acquisitions=[[10]])
    assert transient_warning(one) == ""
    nothing = {name: np.full((1, N), np.nan) for name in ("acquisitions", "lhp_acquisitions", "spin_time")}
    assert not transients(
        results_of({"host.pcpus": [1]}, first_half=nothing, acquisitions=np.ones((1, N)))
    ).found.any()


def test_false_alarms_are_as_rare_as_stated():
    """Of 600 files of ten configurations without transients, six at the level of 1 %; 14 is one chance in 1000."""
    assert sum(bool(transient_warning(results(10, seed=seed, spread=0.3))) for seed in range(600)) < 14


@pytest.mark.parametrize(("warmup", "is_one"), [("0ms", True), ("400ms", False)])
def test_of_a_simulation(warmup, is_one):
    """All vCPUs begin with user work of 12 to 20 ms: nobody wants the lock before that."""
    study = {
        "study": {"name": "late", "seed": 4, "duration": "28ms", "warmup": warmup, "replications": 16},
        "host": {"pcpus": 4, "frequency": "1GHz"},
        "policy": {"scheduler": {"kind": "round_robin", "slice": "1ms"}},
        "vm": [
            {
                "name": "guest",
                "vcpus": 4,
                "user": {"uniform": ["12ms", "20ms"]},
                "hold": {"exponential": "1ms"},
                "lock": {"kind": "ticket"},
            }
        ],
    }
    run = fastlhp.run(study, threads=1)
    assert bool(transients(run).found[0, 0]) == is_one
    assert ("Transient in #0 (" in as_table(run)) == is_one
    early, whole = run.first_half("acquisitions"), run["acquisitions"]
    assert (early >= 0).all() and (early <= whole).all()
