"""The folder of a running study: what it keeps, what it refuses, and what happens when it cannot be written."""

import dataclasses
import importlib
import io
import itertools
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from studies import STUDY, assert_same_results, environment, prepare

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results.counters import (
    EARLY_COUNTERS,
    HOST_COUNTERS,
    HOST_INDEX,
    N_BINS,
    VM_COUNTERS,
    ConfigurationResult,
    Status,
    join,
)
from fastlhp.run.job import Job
from fastlhp.run.store import Manifest, Store, StoreError, read_shard, shard_files, survey
from fastlhp.run.work import UNIT, Shard, Work, in_units

N = 40


@pytest.fixture
def study(tmp_path: Path) -> fastlhp.Study:
    (tmp_path / "study.toml").write_text(STUDY.format(duration="20ms"))
    return fastlhp.load(tmp_path / "study.toml")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "out.h5.partial")


def counters(index: int, first: int, n: int, **more: object) -> ConfigurationResult:
    rng = np.random.default_rng([index, first])
    vm = rng.integers(0, 2**40, (n, 1 + index % 3, len(VM_COUNTERS)))
    histogram = np.zeros((2, N_BINS), np.int64)
    histogram[:, first : first + n] = 1 + index
    host, early = (rng.integers(0, 9, (n, len(names))) for names in (HOST_COUNTERS, EARLY_COUNTERS))
    return ConfigurationResult(index, vm, host, histogram, first=first, early=early, **more)


def whole(index: int, **more: object) -> ConfigurationResult:
    return join([counters(index, i, min(UNIT, N - i), **more) for i in range(0, N, UNIT)])


_open: list[Store] = []


@pytest.fixture(autouse=True)
def _end():
    """End what the tests leave open, as the end of a process does."""
    yield
    while _open:
        store = _open.pop()
        store.close()
        store.release()


def store_of(folder: str, study: fastlhp.Study, **options: object) -> Store:
    _open.append(Store(folder, Manifest.of(study, None, {"created": "then", "provenance": {}}), **options))
    return _open[-1]


def keep(store: Store, *parts: ConfigurationResult) -> None:
    """Write a shard, and leave the folder as a process does that ends."""
    for part in parts:
        store.write(part)
    store.close()
    store.flush()
    store.release()


def assert_equal(one: ConfigurationResult, other: ConfigurationResult) -> None:
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_what_is_written_comes_back(study: fastlhp.Study, folder: str) -> None:
    """Units in any order, in several shards and in memory, are configurations in their order."""
    failed = {"status": Status.FAILED, "message": "größer als nötig"}
    units = [counters(i, r, min(UNIT, N - r)) for i in (7, 2, 30) for r in (32, 0, 16)]
    keep(store_of(folder, study), *units[:4])
    keep(store_of(folder, study, resume=True), *units[4:7], whole(5, **failed))
    store = store_of(folder, study, resume=True)
    store.write(units[7])
    store.write(units[8])
    store.close()
    found = list(store.results())
    assert [result.index for result in found] == [2, 5, 7, 30]
    for result in found:
        assert_equal(result, whole(result.index, **(failed if result.index == 5 else {})))
    work = store.work()
    assert work.indices == [i for i in range(36) if i not in (2, 5, 7, 30)] and not work.gaps
    store.remove()
    assert not os.path.exists(folder)


def test_sessions_are_written_down(study: fastlhp.Study, folder: str) -> None:
    """Each process that worked for a run, and each of its shards; what cannot be read is left out."""
    keep(store_of(folder, study), counters(0, 0, 16), counters(1, 0, 16))
    about = {"created": "now", "provenance": {"threads": 3}}
    keep(Store(folder, Manifest.of(study, None, about), resume=True), counters(2, 0, 16))
    keep(store_of(folder, study, resume=True))  # did nothing
    first, second = survey(folder).sessions
    assert (first.about["created"], first.replications, len(first.shards)) == ("then", 32, 1)
    assert (second.about["created"], second.described()["threads"], second.replications) == ("now", 3, 16)
    assert second.events == counters(2, 0, 16).host[:, HOST_INDEX["events"]].sum()
    paths = sorted(Path(folder).glob("session-*"))
    paths[0].write_text(paths[0].read_text() + "[1.5, 7, 9]\n[2.5, 8")
    assert survey(folder).sessions[0].shards[1:] == [(1.5, 7, 9)]
    for damage in ("", "[]", "{}\n[1]", '{"provenance": 3}', "\xff", "[" * 9999 + "]"):
        paths[0].write_text(damage)
        assert [session.about["created"] for session in survey(folder).sessions] == ["now"], damage
    store_of(folder, study, resume=True).remove()
    assert not os.path.exists(folder)


