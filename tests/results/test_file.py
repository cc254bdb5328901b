import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from stand_ins import failed, in_memory, make_result, make_study

import fastlhp
from fastlhp.errors import FastlhpError
from fastlhp.results import file as file_module
from fastlhp.results.counters import HISTOGRAMS
from fastlhp.results.file import ResultFileError, ResultWriter
from fastlhp.results.metrics import CONFIGURATION_METRICS, EARLY, METRICS
from fastlhp.results.results import provenance


def write(path, study, results, **options):
    with ResultWriter(path, study, **options) as writer:
        for result in results:
            writer.write(result)
        writer.close(timing={"events": 10, "engine_seconds": 0.5, "threads": 2})
    return fastlhp.open(path)


def assert_same(left, right):
    assert list(left.configurations) == list(right.configurations)
    for path in left.configurations:
        assert left.configurations[path].tolist() == right.configurations[path].tolist()
    for name, metric in METRICS.items():
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
        assert left[name].dtype == right[name].dtype
        if "vm" in metric.levels:
            np.testing.assert_array_equal(left.vm(name), right.vm(name), err_msg=name)
    for name in CONFIGURATION_METRICS:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    for name in EARLY:
        np.testing.assert_array_equal(left.first_half(name), right.first_half(name), err_msg=name)
    for name in HISTOGRAMS:
        np.testing.assert_array_equal(left.histogram(name)[0], right.histogram(name)[0])
    assert left.messages == right.messages


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.h5"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "out.h5"
    study = make_study()
    write(path, study, [make_result(study, i) for i in range(3)])
    return path


@pytest.fixture
def written(original, out):
    """A file of its own for each test."""
    return Path(shutil.copy(original, out))


def test_file_and_memory_agree(study, results, written, tmp_path):
    opened = fastlhp.open(written)
    assert_same(opened, results)
    results.save(tmp_path / "saved.h5")
    saved = fastlhp.open(tmp_path / "saved.h5")
    assert_same(saved, results)
    assert saved.timing == results.timing == {"events": 5}
    assert saved.attributes.created == results.attributes.created
    for field in ("vcpus", "weight", "pcpus", "duration_s", "frequency_hz"):
        np.testing.assert_array_equal(getattr(opened.context, field), getattr(results.context, field))
    assert opened.context.names.tolist() == results.context.names.tolist()
    assert f"from {written}" in repr(opened)
    with pytest.raises(FastlhpError, match="already in a file"):
        opened.save(tmp_path / "again.h5")


def test_files_without_halves_can_be_read(written, results):
    with h5py.File(written, "r+") as file:
        del file["first_half"]
    opened = fastlhp.open(written)
    assert (opened.first_half("acquisitions") == -1).all() and np.isnan(opened.first_half("spin_time")).all()
    assert opened.first_half("spin_time").shape == results.first_half("spin_time").shape
    with pytest.raises(FastlhpError, match="choose from: acquisitions"):
        opened.first_half("events")


@pytest.mark.parametrize("n", [1, 5, 64])
def test_order_blocks_and_gaps_do_not_matter(n, out, monkeypatch):
    # Blocks of 8 configurations, so that whole, partial and last blocks all occur.
    monkeypatch.setattr(file_module, "_CHUNK_BYTES", 8 * 4 * 8)
    rng = np.random.default_rng(n)
    study = make_study(vms=tuple(rng.integers(1, 4, n).tolist()))
    chosen = [make_result(study, i) if i % 7 else failed(i) for i in rng.permutation(n) if i % 11 != 5]
    assert_same(write(out, study, chosen), in_memory(study, *chosen))


def test_little_memory_makes_partial_blocks(out, monkeypatch):
    monkeypatch.setattr(file_module, "_PENDING_BYTES", 40_000)
    study = make_study(vms=(1, 2) * 8)
    chosen = [make_result(study, i) for i in np.random.default_rng(5).permutation(16)]
    assert_same(write(out, study, chosen), in_memory(study, *chosen))


def test_many_replications_are_cut_into_chunks(out, monkeypatch):
    monkeypatch.setattr(file_module, "_MAX_CHUNK_BYTES", 8 * 1000)
    study = make_study(vms=(1, 2), replications=3000)
    chosen = [make_result(study, i) for i in range(2)]
    opened = write(out, study, chosen)
    assert_same(opened, in_memory(study, *chosen))
    with h5py.File(out) as file:
        assert np.prod(file["vm/user_time"].chunks) <= 1000


