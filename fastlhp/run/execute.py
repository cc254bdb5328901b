"""Run a study: its replications, spread over threads, each of which drives one block at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
from fastlhp.engine.encode import Encoded, has_choice
from fastlhp.engine.state import LANES, TILE
from fastlhp.model.configuration import Configuration
from fastlhp.model.study import Study
from fastlhp.results.counters import HOST_INDEX, N_BINS, ConfigurationResult, Status
from fastlhp.run.precision import next_look, targets_are_met
from fastlhp.run.progress import Progress, Timing

__all__ = ["calibrate", "execute"]

UNIT = 16
"""Replications of a configuration that stay together: few enough that threads share small studies."""

TURN_S = 0.05
"""How long a block advances before Python looks at it again."""


@dataclass(frozen=True, order=True)
class Shape:
    """What configurations must have in common to share a block."""

    n_tile: int
    choices: bool


def shape_of(configuration: Configuration) -> Shape:
    """Shape of a configuration; numbers of pCPUs are rounded up so that neighbours share a block."""
    n_tile = -(-configuration.host.pcpus // TILE)
    n_tile = n_tile if n_tile <= 2 else 1 << (n_tile - 1).bit_length()
    return Shape(n_tile, any(has_choice(vm) for vm in configuration.vms))


@dataclass
class _Room:
    """The largest numbers among the configurations of one shape."""

    n_pcpu: int = 1
    n_vcpu: int = 1
    n_vm: int = 1
    n_lock: int = 1

    def include(self, configuration: Configuration) -> None:
        self.n_pcpu = max(self.n_pcpu, configuration.host.pcpus)
        self.n_vcpu = max(self.n_vcpu, configuration.n_vcpu)
        self.n_vm = max(self.n_vm, len(configuration.vms))
        self.n_lock = max(self.n_lock, sum(vm.lock.count for vm in configuration.vms))


class _Task:
    """A configuration that is being simulated; its arrays are filled by several threads.

    There is room for all replications that there might be: what is never used takes no memory.
    """

    def __init__(self, configuration: Configuration, shape: Shape, n_replications: int) -> None:
        self.index = configuration.index
        self.configuration = configuration
        self.shape = shape
        self.encoded = Encoded(configuration)
        self.vm = np.zeros((n_replications, self.encoded.n_vm, N_VM_COUNTERS), np.int64)
        self.host = np.zeros((n_replications, N_HOST_COUNTERS), np.int64)
        self.histogram = np.zeros((2, N_BINS), np.int64)
        self.n_replications = self.n_missing = 0
        self.error = 0

    def extend(self, n_replications: int) -> Iterator[_Unit]:
        """Yield the units up to so many replications."""
        first, self.n_replications = self.n_replications, n_replications
        self.n_missing = n_replications - first
        for start in range(first, n_replications, UNIT):
            yield _Unit(self, range(start, min(start + UNIT, n_replications)))


@dataclass
class _Unit:
    """Some replications of a task, in one block."""

    task: _Task
    replications: range
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, N_BINS), np.int64))
    places: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def items(self) -> NDArray[Any]:
        part = slice(self.replications.start, self.replications.stop)
        return make_items(
            self.task.encoded, self.replications, self.task.vm[part], self.task.host[part], self.histogram
        )


class _Plan:
    """Which units are still to be simulated, shape by shape; shared by the threads."""

    def __init__(self, study: Study) -> None:
        self._configurations = study.configurations
        self._n_replications = study.replications
        self._rule = study.precision
        self._lock = threading.Lock()
        self._units: dict[Shape, deque[_Unit]] = {}
        self._n_open = 0
        self.rooms: dict[Shape, _Room] = {}
        indices: dict[Shape, list[int]] = {}
        for configuration in self._configurations:
            shape = shape_of(configuration)
            indices.setdefault(shape, []).append(configuration.index)
            self.rooms.setdefault(shape, _Room()).include(configuration)
        # Large hosts first: the small ones then fill the time until the last thread is done.
        self._queue = deque(
            (shape, index) for shape in sorted(indices, reverse=True) for index in indices[shape]
        )

    @property
    def may_grow(self) -> bool:
        """Whether there may be more units yet, from configurations that are not precise enough."""
        return self._rule is not None and self._n_open > 0

    def take(self, shape: Shape | None) -> tuple[Shape, _Unit] | None:
        """Return the next unit; only one of the given shape, if one is given. None if there is none."""
        with self._lock:
            for begun in sorted(self._units, reverse=True) if shape is None else [shape]:
                if self._units.get(begun):
                    return begun, self._units[begun].popleft()
            if not self._queue or shape not in (None, self._queue[0][0]):
                return None
            begun, index = self._queue.popleft()
            task = _Task(self._configurations[index], begun, self._n_replications)
            self._n_open += 1
            units = self._units.setdefault(begun, deque())
            units.extend(task.extend(self._rule.minimum if self._rule else self._n_replications))
            return begun, units.popleft()

    def goes_on(self, task: _Task) -> bool:
        """Whether a task whose units are all done gets another batch of them, because it is not precise enough."""
        more = None
        if self._rule is not None and task.error == 0:
            more = next_look(self._rule, task.n_replications, partial(self._is_met, task))
        with self._lock:
            if more is None:
                self._n_open -= 1
            else:
                self._units[task.shape].extend(task.extend(more))
        return more is not None

    def _is_met(self, task: _Task, n: int) -> bool:
        assert self._rule is not None
        return targets_are_met(self._rule, task.configuration, task.vm[:n], task.host[:n])


class _Run:
    """What the threads of a run share."""

    def __init__(
        self,
        study: Study,
        sink: Callable[[ConfigurationResult], None],
        progress: Callable[[Progress], None] | None,
        stop: threading.Event,
    ) -> None:
        self.plan = _Plan(study)
        self.seed = study.seed
        self.events = 0
        self.failure: BaseException | None = None
        self._sink = sink
        self._progress = progress
        self._stop = stop
        self._lock = threading.Lock()
        self._n_configurations = study.n_configurations
        self._n_replications = study.n_configurations * study.replications
        self._done_configurations = self._done_replications = 0
        self._started = self._reported = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether threads should stop as soon as they can."""
        return self._stop.is_set() or self.failure is not None

    def finish(self, unit: _Unit, outcome: NDArray[np.int64]) -> None:
        """Add a finished unit to its task; hand the task to the sink if that was its last."""
        task = unit.task
        with self._lock:
            n = len(unit.replications)
            task.histogram += unit.histogram
            task.error = min(task.error, int(outcome.min()))
            task.n_missing -= n
            part = slice(unit.replications.start, unit.replications.stop)
            self.events += int(task.host[part, HOST_INDEX["events"]].sum())
            self._done_replications += n
            is_last = task.n_missing == 0
        if not is_last or self.plan.goes_on(task):
            return
        vm, host = task.vm[: task.n_replications], task.host[: task.n_replications]
        result = ConfigurationResult(task.index, vm, host, task.histogram)
        if task.error < 0:
            result.status, result.message = Status.FAILED, error_message(task.error)
        with self._lock:
            self._done_configurations += 1
            self._n_replications -= len(task.host) - task.n_replications
            self._sink(result)

    def report(self, *, at_once: bool = False) -> None:
        """Tell the caller how far the run is, about five times a second."""
        now = time.perf_counter()
        if (
            self._progress is not None
            and (at_once or now - self._reported > 0.2)
            and self._lock.acquire(blocking=False)
        ):
            try:
                self._reported = now
                self._progress(
                    Progress(
                        self._done_configurations,
                        self._n_configurations,
                        self._done_replications,
                        self._n_replications,
                        self.events,
                        now - self._started,
                    )
                )
            finally:
                self._lock.release()

    def work(self) -> None:
        """Simulate until nothing is left; the body of each thread."""
        try:
            while not self.is_over:
                taken = self.plan.take(None)
                if taken is not None:
                    self._drive(*taken)
                elif self.plan.may_grow:
                    time.sleep(TURN_S)
                else:
                    return
        except BaseException as error:
            self.failure = error

    def _drive(self, shape: Shape, unit: _Unit) -> None:
        """Simulate units of one shape in a block until there are no more of them."""
        room = self.plan.rooms[shape]
        block = Block(
            self.seed,
            n_pcpu=room.n_pcpu,
            n_vcpu=room.n_vcpu,
            n_vm=room.n_vm,
            n_lock=room.n_lock,
            choices=shape.choices,
        )
        units: list[_Unit] = []
        n_in_ring = 0
        n_steps = 1000
        following: _Unit | None = unit
        while not self.is_over:
            # Lanes that finish must find work: keep a block's worth of items waiting.
            # Never quite full: `n_since` cannot tell a full ring from an empty one.
            while block.n_waiting < LANES and n_in_ring + UNIT < ITEMS:
                if following is None:
                    taken = self.plan.take(shape)
                    if taken is None:
                        break
                    following = taken[1]
                following.places = block.append(following.items())
                units.append(following)
                n_in_ring += len(following.replications)
                following = None
            if not block.is_busy and not units:
                return
            began = time.perf_counter()
            block.advance(n_steps)
            took = time.perf_counter() - began
            if took < TURN_S / 2:
                n_steps = min(2 * n_steps, 1_000_000)
            elif took > 2 * TURN_S:
                n_steps = max(n_steps // 2, 10)
            pending = []
            for running in units:
                outcome = block.outcome(running.places)
                if (outcome != 0).all():
                    self.finish(running, outcome)
                else:
                    pending.append(running)
            # Places in the ring are used in turn: an old unit keeps all later ones.
            units = pending
            n_in_ring = block.n_since(units[0].places[0]) if units else 0
            self.report()


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
    compile_kernel()
    run = _Run(study, sink, progress, stop or threading.Event())
    started = time.perf_counter()
    workers = [threading.Thread(target=run.work, name=f"fastlhp-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        # A join without a limit would keep the main thread from its signals.
        while worker.is_alive():
            worker.join(0.1)
            run.report()
    if run.failure is not None:
        raise run.failure
    run.report(at_once=True)
    return Timing(events=run.events, engine_seconds=time.perf_counter() - started, threads=threads)


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
