"""Shares of a study that are run by themselves, merged, and the state of a run."""

import os
import signal
import subprocess
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner
from studies import Hold, environment, n_shards, prepare, wait_for

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results.merge import merge
from fastlhp.run.job import Job
from fastlhp.run.store import shard_files
from fastlhp.run.work import Shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study as a whole and in three shares, the second of which was interrupted."""
    folder = tmp_path_factory.mktemp("shares")
    command = prepare(folder)

    def run(*more: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*command, "--threads", "1", *more], env=environment(), timeout=120, check=False
        )

    assert run("-o", str(folder / "whole.h5")).returncode == 0
    for i in (1, 2, 3):
        out = folder / f"part-{i}.h5"
        more = ["-o", str(out), "--shard", f"{i}/3", "--resume"]
        if i == 2:
            hold = Hold(folder)
            process = subprocess.Popen([*command, "--threads", "1", *more], env=hold.environment)
            wait_for(lambda out=out: n_shards(out) == 2, process)
            process.send_signal(signal.SIGTERM)
            hold.release()
            assert process.wait(60) == 128 + signal.SIGTERM
        assert run(*more).returncode == 0
    return folder


def command(*arguments: object) -> "tuple[int, str, str]":
    done = CliRunner(env={"SOURCE_DATE_EPOCH": "0"}).invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_shares_merged_are_the_study(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    parts = [folder / f"part-{i}.h5" for i in (3, 1, 2)]
    assert command("merge", *parts, "-o", out) == (0, "", "")
    assert out.read_bytes() == (folder / "whole.h5").read_bytes()
    # The same configuration twice is no harm.
    assert command("merge", folder / "whole.h5", *parts, "-o", out, "--force") == (0, "", "")
    assert out.read_bytes() == (folder / "whole.h5").read_bytes()


def test_what_each_share_took_is_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    study = fastlhp.load(folder / "study.toml").with_(replications=2)
    for i in (1, 2):
        with Job(study, tmp_path / f"{i}.h5", shard=Shard(i, 2), threads=1) as job:
            job.write_file(job.simulate(1))
    merge([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "out.h5")
    about = fastlhp.open(tmp_path / "out.h5").attributes
    shares = about.provenance["shares"]
    assert [share["threads"] for share in shares] == [1, 1] and all(share["cpu"] for share in shares)
    for key in ("events", "engine_seconds"):
        assert sum(share["timing"][key] for share in shares) == about.timing[key] > 0


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    code, _, errors = command("merge", folder / "part-1.h5", folder / "part-3.h5", "-o", tmp_path / "out.h5")
    assert code == 1 and "12 of 36 configurations are in none of the files" in errors
    merged = fastlhp.open(tmp_path / "out.h5")
    part = fastlhp.open(folder / "part-2.h5")
    assert ((merged.status == 2) == (part.status == 0)).all()


def test_what_does_not_belong_together_is_refused(folder: Path, tmp_path: Path) -> None:
    study = fastlhp.load(folder / "study.toml").with_(replications=2, seed=12)
    fastlhp.run(study, output=tmp_path / "other.h5")
    code, _, errors = command("merge", folder / "part-1.h5", tmp_path / "other.h5", "-o", tmp_path / "out.h5")
    assert code == 2 and "seed 12 instead of 11, replications 2 instead of 40" in errors
    code, _, errors = command("merge", folder / "part-1.h5", folder / "study.toml", "-o", tmp_path / "out.h5")
    assert code == 2 and "is not an HDF5 file" in errors
    code, _, errors = command("merge", folder / "part-1.h5", "-o", folder / "part-2.h5")
    assert code == 2 and "exists" in errors
    assert os.listdir(tmp_path) == ["other.h5"]


def test_a_damaged_part_is_refused(folder: Path, tmp_path: Path) -> None:
    content = (folder / "part-1.h5").read_bytes()
    (tmp_path / "part.h5").write_bytes(content[: len(content) // 2])
    code, _, errors = command("merge", tmp_path / "part.h5", folder / "part-2.h5", "-o", tmp_path / "out.h5")
    assert code == 2 and "part.h5 is truncated or damaged" in errors
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file.attrs["format_version"], file.attrs["fastlhp_version"] = 1, "0"
    with pytest.raises(fastlhp.results.file.ResultFileError, match="damaged"):
        merge([tmp_path / "part.h5"], tmp_path / "out.h5")
    assert os.listdir(tmp_path) == ["part.h5"]


def test_a_share_shows_what_it_has(folder: Path) -> None:
    code, out, _ = command("show", folder / "part-1.h5")
    assert code == 0 and "not run" in out.replace("_", " ")


def test_status(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    command_line = [*prepare(tmp_path), "-o", str(out)]
    process = subprocess.Popen(command_line, env=Hold(tmp_path).environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: n_shards(out) == 2, process)
        code, running, _ = command("status", out)
        assert code == 0 and "state           running" in running and " of 36\n" in running
        assert "of 1440 (" in running and "last shard      0:0" in running
        assert "events          " in running and "events/s" in running and f"{out}.partial\n" in running
    finally:
        process.kill()
        process.wait()
    Path(shard_files(f"{out}.partial")[0]).write_bytes(b"PK")
    code, killed, _ = command("status", f"{out}.partial")
    assert code == 0 and "not running; --resume goes on" in killed and "damaged         " in killed
    code, whole, _ = command("status", folder / "whole.h5")
    assert code == 0 and "ok              36 of 36 configurations" in whole
    assert whole.endswith(f"file            {folder / 'whole.h5'}\n")
    code, _, errors = command("status", tmp_path / "nothing.h5")
    assert code == 2 and "there is no file" in errors
    (tmp_path / "empty").mkdir()
    code, _, errors = command("status", tmp_path / "empty")
    assert code == 2 and "is no folder of a run" in errors