def test_a_resumed_run_says_who_did_what(
    study: fastlhp.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    study = study.with_(replications=N)
    with Job(study, tmp_path / "out.h5") as job:
        job.store.write(whole(0))
        job.keep()
    with Job(study, tmp_path / "out.h5", resume=True, threads=2) as job:
        job.write_file(job.simulate(2))
    one, other = fastlhp.open(tmp_path / "out.h5").attributes.provenance["sessions"]
    assert (one["replications"], other["replications"]) == (N, 35 * N)
    assert other["threads"] == 2 and other["host"] and other["command"] and other["events"] > 0
    assert sum(n for _, n, _ in other["shards"]) == 35 * N and other["seconds"] == other["shards"][-1][0]
    said = CliRunner().invoke(main, ["status", str(tmp_path / "out.h5")]).output
    assert f"2 threads: {35 * N} replications" in said and "session 1" in said


def test_what_is_left_to_do(study: fastlhp.Study, folder: str) -> None:
    store = store_of(folder, study)
    keep(store, counters(3, 16, 16), whole(0))
    work = store.work()
    assert list(work.indices) == list(range(1, 36)) and work.n_total == 36
    assert work.gaps == {3: [range(0, 16), range(32, 40)]}
    assert work.n_earlier == 56
    assert list(in_units(work.ranges(4))) == [range(0, 16), range(16, 32), range(32, 40)]
    assert work.n_replications == 34 * 40 + 24


def test_the_same_work_twice_counts_once(study: fastlhp.Study, folder: str) -> None:
    keep(store_of(folder, study), counters(1, 0, 16), counters(1, 16, 16))
    keep(store_of(folder, study, resume=True), counters(1, 16, 16), counters(1, 32, 8))
    store = store_of(folder, study, resume=True)
    # The two of the second shard are one piece there; what is not used of it is done once more.
    assert store.work().gaps == {1: [range(32, 40)]}
    store.write(counters(1, 32, 8))
    store.close()
    (found,) = store.results()
    assert_equal(found, whole(1))


def test_shards_come_by_themselves(
    study: fastlhp.Study, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("fastlhp.run.store"), "FLUSH_S", 0.05)
    store = store_of(folder, study)
    store.write(counters(0, 0, 16))
    deadline = time.monotonic() + 10
    while not shard_files(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(shard_files(folder)) == 1


def test_an_earlier_run_is_not_thrown_away(study: fastlhp.Study, folder: str) -> None:
    keep(store_of(folder, study), whole(0))
    with pytest.raises(StoreError, match="has finished work of an earlier run; use --resume .* or --force"):
        store_of(folder, study)
    assert len(shard_files(folder)) == 1
    assert len(store_of(folder, study, force=True).work().indices) == 36 and not shard_files(folder)


def test_one_run_at_a_time(study: fastlhp.Study, folder: str) -> None:
    store = store_of(folder, study)
    with pytest.raises(StoreError, match="another run is writing to"):
        store_of(folder, study, resume=True)
    keep(store)
    store_of(folder, study, resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.with_(seed=12), "seed (was 11, is 12)"),
        (lambda s: s.with_(replications=41), "replications (was 40, is 41)"),
        (
            lambda s: fastlhp.load(s.source, text=s.text.replace("2us", "3us")),
            'line 11 of the study (was context_switch = "2us", is context_switch = "3us")',
        ),
    ],
)
def test_a_changed_study_is_refused(study: fastlhp.Study, folder: str, change, said: str) -> None:
    keep(store_of(folder, study), whole(0))
    with pytest.raises(StoreError) as caught:
        store_of(folder, change(study), resume=True)
    assert said in str(caught.value)
    assert len(shard_files(folder)) == 1


