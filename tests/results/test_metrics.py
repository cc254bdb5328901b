from pathlib import Path

import numpy as np
import pytest
from stand_ins import in_memory, make_result, make_study, plain_result

import fastlhp
from fastlhp.results.counters import HOST_INDEX, N_BINS, VM_INDEX, bin_of
from fastlhp.results.metrics import (
    CONFIGURATION_METRICS,
    METRICS,
    Context,
    histogram_quantile,
    markdown_table,
)

INTERFACE = """
    acquisitions lhp_events lhp_acquisitions lwp_events lwp_grants preemptions lhp_probability
    lhp_per_preemption spin_time spin_contention spin_lhp spin_lwp wasted_cycles wasted_fraction throughput
    efficiency user_time kernel_time hold_time switch_time exit_time idle_time wait_mean wait_max
    fragmentation priority_inversion fairness contended_wait_mean contended_acquisitions context_switches
    yields guard_yields informed_yields directed_yields_holder directed_yields_waiter directed_yields_other
    directed_yields_none halts guest_halts kicks extensions extensions_expired ready_time costop_time
    halted_time holder_off_mean holder_off_max holder_off_spells events
""".split()


def test_every_promised_name_exists():
    assert set(INTERFACE) <= set(METRICS)
    assert set(CONFIGURATION_METRICS) == {
        "status", "replications", "warmup_time",
        "wait_q50", "wait_q90", "wait_q99", "wait_q999", "holder_off_q50", "holder_off_q99"
    }  # fmt: skip
    assert {name for name, m in METRICS.items() if "vm" not in m.levels} == {
        "idle_time", "fragmentation", "fairness", "events"
    }  # fmt: skip


def test_every_counter_is_a_metric():
    counts = {name for name, m in METRICS.items() if m.is_count}
    assert counts == {name for name in (*VM_INDEX, *HOST_INDEX) if not name.endswith("_ns")}


def test_quantiles_say_that_waits_are_contended():
    for name, metric in CONFIGURATION_METRICS.items():
        if name.startswith("wait_q"):
            assert "contended" in metric.long_name and "pooled" in metric.long_name
    assert "vcpus x duration" in METRICS["wasted_fraction"].vm_long_name


