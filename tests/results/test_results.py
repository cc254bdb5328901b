import sys

import numpy as np
import pytest
from scipy import stats
from stand_ins import failed, in_memory, make_result, make_study, plain_result

from fastlhp.errors import FastlhpError
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import MissingExtraError, UnknownMetricError, coordinate_array


def test_arrays_know_their_unit(results):
    wait = results["wait_mean"]
    assert wait.shape == (3, 4) and wait.units == "s" == results.units("wait_mean")
    assert wait[1].units == "s"
    assert type(wait * 2) is np.ndarray and not hasattr(wait * 2, "units")
    assert isinstance(wait.mean(axis=1), np.ndarray)
    assert results["acquisitions"].dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        wait[0, 0] = 1


def test_unknown_metrics_are_named_with_close_ones(results):
    with pytest.raises(KeyError) as caught:
        results["lhp_probabilty"]
    assert isinstance(caught.value, FastlhpError)
    assert str(caught.value) == "unknown metric 'lhp_probabilty'; did you mean lhp_probability?"
    with pytest.raises(UnknownMetricError, match="unknown metric of a VM 'idle_time'"):
        results.vm("idle_time")
    with pytest.raises(UnknownMetricError, match="choose from: wait, holder_off"):
        results.histogram("waits")
    with pytest.raises(UnknownMetricError, match="choose from: acquisitions"):
        results.summary("xyzzy")
    assert "lhp_events" in results and "nonsense" not in results


def test_descriptions(results):
    assert len(results) == 3
    assert repr(results) == (
        "<fastlhp.Results of 'small': 3 configurations x 4 replications, 1 swept parameter>"
    )
    assert results.configurations["vm.guest.count"].tolist() == [1, 2, 3]
    assert results.timing == {"events": 5}
    assert set(results) == set(results.metrics)
    assert results.long_name("wait_q50").startswith("50 % quantile")


def test_missing_configurations_and_vms_are_marked():
    study = make_study()
    results = in_memory(study, make_result(study, 0), failed(2))
    assert results.status.tolist() == [0, 2, 1] == results["status"].tolist()
    assert results.messages == {2: "lane 3 ran out of events"}
    assert (results["acquisitions"][1:] == -1).all() and np.isnan(results["wait_mean"][1:]).all()
    assert (results["acquisitions"][0] > 0).all()
    per_vm = results.vm("acquisitions")
    assert per_vm.shape == (3, 4, 3)
    assert (per_vm[0, :, 0] > 0).all() and (per_vm[0, :, 1:] == -1).all() and (per_vm[1:] == -1).all()
    assert np.isnan(results.vm("user_time")[0, :, 1:]).all()
    assert (results.histogram("wait")[0][1:] == -1).all()
    assert np.isnan(results["wait_q99"][1:]).all() and results["wait_q99"][0] > 0
    summary = results.summary("lhp_probability")
    assert summary.n.tolist() == [4, 0, 0]
    assert np.isnan(summary.mean[1:]).all() and np.isnan(summary.low[1:]).all()
    assert results.summary("acquisitions").n.tolist() == [4, 0, 0]


def test_mean_summary_is_students(results):
    values = np.asarray(results["throughput"])
    summary = results.summary("throughput", confidence=0.9)
    np.testing.assert_allclose(summary.mean, values.mean(axis=1))
    np.testing.assert_allclose(summary.standard_error, stats.sem(values, axis=1))
    low, high = stats.t.interval(0.9, 3, loc=values.mean(axis=1), scale=stats.sem(values, axis=1))
    np.testing.assert_allclose(summary.low, low)
    np.testing.assert_allclose(summary.high, high)
    np.testing.assert_allclose(summary.half_width, (high - low) / 2)
    assert summary.n.tolist() == [4, 4, 4] and summary.units == "s-1" and len(summary) == 3


def test_ratios_are_pooled_with_the_delta_method(results):
    y = np.asarray(results["lhp_acquisitions"], dtype=float)
    x = np.asarray(results["acquisitions"], dtype=float)
    summary = results.summary("lhp_probability")
    pooled = y.sum(axis=1) / x.sum(axis=1)
    np.testing.assert_allclose(summary.mean, pooled)
    residual = y - pooled[:, None] * x
    error = residual.std(axis=1, ddof=1) / np.sqrt(4) / x.mean(axis=1)
    np.testing.assert_allclose(summary.standard_error, error)
    np.testing.assert_allclose(summary.high - summary.mean, stats.t.ppf(0.975, 3) * error)


def test_efficiency_is_pooled_over_times(results):
    useful = sum(np.asarray(results[name]).sum(axis=1) for name in ("user_time", "kernel_time", "hold_time"))
    lost = sum(np.asarray(results[name]).sum(axis=1) for name in ("spin_time", "switch_time", "exit_time"))
    np.testing.assert_allclose(results.summary("efficiency").mean, useful / (useful + lost))