def test_another_version_is_refused(
    study: fastlhp.Study, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store_of(folder, study), whole(0))
    monkeypatch.setattr(fastlhp, "__version__", "9.9")
    with pytest.raises(StoreError, match=r"the version of fastlhp \(was .*, is 9\.9\)"):
        store_of(folder, study, resume=True)


def test_another_content_of_a_data_file_is_refused(tmp_path: Path, folder: str) -> None:
    text = STUDY.format(duration="20ms").replace(
        'hold = { exponential = "2us" }', 'hold = { empirical = { file = "holds.csv", column = "ns" } }'
    )
    (tmp_path / "holds.csv").write_text("ns\n1000\n2000\n")
    keep(store_of(folder, fastlhp.load(tmp_path / "study.toml", text=text)), whole(0))
    (tmp_path / "holds.csv").write_text("ns\n1000\n3000\n")
    with pytest.raises(StoreError, match="the content of a data file"):
        store_of(folder, fastlhp.load(tmp_path / "study.toml", text=text), resume=True)


def renamed(path: str, content: bytes) -> None:
    """Put a shard in the place of another under the name that its content asks for."""
    os.unlink(path)
    name = importlib.import_module("fastlhp.run.store")._name_of(content)
    Path(path).with_name(name).write_bytes(content)


