"""Result files of different studies, made one."""

import shutil

import numpy as np
import pytest
import xarray
from click.testing import CliRunner
from stand_ins import failed, make_result, make_study
from test_file import write

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results import file as file_module
from fastlhp.results.file import FileData, ResultFileError
from fastlhp.results.merge import merge
from fastlhp.results.metrics import EARLY, METRICS


def written(path, *, counts=(1, 2), fingerprint="", without=(), **options):
    """Write a file with random counters and return what it has."""
    study = make_study(vms=counts, **options)
    made = [make_result(study, i, seed=len(counts)) for i in range(len(counts)) if i not in without]
    return write(path, study, made, fingerprint=fingerprint, provenance={"command": [str(path)]})


def assert_part(joined, rows, one):
    """Compare some configurations of a file with those of another, up to padding."""
    for name, metric in METRICS.items():
        values = joined[name][rows]
        np.testing.assert_array_equal(values[:, : one.n_replications], one[name], err_msg=name)
        assert not (values[:, one.n_replications :] >= 0).any()
        if "vm" in metric.levels:
            wide, narrow = joined.vm(name)[rows], one.vm(name)
            np.testing.assert_array_equal(wide[:, : narrow.shape[1], : narrow.shape[2]], narrow)
            assert not (wide[:, :, narrow.shape[2] :] >= 0).any()
    for name in EARLY:
        np.testing.assert_array_equal(
            joined.first_half(name)[rows][:, : one.n_replications], one.first_half(name)
        )
    np.testing.assert_array_equal(joined.histogram("wait")[0][rows], one.histogram("wait")[0])
    np.testing.assert_array_equal(joined["wait_q99"][rows], one["wait_q99"])
    np.testing.assert_array_equal(joined.status[rows], one.status)
    np.testing.assert_array_equal(joined["replications"][rows], one["replications"])
    assert joined.context.names[rows][:, : one.context.n_vms].tolist() == one.context.names.tolist()


@pytest.mark.parametrize("chunk", [128, 64 * 8])
def test_studies_are_joined(tmp_path, monkeypatch, chunk):
    # Blocks of 4 and of 16 replications' worth of configurations: some have both studies.
    monkeypatch.setattr(file_module, "_CHUNK_BYTES", chunk)
    xen = written(tmp_path / "xen.h5", name="xen", fingerprint="a", seed=3)
    kvm = written(tmp_path / "kvm.h5", name="kvm", counts=(2, 3, 1), replications=6, seed=2**64 - 1)
    merged = merge([tmp_path / "xen.h5", tmp_path / "kvm.h5"], tmp_path / "both.h5")
    both = fastlhp.open(tmp_path / "both.h5")
    assert (merged.n_configurations, merged.missing, merged.failed) == (5, [], [])
    assert both.configurations["study"].tolist() == ["xen"] * 2 + ["kvm"] * 3
    assert both.configurations["vm.guest.count"].tolist() == [1, 2, 2, 3, 1]
    assert_part(both, slice(0, 2), xen)
    assert_part(both, slice(2, 5), kvm)
    members = FileData(tmp_path / "both.h5").members
    assert [(m.name, m.first, m.n_configurations, m.n_replications) for m in members] == [
        ("xen", 0, 2, 4),
        ("kvm", 2, 3, 6),
    ]
    for member, one in zip(members, (xen, kvm), strict=True):
        for what in ("title", "seed", "study", "created", "provenance", "timing", "fingerprint"):
            assert getattr(member.attributes, what) == getattr(one.attributes, what), what
    assert both.timing["events"] == 20 and both.attributes.title == "xen + kvm"
    with xarray.open_dataset(tmp_path / "both.h5", engine="h5netcdf") as dataset:
        assert dataset["study"].values.tolist() == both.configurations["study"].tolist()


def test_what_is_joined_is_joined_further(tmp_path):
    for number, name in enumerate("abcb"):
        written(
            tmp_path / f"{number}.h5", name=name, counts=(1, 2)[: 1 + number % 2], fingerprint=f"f{number}"
        )
    paths = [tmp_path / f"{number}.h5" for number in range(4)]
    merge(paths[:2], tmp_path / "left.h5")
    merge(paths[2:], tmp_path / "right.h5")
    merge([tmp_path / "left.h5", tmp_path / "right.h5"], tmp_path / "stepwise.h5")
    merge(paths, tmp_path / "at_once.h5")
    stepwise, at_once = (fastlhp.open(tmp_path / name) for name in ("stepwise.h5", "at_once.h5"))
    names = ["a", "b", "b", "c", "b (2)", "b (2)"]
    assert stepwise.configurations["study"].tolist() == at_once.configurations["study"].tolist() == names
    assert_part(stepwise, slice(None), at_once)
    # The same study twice is there once.
    merge([tmp_path / "left.h5", tmp_path / "stepwise.h5"], tmp_path / "again.h5")
    assert_part(fastlhp.open(tmp_path / "again.h5"), slice(None), at_once)


def test_failures_are_kept(tmp_path):
    study = make_study(vms=(1, 2), name="broken")
    write(tmp_path / "a.h5", study, [make_result(study, 0), failed(1, "no luck")])
    written(tmp_path / "b.h5", name="whole")
    assert merge([tmp_path / "b.h5", tmp_path / "a.h5"], tmp_path / "c.h5").failed == [3]
    joined = fastlhp.open(tmp_path / "c.h5")
    assert joined.status.tolist() == [0, 0, 0, 1] and joined.messages == {3: "no luck"}


def test_all_that_does_not_fit_is_said(tmp_path):
    written(tmp_path / "a.h5", coordinates={"host.pcpus": [1, 2], "vm.0.hold": [1, 2]}, name="a")
    written(tmp_path / "b.h5", coordinates={"host.pcpus": ["one", "two"], "vm.0.user": [1, 2]}, name="b")
    written(tmp_path / "c.h5", coordinates={"host.pcpus": [1, 2]}, name="c")
    done = CliRunner().invoke(
        main, ["merge", *(str(tmp_path / f"{name}.h5") for name in "abc"), "-o", str(tmp_path / "d.h5")]
    )
    assert done.exit_code == 2
    for said in (
        "b.h5 does not go with",
        "it does not sweep vm.0.hold, it also sweeps vm.0.user, its host.pcpus are texts, not numbers",
        "c.h5 does not go with",
    ):
        assert said in done.stderr
    assert not (tmp_path / "d.h5").exists()


def test_a_share_among_others_is_refused(tmp_path):
    written(tmp_path / "a.h5", name="a", seed=1, fingerprint="a")
    written(tmp_path / "b.h5", name="a", seed=2, fingerprint="b", without=[1])
    with pytest.raises(ResultFileError, match="seed 1 instead of 2.* but 1 of 2 configurations of .*b.h5"):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")
    # Its other share makes it complete.
    study = make_study(vms=(1, 2), name="a", seed=2)
    write(tmp_path / "rest.h5", study, [make_result(study, 1, seed=2)], fingerprint="b")
    merge([tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "rest.h5"], tmp_path / "c.h5")
    assert fastlhp.open(tmp_path / "c.h5").configurations["study"].tolist() == ["a", "a", "a (2)", "a (2)"]
    shutil.copy(tmp_path / "b.h5", tmp_path / "d.h5")
    assert merge([tmp_path / "b.h5", tmp_path / "d.h5"], tmp_path / "e.h5").missing == [1]