def test_intervals_cover_as_often_as_they_say():
    # Ratio of clustered binomials with known p in 1000 configurations: the observed coverage has a standard
    # error of 0.7 %, so the bounds are 3 of them (false alarm once in 400 seeds).
    rng = np.random.default_rng(11)
    n, r = 1000, 64
    p = rng.beta(2, 38, (n, r))  # mean 0.05 and a spread between replications
    acquisitions = rng.integers(500, 1500, (n, r))
    hit = rng.binomial(acquisitions, p)
    study = make_study(vms=(1,) * n, replications=r)
    results = in_memory(
        study,
        *(
            plain_result(
                r,
                index=i,
                acquisitions=acquisitions[i][:, None],
                lhp_acquisitions=hit[i][:, None],
                preemptions=50,
            )
            for i in range(n)
        ),
    )
    summary = results.summary("lhp_probability")
    covered = np.mean((summary.low <= 0.05) & (0.05 <= summary.high))
    assert 0.929 < covered < 0.971
    # The binomial interval, which takes acquisitions for independent, is rejected by the same data.
    k, total = hit.sum(axis=1), acquisitions.sum(axis=1)
    wrong = 1.96 * np.sqrt(k / total * (1 - k / total) / total)
    assert np.mean(np.abs(k / total - 0.05) <= wrong) < 0.6


def test_constant_values_have_no_spread():
    study = make_study(vms=(1,), replications=3)
    results = in_memory(study, plain_result(3, user_ns=100_000_000, acquisitions=10, preemptions=5))
    summary = results.summary("user_time")
    assert summary.mean[0] == 0.1 and summary.standard_error[0] == 0
    assert summary.low[0] == summary.high[0] == 0.1
    assert results.summary("lwp_grants").high[0] == 0


def test_one_replication_has_no_interval():
    study = make_study(vms=(1,), replications=1)
    results = in_memory(study, plain_result(1, acquisitions=10, lhp_acquisitions=2, preemptions=3))
    for name in ("lhp_probability", "throughput"):
        summary = results.summary(name)
        assert summary.mean[0] > 0 and summary.n[0] == 1
        assert np.isnan([summary.standard_error[0], summary.low[0], summary.high[0]]).all()


def test_replications_without_a_value_are_left_out():
    study = make_study(vms=(2,), replications=3)
    user = np.array([[1, 3], [0, 0], [2, 2]])
    summary = in_memory(study, plain_result(3, 2, user_ns=user)).summary("fairness")
    assert summary.n[0] == 2
    acquisitions = np.array([[10, 10], [0, 0], [20, 0]])
    results = in_memory(
        study, plain_result(3, 2, acquisitions=acquisitions, lhp_acquisitions=acquisitions // 10)
    )
    # A replication without acquisitions says nothing about the ratio and does not spoil it.
    summary = results.summary("lhp_probability")
    assert summary.mean[0] == 0.1 and summary.n[0] == 3


def test_none_seen_is_bounded_by_the_preemptions():
    study = make_study(vms=(1, 1, 1), replications=4)
    seen = {"acquisitions": 1000, "preemptions": 25}
    results = in_memory(
        study,
        plain_result(4, index=0, **seen),
        plain_result(4, index=1, acquisitions=1000),
        plain_result(4, index=2),
    )
    summary = results.summary("lhp_probability")
    exact = stats.binomtest(0, 100).proportion_ci(0.95, method="exact").high
    assert summary.mean[0] == summary.low[0] == 0
    assert summary.high[0] == pytest.approx(exact)
    exact = stats.binomtest(0, 4000).proportion_ci(0.95, method="exact").high
    assert summary.high[1] == pytest.approx(exact)
    assert np.isnan([summary.mean[2], summary.low[2], summary.high[2]]).all()
    assert results.summary("lhp_per_preemption").high[0] == summary.high[0]


def test_intervals_stay_where_values_can_be():
    study = make_study(vms=(1,), replications=2)
    hit = np.array([[0], [9]])
    results = in_memory(study, plain_result(2, acquisitions=10, lhp_acquisitions=hit, preemptions=1))
    summary = results.summary("lhp_probability")
    assert (summary.low[0], summary.high[0]) == (pytest.approx(0), pytest.approx(1))
    assert summary.half_width[0] > 0


def test_confidence_is_checked(results):
    for confidence in (0, 1, -1, 95):
        with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\)"):
            results.summary("throughput", confidence)


def test_configuration_metrics_have_a_value_only(results):
    summary = results.summary("wait_q99")
    np.testing.assert_array_equal(summary.mean, results["wait_q99"])
    assert np.isnan(summary.low).all() and summary.units == "s"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2], np.array([1, 2])),
        ([1, 2.5], np.array([1.0, 2.5])),
        (["a", 2], np.array(["a", "2"], dtype=object)),
        ([True, False], np.array(["true", "false"], dtype=object)),
        ([1, 2**64 - 1], np.array(["1", "18446744073709551615"], dtype=object)),
    ],
)
def test_labels_become_columns(labels, expected):
    column = coordinate_array(labels)
    assert column.dtype == expected.dtype
    assert column.tolist() == expected.tolist()


def test_dataframe(results):
    frame = results.to_dataframe()
    assert list(frame.columns[:3]) == ["configuration", "replication", "vm.guest.count"]
    assert len(frame) == 12 and set(METRICS) <= set(frame.columns)
    row = frame[(frame.configuration == 2) & (frame.replication == 1)].iloc[0]
    assert row["throughput"] == results["throughput"][2, 1]
    assert row["vm.guest.count"] == 3
    small = results.to_dataframe(["wait_q50", "lhp_events"])
    assert list(small.columns[3:]) == ["wait_q50", "lhp_events"]
    with pytest.raises(UnknownMetricError):
        results.to_dataframe(["nonsense"])


def test_extras_are_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fastlhp\[xarray\]'"):
        results.to_xarray()
    with pytest.raises(ImportError, match="needs pandas"):
        results.to_dataframe()
