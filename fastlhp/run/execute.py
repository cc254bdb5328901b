"""Run a study: its replications, spread over threads, each of which drives one block at a time."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine.block import (
    ITEMS,
    N_HOST_COUNTERS,
    N_VM_COUNTERS,
    Block,
    error_message,
    make_items,
)
from fastlhp.engine.encode import Encoded, Shared, has_choice
from fastlhp.engine.state import LANES, TILE
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
from fastlhp.run.warmup import settled
from fastlhp.run.work import UNIT, Work, in_units

__all__ = ["calibrate", "execute", "execute_parts"]

TURN_S = 0.05
"""How long a block advances before Python looks at it again."""

MOST_WAITING = 16 * LANES
"""Replications that wait for a lane of their block, at most: where more of them than that fit into a turn, it
comes back to Python sooner."""

HALVES = 2
"""Parts of a window: the first is kept beside the whole, to find transients."""

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


@dataclass(frozen=True, slots=True)
class _Unit:
    """Some replications of a configuration, in one block."""

    index: int
    encoded: Encoded
    replications: range

    @property
    def shape(self) -> tuple[int, int]:
        """What units of a batch have in common: numbers of replications and VMs."""
        return len(self.replications), self.encoded.n_vm

    def fits(self, other: _Unit) -> bool:
        """Whether the two can be in one batch."""
        return self.shape == other.shape


class _Batch:
    """Units of one shape in a block, and the memory of their counters: short ones are too many to be seen to singly."""

    def __init__(self, units: Sequence[_Unit]) -> None:
        self.units = units
        k, (n, n_vm) = len(units), units[0].shape
        self.vm = np.zeros((k * n, HALVES, n_vm, N_VM_COUNTERS), np.int64)
        self.host = np.zeros((k * n, HALVES, N_HOST_COUNTERS), np.int64)
        self.histogram = np.zeros((k, 2, N_BINS), np.int64)
        self.places = np.zeros(0, np.int64)

    def items(self) -> NDArray[Any]:
        """Return what the block is given."""
        first, n = self.units[0], self.units[0].shape[0]
        items = make_items(first.encoded, range(len(self.host)), self.vm, self.host, self.histogram)
        if len(self.units) > 1:
            items["config"] = np.repeat([unit.encoded.address for unit in self.units], n)
            items["histogram"] += np.repeat(np.arange(len(self.units)) * self.histogram.strides[0], n)
        items["replication"] = np.concatenate([unit.replications for unit in self.units])
        return items

    def results(self, outcome: NDArray[np.int64]) -> Iterator[ConfigurationResult]:
        """Yield the counters of each unit."""
        n = self.units[0].shape[0]
        errors = outcome.reshape(-1, n).min(axis=1).tolist()
        vm, host = whole_window(self.vm), self.host.sum(axis=1)
        early = self.vm[:, 0].sum(axis=1)[:, _EARLY]
        for number, (unit, error) in enumerate(zip(self.units, errors, strict=True)):
            own = slice(number * n, number * n + n)
            status, message = (Status.FAILED, error_message(error)) if error < 0 else (Status.OK, "")
            yield ConfigurationResult(
                unit.index,
                vm[own],
                host[own],
                self.histogram[number],
                status,
                message,
                unit.replications.start,
                early[own],
                unit.encoded.warmup_ns,
            )


@dataclass
class _Begun:
    """A configuration of which something is being simulated, or may be yet."""

    shape: Shape
    encoded: Encoded


class _Plan:
    """Which units are still to be simulated, shape by shape; shared by the threads."""

    def __init__(self, study: Study, work: Work) -> None:
        self._study = study
        self._work = work
        self._lock = threading.Lock()
        self._units: dict[Shape, deque[_Unit]] = {}
        self._begun: dict[int, _Begun] = {}
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

    def take(self, shape: Shape | None, most: int = 1) -> tuple[Shape, list[_Unit]] | None:
        """Return the next units, one or more; only of the given shape, if one is given. None if there is none."""
        units: list[_Unit] = []
        while len(units) < most:
            with self._lock:
                waiting = (wanted for wanted, queue in self._units.items() if queue)
                shape = max(waiting, default=None) if shape is None else shape
                queue = self._units.get(shape) if shape is not None else None
                while queue and len(units) < most:
                    units.append(queue.popleft())
                if len(units) == most or self._n_taken == len(self._queue):
                    break
                index = int(self._queue[self._n_taken])
                wanted = self._sizes.shapes[self._sizes.shape[index]]
                if shape not in (None, wanted):
                    break
                shape = wanted
                self._n_taken += 1
                self._n_settling += 1
            # Pilots may take a while: meanwhile others take what is there.
            configuration = settled(self._study, index)
            with self._lock:
                self._n_settling -= 1
                if self._shared.is_full:
                    self._shared = Shared()
                self._begun[index] = _Begun(wanted, Encoded(configuration, self._shared))
                self._add(index, self._work.ranges(index))
        return (shape, units) if shape is not None and units else None

    def follow(self, index: int, ranges: Sequence[range]) -> None:
        """Add what is to follow of a configuration; nothing, if it is finished."""
        with self._lock:
            if ranges:
                self._add(index, ranges)
            else:
                del self._begun[index]

    def _add(self, index: int, ranges: Sequence[range]) -> None:
        begun = self._begun[index]
        units = self._units.setdefault(begun.shape, deque())
        units.extend(_Unit(index, begun.encoded, part) for part in in_units(ranges))


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
    ) -> None:
        self.plan = _Plan(study, work)
        self.seed = study.seed
        self.tally = Tally(work, progress, looks)
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
                taken = self.plan.take(None)
                if taken is not None:
                    self._drive(*taken)
                elif self.plan.is_settling or (self._looks.may_grow and self.plan.may_grow):
                    time.sleep(TURN_S)
                else:
                    return
        except BaseException as error:
            self.failure = error

    def _drive(self, shape: Shape, units: list[_Unit]) -> None:
        """Simulate units of one shape in a block until there are no more of them."""
        block = Block(self.seed, **self.plan.rooms[shape], choices=shape.choices)
        batches: list[_Batch] = []
        n_in_ring = 0
        n_steps = 1000
        n_wanted = block.n_lanes
        while not self.is_over:
            # Lanes that finish must find work: keep enough items waiting for a turn.
            # Never quite full: `n_since` cannot tell a full ring from an empty one.
            while block.n_waiting < n_wanted and n_in_ring + UNIT < ITEMS:
                most = min(n_wanted - block.n_waiting, ITEMS - 1 - n_in_ring) // UNIT
                if not units:
                    taken = self.plan.take(shape, max(most, 1))
                    if taken is None:
                        break
                    units = taken[1]
                n = sum(1 for _ in itertools.takewhile(units[0].fits, units[: max(most, 1)]))
                batch, units = _Batch(units[:n]), units[n:]
                batch.places = block.append(batch.items())
                batches.append(batch)
                n_in_ring += len(batch.places)
            if not block.is_busy and not batches:
                return
            began = time.perf_counter()
            block.advance(n_steps)
            took = time.perf_counter() - began
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
) -> Timing:
    """Simulate some of a study: as `execute`, but `sink` gets some replications of a configuration at a time.

    With `looks` configurations that are not precise enough go on; without, nothing is done beyond `work`.
    """
    compile_kernel()
    if looks is None:
        looks = Looks()
    looks.begin(work)
    run = _Run(study, work, looks, sink, progress, stop or threading.Event())
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
