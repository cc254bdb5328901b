"""A block: `LANES` replications that advance together in one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import passes, state
from fastlhp.engine.accounts import close_window
from fastlhp.engine.control import guest_event, kick_after_release, set_deadline, step
from fastlhp.engine.draws import draw_words, store_cycles, words_to_variates
from fastlhp.engine.encode import Encoded
from fastlhp.engine.jit import device, kernel
from fastlhp.engine.machine import grant_next, move_on
from fastlhp.engine.memory import allocate
from fastlhp.engine.replication import start_replication
from fastlhp.engine.rows import enqueue, put
from fastlhp.engine.state import (
    ATTEMPT,
    CODE,
    DEADLINE,
    DRAWS_PER_VCPU,
    LANES,
    LOCK,
    NEEDS_STEP,
    NEVER,
    NOW,
    ROW,
    STRIDE,
    TILE,
    TILE_SIZE,
    UNTIL,
    host_at,
    int32_at,
    vcpu_at,
)
from fastlhp.errors import FastlhpError
from fastlhp.results.counters import HOST_COUNTERS, N_BINS, VM_COUNTERS

_ITEM_SIZE = state.ITEM.itemsize

ITEMS = 4096
"""Places in the ring of items of a block."""

# The queue of a block: what `advance` shares with Python. Items are counted from its start on.
NEXT, COUNT, RUNNING_LANES, STEPS = range(4)


@device
def _load(host, queue, items):
    """Start the next item of the queue in a lane, or put the lane to rest."""
    if queue[NEXT] < queue[COUNT]:
        start_replication(host, items + queue[NEXT] % ITEMS * _ITEM_SIZE)
        queue[NEXT] += 1
        queue[RUNNING_LANES] += 1
    else:
        int32_at(host.lanes, DEADLINE * STRIDE).value = np.int32(-1)
        for p in range(host.n_row):
            put(host, UNTIL, p, NEVER)


@device
def _step(host, queue, items):
    """Let scalar code handle the lane's next event, whatever it is."""
    if step(host):
        close_window(host, host.edge)
        queue[RUNNING_LANES] -= 1
        _load(host, queue, items)


@device
def _refill(hosts, lanes, todo, n, scratch):
    """Draw new buffers for the vCPUs of the events of the first n lanes of ``todo``.

    One kind of work for all of them after the other: loops over many draws keep the processor busier than one vCPU's
    few, each of which waits for a long chain of multiplications.
    """
    for j in range(n):
        lane = np.int64(todo[j])
        host = host_at(hosts, lane)
        v = move_on(host, np.int64(lanes[ROW * STRIDE + lane]))
        draw_words(host, vcpu_at(host.vcpus, v), scratch + 4 * DRAWS_PER_VCPU * j)
        todo[4 * LANES + j] = v
    words_to_variates(scratch, DRAWS_PER_VCPU * n)
    for j in range(n):
        host = host_at(hosts, np.int64(todo[j]))
        store_cycles(host, np.int64(todo[4 * LANES + j]), scratch + 4 * DRAWS_PER_VCPU * j)


@device
def _serve(hosts, lanes, todo, queue, items):
    """Do for all lanes what the passes left to scalar code; one kind of work after the other."""
    n_draws, n_queue, n_grant, n_other = passes.list_lanes(lanes, todo)
    if n_draws > 0:
        _refill(hosts, lanes, todo, np.int64(n_draws), host_at(hosts, 0).words)
    for j in range(LANES, LANES + np.int64(n_queue)):
        lane = np.int64(todo[j])
        host = host_at(hosts, lane)
        p = np.int64(lanes[ROW * STRIDE + lane])
        put(host, ATTEMPT, p, np.int64(lanes[NOW * STRIDE + lane]))
        enqueue(host, np.int64(lanes[LOCK * STRIDE + lane]), p)
    for j in range(2 * LANES, 2 * LANES + np.int64(n_grant)):
        lane = np.int64(todo[j])
        host = host_at(hosts, lane)
        t = host.base_ns + lanes[NOW * STRIDE + lane]
        blocked = grant_next(host, np.int64(lanes[LOCK * STRIDE + lane]), t)
        if blocked >= 0:
            kick_after_release(host, np.int64(lanes[ROW * STRIDE + lane]), blocked, t)
    for j in range(3 * LANES, 3 * LANES + np.int64(n_other)):
        lane = np.int64(todo[j])
        host = host_at(hosts, lane)
        if lanes[CODE * STRIDE + lane] & NEEDS_STEP != 0:
            _step(host, queue, items)
        else:
            guest_event(host, np.int64(lanes[ROW * STRIDE + lane]), host.base_ns + lanes[NOW * STRIDE + lane])
            set_deadline(host)


