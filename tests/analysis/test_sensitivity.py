import itertools
import json
import time

import numpy as np
import pytest
from made_up import grid, results_of

from fastlhp.analysis.sensitivity import sensitivity
from fastlhp.analysis.sweep import AnalysisError
from fastlhp.analysis.text import sensitivity_csv, sensitivity_json, sensitivity_sentence, sensitivity_table

AXES = {"vm__guest__count": (1, 2, 3, 4), "host__pcpus": (2, 4, 8), "policy__guard": ("none", "delay")}
PATHS = [path.replace("__", ".") for path in AXES]


def true_metric():
    """Return a metric on the grid with main effects and an interaction, shape (4, 3, 2)."""
    count, pcpus, guard = np.meshgrid([1, 2, 3, 4], [2, 4, 8], [0, 1], indexing="ij")
    return 0.1 * count - 0.03 * pcpus + 0.2 * guard + 0.05 * count * guard + 1.0


def indices(mu):
    """Return first-order and total indices of an array of true values, by their definition."""
    axes = range(mu.ndim)
    first = [mu.mean(axis=tuple(a for a in axes if a != i)).var() / mu.var() for i in axes]
    total = [mu.var(axis=i).mean() / mu.var() for i in axes]
    return np.array(first), np.array(total)


def study(mu, n=16, noise=0.0, common=0.0, seed=1, axes=AXES, **more):
    rng = np.random.default_rng(seed)
    # What replications have in common grows along the first axis, so it looks like an effect of it.
    tilt = np.arange(mu.shape[0]).reshape(-1, *[1] * mu.ndim)
    y = mu[..., None] + common * tilt * rng.normal(0, 1, n) + noise * rng.normal(0, 1, (*mu.shape, n))
    return results_of(grid(**axes), wasted_fraction=y.reshape(-1, n), **more)


def test_a_grid_without_noise_is_exact():
    mu = true_metric()
    found = sensitivity(study(mu), "wasted_fraction")
    first, total = indices(mu)
    assert found.design == "grid" and found.paths == PATHS
    np.testing.assert_allclose(found.first, first)
    np.testing.assert_allclose(found.total, total)
    np.testing.assert_allclose([found.first_low, found.total_high], [first, total])
    assert found.spread == pytest.approx(mu.std())
    assert found.total.sum() > 1 > found.first.sum()
    # Additive: both indices agree and add up to 1.
    found = sensitivity(study(np.add.outer(np.arange(4.0), np.zeros((3, 2))) + [0, 5]), "wasted_fraction")
    np.testing.assert_allclose(found.first, found.total, atol=1e-12)
    np.testing.assert_allclose(found.first, [5 / 4 / 7.5, 0, 6.25 / 7.5], atol=1e-12)
    assert found.decisive == ["policy.guard"]


def test_the_order_of_configurations_does_not_matter():
    mu = true_metric()
    order = np.random.default_rng(2).permutation(mu.size)
    columns = {path: [labels[i] for i in order] for path, labels in grid(**AXES).items()}
    results = results_of(columns, wasted_fraction=np.repeat(mu.ravel()[order, None], 3, axis=1))
    np.testing.assert_allclose(sensitivity(results, "wasted_fraction").total, indices(mu)[1])


def test_partial_dependence_is_the_average_over_the_others():
    results = study(true_metric(), noise=0.1)
    found = sensitivity(results, "wasted_fraction")
    y = np.asarray(results["wasted_fraction"]).reshape(4, 3, 2, 16)
    curve = found.curves["host.pcpus"]
    assert curve.labels.tolist() == [2, 4, 8]
    np.testing.assert_allclose(curve.mean, y.mean(axis=(0, 2, 3)))
    averages = y.mean(axis=(0, 2))
    np.testing.assert_allclose(curve.high - curve.mean, 2.1314 * averages.std(axis=1, ddof=1) / 4, rtol=1e-4)