def test_compression_is_ordinary_gzip(study, written):
    with h5py.File(written) as file:
        for group in (file, file["vm"]):
            assert group["user_time"].compression == "gzip" and group["user_time"].shuffle
            assert group["user_time"].compression_opts == 4
        assert not any("_FillValue" in file[name].attrs for name in METRICS)


@pytest.mark.parametrize("seed", range(3))
def test_deflated_planes_are_read_back(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2 ** rng.integers(1, 62, 5000)) / (1e9 if seed else 1)
    shuffled = values.view(np.uint8).reshape(-1, 8).T.tobytes()
    packed = file_module._deflate(values)
    assert file_module.zlib.decompress(packed) == shuffled
    assert len(packed) < 1.01 * len(shuffled)


def test_xarray_opens_it_without_warnings(study, results, written):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xarray.open_dataset(written, engine="h5netcdf") as root:
            assert dict(root.sizes) == {"configuration": 3, "replication": 4}
            assert set(root.coords) == {"configuration", "replication", "vm.guest.count"}
            assert root["vm.guest.count"].values.tolist() == [1, 2, 3]
            assert root["user_time"].dtype == np.float64 and root["acquisitions"].dtype == np.int64
            for name, metric in METRICS.items():
                assert root[name].dims == ("configuration", "replication")
                assert root[name].attrs["units"] == metric.units
                assert root[name].attrs["long_name"] == metric.long_name
                np.testing.assert_array_equal(root[name], results[name])
            assert root["status"].dims == ("configuration",) == root["wait_q99"].dims
            assert root.attrs["study"] == study.text and root.attrs["seed"] == 7
            assert root.attrs["timing_events"] == 10
        with xarray.open_dataset(written, engine="h5netcdf", group="vm") as vm:
            assert dict(vm.sizes) == {"configuration": 3, "replication": 4, "vm": 3}
            assert set(vm.coords) == {"vm", "name", "vcpus", "weight"}
            assert vm["name"].values[1].tolist() == ["guest-0", "guest-1", ""]
            assert vm["vcpus"].values.tolist() == [[1, -1, -1], [1, 2, -1], [1, 2, 3]]
            assert np.isnan(vm["weight"].values[0, 1]) and np.isnan(vm["user_time"].values[0, 0, 1])
            assert vm["acquisitions"].values[0, 0, 1] == -1
        with xarray.open_dataset(written, engine="h5netcdf", group="histogram") as histogram:
            assert histogram["wait"].dims == ("configuration", "bin")
            assert histogram["wait"].dtype == np.int64
            assert histogram["bin"].values[0] == 1e-9 and histogram["bin_upper"].values[-1] == 2**44 / 1e9
        with xarray.open_datatree(written, engine="h5netcdf") as tree:
            assert set(tree.groups) == {"/", "/vm", "/first_half", "/histogram"}


def test_to_xarray_is_what_xarray_reads(results, written):
    opened = fastlhp.open(written)
    for level, group in (("host", None), ("vm", "vm"), ("histogram", "histogram")):
        with xarray.open_dataset(written, engine="h5netcdf", group=group) as read:
            for made in (opened.to_xarray(level), results.to_xarray(level)):
                for name in made.data_vars:
                    assert made[name].dims == read[name].dims
                    np.testing.assert_array_equal(made[name], read[name])
                    assert made[name].attrs["units"] == read[name].attrs["units"]
    assert opened.to_xarray().coords["vm.guest.count"].values.tolist() == [1, 2, 3]


def test_coordinates_of_every_kind(out):
    coordinates = {
        "vm.my guest.lock/kind": ["ticket", "queue", "µ-lock"],
        "vm.my_guest.lock_kind": ["a", "b", "c"],
        "host.pcpus": [1, 2, 4],
        "vm.0.halt.probability": [0.0, 0.5, 1],
        "study.seed": [1, 2**64 - 1, 3],
    }
    study = make_study(coordinates, vms=(1, 1, 1), seed=2**64 - 1)
    opened = write(out, study, [make_result(study, 0)])
    assert {path: values.tolist() for path, values in opened.configurations.items()} == {
        **coordinates,
        "study.seed": ["1", "18446744073709551615", "3"],
    }
    assert opened.attributes.seed == 2**64 - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xarray.open_dataset(out, engine="h5netcdf") as root:
            assert set(root.coords) == {
                "configuration", "replication", "vm.my_guest.lock_kind", "vm.my_guest.lock_kind_2",
                "host.pcpus", "vm.0.halt.probability", "study.seed",
            }  # fmt: skip
            assert root["host.pcpus"].dtype == np.int64
            assert root["vm.my_guest.lock_kind"].values.tolist() == ["ticket", "queue", "µ-lock"]


