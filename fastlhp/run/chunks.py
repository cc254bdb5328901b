"""A study in chunks of about a second or more, for workers that share no memory with this process."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastlhp.errors import first_few
from fastlhp.model.study import DICTIONARY, Study, load
from fastlhp.results.counters import ConfigurationResult
from fastlhp.run.executors import ExecutorError, Pool
from fastlhp.run.flat import Parcel
from fastlhp.run.precision import Looks
from fastlhp.run.progress import Progress, Tally, Timing
from fastlhp.run.speed import events_per_replication
from fastlhp.run.work import UNIT, Work, in_units

__all__ = ["Source", "execute_chunks", "simulate_chunk"]

SHORTEST_S, LONGEST_S = 1.0, 10.0
"""How long a chunk should take: long enough that sending it costs nothing, short enough to be lost without pain."""

_FULL_BLOCK = 4 * UNIT
_FIRST_GUESS = 5e6  # events per second
_MOST_LOSSES = 3

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`, as its malloc.h numbers them."""


@dataclass(frozen=True)
class Source:
    """What a worker needs to make the study: what it says, not what has become of it.

    Attributes
    ----------
    text, name : str
        The study file and its path, which data files are relative to.
    seed, replications : int
        Of the study.
    files_hash, version : str
        What the study takes from data files, and the version of fastlhp; the worker's must be the same.
    """

    text: str
    name: str
    seed: int
    replications: int
    files_hash: str
    version: str

    @classmethod
    def of(cls, study: Study) -> Source:
        """Return the source of a study."""
        from fastlhp import __version__

        name = study.source if study.source == DICTIONARY else os.path.abspath(study.source)
        return cls(study.text, name, study.seed, study.replications, study.files_hash, __version__)


@functools.lru_cache(maxsize=1)
def _study(source: Source) -> Study:
    from fastlhp import __version__

    if source.version != __version__:
        raise ExecutorError(f"a worker has fastlhp {__version__}, but {source.version} is wanted")
    study = load(source.name, text=source.text).with_(source.replications, source.seed)
    if study.files_hash != source.files_hash:
        raise ExecutorError("a worker finds other data files than those that the study was made with")
    return study


