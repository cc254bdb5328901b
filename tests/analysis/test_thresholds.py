import json
import time

import numpy as np
import pytest
from made_up import grid, results_of

from fastlhp.analysis.sweep import AnalysisError
from fastlhp.analysis.text import reach_csv, reach_json, reach_sentences, reach_table
from fastlhp.analysis.thresholds import until
from fastlhp.results.results import UnknownMetricError

COUNTS = (1, 2, 4)


def study(*curves, n=20, noise=0.0, counts=COUNTS, seed=1, **more):
    """Make a study with one guard for each curve of `wasted_fraction` over the counts."""
    rng = np.random.default_rng(seed)
    means = np.array(curves, dtype=float)
    y = means[..., None] + rng.normal(0, 1, (1, 1, n)) * noise + rng.normal(0, 1, (*means.shape, n)) * noise
    columns = grid(policy__guard=[f"guard {i}" for i in range(len(curves))], vm__guest__count=counts)
    return results_of(columns, wasted_fraction=y.reshape(-1, n), **more)


def test_answers():
    results = study(
        [0.0, 0.1, 0.3],  # reaches 0.15 at a quarter of the way from 2 to 4
        [0.3, 0.2, 0.0],  # falls below it at 2.5
        [0.0, 0.1, 0.1],
        [0.2, 0.2, 0.2],
        [0.0, 0.2, 0.0],
        [0.2, 0.1, 0.2],
    )
    found = until(results, "wasted_fraction < 0.15", "vm.guest.count")
    assert found.answer == ["up to", "from", "everywhere", "nowhere", "not monotonic", "not monotonic"]
    np.testing.assert_allclose(found.value, [2.5, 2.5, 4, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(found.largest, [2, 4, 4, np.nan, 4, 2])
    # Without noise the intervals have no width.
    np.testing.assert_allclose(found.low, [2.5, 2.5, np.inf, -np.inf, np.nan, np.nan])
    np.testing.assert_allclose(found.high, [2.5, 2.5, np.inf, -np.inf, np.nan, np.nan])
    above = until(results, "wasted_fraction >= 0.15", "count")
    assert above.answer[:4] == ["from", "up to", "nowhere", "everywhere"]
    np.testing.assert_allclose(above.value[:2], [2.5, 2.5])


def test_the_bounds_themselves():
    results = study([0.1, 0.1, 0.1])
    assert until(results, "wasted_fraction < 0.1", "count").answer == ["nowhere"]
    assert until(results, "wasted_fraction <= 0.1", "count").answer == ["everywhere"]


def test_curves_are_put_in_order():
    y = np.array([0.3, 0.0, 0.1])[:, None] * np.ones(3)
    results = results_of({"vm.guest.count": [4, 1, 2]}, wasted_fraction=y)
    assert until(results, "wasted_fraction < 0.15", "count").value[0] == pytest.approx(2.5)


def test_durations_are_an_axis_and_a_threshold():
    wait = np.array([1e-6, 3e-6])[:, None] * np.ones(4)
    columns = {"policy.scheduler.slice": ["10ms", "30ms"]}
    results = results_of(columns, wait_time=wait * 100, acquisitions=np.full((2, 4), 100))
    found = until(results, "wait_mean <= 2us", "slice")
    assert found.value[0] == pytest.approx(0.02) and found.units == "s"
    assert "up to 20.00 ms" in reach_table(found)
    assert reach_sentences(found)[0].startswith(
        "wait_mean <= 2us holds up to slice = 20.00 ms (95 % interval"
    )


def test_sentences_and_files():
    results = study([0.0, 0.1, 0.3], [0.0, 0.12, 0.2], noise=0.002)
    found = until(results, "wasted_fraction<0.15", "count")
    (sentence,) = reach_sentences(found)
    assert sentence.startswith("wasted_fraction < 0.15 holds up to count = 2.7")
    assert sentence.endswith(") with guard 1, the furthest.")
    curves = json.loads(reach_json(found))["curves"]
    assert [c["parameters"]["policy.guard"] for c in curves] == ["guard 0", "guard 1"]
    assert curves[0]["low"] < 2.5 < curves[0]["high"] and curves[0]["value"] == found.value[0]
    assert reach_csv(found).splitlines()[0] == "policy.guard,answer,value,low,high,largest"
    alone = until(study([0.0, 0.1, 0.3], [0.0, 0.1, 0.1]), "wasted_fraction < 0.15", "count")
    assert reach_sentences(alone) == ["wasted_fraction < 0.15 holds everywhere up to 4 with guard 1."]
    assert ",inf,inf," in reach_csv(alone) and '"high": "inf"' in reach_json(alone)


def test_the_grid_may_end_within_the_error():
    # 0.148 at the last count: it may hold everywhere, and it may not.
    found = until(study([0.0, 0.1, 0.148], noise=0.01), "wasted_fraction < 0.15", "count")
    assert found.low[0] < 4 and found.high[0] == np.inf
    assert "> 4]" in reach_table(found)


@pytest.mark.parametrize(
    ("n_cases", "low", "high"), [(200, 0.9, 0.99), pytest.param(3000, 0.93, 0.97, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("n", [8, 64])
def test_intervals_cover(n, n_cases, low, high):
    # The true curve is a straight line, so that there is no error of interpolation.
    rng = np.random.default_rng(3)
    counts = np.arange(1, 6)
    y = 0.05 * counts[:, None] + 0.02 * rng.gamma(4, 0.25, (n_cases, 1, n)) - 0.02
    y = y + rng.normal(0, 0.02, (n_cases, 5, n))
    columns = grid(policy__guard=range(n_cases), vm__guest__count=counts)
    found = until(results_of(columns, wasted_fraction=y.reshape(-1, n)), "wasted_fraction < 0.16", "count")
    assert found.answer == ["up to"] * n_cases
    assert low < np.mean((found.low <= 3.2) & (3.2 <= found.high)) < high


def test_what_cannot_be_answered_is_said():
    results = study([0.0, 0.1, 0.3])
    for condition, message in {
        "wasted_fraction": "cannot read the condition 'wasted_fraction'",
        "wasted_fraction = 3": "cannot read the condition",
        "wasted_fraction < 5us": "cannot read the value '5us'; write a number$",
        "wait_mean < 5 parsecs": 'write a number or a duration such as "20us"',
        "wasted_fraction < nan": "write a finite number",
        "wait_q99 < 1": "wait_q99 has one value per configuration",
    }.items():
        with pytest.raises(AnalysisError, match=message):
            until(results, condition, "count")
    with pytest.raises(UnknownMetricError):
        until(results, "wasted < 3", "count")
    with pytest.raises(AnalysisError, match="the values of policy.guard are no numbers, such as guard 0"):
        until(results, "wasted_fraction < 3", "guard")
    with pytest.raises(AnalysisError, match="'slice' is not swept"):
        until(results, "wasted_fraction < 3", "slice")
    with pytest.raises(AnalysisError, match="vm.guest.count has one value only"):
        until(study([0.1], counts=[1]), "wasted_fraction < 3", "count")


def test_hostile_results_give_answers():
    one = until(study([0.0, 0.1, 0.3], n=1), "wasted_fraction < 0.15", "count")
    assert one.value[0] == pytest.approx(2.5) and np.isnan([one.low[0], one.high[0]]).all()
    assert "interval" not in reach_sentences(one)[0]
    failed = until(study([0.0, 0.1, 0.3], status=[0, 1, 0]), "wasted_fraction < 0.15", "count")
    assert failed.answer == ["up to"] and failed.value[0] == pytest.approx(2.5)
    nothing = until(study([0.0, 0.1, 0.3], status=[1, 1, 0]), "wasted_fraction < 0.15", "count")
    assert nothing.answer == ["unknown"] and "unknown" in reach_table(nothing)


def test_very_many_replications_are_drawn_in_groups():
    few, many = (
        until(study([0.0, 0.1, 0.3], n=n, noise=0.1), "wasted_fraction < 0.15", "count")
        for n in (900, 90_000)
    )
    assert many.low[0] < many.value[0] < many.high[0]
    # A hundred times the replications make a tenth of the width.
    assert 0.08 < (many.high[0] - many.low[0]) / (few.high[0] - few.low[0]) < 0.12


@pytest.mark.slow
def test_ten_thousand_configurations():
    counts = np.arange(10)
    y = np.random.default_rng(4).random((10_000, 64)) + np.tile(counts, 1000)[:, None]
    results = results_of(grid(policy__guard=range(1000), vm__guest__count=counts), wasted_fraction=y)
    start = time.process_time()
    reach_table(until(results, "wasted_fraction < 5", "count"))
    assert time.process_time() - start < 10
