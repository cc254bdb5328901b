import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS, VM_INDEX, ConfigurationResult
from fastlhp.results.file import ResultWriter

STUDY = {
    "study": {"name": "remedies", "seed": 3, "duration": "1s", "warmup": "0ms", "replications": 8},
    "host": {"pcpus": 2, "frequency": "2GHz"},
    "policy": {"preset": "baseline"},
    "vm": [
        {"name": "guest", "vcpus": 2, "user": "40us", "hold": "2us", "lock": {"kind": "ticket", "count": 1}}
    ],
    "sweep": {
        "vm.guest.count": [1, 2, 3],
        "policy.response": [{"kind": "none"}, {"kind": "yield", "spin_threshold": "25us", "label": "yields"}],
    },
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A file in which `yields` spins for half as long as `none`, and more with every VM."""
    study = fastlhp.load(STUDY)
    path = tmp_path_factory.mktemp("compare") / "out.h5"
    with ResultWriter(path, study) as writer:
        for i, configuration in enumerate(study.configurations):
            rng = np.random.default_rng(i // 2)
            n_vms = len(configuration.vms)
            vm = np.zeros((study.replications, n_vms, len(VM_COUNTERS)), dtype=np.int64)
            spin = 2 * rng.integers(4 * 10**7, 5 * 10**7, vm.shape[:2])
            vm[:, :, VM_INDEX["spin_ns"]] = spin // (1 + i % 2)
            vm[:, :, VM_INDEX["acquisitions"]] = 10_000 + rng.integers(0, 10, vm.shape[:2])
            writer.write(ConfigurationResult(i, vm, np.zeros((8, len(HOST_COUNTERS)), dtype=np.int64)))
        writer.close()
    return path


def compare(*arguments, width=120):
    return CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["compare", *map(str, arguments)])


def test_table(out):
    done = compare(out, "--metric", "wasted_fraction")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == ["A  none  (the baseline)", "B  yields"]
    assert (
        "0.5 [0.5, 0.5]" in done.stdout
        and "vm.guest.count:  1  2  3\n                 B  B  B" in done.stdout
    )
    assert "Averaged over all 3 settings, yields has the lowest wasted_fraction" in done.stdout
    assert "which is 0.5 times the" in done.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits(out, width):
    text = compare(out, "--metric", "wasted_fraction", width=width).stdout
    table = [line for line in text.splitlines() if line.startswith("  ")]
    assert table and max(map(len, table)) <= width


def test_csv_and_json_agree(out):
    rows = list(csv.DictReader(io.StringIO(compare(out, "--csv", "--baseline", "yields").stdout)))
    document = json.loads(compare(out, "--json", "--baseline", "yields").stdout)
    assert document["baseline"] == "yields" and document["by"] == ["policy.response"]
    items = [(name, cell) for name, it in document["metrics"].items() for cell in it["configurations"]]
    assert len(rows) == len(items) == 18
    for row, (metric, item) in zip(rows, items, strict=True):
        assert row["metric"] == metric and int(row["configuration"]) == item["configuration"]
        assert row["policy.response"] == item["alternative"]
        assert int(row["vm.guest.count"]) == item["setting"]["vm.guest.count"]
        for key in ("estimate", "low", "difference", "ratio", "ratio_high", "p", "gain"):
            assert row[key] == ("" if item[key] is None else repr(item[key]))
    ratios = [float(row["ratio"]) for row in rows if row["metric"] == "wasted_fraction"]
    assert ratios == pytest.approx([2, 1] * 3)


def test_until(out):
    # Each VM spins for some 0.09 s of the 2 s of pCPU time, or for half of that.
    done = compare(out, "--until", "wasted_fraction < 0.05", "--along", "count")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Where wasted_fraction < 0.05 holds, along vm.guest.count"
    assert lines[3].split()[:3] == ["none", "up", "to"] and lines[4].split()[:3] == ["yields", "up", "to"]
    assert 1 < float(lines[3].split()[3]) < 1.3 and 2.1 < float(lines[4].split()[3]) < 2.5
    assert "with yields, the furthest." in done.stdout
    curves = json.loads(compare(out, "--until", "wasted_fraction<0.05", "--along", "count", "--json").stdout)[
        "curves"
    ]
    rows = list(
        csv.DictReader(
            io.StringIO(compare(out, "--until", "wasted_fraction<0.05", "--along", "count", "--csv").stdout)
        )
    )
    assert [float(row["value"]) for row in rows] == [curve["value"] for curve in curves]


def test_sensitivity(out):
    done = compare(out, "--sensitivity", "--metric", "wasted_fraction")
    assert done.exit_code == 0, done.output
    assert "vm.guest.count decides wasted_fraction: " in done.stdout
    document = json.loads(compare(out, "--sensitivity", "--json").stdout)
    assert list(document["metrics"]) == ["wasted_fraction", "lhp_probability", "throughput"]
    text = compare(out, "--sensitivity", "--metric", "wasted_fraction", "--csv").stdout
    row = next(csv.DictReader(io.StringIO(text)))
    indices = document["metrics"]["wasted_fraction"]["parameters"]["vm.guest.count"]
    assert row["parameter"] == "vm.guest.count" and float(row["total"]) == indices["total"]
    assert indices["decisive"] and indices["total"] > indices["first"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.h5"], "there is no file nowhere.h5"),
        (["OUT", "--by", "slice"], "'slice' is not swept; choose from: vm.guest.count, policy.response"),
        (["OUT", "--metric", "wasted"], "unknown metric 'wasted'"),
        (["OUT", "--metric", "wait_q99"], "wait_q99 has one value per configuration"),
        (["OUT", "--baseline", "gang"], "there is no alternative 'gang'; choose from: none; yields"),
        (["OUT", "--confidence", "95"], "--confidence"),
        (["OUT", "--until", "wasted_fraction < 1"], "--until and --along go together"),
        (["OUT", "--along", "count"], "--until and --along go together"),
        (
            ["OUT", "--until", "throughput > 1", "--along", "count", "--metric", "throughput"],
            "--until goes with neither --metric nor --baseline",
        ),
        (["OUT", "--sensitivity", "--baseline", "none"], "--sensitivity goes with neither --until nor"),
        (["OUT", "--until", "wasted < 1", "--along", "count"], "unknown metric 'wasted'"),
        (["OUT", "--until", "throughput", "--along", "count"], "cannot read the condition 'throughput'"),
        (["OUT", "--until", "throughput > 1", "--along", "response"], "are no numbers, such as none"),
    ],
)
def test_bad_input(out, arguments, message):
    done = compare(*[out if a == "OUT" else a for a in arguments])
    assert done.exit_code == 2
    assert message in done.stderr and not done.stdout


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
        [sys.executable, "-c", code, "compare", str(out), "--csv"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