def with_member(content: bytes, name: str, array: np.ndarray) -> bytes:
    """Return a shard with another array in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            with new.open(member, "w") as file:
                if member == f"{name}.npy":
                    np.lib.format.write_array(file, array, allow_pickle=True)
                else:
                    file.write(old.read(member))
    return buffer.getvalue()


class Explosive:
    def __reduce__(self) -> object:
        return (os._exit, (99,))


DAMAGES = {
    "truncated": (lambda path, content: Path(path).write_bytes(content[:-40]), "was cut off or changed"),
    "a bit flipped": (
        lambda path, content: Path(path).write_bytes(
            content[:300] + bytes([content[300] ^ 4]) + content[301:]
        ),
        "was cut off or changed",
    ),
    "empty": (lambda path, content: Path(path).write_bytes(b""), "was cut off or changed"),
    "no zip": (lambda path, content: renamed(path, b"name,value\n"), "is no shard of fastlhp"),
    "a pickle": (
        lambda path, content: renamed(
            path, with_member(content, "vm", np.array([Explosive()], dtype=object))
        ),
        "is no shard of fastlhp",
    ),
    "floats": (
        lambda path, content: renamed(path, with_member(content, "vm", np.zeros(3))),
        "vm is of type float64",
    ),
    "too short": (
        lambda path, content: renamed(path, with_member(content, "vm", np.zeros(3, np.int64))),
        "is no shard of fastlhp",
    ),
    "beyond the study": (
        lambda path, content: renamed(
            path, with_member(content, "table", np.array([[99, 0, 40, 1, 0, 0, 0]]))
        ),
        "replications 0 to 40 of configuration 99",
    ),
    "another run's": (
        lambda path, content: renamed(path, with_member(content, "run", np.zeros(32, np.uint8))),
        "belongs to another run",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_refused(study: fastlhp.Study, folder: str, damage: str) -> None:
    """It is named and set aside, nothing in it is executed, and what it had is simulated again."""
    keep(store_of(folder, study), whole(0))
    keep(store_of(folder, study, resume=True), whole(1))
    path = shard_files(folder)[0]
    with open(path, "rb") as file:
        content = file.read()
    do, said = DAMAGES[damage]
    do(path, content)
    warnings: list[str] = []
    store = store_of(folder, study, resume=True, warn=warnings.append)
    (warning,) = warnings
    assert said in warning and "simulated again" in warning and folder in warning
    assert len(store.work().indices) == 35
    store.remove()
    # What is not understood is not deleted.
    assert len(os.listdir(folder)) == 1 and os.listdir(folder)[0].endswith(".refused")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"run": {}, "about": {}}', '{"run": {"study": 3, "shard": "a/b"}, "about": {}}']
)
def test_a_damaged_manifest_is_refused(study: fastlhp.Study, folder: str, text: str) -> None:
    keep(store_of(folder, study), whole(0))
    (Path(folder) / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match="is damaged, or of another program"):
        store_of(folder, study, resume=True)


def test_the_manifest_says_what_is_run(study: fastlhp.Study, folder: str) -> None:
    keep(store_of(folder, study), whole(0))
    content = json.loads((Path(folder) / "manifest.json").read_text())
    assert content["run"]["study"] == study.text and content["run"]["seed"] == 11
    assert len(read_shard(shard_files(folder)[0], Manifest(content["run"], content["about"]))) == 1


@pytest.mark.parametrize(("n", "of"), [(1, 1), (1, 3), (2, 2), (36, 5), (1000, 7), (4096, 64)])
def test_shares_make_up_the_study(n: int, of: int) -> None:
    shares = [Shard(i, of).indices(n) for i in range(1, of + 1)]
    assert sorted(itertools.chain(*shares)) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_have_some_of_everything() -> None:
    """Of a sweep of 10 x 10 x 6, each of six shares has every value of every path about equally often."""
    for number in range(1, 7):
        indices = np.array(Shard(number, 6).indices(600))
        for digit, n in ((indices // 60, 10), (indices // 6 % 10, 10), (indices % 6, 6)):
            counts = np.bincount(digit, minlength=n)
            assert counts.min() >= 0.4 * len(indices) / n and counts.max() <= 2 * len(indices) / n


def test_work_is_counted_without_gaps() -> None:
    assert Work(40, range(3)).n_replications == 120 and Work(40, range(3)).n_total == 3


def run(command: list[str], *more: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*command, *more],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
        **options,
    )


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path) -> None:
    """On a small file system of its own: the run stops with a sentence, and goes on when there is room."""
    command = prepare(tmp_path, "60ms")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        full = run(command, "-o", str(disk / "out.h5"))
        assert full.returncode == 1 and "No space left on device" in full.stderr, full.stderr
        assert "Traceback" not in full.stderr and "--resume goes on" in full.stderr
        assert sorted(os.listdir(disk)) == ["out.h5.partial"]
        assert not [name for name in os.listdir(disk / "out.h5.partial") if name.endswith(".tmp")]
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        done = run(command, "-o", str(disk / "out.h5"), "--resume")
        assert done.returncode == 0, done.stderr
        assert os.listdir(disk) == ["out.h5"]
        assert run(command, "-o", str(tmp_path / "out.h5")).returncode == 0
        assert (disk / "out.h5").read_bytes() == (tmp_path / "out.h5").read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_files_that_cannot_grow(tmp_path: Path) -> None:
    """The limit on the size of a file stands in for a disk that is full when the result file is written."""
    command = prepare(tmp_path)
    limited = run(
        command,
        *("-o", str(tmp_path / "out.h5")),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
    )
    assert limited.returncode == 1 and "cannot write" in limited.stderr and "File too large" in limited.stderr
    assert "what is finished is kept in" in limited.stderr and "Traceback" not in limited.stderr
    done = run(command, "-o", str(tmp_path / "out.h5"), "--resume")
    assert done.returncode == 0, done.stderr
    assert run(command, "-o", str(tmp_path / "reference.h5")).returncode == 0
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "reference.h5").read_bytes()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    command = prepare(tmp_path)
    (tmp_path / "out.h5.partial").write_text("in the way")
    done = run(command, "-o", str(tmp_path / "out.h5"))
    assert done.returncode == 2 and "is in the way" in done.stderr
    done = run(command, "-o", "/proc/out.h5")
    assert done.returncode == 2 and "cannot" in done.stderr and "Traceback" not in done.stderr


def test_resume_of_what_is_complete_or_foreign(study: fastlhp.Study, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    fastlhp.run(study, output=out, resume=True)
    before = out.read_bytes()
    with Job(study, out, resume=True) as job:
        assert job.is_done and job.n_finished == 36
    assert out.read_bytes() == before and not os.path.exists(job.directory)
    with pytest.raises(fastlhp.results.file.ResultFileError, match="results of another study"):
        Job(study.with_(seed=5), out, resume=True)
    other = fastlhp.run(study, output=tmp_path / "other.h5", threads=1)
    assert other.attributes.fingerprint
    assert_same_results(out, tmp_path / "other.h5")


def test_the_command_says_what_a_shard_is() -> None:
    command = [sys.executable, "-m", "fastlhp", "run", "study.toml", "--shard", "4/3"]
    done = run(command)
    assert done.returncode == 2 and "'4/3' is not I/N with 1 <= I <= N" in done.stderr
