"""``fastlhp bench``, and the C program as a simulator of its own."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.bench.compare import as_markdown, as_table, disagreeing, figure, measure
from fastlhp.bench.contenders import (
    CASES,
    Case,
    Contender,
    Measurement,
    available_contenders,
    compile_scalar,
    study_of,
)
from fastlhp.cli.main import main
from fastlhp.results.counters import MAXIMA, bin_edges_ns

STACKED = Case(2, 2, 3, 20_000_000, slice_ns=500_000, spin_ns=5_000)
IDLE = Case(6, 1, 4, 5_000_000)
needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)


@needs_a_compiler
@pytest.mark.parametrize("case", [STACKED, CASES["slice-100us"]])
def test_c_simulates_the_same_model(case, tmp_path):
    reference = next(c for c in available_contenders(tmp_path) if c.name == "C" and c.can_run(case))
    c = reference.run(case, 256, 3)
    results = fastlhp.run(study_of(case, 256, 3), threads=1)
    for metric, (mean, error) in c.answers.items():
        summary = results.summary(metric)
        assert abs(mean - summary.mean[0]) < 4 * (error**2 + summary.standard_error[0] ** 2) ** 0.5
        assert error < 0.2 * mean
    assert c.events == pytest.approx(results["events"].sum(), rel=0.2)


def run_c(folder, case, *flags):
    spin = ["--spin", str(case.spin_ns)] if case.spin_ns else []
    program = compile_scalar(folder, *flags, *(["-DDIRECTED_YIELD"] if spin else []))
    times = (case.user_ns, case.hold_ns, case.slice_ns, case.duration_ns, 3_000_000)
    numbers = (case.pcpus, case.vms, case.vcpus, *times, 32, 3)
    done = subprocess.run([program, *map(str, numbers), *spin], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


EVERY_ACCOUNT = pytest.mark.parametrize("case", [STACKED, IDLE, CASES["slice-100us"], CASES["yield-2us"]])


@needs_a_compiler
@EVERY_ACCOUNT
def test_c_with_all_metrics_simulates_the_same_replications(case, tmp_path):
    lean, full = (run_c(tmp_path, case, *flags) for flags in ((), ("-DALL_METRICS",)))
    assert lean["events"] > 10_000
    for name in lean.keys() - {"seconds", "events_per_second", "ns_per_event"}:
        # Floats are up to what the compiler makes of their sums.
        assert full[name] == pytest.approx(lean[name], rel=1e-12 if isinstance(lean[name], float) else 0)
        assert full["window"].get(name, full[name]) == full[name]


@needs_a_compiler
@EVERY_ACCOUNT
def test_the_accounts_of_c_with_all_metrics_add_up(case, tmp_path):
    full = run_c(tmp_path, case, "-DALL_METRICS")
    window, half, by_vm, n = full["window"], full["first_half"], full["by_vm"], full["replications"]
    assert len(by_vm) == case.vms
    for name, count in window.items():
        of_vms = [vm[name] for vm in by_vm]
        assert 0 <= half[name] <= count
        assert max(of_vms) <= count <= sum(of_vms) if name in MAXIMA else count == sum(of_vms)
    assert window["acquisitions"] > 1.5 * half["acquisitions"] > 0
    for counts, ns, vms in [
        (window, case.duration_ns * n, case.vms),
        (half, case.duration_ns * n // 2, case.vms),
        *((vm, case.duration_ns * n, 1) for vm in by_vm),
    ]:
        running = counts["user_ns"] + counts["hold_ns"] + counts["spin_ns"]
        assert running + counts["ready_ns"] == vms * case.vcpus * ns
        if vms == case.vms:
            assert running == min(case.pcpus, vms * case.vcpus) * ns
            assert counts["context_switches"] == counts["preemptions"] + counts["yields"]
        assert counts["spin_lhp_ns"] + counts["spin_lwp_ns"] <= counts["spin_ns"]
        assert counts["yields"] == counts["directed_yields_holder"] + counts["directed_yields_none"]
        # At the edges a holder of each VM may be off CPU.
        assert abs(counts["lhp_events"] - counts["holder_off_spells"]) <= vms * n
    edges = bin_edges_ns()
    for kind, count in (("wait", "contended_acquisitions"), ("holder_off", "holder_off_spells")):
        bins = np.array(full[f"{kind}_histogram"])
        assert bins.sum() == window[count]
        assert edges[:-1] @ bins - bins[0] <= window[f"{kind}_ns"] <= edges[1:] @ bins
        assert window[f"{kind}_max_ns"] < edges[1:][bins > 0].max(initial=1)


def made_up(name, rate, throughput):
    answers = {"throughput": (throughput, 1.0), "lhp_probability": (float("nan"), float("nan")), "wasted_fraction": (0, 0)}  # fmt: skip
    return Contender(
        name, lambda case, n, seed: Measurement(1000 * n, 1000 * n / rate, answers), lambda case: True
    )


def test_ratios_and_disagreement():
    contenders = [made_up("C", 1e7, 100), made_up("same", 5e7, 101), made_up("other", 5e5, 120)]
    case = measure("P8-M1-n8", contenders, rounds=2, seconds=0.1)
    ratios = [c["median_of_round_ratios"] for c in case["contenders"]]
    assert ratios == pytest.approx([1, 5, 0.05])
    assert [c["agrees"] for c in case["contenders"]] == [None, True, False]
    assert disagreeing([case]) == ["other in P8-M1-n8"]
    table = as_table(case)
    assert "| `P8-M1-n8` | 100.0 (1.00) | 20.0 (5.00) | 2000.0 (1/20) |" in as_markdown([case])
    assert "5.00" in table and "1/20" in table and "NO" in table and "661682" in table


def test_the_figure_has_a_dot_for_each_contender_and_case():
    pytest.importorskip("matplotlib")
    contenders = [made_up("C", 1e7, 100), made_up("other", 5e5, 100)]
    names = ("P8-M1-n8", "slice-100us")
    made = figure([measure(name, contenders, rounds=1, seconds=0.1) for name in names])
    (axes,) = made.axes
    (dots,) = axes.collections
    assert dots.get_offsets()[:, 0].tolist() == pytest.approx([100, 2000] * 2)
    assert [text.get_text().strip() for text in axes.texts] == ["1.00", "1/20"] * 2
    assert [label.get_text() for label in axes.get_yticklabels()] == list(names)
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["C", "other"]


def test_an_unknown_case():
    result = CliRunner().invoke(main, ["bench", "--case", "P3"])
    assert result.exit_code == 2
    assert "P4-M2-n4" in result.stderr


@needs_a_compiler
def test_command(tmp_path):
    arguments = [
        "bench",
        "--case",
        "slice-100us",
        "--rounds",
        "1",
        "--seconds",
        "0.02",
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "fastlhp", *arguments, "--json"], capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out" / "bench.json").read_text())
    names = [c["contender"] for c in document["cases"][0]["contenders"]]
    assert names == ["C", "C, all metrics", "C, vector draws", "fastlhp, 1 thread", "fastlhp, 2 threads"]
    assert (tmp_path / "out" / "bench.txt").read_text().startswith("slice-100us: user 10 us")
    assert (tmp_path / "out" / "bench.svg").exists() or "matplotlib" in done.stderr
