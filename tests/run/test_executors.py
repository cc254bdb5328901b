"""Threads, processes, MPI and Dask give the same bytes; a lost worker costs its chunk only."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from studies import PROGRAM, STUDY, Hold, environment, n_shards, prepare, wait_for

import fastlhp
from fastlhp.errors import FastlhpError
from fastlhp.run.chunks import LONGEST_S, SHORTEST_S, _Chunks, execute_chunks, simulate_chunk
from fastlhp.run.executors import ExecutorError, Pool, open_pool
from fastlhp.run.work import Work


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of an uninterrupted run with threads."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run(
        [*prepare(folder), "-o", str(folder / "out.h5")], env=environment(), check=True, timeout=120
    )
    return (folder / "out.h5").read_bytes()


def run(command: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, timeout=180, env=environment(), check=False, **options
    )


@contextlib.contextmanager
def started(
    command: list[str], hold: Hold | None = None, **options: object
) -> Iterator["subprocess.Popen[str]"]:
    """A process in a group of its own, all of which ends with the context."""
    variables = hold.environment if hold else environment()
    process = subprocess.Popen(command, text=True, env=variables, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes(tmp_path: Path, reference: bytes) -> None:
    """Two processes; one is killed on the way."""
    command = [
        *prepare(tmp_path),
        "-o",
        str(tmp_path / "out.h5"),
        "--executor",
        "processes",
        "--threads",
        "2",
    ]
    hold = Hold(tmp_path)
    with started(command, hold, stderr=subprocess.PIPE) as process:
        wait_for(lambda: n_shards(tmp_path / "out.h5") and len(hold.workers()) == 2, process)
        os.kill(hold.workers()[0], signal.SIGKILL)
        hold.release()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and errors == ""
    assert (tmp_path / "out.h5").read_bytes() == reference


def test_processes_with_precision(tmp_path: Path) -> None:
    """Each configuration stops at the same look as with threads, and not all at the same."""
    command = prepare(tmp_path, precise=True)
    for name, options in (("threads", []), ("processes", ["--executor", "processes", "--threads", "2"])):
        done = run([*command, "-o", str(tmp_path / f"{name}.h5"), *options])
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "threads.h5").read_bytes() == (tmp_path / "processes.h5").read_bytes()
    used = fastlhp.open(tmp_path / "threads.h5")["replications"]
    assert used.min() < used.max() <= 72
    alone = fastlhp.run(tmp_path / "study.toml")
    assert (alone["replications"] == used).all()


def test_no_process_outlives_its_parent(tmp_path: Path) -> None:
    command = [
        *prepare(tmp_path),
        "-o",
        str(tmp_path / "out.h5"),
        "--executor",
        "processes",
        "--threads",
        "2",
    ]
    hold = Hold(tmp_path)
    with started(command, hold) as process:
        wait_for(lambda: len(hold.workers()) == 2, process)
        assert all(map(is_alive, hold.workers()))
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_alive, hold.workers())))


@pytest.fixture
def mpiexec() -> str:
    pytest.importorskip("mpi4py")
    found = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")
    if found is None:
        pytest.skip("needs an MPI: pip install mpich")
    return found


def test_mpi(tmp_path: Path, reference: bytes, mpiexec: str) -> None:
    """Three ranks. The loss of one ends the job; the same command with --resume goes on."""
    python, program, *arguments = prepare(tmp_path)
    command = [mpiexec, "-n", "3", python, "-m", "mpi4py.futures", program, *arguments]
    command += ["-o", str(tmp_path / "out.h5"), "--executor", "mpi"]
    hold = Hold(tmp_path)
    with started(command, hold, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: n_shards(tmp_path / "out.h5") and len(hold.workers()) == 2, process)
        os.kill(hold.workers()[0], signal.SIGKILL)
        assert process.wait(60) != 0
    assert n_shards(tmp_path / "out.h5") and not (tmp_path / "out.h5").exists()
    hold.release()
    done = run([*command, "--resume"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.h5").read_bytes() == reference
    assert not (tmp_path / "out.h5.partial").exists()


def test_mpi_without_ranks(tmp_path: Path, mpiexec: str) -> None:
    done = run([*prepare(tmp_path), "-o", str(tmp_path / "out.h5"), "--executor", "mpi"])
    assert done.returncode == 2 and "mpiexec -n N python -m mpi4py.futures" in done.stderr, done.stderr
    assert not list(tmp_path.glob("out.h5*"))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_dask(tmp_path: Path, reference: bytes) -> None:
    """A scheduler and two workers on this machine; one worker is killed on the way."""
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": tmp_path}
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", address, "--no-dashboard"]
    worker = [
        *dask,
        "worker",
        address,
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
        "--preload",
        str(PROGRAM),
    ]
    command = [
        *prepare(tmp_path),
        "-o",
        str(tmp_path / "out.h5"),
        "--executor",
        "dask",
        "--scheduler",
        address,
    ]
    hold = Hold(tmp_path)
    with (
        started(scheduler, **quiet),
        started(worker, hold, **quiet),
        started(worker, hold, **quiet),
        started(command, stderr=subprocess.PIPE) as process,
    ):
        wait_for(lambda: n_shards(tmp_path / "out.h5") and hold.workers(), process)
        os.kill(hold.workers()[0], signal.SIGKILL)
        hold.release()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert (tmp_path / "out.h5").read_bytes() == reference


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="--scheduler is for --executor dask"):
        open_pool("processes", 2, "tcp://127.0.0.1:1")
    with pytest.raises(
        ExecutorError, match="unknown executor 'slurm'; choose from: threads, processes, mpi, dask"
    ):
        open_pool("slurm", 2)
    done = run([*prepare(tmp_path), "-o", str(tmp_path / "out.h5"), "--executor", "dask"])
    assert done.returncode == 2 and re.search("--scheduler ADDRESS|pip install", done.stderr)
    assert not list(tmp_path.glob("out.h5*"))


class Deadly(Executor):
    """Loses its worker whenever it gets a certain configuration, and all that it had with it."""

    def __init__(self) -> None:
        self.dead = False
        self.seen = []

    def submit(self, function, source, chunk, left_s):
        future: Future = Future()
        if 0 in chunk.indices or self.dead:
            self.dead = True
            future.set_exception(ConnectionError("lost"))
        else:
            self.seen += chunk.indices
            future.set_result(function(source, chunk, left_s))
        return future


def test_a_deadly_configuration_is_left_undone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It fails alone, after three attempts; the others are there."""
    # Of 64 replications, however fast they are.
    monkeypatch.setattr(sys.modules["fastlhp.run.chunks"], "SHORTEST_S", 1e-6)
    monkeypatch.setattr(sys.modules["fastlhp.run.chunks"], "LONGEST_S", 1e-6)
    study = fastlhp.load(tmp_path / "study.toml", text=STUDY.format(duration="10ms"))
    pool = Pool(Deadly(), lambda: 2, (ConnectionError,), Deadly)
    parts = []
    with pytest.raises(FastlhpError, match=r"workers were lost 3 times with configurations 0[,;]"):
        execute_chunks(study, Work(study.replications, range(36)), pool, sink=parts.append)
    missing = set(range(36)) - {part.index for part in parts}
    assert 0 in missing and len(missing) < 18