def test_a_study_without_a_sweep(out):
    study = make_study({}, vms=(1,))
    study.coordinates = {}
    opened = write(out, study, [make_result(study, 0)])
    assert opened.configurations == {} and opened["acquisitions"].shape == (1, 4)
    with xarray.open_dataset(out, engine="h5netcdf") as root:
        assert set(root.coords) == {"configuration", "replication"}


def test_root_attributes(study, out):
    study.text = "# " + "a long study file, with ünicode\n" * 5000
    write(out, study, [], provenance=provenance(threads=3, command=["fastlhp", "run"]), replications=9)
    about = fastlhp.open(out).attributes
    assert about.study == study.text and about.title == "small" and about.seed == 7
    assert about.fastlhp_version == fastlhp.__version__
    assert about.provenance["threads"] == 3 and about.provenance["command"] == ["fastlhp", "run"]
    assert about.provenance["versions"]["h5py"] == h5py.__version__
    assert about.timing == {"events": 10, "engine_seconds": 0.5, "threads": 2}
    with h5py.File(out) as file:
        assert file.attrs["Conventions"] == "CF-1.8" and file.attrs["format_version"] == 1
        assert "T" in file.attrs["created"] and json.loads(file.attrs["provenance"])
        assert len(file["replication"]) == 9


def test_what_was_not_run_is_marked(study, out):
    opened = write(out, study, [make_result(study, 1), failed(2)])
    assert opened.status.tolist() == [2, 0, 1]
    assert opened.messages == {2: "lane 3 ran out of events"}
    assert (opened["events"][0] == -1).all() and np.isnan(opened["fairness"][2]).all()
    assert (opened.histogram("wait")[0][0] == -1).all()


def test_an_existing_file_is_refused_at_once(study, written):
    before = written.read_bytes()
    with pytest.raises(ResultFileError, match=r"out\.h5 exists; give another name, or use --force"):
        ResultWriter(written, study)
    assert written.read_bytes() == before and os.listdir(written.parent) == ["out.h5"]


def test_force_replaces_only_at_the_end(study, written):
    before = written.read_bytes()
    with ResultWriter(written, study, force=True) as writer:
        writer.write(make_result(study, 0, seed=1))
        assert written.read_bytes() == before
        writer.close()
    assert fastlhp.open(written).status.tolist() == [0, 2, 2]
    assert os.listdir(written.parent) == ["out.h5"]


def test_what_is_not_closed_leaves_nothing(study, written):
    before = written.read_bytes()
    with pytest.raises(ZeroDivisionError), ResultWriter(written, study, force=True) as writer:
        writer.write(make_result(study, 0))
        raise ZeroDivisionError
    writer.abort()
    assert written.read_bytes() == before and os.listdir(written.parent) == ["out.h5"]
    with pytest.raises(ResultFileError, match="is closed"):
        writer.write(make_result(study, 1))
    with pytest.raises(ResultFileError, match="is closed"):
        writer.close()


def test_a_file_that_appears_meanwhile_is_not_overwritten(study, out, monkeypatch):
    for hard_links in (True, False):
        if not hard_links:

            def refuse(*_):
                raise OSError(errno.EPERM, "no hard links")

            monkeypatch.setattr(os, "link", refuse)
        with ResultWriter(out, study) as writer:
            writer.write(make_result(study, 0))
            out.write_text("somebody else's")
            with pytest.raises(ResultFileError, match=r"what was to be there is in .*out-\d\.h5"):
                writer.close()
        assert out.read_text() == "somebody else's"
        out.unlink()
    assert sorted(os.listdir(out.parent)) == ["out-1.h5", "out-2.h5"]
    assert fastlhp.open(out.parent / "out-2.h5").status[0] == 0


def test_places_that_cannot_be_written(study, tmp_path):
    with pytest.raises(ResultFileError, match="it is a directory"):
        ResultWriter(tmp_path, study)
    with pytest.raises(ResultFileError, match="there is no directory"):
        ResultWriter(tmp_path / "nowhere" / "out.h5", study)
    with pytest.raises(ResultFileError, match="not a regular file"):
        ResultWriter(os.devnull, study, force=True)
    with pytest.raises(ResultFileError, match="cannot write"):
        ResultWriter(tmp_path / ("x" * 300), study)


