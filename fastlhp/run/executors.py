"""Where chunks of a study are simulated: worker processes, MPI ranks, a Dask cluster.

All of them are a `concurrent.futures.Executor`; a `Pool` is what else has to be known about one. The threads of this
process need none.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastlhp.errors import FastlhpError

__all__ = ["ExecutorError", "Pool", "open_pool"]


_GRACE_S = 1.0
"""How long an executor may take to notice that it has lost a worker."""


class ExecutorError(FastlhpError, RuntimeError):
    """Workers cannot be had."""


@dataclass
class Pool:
    """Workers.

    Attributes
    ----------
    executor : Executor
        Takes chunks.
    n_workers : callable
        How many chunks are simulated at the same time; it may change.
    lost : tuple of exception types
        What a future raises whose worker was lost.
    renew : callable, optional
        Returns a new executor, where the loss of a worker breaks all of it.
    """

    executor: Executor
    n_workers: Callable[[], int]
    lost: tuple[type[BaseException], ...]
    renew: Callable[[], Executor] | None = None


def open_pool(
    name: str, workers: int, scheduler: str | None = None
) -> contextlib.AbstractContextManager[Pool | None]:
    """Return a context manager that starts workers, and stops them at its end.

    Parameters
    ----------
    name : str
        ``threads`` (of this process: no workers), ``processes``, ``mpi`` or ``dask``.
    workers : int
        How many processes; MPI and Dask know themselves.
    scheduler : str, optional
        Address of Dask's.

    Raises
    ------
    ExecutorError
        If the library is missing, or there are no workers.
    """
    if scheduler is not None and name != "dask":
        raise ExecutorError(f"--scheduler is for --executor dask, found {name}")
    if name == "threads":
        return contextlib.nullcontext()
    if name == "processes":
        return _processes(workers)
    if name == "mpi":
        return _mpi()
    if name == "dask":
        return _dask(scheduler)
    raise ExecutorError(f"unknown executor {name!r}; choose from: threads, processes, mpi, dask")


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[Pool]:
    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool

    made: list[ProcessPoolExecutor] = []
    is_over = threading.Event()

    def start() -> Executor:
        # Not by fork: this process has threads.
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
        made.append(executor)
        threading.Thread(target=_break_up_if_stuck, args=(executor, is_over), daemon=True).start()
        return executor

    try:
        yield Pool(start(), lambda: workers, (BrokenProcessPool,), start)
    finally:
        is_over.set()
        for executor in made:
            _break_up(executor)
            executor.shutdown(wait=False, cancel_futures=True)


def _break_up_if_stuck(executor: ProcessPoolExecutor, is_over: threading.Event) -> None:
    """Break up an executor that does not notice the loss of a worker."""
    while not is_over.wait(_GRACE_S):
        if any(process.exitcode is not None for process in _workers_of(executor)):
            break
    if not is_over.wait(_GRACE_S) and not getattr(executor, "_broken", True):
        _break_up(executor)


def _workers_of(executor: ProcessPoolExecutor) -> list[Any]:
    return list((getattr(executor, "_processes", None) or {}).values())


def _break_up(executor: ProcessPoolExecutor) -> None:
    """End all workers at once, so that the executor knows that it is broken.

    One that was killed while it sent or received has left half a message, and a lock that all of them share. Then the
    executor waits for ever for the other half, unless all who could send it are gone, this process among them.
    """
    for process in _workers_of(executor):
        process.kill()
    with contextlib.suppress(AttributeError, OSError):
        executor._result_queue._writer.close()  # type: ignore[attr-defined]


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when that has ended, however it did."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="fastlhp-watch", daemon=True).start()


@contextlib.contextmanager
def _mpi() -> Iterator[Pool]:
    command = "mpiexec -n N python -m mpi4py.futures -m fastlhp run ... --executor mpi"
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPIPoolExecutor
    except (ImportError, RuntimeError) as error:
        raise ExecutorError(
            f"--executor mpi needs mpi4py and an MPI: pip install 'fastlhp[mpi]' ({error})"
        ) from None
    if MPI.COMM_WORLD.Get_size() < 2 or "mpi4py.futures" not in sys.orig_argv:
        raise ExecutorError(
            f"--executor mpi needs two or more ranks, the first of which hands out work: {command}"
        )
    with MPIPoolExecutor(initializer=_begin_rank) as executor:
        # A lost rank ends the whole job.
        yield Pool(executor, lambda: executor.num_workers, ())


def _begin_rank() -> None:
    """Have a rank that waits look for messages every 10 us, unless the user says otherwise.

    Among ranks of one machine, MPICH sends what goes from group to group in pieces of 8 KB, each when the sender looks.
    mpi4py has it look every ms: 2 MB then take 0.3 s, in which this rank does nothing and the first one waits busily.
    """
    os.environ.setdefault("MPI4PY_FUTURES_BACKOFF", "1e-5")


@contextlib.contextmanager
def _dask(scheduler: str | None) -> Iterator[Pool]:
    if scheduler is None:
        raise ExecutorError("--executor dask needs --scheduler ADDRESS, as tcp://host:8786")
    try:
        # Its types are there in part only.
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise ExecutorError(
            f"--executor dask needs distributed: pip install 'fastlhp[dask]' ({error})"
        ) from None
    try:
        client = distributed.Client(scheduler, timeout="20s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ExecutorError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    with client:

        def n_workers() -> int:
            return max(1, sum(map(int, client.nthreads().values())))

        yield Pool(client.get_executor(pure=False, retries=3), n_workers, (distributed.KilledWorker,))
