import csv
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results.counters import HOST_COUNTERS, N_BINS, VM_COUNTERS, VM_INDEX, ConfigurationResult, Status
from fastlhp.results.file import ResultWriter
from fastlhp.results.results import Summary
from fastlhp.results.table import MAIN_METRICS, as_table, format_estimate

STUDY = {
    "study": {"name": "remedies", "seed": 3, "duration": "1s", "warmup": "0ms", "replications": 8},
    "host": {"pcpus": 2, "frequency": "2GHz"},
    "policy": {"preset": "baseline"},
    "vm": [
        {"name": "guest", "vcpus": 2, "user": "40us", "hold": "2us", "lock": {"kind": "ticket", "count": 1}}
    ],
    "sweep": {
        "vm.guest.count": [1, 2],
        "policy.response": [
            {"kind": "none"},
            {"kind": "directed_yield", "spin_threshold": "25us", "target": "holder"},
        ],
    },
}


def make_result(study, index):
    rng = np.random.default_rng(index)
    r, n_vms = study.replications, len(study.configurations[index].vms)
    vm = np.zeros((r, n_vms, len(VM_COUNTERS)), dtype=np.int64)

    def put(counter, low, high):
        vm[:, :, VM_INDEX[counter]] = rng.integers(low, high, (r, n_vms))

    put("acquisitions", 20_000, 22_000)
    put("preemptions", 100, 120)
    put("wait_ns", 10**8, 2 * 10**8)
    put("spin_ns", 10**7, 2 * 10**7)
    put("user_ns", 8 * 10**8, 9 * 10**8)
    if index:
        put("lhp_acquisitions", 3, 9)
    host = np.full((r, len(HOST_COUNTERS)), 1000, dtype=np.int64)
    histogram = np.zeros((2, N_BINS), dtype=np.int64)
    histogram[:, 200:240] = 7
    return ConfigurationResult(index, vm, host, histogram)


@pytest.fixture(scope="module")
def study():
    return fastlhp.load(STUDY)


@pytest.fixture(scope="module")
def out(tmp_path_factory, study):
    path = tmp_path_factory.mktemp("show") / "out.h5"
    with ResultWriter(path, study) as writer:
        for i in range(4):
            writer.write(make_result(study, i))
        writer.close()
    return path


def show(*arguments, width=120):
    return CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["show", *map(str, arguments)])


