"""Results as tables: every value as `Results` has it, in pieces, at once or not at all."""

import csv
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from click.testing import CliRunner
from stand_ins import failed, in_memory, make_result, make_study

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results import export as export_module
from fastlhp.results.export import export
from fastlhp.results.file import ResultFileError
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import MissingExtraError, UnknownMetricError

COORDINATES = {
    "vm.guest.count": [1, 2, 3, 1, 2],
    "policy.guard": ["none", 'delay, "1 ms"', "none", "extra", "none"],
}


@pytest.fixture
def results(monkeypatch):
    """Five configurations: one failed, one with fewer replications, one without acquisitions."""
    # Pieces of two configurations.
    monkeypatch.setattr(export_module, "_VALUES", 8)
    study = make_study(coordinates=COORDINATES, vms=COORDINATES["vm.guest.count"])
    made = [make_result(study, i, replications=3 if i == 3 else None) for i in range(5)]
    made[1] = failed(1)
    made[4].vm[:] = 0
    return in_memory(study, *made)


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_is_a_replication(results, tmp_path):
    out = tmp_path / "table.csv"
    export(results, out)
    rows = rows_of(out)
    assert list(rows[0]) == ["configuration", "replication", *COORDINATES, *METRICS]
    expected = [(i, r) for i in (0, 2, 3, 4) for r in range(3 if i == 3 else 4)]
    assert [(int(row["configuration"]), int(row["replication"])) for row in rows] == expected
    for row, (i, r) in zip(rows, expected, strict=True):
        assert row["policy.guard"] == COORDINATES["policy.guard"][i]
        for name in METRICS:
            value = results[name][i, r]
            # No digit is lost.
            assert row[name] == ("" if np.isnan(value) else repr(value.item())), name
    assert {row["lhp_probability"] for row in rows[-4:]} == {""}


def test_a_row_is_a_configuration(results, tmp_path):
    out = tmp_path / "table.csv"
    export(results, out, per="configuration", metrics=["throughput", "wait_q50"], confidence=0.9)
    rows = rows_of(out)
    ends = ("", "_low", "_high", "_standard_error")
    assert list(rows[0])[3:] == ["status", "replications", *(f"throughput{end}" for end in ends), "wait_q50"]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok", "ok"]
    assert [row["replications"] for row in rows] == ["4", "0", "4", "3", "4"]
    whole = results.summary("throughput", 0.9)
    for name, values in (("throughput", whole.mean), ("throughput_high", whole.high)):
        assert [row[name] for row in rows] == ["" if np.isnan(v) else repr(v.item()) for v in values]
    assert [row["wait_q50"] == "" for row in rows] == [False, True, False, False, False]


@pytest.mark.parametrize("per", ["replication", "configuration"])
def test_parquet_is_the_same_with_units(results, tmp_path, per):
    parquet = pytest.importorskip("pyarrow.parquet")
    export(results, tmp_path / "table.parquet", per=per)
    export(results, tmp_path / "table.csv", per=per)
    table = parquet.read_table(tmp_path / "table.parquet")
    rows = rows_of(tmp_path / "table.csv")
    assert table.column_names == list(rows[0])
    for name in table.column_names:
        texts = ["" if value is None else str(value) for value in table[name].to_pylist()]
        assert texts == [row[name] for row in rows], name
    units = {field.name: (field.metadata or {}).get(b"units", b"").decode() for field in table.schema}
    assert units["wait_mean"] == "s" and units["throughput"] == "s-1" and units["policy.guard"] == ""


def test_parquet_needs_pyarrow(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fastlhp\[export\]'"):
        export(results, tmp_path / "table.parquet")
    assert os.listdir(tmp_path) == []


def test_nothing_is_there_unless_all_is(results, tmp_path, monkeypatch):
    out = tmp_path / "table.csv"
    original = fastlhp.Results.part

    def break_off(self, rows):
        if rows.start == 4:
            raise OSError(28, "No space left on device")
        return original(self, rows)

    monkeypatch.setattr(fastlhp.Results, "part", break_off)
    with pytest.raises(ResultFileError, match="cannot write .*table.csv: No space left"):
        export(results, out)
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    out.write_text("mine")
    with pytest.raises(ResultFileError, match="exists"):
        export(results, out)
    assert out.read_text() == "mine"
    export(results, out, force=True, metrics=["events"])
    assert out.read_text().startswith("configuration,replication,")
    with pytest.raises(ResultFileError, match=r"ends in \.csv or \.parquet"):
        export(results, tmp_path / "table.xlsx")
    with pytest.raises(UnknownMetricError, match="did you mean throughput"):
        export(results, tmp_path / "other.csv", metrics=["thruput"])
    assert os.listdir(tmp_path) == ["table.csv"]


def test_command(results, tmp_path):
    results.save(tmp_path / "out.h5")
    table = tmp_path / "table.csv"
    arguments = ["export", str(tmp_path / "out.h5"), "-o", str(table), "--metric", "events"]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.output) == (0, "")
    assert [int(row["events"]) for row in rows_of(table)] == [
        value for i in (0, 2, 3, 4) for value in results["events"][i] if value >= 0
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and "exists" in done.stderr
    done = CliRunner().invoke(main, [*arguments, "--force", "--per", "configuration"])
    assert done.exit_code == 0 and len(rows_of(table)) == 5


@pytest.mark.slow
def test_a_large_file_takes_little_memory(tmp_path):
    """10,000 configurations of 64 replications; the numbers are those of one configuration."""
    program = textwrap.dedent(
        """
        import dataclasses, sys
        from stand_ins import make_result, make_study
        from fastlhp.results.file import ResultWriter
        study = make_study(vms=(1,) * 10_000, replications=64)
        result = make_result(study, 0)
        with ResultWriter(sys.argv[1], study) as writer:
            for i in range(10_000):
                writer.write(dataclasses.replace(result, index=i))
            writer.close()
        """
    )
    out, table = tmp_path / "out.h5", tmp_path / "table.csv"
    folders = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    environment = {**os.environ, "PYTHONPATH": folders}
    subprocess.run([sys.executable, "-c", program, str(out)], env=environment, check=True)
    metrics = [word for name in ("throughput", "wait_mean", "events") for word in ("--metric", name)]
    program = (
        "import resource, sys\nfrom fastlhp.cli.main import main\ntry:\n    main()\nfinally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", str(out), "-o", str(table), *metrics],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) < 2**20, "KiB at most"
    with open(table, encoding="utf-8") as file:
        assert sum(1 for _ in file) == 640_001