def test_formulas_by_hand():
    # P = 2, T = 2 s, 2.5 GHz; two VMs with 1 and 2 vCPUs and weights 1 and 2.
    study = make_study(vms=(2,), replications=1)
    counters = {
        "acquisitions": [[600, 1400]],
        "contended_acquisitions": [[100, 300]],
        "wait_ns": [[50_000_000, 150_000_000]],
        "wait_max_ns": [[7_000, 9_000]],
        "lhp_events": [[10, 20]],
        "lhp_acquisitions": [[4, 16]],
        "preemptions": [[40, 60]],
        "user_ns": [[600_000_000, 1_000_000_000]],
        "kernel_ns": [[50_000_000, 100_000_000]],
        "hold_ns": [[50_000_000, 150_000_000]],
        "spin_ns": [[100_000_000, 700_000_000]],
        "spin_lhp_ns": [[30_000_000, 200_000_000]],
        "spin_lwp_ns": [[20_000_000, 100_000_000]],
        "switch_ns": [[10_000_000, 30_000_000]],
        "exit_ns": [[5_000_000, 5_000_000]],
        "ready_ns": [[1, 2]],
        "holder_off_ns": [[30_000, 0]],
        "holder_off_spells": [[3, 0]],
        "holder_off_max_ns": [[20_000, 0]],
    }
    host = {"idle_ns": 1_200_000_000, "fragmentation_ns": 300_000_000, "events": 12345}
    results = in_memory(study, plain_result(1, 2, host=host, **counters))
    expected = {
        "acquisitions": 2000,
        "lhp_probability": 20 / 2000,
        "lhp_per_preemption": 30 / 100,
        "spin_time": 0.8,
        "spin_lhp": 0.23,
        "spin_lwp": 0.12,
        "spin_contention": 0.45,
        "wasted_cycles": 0.8 * 2.5e9,
        "wasted_fraction": 0.8 / 4,
        "throughput": 1000.0,
        "efficiency": 1.95 / (1.95 + 0.8 + 0.05),
        "user_time": 1.6,
        "kernel_time": 0.15,
        "hold_time": 0.2,
        "switch_time": 0.04,
        "exit_time": 0.01,
        "idle_time": 1.2,
        "fragmentation": 0.3,
        "ready_time": 3e-9,
        "wait_time": 0.2,
        "wait_mean": 0.2 / 2000,
        "contended_wait_mean": 0.2 / 400,
        "wait_max": 9e-6,
        "holder_off_mean": 1e-5,
        "holder_off_max": 2e-5,
        "holder_off_time": 3e-5,
        "holder_off_spells": 3,
        "events": 12345,
        "fairness": (0.8 + 1.95 / 2) ** 2 / (2 * (0.8**2 + (1.95 / 2) ** 2)),
    }
    for name, value in expected.items():
        assert results[name].shape == (1, 1)
        assert results[name][0, 0] == pytest.approx(value, rel=1e-14), name
    # The pCPU time of this example is complete, so efficiency is also that of the definition.
    assert results["efficiency"][0, 0] == pytest.approx(1.95 / (2 * 2 - 1.2))

    per_vm = {
        "acquisitions": [600, 1400],
        "lhp_probability": [4 / 600, 16 / 1400],
        "wasted_fraction": [0.1 / (1 * 2), 0.7 / (2 * 2)],
        "wasted_cycles": [0.1 * 2.5e9, 0.7 * 2.5e9],
        "throughput": [300, 700],
        "efficiency": [0.7 / 0.815, 1.25 / 1.985],
        "wait_max": [7e-6, 9e-6],
        "wait_mean": [0.05 / 600, 0.15 / 1400],
        "holder_off_mean": [1e-5, np.nan],
        "spin_contention": [0.05, 0.4],
    }
    for name, values in per_vm.items():
        np.testing.assert_allclose(results.vm(name)[0, 0], values, rtol=1e-14, err_msg=name)


def test_a_time_is_the_nearest_float_of_its_nanoseconds():
    study = make_study(vms=(1,), replications=1)
    results = in_memory(study, plain_result(user_ns=123_456_789_123))
    assert results["user_time"][0, 0] == 123.456789123


def test_zero_denominators_are_nan():
    study = make_study(vms=(1,), replications=2)
    results = in_memory(study, plain_result(2))
    for name in ("lhp_probability", "lhp_per_preemption", "wait_mean", "contended_wait_mean", "efficiency"):
        assert np.isnan(results[name]).all()
        assert np.isnan(results.vm(name)).all()
    assert np.isnan(results["holder_off_mean"]).all() and np.isnan(results["fairness"]).all()
    assert (results["throughput"] == 0).all() and (results["wasted_fraction"] == 0).all()


def test_fairness_is_one_for_shares_by_weight_and_one_nth_for_a_monopoly():
    study = make_study(vms=(3, 1), replications=1)
    fair = plain_result(1, 3, user_ns=[[100, 200, 300]])
    alone = plain_result(1, 1, index=1, hold_ns=5)
    assert in_memory(study, fair, alone)["fairness"].ravel().tolist() == [1, 1]
    monopoly = plain_result(1, 3, spin_ns=[[0, 5, 0]])
    assert in_memory(study, monopoly)["fairness"][0, 0] == pytest.approx(1 / 3)


def test_vms_add_up_to_the_host():
    study = make_study()
    results = in_memory(study, *(make_result(study, i) for i in range(3)))
    for name, metric in METRICS.items():
        if metric.levels != ("host", "vm"):
            continue
        values = np.array(results.vm(name), dtype=float)
        missing = values == -1 if metric.is_count else np.isnan(values)
        values[missing] = 0
        if name.endswith("_max"):
            np.testing.assert_array_equal(values.max(axis=2), results[name])
        elif not metric.denominator and name not in ("wasted_fraction",):
            np.testing.assert_allclose(values.sum(axis=2), results[name], rtol=1e-12, err_msg=name)


