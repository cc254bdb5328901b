"""Run a study: its replications, spread over threads, each of which drives one block at a time."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import state
from fastlhp.engine.block import (
    ITEMS,
    N_HOST_COUNTERS,
    N_VM_COUNTERS,
    Block,
    error_message,
)
from fastlhp.engine.encode import Encoding, Shared, has_choice
from fastlhp.engine.state import LANES, TILE
from fastlhp.engine.tailoring import Facts
from fastlhp.model.configuration import Parts
from fastlhp.model.study import Configurations, Study
from fastlhp.model.vm import VmGroup
from fastlhp.results.counters import (
    EARLY_COUNTERS,
    N_BINS,
    VM_INDEX,
    ConfigurationResult,
    Status,
    join,
    whole_window,
)
from fastlhp.run.precision import Looks
from fastlhp.run.progress import Progress, Tally, Timing
from fastlhp.run.tailor import Tailor
from fastlhp.run.warmup import settled_parts
from fastlhp.run.work import UNIT, Work, in_units

__all__ = ["calibrate", "execute", "execute_parts"]

TURN_S = 0.05
"""How long a block advances before Python looks at it again."""

MOST_WAITING = 16 * LANES
"""Replications that wait for a lane of their block, at most: where more of them than that fit into a turn, it
comes back to Python sooner."""

HALVES = 2
"""Parts of a window: the first is kept beside the whole, to find transients."""

_MOST_BEGUN = 1024
_MOST_VMS = 8192
"""Configurations that are begun at a time, and about how many VMs they may have: what is done for all of them at once
costs less than a microsecond each."""

_EARLY = [VM_INDEX[name] for name in EARLY_COUNTERS]


@dataclass(frozen=True, order=True)
class Shape:
    """What configurations must have in common to share a block; `n_tile` is a rounded number."""

    n_tile: int
    choices: bool


class Sizes:
    """How large the configurations of a study are.

    Parameters
    ----------
    configurations : Configurations
        Of the study; none of them is made.

    Attributes
    ----------
    shapes : list of Shape
        Those that there are, small ones first; numbers of pCPUs are rounded up so that neighbours share a block.
    shape : ndarray of int64, shape (configuration,)
        Which of them each configuration has.
    n_vm : ndarray of int64, shape (configuration,)
        Number of VMs.
    """

    def __init__(self, configurations: Configurations) -> None:
        counts = configurations.of_vms(lambda group: group.count)

        def total(value: Callable[[VmGroup], float]) -> Any:
            return sum(count * each for count, each in zip(counts, configurations.of_vms(value), strict=True))

        n_pcpu = configurations.of_part("host", lambda host: host.pcpus)
        self._numbers = {
            "n_pcpu": n_pcpu,
            "n_vcpu": total(lambda group: group.model.vcpus),
            "n_vm": sum(counts),
            "n_lock": total(lambda group: group.model.lock.count),
        }
        self.n_vm: NDArray[np.int64] = self._numbers["n_vm"]
        choices = total(lambda group: has_choice(group.model)) > 0
        found, self.shape = np.unique(2 * _tiles(n_pcpu) + choices, return_inverse=True)
        self.shapes = [Shape(int(code) // 2, bool(code % 2)) for code in found]

    def rooms(self, indices: NDArray[np.int64]) -> dict[Shape, dict[str, Any]]:
        """Return the largest numbers among some configurations, for each of their shapes."""
        shape = self.shape[indices]
        return {
            self.shapes[number]: {
                name: int(values[indices[shape == number]].max()) for name, values in self._numbers.items()
            }
            for number in np.unique(shape)
        }


@functools.lru_cache(maxsize=1)
def sizes_of(configurations: Configurations) -> Sizes:
    """Return `Sizes`, once for all chunks of a study."""
    return Sizes(configurations)


def _tiles(n_pcpu: NDArray[np.int64]) -> NDArray[np.int64]:
    different, which = np.unique(-(-n_pcpu // TILE), return_inverse=True)
    rounded = [n if n <= 2 else 1 << (n - 1).bit_length() for n in different.tolist()]
    return np.array(rounded, np.int64)[which]


@dataclass(frozen=True, eq=False)
class _Units:
    """Some replications each of some configurations, for blocks of one shape: arrays, since short ones are many.

    Attributes
    ----------
    shape : Shape
        Of the blocks.
    encoding : Encoding
        Has the configurations, and others.
    at : ndarray of int64, shape (unit,)
        Which of them each unit is of.
    index : ndarray of int64, shape (unit,)
        Its number in the study.
    first, n : ndarray of int64, shape (unit,)
        The first replication, and how many there are; at most `UNIT`.
    """

    shape: Shape
    encoding: Encoding
    at: NDArray[np.int64]
    index: NDArray[np.int64]
    first: NDArray[np.int64]
    n: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at)

    @property
    def n_vm(self) -> NDArray[np.int64]:
        return self.encoding.n_vm[self.at]

    def part(self, units: slice) -> _Units:
        """Return neighbours among the units."""
        columns = (column[units] for column in (self.at, self.index, self.first, self.n))
        return _Units(self.shape, self.encoding, *columns)


class _Batch:
    """Units with equally many VMs in a block, and the memory of their counters."""

    def __init__(self, units: _Units) -> None:
        self.units = units
        n, n_vm = int(units.n.sum()), int(units.n_vm[0])
        self.vm = np.zeros((n, HALVES, n_vm, N_VM_COUNTERS), np.int64)
        self.host = np.zeros((n, HALVES, N_HOST_COUNTERS), np.int64)
        self.histogram = np.zeros((len(units), 2, N_BINS), np.int64)
        self.places = np.zeros(0, np.int64)
        known = units.encoding.known
        self.facts = frozenset.intersection(
            *map(known.facts.__getitem__, set(known.which[units.at].tolist()))
        )
        self._begin = np.cumsum(units.n) - units.n

    def items(self) -> NDArray[Any]:
        """Return what the block is given."""
        units, n = self.units, np.arange(len(self.host))
        unit = np.repeat(np.arange(len(units)), units.n)
        items = np.zeros(len(n), state.ITEM)
        items["config"] = units.encoding.address[units.at][unit]
        items["replication"] = (units.first - self._begin)[unit] + n
        items["n_part"] = HALVES
        items["vm_out"] = self.vm.ctypes.data + n * self.vm.strides[0]
        items["host_out"] = self.host.ctypes.data + n * self.host.strides[0]
        items["histogram"] = self.histogram.ctypes.data + unit * self.histogram.strides[0]
        return items

    def results(self, outcome: NDArray[np.int64]) -> Iterator[ConfigurationResult]:
        """Yield the counters of each unit."""
        units = self.units
        worst = np.minimum.reduceat(outcome, self._begin)
        columns = (units.index, units.first, self._begin, units.n, units.encoding.warmup_ns[units.at], worst)
        vm, host = whole_window(self.vm), self.host.sum(axis=1)
        early = self.vm[:, 0].sum(axis=1)[:, _EARLY]
        rows = zip(*(column.tolist() for column in columns), self.histogram, strict=True)
        for index, first, begin, n, warmup_ns, error, histogram in rows:
            own = slice(begin, begin + n)
            status, message = (Status.FAILED, error_message(error)) if error < 0 else (Status.OK, "")
            yield ConfigurationResult(
                index, vm[own], host[own], histogram, status, message, first, early[own], warmup_ns
            )


class _Plan:
    """Which units are still to be simulated, shape by shape; shared by the threads."""

    def __init__(self, study: Study, work: Work, may_grow: bool) -> None:
        self._study = study
        self._work = work
        self._lock = threading.Lock()
        self._units: dict[Shape, deque[_Units]] = {}
        # Where the configurations are that may be replicated further.
        self._begun: dict[int, tuple[_Units, int]] | None = {} if may_grow else None
        self._n_settling = 0
        self._shared = Shared()
        self._sizes = sizes = sizes_of(study.configurations)
        indices = np.asarray(work.indices, np.int64)
        self.rooms = sizes.rooms(indices)
        # Large hosts first: the small ones then fill the time until the last thread is done.
        self._queue = indices[np.argsort(-sizes.shape[indices], kind="stable")]
        self._n_taken = 0

    @property
    def may_grow(self) -> bool:
        """Whether there may be more units yet, from configurations that are not precise enough."""
        return bool(self._begun)

    @property
    def is_settling(self) -> bool:
        """Whether there will be more units, from configurations whose warm-up is being found."""
        return self._n_settling > 0

    def take(self, shape: Shape | None, most: int = UNIT) -> _Units | None:
        """Return the next units that can be a batch, of a shape if one is given; None if there are none.

        There are at most so many replications, or one unit.
        """
        while True:
            with self._lock:
                waiting = (wanted for wanted, queue in self._units.items() if queue)
                chosen = max(waiting, default=None) if shape is None else shape
                if chosen is not None and (queue := self._units.get(chosen)):
                    return _cut_from(queue, most)
                indices, parts = self._next()
                if not len(indices) or shape not in (None, self._shape(indices[0])):
                    return None
                self._n_taken += len(indices)
                if not parts.has_auto_warmup.any():
                    self._begin(indices, parts)
                    continue
                self._n_settling += 1
            # Pilots may take a while: meanwhile others take what is there.
            parts = settled_parts(self._study, indices)
            with self._lock:
                self._n_settling -= 1
                self._begin(indices, parts)

    def follow(self, index: int, ranges: Sequence[range]) -> None:
        """Add what is to follow of a configuration; nothing, if it is finished."""
        if self._begun is None:
            return
        with self._lock:
            units, at = self._begun[index]
            if not ranges:
                del self._begun[index]
                return
            pieces = list(in_units(ranges))
            first, n = np.array([(piece.start, len(piece)) for piece in pieces]).T
            same = np.zeros(len(pieces), np.int64)
            self._add(_Units(units.shape, units.encoding, same + at, same + index, first, n))

    def _shape(self, index: int) -> Shape:
        return self._sizes.shapes[int(self._sizes.shape[index])]

    def _next(self) -> tuple[NDArray[np.int64], Parts]:
        """Return the configurations that are begun next, all of one shape; one only if pilots have to be run."""
        indices = self._queue[self._n_taken : self._n_taken + _MOST_BEGUN]
        shape = self._sizes.shape[indices]
        n_vm = self._sizes.n_vm[indices]
        n = int(np.count_nonzero((shape == shape[:1]) & (np.cumsum(n_vm) - n_vm <= _MOST_VMS)))
        parts = self._study.configurations.parts(indices[:n])
        if n > 1 and parts.has_auto_warmup.any():
            n = 1  # so that other threads run other pilots
            parts = self._study.configurations.parts(indices[:n])
        return indices[:n], parts

    def _begin(self, indices: NDArray[np.int64], parts: Parts) -> None:
        if self._shared.is_full:
            self._shared = Shared()
        encoding = Encoding(parts, self._shared)
        pieces = self._work.units(indices.tolist())
        # Side by side those of which the same is known: they have equally many VMs, and can be in one batch.
        at, first, n = pieces[np.argsort(encoding.known.which[pieces[:, 0]], kind="stable")].T
        units = _Units(self._shape(indices[0]), encoding, at, indices[at], first, n)
        if self._begun is not None:
            self._begun |= {index: (units, at) for at, index in enumerate(indices.tolist())}
        self._add(units)

    def _add(self, units: _Units) -> None:
        self._units.setdefault(units.shape, deque()).append(units)


def _cut_from(queue: deque[_Units], most: int) -> _Units:
    """Take units with equally many VMs from the beginning of a queue, with so many replications at most, or one."""
    units = queue.popleft()
    fits = (np.cumsum(units.n) <= most) & (units.n_vm == units.n_vm[0])
    n = max(1, len(units) if fits.all() else int(np.argmin(fits)))
    if n < len(units):
        queue.appendleft(units.part(slice(n, None)))
    return units.part(slice(n))


class _Run:
    """What the threads of a run share."""

    def __init__(
        self,
        study: Study,
        work: Work,
        looks: Looks,
        sink: Callable[[ConfigurationResult], None],
        progress: Callable[[Progress], None] | None,
        stop: threading.Event,
        left_s: float,
    ) -> None:
        self.plan = _Plan(study, work, looks.may_grow)
        self.seed = study.seed
        self.tally = Tally(work, progress, looks)
        self.tailor = Tailor(lambda: max(left_s, self.tally.progress.remaining_s or 0.0))
        self.failure: BaseException | None = None
        self._looks = looks
        self._sink = sink
        self._stop = stop
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether threads should stop as soon as they can."""
        return self._stop.is_set() or self.failure is not None

    def finish(self, batch: _Batch, outcome: NDArray[np.int64]) -> None:
        """Hand finished units to the sink, and see what is to follow them."""
        for part in batch.results(outcome):
            with self._lock:
                following = self._looks.add(part)
                self.tally.add(part, following)
                self._sink(part)
            if following is not None:
                self.plan.follow(part.index, following)

    def work(self) -> None:
        """Simulate until nothing is left; the body of each thread."""
        try:
            while not self.is_over:
                units = self.plan.take(None)
                if units is not None:
                    self._drive(units)
                elif self.plan.is_settling or (self._looks.may_grow and self.plan.may_grow):
                    time.sleep(TURN_S)
                else:
                    return
        except BaseException as error:
            self.failure = error

    def _drive(self, units: _Units | None) -> None:
        """Simulate units, and others of their shape, in a block until there are no more of them."""
        assert units is not None
        shape = units.shape
        block = Block(self.seed, **self.plan.rooms[shape], choices=shape.choices)
        batches: list[_Batch] = []
        n_in_ring = 0
        n_steps = 1000
        n_wanted = block.n_lanes
        of_batches: Facts | None = None
        facts: Facts = frozenset()
        while not self.is_over:
            # Lanes that finish must find work: keep enough items waiting for a turn.
            # Never quite full: `n_since` cannot tell a full ring from an empty one.
            # Pilots may take long, so that a wish to stop is looked for here too.
            while block.n_waiting < n_wanted and n_in_ring + UNIT < ITEMS and not self.is_over:
                most = min(n_wanted - block.n_waiting, ITEMS - 1 - n_in_ring)
                units = units or self.plan.take(shape, most)
                if units is None:
                    break
                batch, units = _Batch(units), None
                batch.places = block.append(batch.items())
                batches.append(batch)
                n_in_ring += len(batch.places)
            if not block.is_busy and not batches:
                return
            in_common = frozenset.intersection(*{batch.facts for batch in batches})
            if in_common != of_batches:
                of_batches, facts = in_common, block.known(in_common)
            code = self.tailor.code(facts)
            block.use(code)
            began = time.perf_counter()
            block.advance(n_steps)
            took = time.perf_counter() - began
            if code is None:
                self.tailor.spend(facts, took)
            if took < TURN_S / 2 and block.n_waiting == 0:
                n_wanted = min(2 * n_wanted, MOST_WAITING)
            if took < TURN_S / 2:
                n_steps = min(2 * n_steps, 1_000_000)
            elif took > 2 * TURN_S:
                n_steps = max(n_steps // 2, 10)
            pending = []
            for running in batches:
                outcome = block.outcome(running.places)
                if (outcome != 0).all():
                    self.finish(running, outcome)
                else:
                    pending.append(running)
            # Places in the ring are used in turn: an old batch keeps all later ones.
            batches = pending
            n_in_ring = block.n_since(batches[0].places[0]) if batches else 0
            self.tally.report()


def execute(
    study: Study,
    *,
    threads: int,
    sink: Callable[[ConfigurationResult], None],
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Timing:
    """Simulate every configuration of a study.

    Parameters
    ----------
    study : Study
        What to run.
    threads : int
        How many threads simulate; the results do not depend on it.
    sink : callable
        Gets each configuration's result when it is finished, in any order, one at a time.
    progress : callable, optional
        Told about five times a second how far the run is.
    stop : threading.Event, optional
        Set to end early: what is not finished is dropped.

    Returns
    -------
    Timing
        Of the simulation, compilation excluded.
    """
    begun: dict[int, list[ConfigurationResult]] = {}
    looks = Looks(study)

    def collect(part: ConfigurationResult) -> None:
        begun.setdefault(part.index, []).append(part)
        if looks.is_finished(part.index):
            sink(join(begun.pop(part.index)))

    work = Work(looks.first, range(study.n_configurations))
    return execute_parts(
        study, work, threads=threads, sink=collect, looks=looks, progress=progress, stop=stop
    )


def execute_parts(
    study: Study,
    work: Work,
    *,
    threads: int,
    sink: Callable[[ConfigurationResult], None],
    looks: Looks | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    left_s: float = 0.0,
) -> Timing:
    """Simulate some of a study: as `execute`, but `sink` gets some replications of a configuration at a time.

    With `looks` configurations that are not precise enough go on; without, nothing is done beyond `work`. `left_s` is
    how long a run goes on of which this is only a part.
    """
    compile_kernel()
    if looks is None:
        looks = Looks()
    looks.begin(work)
    run = _Run(study, work, looks, sink, progress, stop or threading.Event(), left_s)
    workers = [threading.Thread(target=run.work, name=f"fastlhp-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        # A join without a limit would keep the main thread from its signals.
        while worker.is_alive():
            worker.join(0.1)
            run.tally.report()
    if run.failure is not None:
        raise run.failure
    run.tally.report(at_once=True)
    return Timing(events=run.tally.events, engine_seconds=run.tally.elapsed_s, threads=threads)


def compile_kernel() -> None:
    """Compile the kernel, or load it from the cache."""
    Block(0, n_pcpu=1, n_vcpu=1, n_vm=1, n_lock=1, choices=False).advance(1)


def calibrate() -> float:
    """Return how many events per second this machine simulates in one thread, measured for about a second."""
    from fastlhp.model.study import load

    study = load(
        {
            "study": {"name": "calibration", "duration": "50ms", "replications": 512},
            "host": {"pcpus": 4, "frequency": "1GHz"},
            "policy": {"scheduler": {"kind": "round_robin", "slice": "10ms"}},
            "vm": [
                {
                    "name": "guest",
                    "count": 2,
                    "vcpus": 4,
                    "lock": {"kind": "ticket"},
                    "user": {"exponential": "10us"},
                    "hold": {"exponential": "1us"},
                }
            ],
        }
    )
    return execute(study, threads=1, sink=lambda result: None).events_per_second