def test_table(out):
    done = show(out, width=200)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["#", "vm.guest.count", "policy.response"]
    assert all(name in lines[0] for name in MAIN_METRICS)
    assert lines[1].startswith("0") and "< 0.0041" in lines[1]
    for line in lines[2:5]:
        assert re.search(r"\(\d\.\d+ ± 0\.\d+\)e-04", line)
        assert re.search(r"\d+\.\d+ ± \d+\.\d+ us", line)
    text = "\n".join(lines[-2:])
    assert "± half width of the 95 % confidence interval from 8 replications" in text
    assert "< upper end of the 95 % confidence interval where none was seen" in text


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_table_fits(out, width):
    lines = show(out, width=width).stdout.splitlines()
    table = lines[: lines.index("") if "" in lines else None]
    assert max(map(len, table)) <= width
    shown = " ".join(lines)
    assert all(name in shown for name in MAIN_METRICS)
    # Narrow screens get several tables, each with the labels.
    assert sum(line.startswith("#") for line in lines) == (1 if width == 200 else len(lines) // 6)


def test_metrics_are_chosen(out):
    done = show(out, "--metric", "wait_q99", "--metric", "context_switches", "--metric", "wait_q99")
    head = done.stdout.splitlines()[0].split()
    assert head[-2:] == ["wait_q99", "context_switches"]
    assert done.stdout.splitlines()[1].endswith("0 ± 0")


def test_csv_and_json_agree(out):
    done = show(out, "--csv", "--metric", "lhp_probability", "--metric", "wait_q50", "--confidence", "0.9")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    document = json.loads(
        show(
            out, "--json", "--metric", "lhp_probability", "--metric", "wait_q50", "--confidence", "0.9"
        ).stdout
    )
    assert document["study"] == "remedies" and document["replications"] == 8 and document["confidence"] == 0.9
    assert document["units"] == {"lhp_probability": "1", "wait_q50": "s"}
    summary = fastlhp.open(out).summary("lhp_probability", 0.9)
    assert len(rows) == len(document["configurations"]) == 4
    for i, (row, item) in enumerate(zip(rows, document["configurations"], strict=True)):
        assert int(row["configuration"]) == item["configuration"] == i
        assert row["status"] == item["status"] == "ok"
        assert row["policy.response"] == item["parameters"]["policy.response"]
        assert item["parameters"]["vm.guest.count"] == int(row["vm.guest.count"])
        estimate = item["metrics"]["lhp_probability"]
        for key in ("mean", "low", "high", "standard_error"):
            column = "lhp_probability" if key == "mean" else f"lhp_probability_{key}"
            assert float(row[column]) == estimate[key] == getattr(summary, key)[i]
        assert estimate["n"] == 8
        assert item["metrics"]["wait_q50"]["low"] is None and row["wait_q50_low"] == ""
        assert item["metrics"]["wait_q50"]["mean"] > 0


def test_what_did_not_work_out_is_shown(tmp_path, study):
    path = tmp_path / "part.h5"
    with ResultWriter(path, study) as writer:
        writer.write(make_result(study, 1))
        writer.write(ConfigurationResult(2, status=Status.FAILED, message="too bad"))
        writer.close()
    lines = show(path).stdout.splitlines()
    assert "not run" in lines[1] and "failed" in lines[3] and lines[3].endswith("-")
    items = json.loads(show(path, "--json").stdout)["configurations"]
    assert [item["status"] for item in items] == ["not run", "ok", "failed", "not run"]
    assert items[2]["message"] == "too bad" and items[0]["metrics"]["throughput"]["mean"] is None


def test_rows_can_be_limited(out):
    text = as_table(fastlhp.open(out), max_rows=2, width=200)
    assert len([line for line in text.splitlines() if re.match(r"\d", line)]) == 2


def test_ascii(out):
    text = as_table(fastlhp.open(out), width=80, ascii_only=True)
    assert text.isascii() and "+-" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.h5"], "there is no file nowhere.h5"),
        (
            ["OUT", "--metric", "lhp_probabilty"],
            "unknown metric 'lhp_probabilty'; did you mean lhp_probability?",
        ),
        (["OUT", "--confidence", "95"], "--confidence"),
    ],
)
def test_bad_input(out, arguments, message):
    done = show(*[out if a == "OUT" else a for a in arguments])
    assert done.exit_code == 2
    assert message in done.stderr and not done.stdout


def test_foreign_files_are_bad_input(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("[study]\n")
    done = show(path)
    assert done.exit_code == 2 and "is not an HDF5 file" in done.stderr


def test_is_light_and_survives_a_closed_pipe(out):
    code = (
        "import sys\n"
        "from fastlhp.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    assert not {'numba', 'xarray', 'pandas', 'scipy.stats', 'pydantic'} & set(sys.modules)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, "show", str(out), "--csv"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def summary(mean, half, units="1"):
    mean, half = np.array([mean], dtype=float), np.array([half], dtype=float)
    return Summary("x", units, 0.95, mean, half / 2, mean - half, mean + half, np.array([9]))


@pytest.mark.parametrize(
    ("mean", "half", "units", "expected"),
    [
        (0.012342, 0.00041, "1", "0.01234 ± 0.00041"),
        (1.2e-5, 3.4e-7, "1", "(1.200 ± 0.034)e-05"),
        (12.31e-6, 0.24e-6, "s", "12.31 ± 0.24 us"),
        (1.5, 0.02, "s", "1.500 ± 0.020 s"),
        (999.96e-6, 1e-6, "s", "1.0000 ± 0.0010 ms"),
        (25_123.0, 210.0, "s-1", "25.12 ± 0.21 k/s"),
        (2.6e9, 1.3e7, "cycles", "2.600 ± 0.013 G"),
        (51234.0, 120.0, "1", "51234 ± 120"),
        (0.5, 2.0, "1", "0.5 ± 2.0"),
        (0.25, 0.0, "1", "0.2500 ± 0.0000"),
        (0.0, 0.0, "1", "0 ± 0"),
        (0.0, 0.0, "s", "0 ± 0 s"),
        (3.2e-6, np.nan, "s", "3.200 us"),
        (12.0, np.nan, "1", "12"),
        (np.nan, np.nan, "s", "-"),
        (0.0, 3e-9, "s", "0.0 ± 3.0 ns"),
    ],
)
def test_numbers(mean, half, units, expected):
    assert format_estimate(summary(mean, half, units), 0) == expected