def test_ratios_agree_with_their_numerators_and_denominators():
    study = make_study()
    results = in_memory(study, *(make_result(study, i) for i in range(3)))
    for name, metric in METRICS.items():
        if metric.denominator:
            top = sum(np.asarray(results[part], dtype=float) for part in metric.numerator)
            bottom = sum(np.asarray(results[part], dtype=float) for part in metric.denominator)
            np.testing.assert_allclose(results[name], top / bottom, rtol=1e-12, err_msg=name)


def test_wrong_shapes_are_refused():
    study = make_study(vms=(2,), replications=3)
    for result in (plain_result(3, 1), plain_result(4, 2)):
        results = in_memory(study, result)
        with pytest.raises(ValueError, match="counters of configuration 0 have shapes"):
            results["acquisitions"]


def test_quantile_lies_in_the_bin_of_the_exact_one():
    rng = np.random.default_rng(3)
    times = np.sort(np.exp(rng.normal(9, 2, 20_001)).astype(np.int64))
    counts = np.bincount(bin_of(times), minlength=N_BINS)
    for q in (0.001, 0.5, 0.9, 0.99, 0.999):
        exact = times[int(q * (len(times) - 1))] / 1e9
        assert histogram_quantile(counts, q) == pytest.approx(exact, rel=1 / 16)


def test_quantiles_interpolate_geometrically():
    counts = np.zeros((3, N_BINS), dtype=np.int64)
    counts[0, 160] = 4  # 1024 ns .. 1088 ns
    counts[1, [160, 320]] = 2
    expected = [1024e-9 * (1088 / 1024) ** 0.5, 1088e-9, np.nan]
    np.testing.assert_allclose(histogram_quantile(counts, 0.5), expected)
    assert histogram_quantile(counts[0], 1.0) == pytest.approx(1088e-9)
    assert histogram_quantile(counts[0], 0.0) == pytest.approx(1024e-9)
    assert np.isnan(histogram_quantile(np.full(N_BINS, -1), 0.5))


def test_the_documentation_has_this_table():
    text = (Path(fastlhp.__file__).parent / "docs" / "results.md").read_text(encoding="utf-8")
    assert markdown_table() in text, "docs/results.md: put fastlhp.results.metrics.markdown_table() there"


def test_context_of_a_study_is_that_of_its_configurations() -> None:
    """Numbers and names of VMs, whatever is swept: groups that are away, or of several VMs each."""
    vm = {"vcpus": 1, "lock": {"kind": "ticket"}, "user": "10us", "hold": "1us"}
    study = fastlhp.load(
        {
            "study": {"name": "context", "duration": "10ms"},
            "host": {"pcpus": 2, "frequency": "2GHz"},
            "policy": {"scheduler": {"kind": "round_robin", "slice": "1ms"}},
            "vm": [{**vm, "name": "a"}, {**vm, "name": "b", "weight": 2.5}, {**vm, "name": "c"}],
            "sweep": {
                "vm.a.count": [0, 2, 1],
                "vm.b.count": [3, 0, 1],
                "vm.b.vcpus": [1, 2],
                "vm.c.count": [0, 1],
                "vm.c.weight": [1.0, 4.0],
                "host.pcpus": [2, 4],
                "where": "vm.a.count + vm.b.count + vm.c.count > 0",
            },
        }
    )
    context = Context.of(study.configurations, study.n_configurations)
    plain = Context.of(list(study.configurations), study.n_configurations)
    for name in ("duration_s", "pcpus", "frequency_hz", "vcpus", "weight", "names"):
        np.testing.assert_array_equal(getattr(context, name), getattr(plain, name))
    assert context.n_vms == plain.n_vms == 6