@pytest.mark.parametrize(("whole_s", "longest_s"), [(400.0, LONGEST_S), (60.0, 60 / 16), (10.0, SHORTEST_S)])
def test_chunks_are_of_a_second_to_ten_and_shorter_at_the_end(
    tmp_path: Path, whole_s: float, longest_s: float
) -> None:
    """As soon as workers have shown how fast they are; in the end both are at work."""
    study = fastlhp.load(tmp_path / "study.toml", text=STUDY.format(duration="10ms"))
    chunks = _Chunks(study, Work(4000, range(36)))
    rate = chunks._cost / whole_s
    first = chunks.take(2)
    chunks.learn(first, first.cost / rate)
    seconds = [sent.cost / rate for sent in iter(lambda: chunks.take(2), None)]
    assert seconds[0] == pytest.approx(longest_s, rel=0.1)
    assert max(seconds) < 1.1 * longest_s
    assert max(seconds[-2:]) < SHORTEST_S / 3
    assert sum(seconds) + first.cost / rate == pytest.approx(whole_s)


def test_a_worker_must_be_of_the_same_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = fastlhp.load(tmp_path / "study.toml", text=STUDY.format(duration="10ms"))
    source = sys.modules["fastlhp.run.chunks"].Source.of(study)
    monkeypatch.setattr(fastlhp, "__version__", "9.9")
    with pytest.raises(ExecutorError, match=r"a worker has fastlhp 9\.9, but"):
        simulate_chunk(source, Work(16, [0]))
