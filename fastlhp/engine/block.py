"""A block: `LANES` replications that advance together in one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import passes, state
from fastlhp.engine.accounts import close_window
from fastlhp.engine.control import granted_off_cpu, set_deadline, step
from fastlhp.engine.encode import Encoded
from fastlhp.engine.jit import device, kernel
from fastlhp.engine.machine import attempt_of, book_wait, refill
from fastlhp.engine.replication import start_replication
from fastlhp.engine.state import (
    ACTIVE,
    CODE,
    DEADLINE,
    GRANT_ROW,
    LANES,
    LOCK,
    NEEDS_BOOKING,
    NEEDS_DRAWS,
    NEEDS_GRANT,
    NEEDS_STEP,
    NEVER,
    NOW,
    ROW,
    UNTIL,
    host_at,
    int32_at,
    pcpu_at,
)
from fastlhp.errors import FastlhpError
from fastlhp.results.counters import HOST_COUNTERS, N_BINS, VM_COUNTERS

_ITEM_SIZE = state.ITEM.itemsize

ITEMS = 4096
"""Places in the ring of items of a block."""

# The queue of a block: what `advance` shares with Python. Items are counted from its start on.
NEXT, COUNT, RUNNING_LANES, STEPS = range(4)


@device
def _load(host, lane, queue, items):
    """Start the next item of the queue in a lane, or put the lane to rest."""
    if queue[NEXT] < queue[COUNT]:
        start_replication(host, items + queue[NEXT] % ITEMS * _ITEM_SIZE)
        queue[NEXT] += 1
        queue[RUNNING_LANES] += 1
    else:
        int32_at(host.lanes, ACTIVE * LANES).value = np.int32(0)
        int32_at(host.lanes, DEADLINE * LANES).value = np.int32(-1)
        for p in range(host.n_row):
            _rest(host, p)


@device
def _rest(host, p):
    at = (p >> 2) * state.TILE_SIZE + UNTIL * (state.TILE * LANES) + (p & 3) * LANES
    int32_at(host.rows, at).value = np.int32(NEVER)


@device
def _serve(host, lane, lanes, queue, items):
    """Do for a lane what the passes left to scalar code."""
    code = lanes[CODE * LANES + lane]
    if code & NEEDS_STEP != 0:
        if step(host):
            close_window(host, host.edge)
            queue[RUNNING_LANES] -= 1
            _load(host, lane, queue, items)
        return
    t = host.base_ns + lanes[NOW * LANES + lane]
    p = np.int64(lanes[ROW * LANES + lane])
    if code & NEEDS_DRAWS != 0:
        refill(host, p)
    if code & NEEDS_BOOKING != 0:
        q = np.int64(lanes[GRANT_ROW * LANES + lane])
        book_wait(host, pcpu_at(host.pcpus, q).vcpu, t - attempt_of(host, q))
    if code & NEEDS_GRANT != 0:
        granted_off_cpu(host, p, np.int64(lanes[LOCK * LANES + lane]), t)
        set_deadline(host)


@kernel
def advance(hosts, rows, locks, lanes, draws, todo, queue, items, limits, n_steps):
    """Advance all lanes of a block by at most ``n_steps`` steps.

    Mutates everything but ``limits``: tiles and draws a lane, lanes in use, whether there are choices, unfair
    locks, and whether scalar code does everything.
    """
    n_tiles = np.uint64(limits[0])
    stride = np.uint64(limits[1])
    in_use = limits[2]
    choices, unfair, scalar_only = limits[3] != 0, limits[4] != 0, limits[5] != 0
    for lane in range(in_use):
        if lanes[ACTIVE * LANES + lane] == 0 and queue[NEXT] < queue[COUNT]:
            _load(host_at(hosts, lane), lane, queue, items)
    if scalar_only:
        for _ in range(n_steps):
            for lane in range(in_use):
                if lanes[ACTIVE * LANES + lane] != 0:
                    lanes[CODE * LANES + lane] = NEEDS_STEP
                    _serve(host_at(hosts, lane), lane, lanes, queue, items)
        return
    for _ in range(n_steps):
        if queue[RUNNING_LANES] == 0:
            break
        passes.next_event(rows, lanes, n_tiles)
        if choices:
            passes.classify_all(lanes, draws, stride)
        else:
            passes.classify(lanes)
            passes.gather_draws(lanes, draws, stride)
        if unfair:
            passes.count_rivals(rows, lanes, n_tiles)
        else:
            passes.no_rivals(lanes)
        passes.gather_words(locks, lanes)
        passes.update_locks(lanes)
        passes.scatter_words(locks, lanes)
        passes.apply(rows, lanes, n_tiles)
        n = passes.list_lanes(lanes, todo)
        for j in range(n):
            lane = np.int64(todo[j])
            _serve(host_at(hosts, lane), lane, lanes, queue, items)
        queue[STEPS] += 1


class Block:
    """Memory of a block and the loop that drives it.

    Parameters
    ----------
    seed : int
        Seed of the study.
    n_pcpu, n_vcpu, n_vm, n_lock : int
        Room for the largest configuration.
    choices, unfair : bool
        Whether any configuration needs the passes for choices and for test_and_set locks.
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
        unfair: bool,
        lanes: int = LANES,
        scalar_only: bool = False,
    ) -> None:
        if not 1 <= lanes <= LANES:
            raise FastlhpError(f"a block has 1 to {LANES} lanes, got {lanes}")
        n_tile = -(-n_pcpu // state.TILE)
        i4, i8 = np.int32, np.int64
        self.rows = np.zeros(n_tile * state.TILE_SIZE, i4)
        self.locks = np.zeros(max(n_lock, 1) * LANES, i4)
        self.lanes = np.zeros(state.LANE_FIELDS * LANES, i4)
        self.draws = np.zeros(LANES * n_vcpu * state.DRAWS_PER_VCPU, i4)
        # One more than there are lanes: the list pass writes an entry before it knows whether that counts.
        self._todo = np.zeros(LANES + 1, i4)
        self._queue = np.zeros(4, i8)
        self._limits = np.array(
            [n_tile, n_vcpu * state.DRAWS_PER_VCPU, lanes, choices, unfair, scalar_only], i8
        )
        self._hosts = np.zeros(LANES, state.HOST)
        words = np.zeros(2 * state.SLOTS, i4)
        self._records = {
            "pcpus": np.zeros((LANES, n_pcpu), state.PCPU),
            "vcpus": np.zeros((LANES, n_vcpu), state.VCPU),
            "vms": np.zeros((LANES, n_vm), state.VM),
            "lock_records": np.zeros((LANES, max(n_lock, 1)), state.LOCK_RECORD),
            "queues": np.zeros((LANES, n_pcpu), state.QUEUE),
            "scratch": np.zeros((LANES, 2 * (n_pcpu + n_vcpu)), i8),
        }
        for lane in range(LANES):
            host = self._hosts[lane]
            host["rows"] = self.rows.ctypes.data + 4 * lane
            host["lanes"] = self.lanes.ctypes.data + 4 * lane
            host["locks"] = self.locks.ctypes.data + 4 * lane
            host["draws"] = self.draws.ctypes.data + 4 * lane * n_vcpu * state.DRAWS_PER_VCPU
            for name, records in self._records.items():
                host[name] = records.ctypes.data + lane * records.strides[0]
            host["words"] = words.ctypes.data
            host["seed_low"] = seed & 0xFFFFFFFF
            host["seed_high"] = seed >> 32
            host["n_row"] = n_tile * state.TILE
        self._words = words
        rows = self.rows.reshape(n_tile, state.ROW_FIELDS, state.TILE, LANES)
        rows[:, UNTIL] = NEVER
        rows[:, state.KEY] = state.NO_KEY
        self.lanes.reshape(-1, LANES)[DEADLINE] = -1
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
            self._hosts.ctypes.data,
            self.rows,
            self.locks,
            self.lanes,
            self.draws,
            self._todo,
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
        unfair=encoded.is_unfair,
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
