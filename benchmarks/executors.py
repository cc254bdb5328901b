"""What executors cost: the same study on threads of one process and on workers, in chunks of about a second.

    python benchmarks/executors.py [--workers N] [--seconds S] [--rounds N] [--duration TIME]
                                   [--executors chunks,processes,dask,mpi]

Rounds are interleaved: each executor runs just before threads. Printed are, as medians, what of their time workers do
not simulate, which other work on the machine hardly changes; and how much longer than on threads it all takes, which
other work may change by 20 %: of the fastest runs, and as a median.
Workers are started, and have their kernels, before anything is measured. What is not installed is left out. `chunks` is
the CPU time of cutting, simulating, pickling and unpickling chunks in this one process: it has no workers and no
transport, but does not mind what else the machine does. For the others let it do nothing else, and have a CPU more than
there are workers, for what hands out the chunks and takes the results. The shorter replications are, the more results a
second of work has: those of 20 ms, which take 60 us each, 2 MB; those of 200 ms a tenth of it.
"""

import argparse
import concurrent.futures
import contextlib
import importlib.util
import json
import os
import pickle
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from typing import Any

import fastlhp
from fastlhp.bench import contenders
from fastlhp.run import chunks
from fastlhp.run.execute import calibrate, execute_parts
from fastlhp.run.executors import Pool, open_pool
from fastlhp.run.precision import Looks
from fastlhp.run.speed import estimate_events
from fastlhp.run.work import Work

CHUNK_S = 1.0
CONFIGURATIONS = 100
DASK_SETTINGS = {
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
MPI_SETTINGS = {"MPIR_CVAR_NOLOCAL": "1", "MPI4PY_FUTURES_BACKOFF": "0.001"}
"""Ranks that look for work more often than that would take the CPU from the threads that they are compared with."""


def study_of(seconds: float, rate: float, duration: str) -> fastlhp.Study:
    """Return a study of such replications that takes about so long at so many events per second."""
    source = contenders.study_of(contenders.CASES["P4-M2-n4"], 1, 1)
    source["study"]["duration"] = duration
    source["sweep"] = {"vm.guest.hold.exponential": [f"{1000 + i}ns" for i in range(CONFIGURATIONS)]}
    study = fastlhp.load(source)
    return study.with_(replications=max(1, round(seconds * rate / estimate_events(study))))


def took(
    study: fastlhp.Study, workers: int, pool: Pool | None, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how long the study takes, in s."""
    work = Work(study.replications, range(study.n_configurations))
    done: list[int] = []
    began = clock()
    if pool is None:
        execute_parts(
            study, work, threads=workers, sink=lambda part: done.append(part.index), looks=Looks(study)
        )
    else:
        chunks.execute_chunks(
            study, work, pool, sink=lambda part: done.append(part.index), looks=Looks(study)
        )
    seconds = clock() - began
    assert set(done) == set(work.indices)
    return seconds


@contextlib.contextmanager
def pool_of(name: str, workers: int) -> Iterator[Pool]:
    """Start workers, and let them load their kernels."""
    with contextlib.ExitStack() as stack:
        if name == "chunks":
            yield Pool(_Alone(), lambda: 1, ())
            return
        scheduler = stack.enter_context(dask(workers)) if name == "dask" else None
        pool = stack.enter_context(open_pool(name, workers, scheduler))
        assert pool is not None
        while pool.n_workers() < workers:
            time.sleep(0.1)
        took(study_of(2 * workers * CHUNK_S, 1e6, "20ms"), workers, pool)
        yield pool


@contextlib.contextmanager
def dask(workers: int) -> Iterator[str]:
    """Start a scheduler and workers as runs.md says, and yield the address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny"]
    with contextlib.ExitStack() as stack:
        for arguments in (scheduler, *[worker] * workers):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                env=os.environ | DASK_SETTINGS,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield address


def mpiexec() -> str | None:
    """Return what starts ranks: that of this environment, or else of the system."""
    return shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")


def measure(study: fastlhp.Study, workers: int, pool: Pool) -> tuple[float, float, float]:
    """Return how long the study takes with workers, and on threads, and how long workers simulate."""
    clock = time.process_time if isinstance(pool.executor, _Alone) else time.perf_counter
    with _watched(pool) as simulated_s:
        pool_s = took(study, workers, pool, clock)
    return pool_s, took(study, workers, None, clock), sum(simulated_s) / workers


@contextlib.contextmanager
def _watched(pool: Pool) -> Iterator[list[float]]:
    """Note what workers say of each chunk: how long they simulated."""
    seconds: list[float] = []
    submit = pool.executor.submit

    def watched(*arguments: Any) -> concurrent.futures.Future[Any]:
        future = submit(*arguments)
        future.add_done_callback(lambda done: seconds.append(done.result()[1]))
        return future

    pool.executor.submit = watched  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        pool.executor.submit = submit  # type: ignore[method-assign]


class _Alone(concurrent.futures.Executor):
    """Simulates chunks in this thread; they are pickled on their way back all the same."""

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **named: Any
    ) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(pickle.loads(pickle.dumps(function(*arguments, **named))))
        return future


def is_there(name: str) -> bool:
    """Say whether an executor can be measured here."""
    needs = {"chunks": "fastlhp", "processes": "fastlhp", "dask": "distributed", "mpi": "mpi4py"}
    return importlib.util.find_spec(needs[name]) is not None and (name != "mpi" or mpiexec() is not None)


def by_mpi(options: argparse.Namespace) -> list[tuple[float, float, float]]:
    """As `measured`, for MPI, whose workers come with the process that uses them."""
    command = [str(mpiexec()), "-n", str(options.workers + 1), sys.executable, "-m", "mpi4py.futures"]
    command += [__file__, "--inside", "--workers", str(options.workers), "--rounds", str(options.rounds)]
    command += ["--seconds", str(options.seconds), "--duration", options.duration]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | MPI_SETTINGS)
    found: list[tuple[float, float, float]] = json.loads(done.stdout)
    return found