def test_noise_is_not_taken_for_an_effect():
    mu = true_metric()
    first, total = indices(mu)
    found = [
        sensitivity(study(mu, n=8, noise=0.3, common=0.15, seed=seed), "wasted_fraction")
        for seed in range(200)
    ]
    values = np.array([it.total * it.spread**2 for it in found])
    error = values.std(axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(values.mean(axis=0) - total * mu.var()) < 4 * error)
    # The variance of the estimates themselves is far off, from the same data.
    naive = [
        np.asarray(study(mu, n=8, noise=0.3, common=0.15, seed=seed)["wasted_fraction"]).mean(1).var()
        for seed in range(200)
    ]
    assert np.mean(naive) > 1.2 * mu.var()


@pytest.mark.parametrize(
    ("n_cases", "low", "high"), [(200, 0.9, 1.0), pytest.param(2000, 0.93, 0.97, marks=pytest.mark.nightly)]
)
def test_intervals_of_a_grid_cover(n_cases, low, high):
    # 64 replications whose noise is correlated over the cells.
    mu = true_metric()
    first, total = indices(mu)
    covered = np.zeros((2, 3))
    for seed in range(n_cases):
        it = sensitivity(study(mu, n=64, noise=0.1, common=0.02, seed=seed), "wasted_fraction")
        covered[0] += (it.first_low <= first) & (first <= it.first_high)
        covered[1] += (it.total_low <= total) & (total <= it.total_high)
    assert np.all((low < covered / n_cases) & (covered / n_cases < high)), covered / n_cases


def test_nothing_decides_where_there_is_noise_only():
    flat = np.ones((4, 3, 2))
    said = [
        sensitivity_sentence(sensitivity(study(flat, noise=0.1, common=0.05, seed=seed), "wasted_fraction"))
        for seed in range(100)
    ]
    assert said.count("No parameter can be seen to change wasted_fraction.") >= 90


def test_what_decides_is_said():
    found = sensitivity(study(true_metric(), noise=0.02), "wasted_fraction")
    text = sensitivity_sentence(found)
    assert text.startswith("policy.guard decides wasted_fraction: ")
    assert " % with its interactions. Next is vm.guest.count: " in text
    equal = np.add.outer(np.arange(3.0), np.arange(3.0))
    axes = {"host__pcpus": (1, 2, 3), "vm__guest__count": (1, 2, 3)}
    found = sensitivity(study(equal, noise=0.3, axes=axes), "wasted_fraction")
    assert set(found.decisive) == {"host.pcpus", "vm.guest.count"}
    assert "What cannot be told from it: " in sensitivity_sentence(found)