@kernel
def advance(hosts, rows, locks, lanes, draws, choices, todo, queue, items, limits, n_steps):
    """Advance all lanes of a block by at most ``n_steps`` steps.

    Mutates everything but ``limits``: tiles of rows, tiles of lock words, draws a lane, lanes in use, whether there
    are choices, whether scalar code does everything, and a 0 that LLVM cannot know (see `passes`).
    """
    n_tiles, n_lock_tiles = np.uint64(limits[0]), np.uint64(limits[1])
    stride, in_use = np.uint64(limits[2]), limits[3]
    has_choices, scalar_only = limits[4] != 0, limits[5] != 0
    zero = np.int32(limits[6])
    nobody, no_lock = np.int32(n_tiles * TILE), np.int32(n_lock_tiles * TILE)
    for lane in range(in_use):
        if lanes[DEADLINE * STRIDE + lane] < 0 and queue[NEXT] < queue[COUNT]:
            _load(host_at(hosts, lane), queue, items)
    for _ in range(n_steps):
        if queue[RUNNING_LANES] == 0:
            break
        queue[STEPS] += 1
        if scalar_only:
            for lane in range(in_use):
                if lanes[DEADLINE * STRIDE + lane] >= 0:
                    _step(host_at(hosts, lane), queue, items)
            continue
        passes.next_event(rows, lanes, n_tiles, zero)
        passes.draws_of(lanes, draws, stride)
        passes.words_of(locks, lanes, n_lock_tiles)
        if has_choices:
            passes.choices_of(lanes, choices, stride)
            passes.decide_all(lanes, nobody, no_lock)
        else:
            passes.decide(lanes, nobody, no_lock)
        passes.store_rows(rows, lanes, n_tiles, zero)
        passes.store_words(locks, lanes, n_lock_tiles, zero)
        _serve(hosts, lanes, todo, queue, items)


