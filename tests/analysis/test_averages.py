import numpy as np
from made_up import grid, results_of

from fastlhp.analysis.averages import averages


def made():
    rng = np.random.default_rng(1)
    luck = rng.normal(0, 1, 20)
    columns = grid(vm__guest__count=[1, 2], policy__response=["none", "yield"])
    values = np.array([[10.0], [20.0], [30.0], [40.0]]) + luck * np.array([[1.0], [-1.0], [1.0], [1.0]])
    return results_of(columns, throughput=values), values


def test_average_of_a_group_keeps_the_pairing():
    results, values = made()
    found = averages(results, "throughput", np.array([0, 0, 1, 1]), 3)
    np.testing.assert_allclose(found.mean[:2], [values[:2].mean(), values[2:].mean()])
    # Luck cancels in the first group and adds up in the second.
    error = values[2].std(ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(found.standard_error[:2], [0, error], atol=1e-12)
    assert np.isnan([found.mean[2], found.low[2]]).all() and found.n.tolist() == [20, 20, 0]


def test_group_of_one_is_the_configuration_itself():
    results, _ = made()
    found, single = (
        averages(results, "throughput", np.array([1, -1, 0, -1]), 2),
        results.summary("throughput"),
    )
    for name in ("mean", "standard_error", "low", "high", "n"):
        np.testing.assert_array_equal(getattr(found, name), getattr(single, name)[[2, 0]])


def test_sample_of_configurations_has_a_larger_error():
    results, values = made()
    group = np.zeros(4, dtype=np.int64)
    found = averages(results, "throughput", group, 1, sampled=True)
    fixed = averages(results, "throughput", group, 1)
    spread = values.mean(axis=1).std(ddof=1) / 2
    np.testing.assert_allclose(found.standard_error, np.hypot(fixed.standard_error, spread))
    assert np.isnan(averages(results, "throughput", np.arange(4), 4, sampled=True).low).all()