def ishigami(n, seed, replications=8, noise=0.5):
    """Return a sampled study of Ishigami's function, whose indices are known."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-np.pi, np.pi, (3, n))
    y = np.sin(x[0]) + 7 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * np.sin(x[0])
    y = y[:, None] + noise * rng.normal(0, 1, (n, replications)) + noise * rng.normal(0, 1, replications)
    return results_of({f"host.x{i}": x[i] for i in range(3)}, throughput=y)


# T. Ishigami, T. Homma, 1990, with a = 7 and b = 0.1: the variance and its parts.
_WHOLE = 7**2 / 8 + 0.1 * np.pi**4 / 5 + 0.1**2 * np.pi**8 / 18 + 0.5
ISHIGAMI = np.array([0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2, 7**2 / 8, 0.0]) / _WHOLE
ISHIGAMI_TOTAL = ISHIGAMI + np.array([1, 0, 1]) * 8 * 0.1**2 * np.pi**8 / 225 / _WHOLE


def test_a_sampled_design():
    found = sensitivity(ishigami(4000, 3), "throughput")
    assert found.design == "sampled"
    np.testing.assert_allclose(found.total, ISHIGAMI_TOTAL, atol=0.02)
    assert np.all((found.total_low < ISHIGAMI_TOTAL) & (ISHIGAMI_TOTAL < found.total_high))
    assert np.all(found.total_high - found.total_low < 0.15)
    # Thirty bins cannot follow the curve within a bin.
    np.testing.assert_allclose(found.first, ISHIGAMI, atol=0.04)
    assert found.first_low[2] == 0 and found.decisive == ["host.x1"]
    assert found.spread == pytest.approx(np.sqrt(_WHOLE), rel=0.05)
    curve = found.curves["host.x1"]
    assert len(curve.labels) == 30
    inner = 7 * np.sin(curve.labels) ** 2
    assert np.mean((curve.low - 0.3 < inner) & (inner < curve.high + 0.3)) > 0.9


@pytest.mark.nightly
def test_intervals_of_a_sampled_design_cover():
    # Conservative: both kinds of noise are added. The bias by bins is below 0.01 here.
    covered = np.zeros(3)
    for seed in range(300):
        found = sensitivity(ishigami(1000, seed), "throughput")
        covered += (found.first_low <= ISHIGAMI + 0.01) & (ISHIGAMI - 0.01 <= found.first_high)
    assert np.all(covered / 300 > 0.93), covered / 300


def with_policies(n, seed, crossed):
    """Return a study of a sampled duration, a sampled number and three policies, and its total indices.

    The metric is ``2 x + p + q x + |z - 0.3|``, with p and q of the policy; x and z are uniform in 0 to 1.
    """
    rng = np.random.default_rng(seed)
    p, q = np.array([0, 1, 3]), np.array([0, -1, 1])
    x, z = rng.random((2, n))
    k = rng.integers(0, 3, n)
    if crossed:
        x, z, k = np.repeat(x, 3), np.repeat(z, 3), np.tile(np.arange(3), n)
    mu = 2 * x + p[k] + q[k] * x + np.abs(z - 0.3)
    y = mu[:, None] + 0.3 * rng.normal(size=(len(mu), 8)) + 0.3 * rng.normal(size=8)
    columns = {
        "vm.guest.hold": [f"{10 + 90 * value:.3f}us" for value in x],
        "host.z": z,
        "policy.guard": [["none", "delay", "monitor"][i] for i in k],
    }
    u = (np.arange(3000) + 0.5) / 3000
    cells, alone = 2 * u[:, None] + p + q * u[:, None], np.abs(u - 0.3).var()
    parts = np.array([cells.var(axis=0).mean(), alone, cells.var(axis=1).mean()])
    return results_of(columns, throughput=y), parts / (cells.var() + alone)


@pytest.mark.parametrize("crossed", [True, False])
def test_total_indices_of_numbers_and_policies(crossed):
    results, total = with_policies(200, 1, crossed)
    found = sensitivity(results, "throughput")
    assert found.design == "sampled"
    np.testing.assert_allclose(found.total, total, atol=0.03)
    assert np.all((found.total_low <= total) & (total <= found.total_high))
    assert " % with its interactions" in sensitivity_sentence(found)


@pytest.mark.nightly
@pytest.mark.parametrize("study", ["ishigami", "crossed", "sampled"])
@pytest.mark.parametrize("n", [60, 250])
def test_intervals_of_total_indices_of_a_sampled_design_cover(study, n):
    # Conservative: what is not fitted is within them.
    covered = np.zeros(3)
    for seed in range(300):
        results, total = (
            (ishigami(n, seed), ISHIGAMI_TOTAL)
            if study == "ishigami"
            else with_policies(n, seed, study == "crossed")
        )
        found = sensitivity(results, "throughput")
        covered += (found.total_low <= total) & (total <= found.total_high)
    assert np.all(covered / 300 > 0.93), covered / 300


def test_what_polynomials_cannot_follow_is_left_open():
    rng = np.random.default_rng(7)
    x, noise = rng.random((2, 300)), 0.01 * rng.normal(size=(300, 8))
    # Steps so narrow that no neighbour tells anything, of the first parameter only.
    y = np.floor(1e6 * x[0]) % 7
    found = sensitivity(
        results_of({"host.a": x[0], "host.b": x[1]}, throughput=y[:, None] + noise), "throughput"
    )
    assert np.isnan(found.total).all() and np.all(found.total_high == 1) and np.all(found.total_low < 0.1)
    few = sensitivity(
        results_of({"host.a": x[0, :5], "host.b": x[1, :5]}, throughput=noise[:5]), "throughput"
    )
    assert np.isnan(few.total).all()
    assert sensitivity_table([found, few])


def test_parameters_that_advance_together_are_fitted():
    x = np.random.default_rng(8).random(200)
    columns = {"host.a": x, "host.b": 2 * x, "host.c": x[::-1]}
    found = sensitivity(results_of(columns, throughput=np.tile((x + x[::-1] ** 2)[:, None], 4)), "throughput")
    assert np.isfinite(found.total_low).all()


def test_a_grid_with_holes_is_taken_as_it_is():
    axes = {"vm__guest__count": range(12), "host__pcpus": range(10), "policy__guard": ("none", "delay")}
    count, pcpus, guard = np.meshgrid(*(np.arange(len(a)) for a in axes.values()), indexing="ij")
    mu = count + 0.3 * pcpus + 5 * guard + 0.5 * count * guard
    found = sensitivity(study(mu, axes=axes, status=[1, *[0] * 200, 2, *[0] * 38]), "wasted_fraction")
    assert found.design == "sampled" and found.n_configurations == 238
    # Too low by some (m - 1) / N, for m values in N configurations, since these are no random sample.
    np.testing.assert_allclose(
        found.first + np.array([11, 9, 1]) / 240 * (1 - indices(mu)[0]), indices(mu)[0], atol=0.015
    )
    np.testing.assert_allclose(found.total, indices(mu)[1], atol=0.03)
    assert "polynomials fitted" in sensitivity_table([found])


def test_files_and_tables():
    found = [
        sensitivity(study(true_metric(), noise=0.02), name) for name in ("wasted_fraction", "throughput")
    ]
    assert len(sensitivity_csv(found).splitlines()) == 7
    document = json.loads(sensitivity_json(found))
    guard = document["metrics"]["wasted_fraction"]["parameters"]["policy.guard"]
    assert guard["first"] == found[0].first[2] and guard["dependence"]["values"] == ["none", "delay"]
    text = sensitivity_table(found, width=100, ascii_only=True)
    assert text.isascii() and "No parameter can be seen to change throughput." in text


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(
    "mu", [true_metric(), np.zeros((4, 3, 2)), np.where(true_metric() > 1.4, np.nan, 1.0)]
)
def test_hostile_results_give_answers(n, mu):
    found = sensitivity(study(mu, n=n, noise=0.01), "wasted_fraction")
    assert sensitivity_table([found]) and json.loads(sensitivity_json([found]))
    if n < 3:
        assert np.isnan(found.first_low).all()


def test_what_cannot_be_answered_is_said():
    with pytest.raises(AnalysisError, match="nothing is swept"):
        sensitivity(results_of({}, wasted_fraction=np.ones((1, 3))), "wasted_fraction")
    with pytest.raises(AnalysisError, match="wait_q99 has one value per configuration"):
        sensitivity(study(true_metric()), "wait_q99")
    with pytest.raises(
        AnalysisError, match="fewer than two configurations have an estimate of wasted_fraction"
    ):
        sensitivity(study(true_metric(), status=[0, *[1] * 23]), "wasted_fraction")


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [False, True])
def test_ten_thousand_configurations(sampled):
    values = np.array(list(itertools.product(range(10), repeat=4)), dtype=float)
    rng = np.random.default_rng(4)
    y = values.sum(axis=1)[:, None] + rng.random((10_000, 64))
    columns = rng.random((10_000, 4)) if sampled else values
    results = results_of({f"host.x{i}": columns[:, i] for i in range(4)}, throughput=y)
    start = time.process_time()
    sensitivity_table([sensitivity(results, "throughput")])
    assert time.process_time() - start < 10