def test_a_link_keeps_pointing_to_the_file(study, tmp_path):
    (tmp_path / "data").mkdir()
    link = tmp_path / "out.h5"
    link.symlink_to(tmp_path / "data" / "real.h5")
    write(link, study, [])
    assert link.is_symlink() and (tmp_path / "data" / "real.h5").is_file()


def test_permissions_are_the_users(study, out):
    before = os.umask(0o027)
    try:
        write(out, study, [])
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o640


def test_a_configuration_is_written_once(study, out):
    with ResultWriter(out, study) as writer:
        writer.write(make_result(study, 0))
        with pytest.raises(ValueError, match="configuration 0 was written before"):
            writer.write(make_result(study, 0))
        assert (writer.finished, writer.written, writer.failures) == (1, 1, {})
        writer.write(failed(1))
        assert (writer.finished, writer.written) == (1, 2)
        assert writer.failures == {1: "lane 3 ran out of events"}


def run_python(code, *arguments):
    folders = [os.path.dirname(__file__), str(Path(fastlhp.__file__).parents[1])]
    source = f"import sys\nsys.path[:0] = {folders!r}\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_full_disk_is_an_error_of_the_file(out):
    # The limit on the size of a file stands in for the full disk.
    done = run_python(
        """
        import resource, numpy as np
        from stand_ins import make_result, make_study
        from fastlhp.results.file import ResultFileError, ResultWriter
        study = make_study(vms=(3,) * 400, replications=64)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        try:
            with ResultWriter(sys.argv[1], study) as writer:
                for i in range(400):
                    writer.write(make_result(study, i))
                writer.close()
        except ResultFileError as error:
            print(error)
        """,
        out,
    )
    assert done.stdout.startswith(f"cannot write {out}: File too large"), done.stdout + done.stderr
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert os.listdir(out.parent) == []


def test_a_crash_leaves_no_file_and_the_old_one_intact(written):
    before = written.read_bytes()
    done = run_python(
        """
        import os, signal
        from stand_ins import make_result, make_study
        from fastlhp.results.file import ResultWriter
        study = make_study()
        for path, force in ((sys.argv[1], True), (sys.argv[2], False)):
            writer = ResultWriter(path, study, force=force)
            for i in range(3):
                writer.write(make_result(study, i))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        written,
        written.parent / "new.h5",
    )
    assert done.returncode == -9
    assert written.read_bytes() == before and not (written.parent / "new.h5").exists()
    leftovers = [name for name in os.listdir(written.parent) if name != "out.h5"]
    assert all(name.startswith(".") and name.endswith(".tmp") for name in leftovers)


def test_files_that_cannot_be_read(written, tmp_path):
    with pytest.raises(ResultFileError, match="there is no file"):
        fastlhp.open(tmp_path / "nowhere.h5")
    with pytest.raises(ResultFileError, match="is not a file"):
        fastlhp.open(tmp_path)
    foreign = tmp_path / "foreign.h5"
    foreign.write_text("name,value\n")
    with pytest.raises(ResultFileError, match="is not an HDF5 file"):
        fastlhp.open(foreign)
    foreign.write_bytes(b"")
    with pytest.raises(ResultFileError, match="is not an HDF5 file"):
        fastlhp.open(foreign)
    with h5py.File(foreign, "w") as file:
        file["acquisitions"] = np.arange(3.0)
    with pytest.raises(ResultFileError, match="no result of fastlhp"):
        fastlhp.open(foreign)
    with h5py.File(written, "r+") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(ResultFileError, match=r"in format 3; this version reads up to format 2: upgrade"):
        fastlhp.open(written)


def test_truncated_and_damaged_files(study, written):
    whole = written.read_bytes()
    rng = np.random.default_rng(2)
    for size in (600, 2048, 10_000, *rng.integers(2048, len(whole) - 1, 10)):
        written.write_bytes(whole[: int(size)])
        with pytest.raises(ResultFileError, match="truncated or damaged"):
            fastlhp.open(written)
    damaged = 0
    for position in rng.integers(0, len(whole) - 400, 15):
        broken = bytearray(whole)
        broken[position : position + 400] = rng.bytes(400)
        written.write_bytes(broken)
        try:
            opened = fastlhp.open(written)
            for name in METRICS:
                opened[name]
        except ResultFileError:
            damaged += 1
    assert damaged > 2


def test_missing_variables_are_damage(written):
    with h5py.File(written, "r+") as file:
        del file["lhp_probability"]
    with pytest.raises(ResultFileError, match="is damaged"):
        fastlhp.open(written)