class Block:
    """Memory of a block and the loop that drives it.

    Parameters
    ----------
    seed : int
        Seed of the study.
    n_pcpu, n_vcpu, n_vm, n_lock : int
        Room for the largest configuration.
    choices : bool
        Whether any configuration needs the passes for kernel phases, several locks or HLT.
    lanes : int
        Lanes to use, 1..LANES; the results do not depend on it.
    scalar_only : bool
        Let scalar code do everything: the same results, slowly. For tests.
    """

    def __init__(
        self,
        seed: int,
        *,
        n_pcpu: int,
        n_vcpu: int,
        n_vm: int,
        n_lock: int,
        choices: bool,
        lanes: int = LANES,
        scalar_only: bool = False,
    ) -> None:
        if not 1 <= lanes <= LANES:
            raise FastlhpError(f"a block has 1 to {LANES} lanes, got {lanes}")
        n_tile, n_lock_tile = -(-n_pcpu // TILE), -(-max(n_lock, 1) // TILE)
        n_draw = n_vcpu * DRAWS_PER_VCPU
        i4, i8 = np.int32, np.int64
        n_lock = max(n_lock, 1)
        memory = allocate(
            {
                # One tile more of rows and locks: those of nobody, where passes may write what does not count.
                "rows": (((n_tile + 1) * TILE_SIZE,), i4),
                "locks": (((n_lock_tile + 1) * TILE * STRIDE,), i4),
                "lanes": ((state.LANE_FIELDS * STRIDE,), i4),
                "todo": ((5 * LANES,), i4),
                "words": ((LANES * DRAWS_PER_VCPU,), i4),
                "draws": ((LANES, n_draw), i4),
                "choices": ((LANES, n_draw if choices else 0), i4),
                "hosts": ((LANES,), state.HOST),
                "pcpus": ((LANES, n_pcpu), state.PCPU),
                "lock_records": ((LANES, n_lock), state.LOCK_RECORD),
                "waiters": ((LANES, n_lock * state.TICKETS), np.int16),
                "vcpus": ((LANES, n_vcpu), state.VCPU),
                "vms": ((LANES, n_vm), state.VM),
                "queues": ((LANES, n_pcpu), state.QUEUE),
                "scratch": ((LANES, 2 * (n_pcpu + n_vcpu)), i8),
            }
        )
        self._memory = memory
        self.rows, self.locks, self.lanes = memory["rows"], memory["locks"], memory["lanes"]
        self._queue = np.zeros(4, i8)
        zero = 0
        self._limits = np.array([n_tile, n_lock_tile, n_draw, lanes, choices, scalar_only, zero], i8)
        for lane in range(LANES):
            host = memory["hosts"][lane]
            for name in ("rows", "lanes", "locks"):
                host[name] = memory[name].ctypes.data + 4 * lane
            for name in ("draws", "pcpus", "lock_records", "waiters", "vcpus", "vms", "queues", "scratch"):
                host[name] = memory[name][lane].ctypes.data
            host["choices"] = memory["choices"][lane].ctypes.data if choices else 0
            host["words"] = memory["words"].ctypes.data
            host["slots"] = state.SLOTS
            host["seed_low"] = seed & 0xFFFFFFFF
            host["seed_high"] = seed >> 32
            host["n_row"] = n_tile * TILE
        self.rows.reshape(n_tile + 1, state.ROW_FIELDS, TILE, STRIDE)[:, UNTIL] = NEVER
        self.lanes.reshape(-1, STRIDE)[DEADLINE] = -1
        self._items = np.zeros(ITEMS, state.ITEM)

    @property
    def n_waiting(self) -> int:
        """Items that no lane has started yet."""
        return int(self._queue[COUNT] - self._queue[NEXT])

    @property
    def is_busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._queue[RUNNING_LANES] > 0 or self.n_waiting > 0)

    def append(self, items: NDArray[Any]) -> NDArray[np.int64]:
        """Give the block more work.

        Parameters
        ----------
        items : ndarray of ITEM
            Copied into the block's ring. The caller sees to it that no more than `ITEMS` are waiting or running.

        Returns
        -------
        ndarray of int64
            Their places, for `outcome`.
        """
        places = (self._queue[COUNT] + np.arange(len(items))) % ITEMS
        self._items[places] = items
        self._queue[COUNT] += len(items)
        return places

    def outcome(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What became of items: 0 not done yet, 1 done, negative an error of `state`."""
        return np.asarray(self._items["done"][places])

    def n_since(self, place: int) -> int:
        """How many places of the ring have been used from the one given on."""
        return int((self._queue[COUNT] - place) % ITEMS)

    def advance(self, n_steps: int) -> bool:
        """Advance by at most so many steps; false when everything is done. Releases the GIL."""
        advance(
            self._memory["hosts"].ctypes.data,
            self.rows,
            self.locks,
            self.lanes,
            self._memory["draws"].reshape(-1),
            self._memory["choices"].reshape(-1),
            self._memory["todo"],
            self._queue,
            self._items.ctypes.data,
            self._limits,
            n_steps,
        )
        return self.is_busy


N_VM_COUNTERS, N_HOST_COUNTERS = len(VM_COUNTERS), len(HOST_COUNTERS)


def simulate(
    encoded: Encoded,
    seed: int,
    replications: range,
    *,
    lanes: int = LANES,
    scalar_only: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Simulate some replications of one configuration in this thread.

    Returns
    -------
    vm : ndarray of int64, shape (replication, vm, counter)
    host : ndarray of int64, shape (replication, counter)
    histogram : ndarray of int64, shape (2, bin)
    """
    n = len(replications)
    vm = np.zeros((n, encoded.n_vm, N_VM_COUNTERS), np.int64)
    host = np.zeros((n, N_HOST_COUNTERS), np.int64)
    histogram = np.zeros((2, N_BINS), np.int64)
    block = Block(
        seed,
        n_pcpu=encoded.n_pcpu,
        n_vcpu=encoded.n_vcpu,
        n_vm=encoded.n_vm,
        n_lock=encoded.n_lock,
        choices=encoded.needs_choice,
        lanes=lanes,
        scalar_only=scalar_only,
    )
    for first in range(0, n, ITEMS):
        part = slice(first, min(first + ITEMS, n))
        items = make_items(encoded, replications[part], vm[part], host[part], histogram)
        places = block.append(items)
        while block.advance(100_000):
            pass
        if (block.outcome(places) != 1).any():
            raise FastlhpError(error_message(int(block.outcome(places).min())))
    return vm, host, histogram


def error_message(outcome: int) -> str:
    """What an item's negative outcome means."""
    return {
        -state.BROKEN_ACCOUNTS: "the accounts of a replication do not add up",
        -state.BROKEN_STATE: "a lock was granted to a vCPU that does not wait for it",
    }.get(outcome, f"unknown error {outcome}") + " (this is a mistake in fastlhp, or in a policy of your own)"


def make_items(
    encoded: Encoded,
    replications: range,
    vm: NDArray[np.int64],
    host: NDArray[np.int64],
    histogram: NDArray[np.int64],
) -> NDArray[Any]:
    """Items for some replications of a configuration, with results going to the given arrays."""
    n = len(replications)
    items = np.zeros(n, state.ITEM)
    items["config"] = encoded.address
    items["replication"] = np.arange(replications.start, replications.stop)
    items["vm_out"] = vm.ctypes.data + np.arange(n) * vm.strides[0]
    items["host_out"] = host.ctypes.data + np.arange(n) * host.strides[0]
    items["histogram"] = histogram.ctypes.data
    return items