@functools.cache
def _keep_memory() -> None:
    """Have the C library keep freed memory for the next counters.

    Dask has its workers give it back to the system at once. Getting it again, page by page, takes 5 % of the time where
    replications are short.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # Other C libraries have no such function.
            mallopt = ctypes.CDLL(None).mallopt
            for option, n_bytes in ((_MMAP_THRESHOLD, 32 * 1024**2), (_TRIM_THRESHOLD, 128 * 1024**2)):
                mallopt(option, n_bytes)


def simulate_chunk(
    source: Source, chunk: Work, left_s: float = 0.0, threads: int = 1
) -> tuple[Parcel, float]:
    """Simulate a chunk in this process.

    Parameters
    ----------
    source : Source
        The study.
    chunk : Work
        Which part of it.
    left_s : float, optional
        How long the run goes on, in s.
    threads : int, optional
        How many threads simulate.

    Returns
    -------
    parcel : Parcel
        The results.
    seconds : float
        Time that it took, without compilation.
    """
    from fastlhp.run.execute import execute_parts

    _keep_memory()
    parts: list[ConfigurationResult] = []
    timing = execute_parts(_study(source), chunk, threads=threads, sink=parts.append, left_s=left_s)
    return Parcel(parts), timing.engine_seconds


@dataclass
class _Sent:
    chunk: Work
    cost: float
    left_s: float
    losses: int = 0


class _Chunks:
    """Cuts work into chunks, of a size that fits the speed shown so far."""

    def __init__(self, study: Study, work: Work) -> None:
        from fastlhp.run.execute import sizes_of

        self._each = events_per_replication(study.configurations)
        self._work = work
        indices = np.asarray(work.indices, np.int64)
        # Large hosts first, and what can share a block side by side.
        self._queue = indices[np.argsort(-sizes_of(study.configurations).shape[indices], kind="stable")]
        self._n_taken = 0
        self._units: deque[tuple[int, range, float]] = deque()
        self._replications = work.n_replications
        counts = np.full(len(self._each), work.replications)
        counts[list(work.gaps)] = [sum(map(len, ranges)) for ranges in work.gaps.values()]
        self._cost = float((self._each * counts)[indices].sum())
        self._rate = _FIRST_GUESS
        self._is_guess = True

    def _add(self, index: int, ranges: Sequence[range], each: float) -> None:
        self._units.extend((index, unit, each * len(unit)) for unit in in_units(ranges))

    def follow(self, index: int, ranges: Sequence[range]) -> None:
        """Add what is to follow of a configuration."""
        each = float(self._each[index])
        self._add(index, ranges, each)
        n = sum(map(len, ranges))
        self._replications += n
        self._cost += each * n

    def learn(self, sent: _Sent, seconds: float) -> None:
        """Take notice of how long a chunk took."""
        if seconds > 0:
            rate = sent.cost / seconds
            self._rate = rate if self._is_guess else (self._rate + rate) / 2
            self._is_guess = False

    def take(self, n_workers: int) -> _Sent | None:
        """Return the next chunk; None if nothing is left."""
        left_s = self._cost / self._rate / n_workers
        wanted_s = min(max(left_s / 8, SHORTEST_S), LONGEST_S)
        # The last ones are shorter, so that no worker is long alone at work.
        wanted_s = min(wanted_s, max(left_s / 2, SHORTEST_S / 8))
        at_least = min(_FULL_BLOCK, self._replications // n_workers)
        gaps: dict[int, list[range]] = {}
        cost, n = 0.0, 0
        while cost < wanted_s * self._rate or n < at_least:
            if not self._units:
                if self._n_taken == len(self._queue):
                    break
                index = int(self._queue[self._n_taken])
                self._n_taken += 1
                self._add(index, self._work.ranges(index), float(self._each[index]))
            index, unit, its_cost = self._units.popleft()
            ranges = gaps.setdefault(index, [])
            if ranges and ranges[-1].stop == unit.start:
                ranges[-1] = range(ranges[-1].start, unit.stop)
            else:
                ranges.append(unit)
            cost += its_cost
            n += len(unit)
        if not gaps:
            return None
        self._cost -= cost
        self._replications -= n
        return _Sent(Work(self._work.replications, list(gaps), gaps), cost, left_s)


def execute_chunks(
    study: Study,
    work: Work,
    pool: Pool,
    *,
    sink: Callable[[ConfigurationResult], None],
    looks: Looks | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Timing:
    """Simulate some of a study with workers; the results are those of `execute_parts`.

    A chunk whose worker was lost is sent again; if that happens time and again, it is left undone.

    Raises
    ------
    ExecutorError
        At the end, if a chunk was left undone.
    """
    source = Source.of(study)
    chunks = _Chunks(study, work)
    if looks is None:
        looks = Looks()
    tally = Tally(work, progress, looks)
    looks.begin(work)
    stop = stop or threading.Event()
    in_flight: dict[concurrent.futures.Future[tuple[Parcel, float]], _Sent] = {}
    again: deque[_Sent] = deque()
    undone: list[_Sent] = []
    n_workers = pool.n_workers()

    def next_chunk() -> _Sent | None:
        # What was lost twice may itself be the cause: it goes alone, so that it takes no others with it.
        if any(sent.losses > 1 for sent in in_flight.values()):
            return None
        if again and (again[0].losses < 2 or not in_flight):
            return again.popleft()
        return None if again else chunks.take(n_workers)

    def lose(sent: _Sent) -> None:
        sent.losses += 1
        (undone if sent.losses >= _MOST_LOSSES else again).append(sent)

    while not stop.is_set():
        n_workers = pool.n_workers()
        # Some more than there are workers, so that none of them waits for this loop.
        while len(in_flight) < n_workers + 1 + n_workers // 2 and (sent := next_chunk()) is not None:
            try:
                in_flight[pool.executor.submit(simulate_chunk, source, sent.chunk, sent.left_s)] = sent
            except pool.lost:
                again.append(sent)
                break
        if not in_flight and not again:
            break
        done, _ = concurrent.futures.wait(in_flight, 0.1, concurrent.futures.FIRST_COMPLETED)
        is_broken = not in_flight
        if pool.renew and any(isinstance(future.exception(), pool.lost) for future in done):
            # All that the executor had is lost with it, and about to say so.
            done, _ = concurrent.futures.wait(in_flight)
        for future in done:
            sent = in_flight.pop(future)
            try:
                parcel, seconds = future.result()
            except pool.lost:
                lose(sent)
                is_broken = True
                continue
            except concurrent.futures.CancelledError:
                raise ExecutorError("the scheduler of the workers is gone") from None
            chunks.learn(sent, seconds)
            for part in parcel.parts():
                following = looks.add(part)
                tally.add(part, following)
                sink(part)
                if following:
                    chunks.follow(part.index, following)
        if is_broken and pool.renew:
            pool.executor = pool.renew()
        tally.report()
    for future in in_flight:
        future.cancel()
    tally.report(at_once=True)
    if undone:
        indices = sorted({index for sent in undone for index in sent.chunk.indices})
        raise ExecutorError(
            f"workers were lost {_MOST_LOSSES} times with configurations {first_few(indices)}; they are not done"
        )
    return Timing(events=tally.events, engine_seconds=tally.elapsed_s, threads=n_workers)