def measured(name: str, options: argparse.Namespace) -> list[tuple[float, float, float]]:
    """As `measure`, for each round."""
    study = study_of(options.seconds, options.workers * calibrate(), options.duration)
    with pool_of(name, options.workers) as pool:
        return [measure(study, options.workers, pool) for _ in range(options.rounds)]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Measure what executors cost beside threads.")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--seconds", type=float, default=12.0, help="of each run (default 12)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", default="200ms", help="of each replication (default 200ms)")
    parser.add_argument("--executors", default="chunks,processes,dask,mpi")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chunks.SHORTEST_S = chunks.LONGEST_S = CHUNK_S
    if options.inside:
        print(json.dumps(measured("mpi", options)))
        return
    print(
        f"{options.workers} workers, chunks of {CHUNK_S:g} s, runs of {options.seconds:g} s, replications of "
        f"{options.duration}, {options.rounds} rounds"
    )
    for name in options.executors.split(","):
        if not is_there(name):
            print(f"{name:<10} not installed")
            continue
        rounds = by_mpi(options) if name == "mpi" else measured(name, options)
        other = statistics.median(1 - simulated_s / pool_s for pool_s, _, simulated_s in rounds)
        ratios = [pool_s / threads_s for pool_s, threads_s, _ in rounds]
        fastest = min(each[0] for each in rounds) / min(each[1] for each in rounds)
        by_round = ", ".join(f"{100 * (ratio - 1):+.1f}" for ratio in ratios)
        print(
            f"{name:<10} not simulating {100 * other:.1f} %; longer than threads: "
            f"fastest {100 * (fastest - 1):+.1f} %, median {100 * (statistics.median(ratios) - 1):+.1f} % ({by_round})",
            flush=True,
        )


if __name__ == "__main__":
    main()
