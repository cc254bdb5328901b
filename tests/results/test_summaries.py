"""Files of summaries: what a study with ``store = "summaries"`` keeps, and what is refused for want of replications."""

import dataclasses

import h5py
import numpy as np
import pytest
import xarray
from click.testing import CliRunner
from stand_ins import failed, in_memory, make_result, make_study, plain_result

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results import file as file_module
from fastlhp.results.counters import HISTOGRAMS
from fastlhp.results.file import NoReplicationsError, ResultFileError, ResultWriter
from fastlhp.results.merge import merge
from fastlhp.results.metrics import CONFIGURATION_METRICS, METRICS


def make_results(study):
    """Results of eight configurations: rare events, few of them, none at all; one failed."""
    rare = [
        plain_result(5, 2, i, acquisitions=900, preemptions=[[40], [0], [3], [9], [1]], lhp_acquisitions=n)
        for i, n in ((3, 1), (4, 0))
    ]
    return [*(make_result(study, i) for i in (0, 1, 2, 6, 7)), *rare, failed(5)]


@pytest.fixture
def study():
    study = make_study(vms=(1, 2, 3, 2, 2, 1, 4, 1), coordinates={"x": list(range(8))}, replications=5)
    study.keeps_replications = False
    return study


def write(path, study, results):
    with ResultWriter(path, study) as writer:
        for result in results:
            writer.write(result)
        writer.close()
    return fastlhp.open(path)


def assert_same_estimates(left, right):
    for name in (*METRICS, *CONFIGURATION_METRICS):
        for confidence in (0.9, 0.99):
            one, other = left.summary(name, confidence), right.summary(name, confidence)
            for field in dataclasses.fields(one):
                np.testing.assert_array_equal(
                    getattr(one, field.name), getattr(other, field.name), err_msg=f"{name} {field.name}"
                )
    for name in HISTOGRAMS:
        np.testing.assert_array_equal(left.histogram(name)[0], right.histogram(name)[0])


def test_estimates_are_those_of_the_replications(study, tmp_path):
    results = make_results(study)
    summaries = write(tmp_path / "out.h5", study, results)
    assert not summaries.keeps_replications
    whole = in_memory(study, *results)
    assert whole.keeps_replications
    assert_same_estimates(summaries, whole)
    assert_same_estimates(summaries.part(slice(2, 6)), whole.part(slice(2, 6)))
    assert summaries.status.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    # Nothing was seen of configuration 4: its interval needs more than mean and error.
    assert summaries.summary("lhp_probability").high[4] > 0 == summaries.summary("lhp_probability").mean[4]


@pytest.mark.parametrize("pending_bytes", [1, 10**9])
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_bits_depend_on_the_configuration_alone(study, tmp_path, monkeypatch, rows, pending_bytes):
    """Order, blocks, gaps, and how many replications its neighbours have."""
    results = make_results(study)
    results[1] = make_result(study, 1, replications=3)
    one = write(tmp_path / "one.h5", study, results)
    monkeypatch.setattr(file_module, "_PENDING_BYTES", pending_bytes)
    monkeypatch.setattr(ResultWriter, "_choose_block_size", lambda writer: rows)
    other = write(tmp_path / "other.h5", study, results[::-1])
    with h5py.File(tmp_path / "one.h5") as a, h5py.File(tmp_path / "other.h5") as b:
        for name, values in a["summary"].items():
            assert values[...].tobytes() == b["summary"][name][...].tobytes() or name in {
                "metric",
                "unit",
                "meaning",
            }, name
    assert one.summary("throughput").n.tolist() == other.summary("throughput").n.tolist()
    assert one.summary("throughput").n.tolist() == [5, 3, 5, 5, 5, 0, 5, 5]


def test_shares_and_studies_are_merged(study, tmp_path):
    results = make_results(study)
    whole = write(tmp_path / "whole.h5", study, results)
    for name, part in (("a", results[:3]), ("b", results[3:])):
        with ResultWriter(tmp_path / f"{name}.h5", study, fingerprint="same") as writer:
            for result in part:
                writer.write(result)
            writer.close()
    merged = merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "merged.h5")
    assert merged.failed == [5] and not merged.missing
    assert_same_estimates(fastlhp.open(tmp_path / "merged.h5"), whole)
    study.keeps_replications = True
    write(tmp_path / "full.h5", study, results)
    with pytest.raises(ResultFileError, match="one of them has summaries only"):
        merge([tmp_path / "whole.h5", tmp_path / "full.h5"], tmp_path / "both.h5")


def test_what_needs_replications_is_refused(study, tmp_path):
    path = tmp_path / "out.h5"
    results = write(path, study, make_results(study))
    for ask in (
        lambda: results["acquisitions"],
        lambda: results.vm("ready_time"),
        lambda: results.first_half("acquisitions"),
        lambda: results.summary("throughput", method="bca"),
        lambda: results.to_dataframe(),
    ):
        with pytest.raises(
            NoReplicationsError, match='has summaries only, .* store = "summaries": .* without'
        ):
            ask()
    for command in ("show --interval bca", "compare --by x", "compare --sensitivity", "export -o t.csv"):
        name, *options = command.split()
        done = CliRunner().invoke(main, [name, str(path), *options])
        assert done.exit_code == 2 and "has summaries only" in done.stderr, command
    for command in ("show", "show --metric wait_q99 --csv", "show --json"):
        name, *options = command.split()
        done = CliRunner().invoke(main, [name, str(path), *options])
        assert done.exit_code == 0, done.stderr
    table = tmp_path / "table.csv"
    done = CliRunner().invoke(main, ["export", str(path), "--per", "configuration", "-o", str(table)])
    assert done.exit_code == 0 and len(table.read_text().splitlines()) == 9


def test_xarray_reads_them(study, tmp_path, recwarn):
    results = write(tmp_path / "out.h5", study, make_results(study))
    with xarray.open_dataset(tmp_path / "out.h5", engine="h5netcdf", group="summary") as dataset:
        mean = dataset["mean"].sel(metric="throughput")
        np.testing.assert_array_equal(mean, results.summary("throughput").mean)
        assert dataset["unit"].sel(metric="throughput") == "s-1"
    with xarray.open_dataset(tmp_path / "out.h5", engine="h5netcdf") as dataset:
        assert "acquisitions" not in dataset and dataset.attrs["format_version"] == 2
    assert not recwarn.list
