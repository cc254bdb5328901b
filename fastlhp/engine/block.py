"""A block: some replications that advance together in one thread, each in a lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import state
from fastlhp.engine.control import handle, look
from fastlhp.engine.course import FEWEST_TILES, begin_course, end_course, interrupt, narrow, resume, widen
from fastlhp.engine.draws import draw_if_due
from fastlhp.engine.encode import Encoded
from fastlhp.engine.jit import device, kernel, lowest_bit
from fastlhp.engine.machine_code import MachineCode
from fastlhp.engine.memory import allocate
from fastlhp.engine.passes import (
    WIDTH,
    carry_out,
    carry_out_choices,
    next_attempts,
    next_attempts_and_choices,
)
from fastlhp.engine.replication import start_replication
from fastlhp.engine.rows import clear_course, vcpu_in
from fastlhp.engine.state import (
    DEADLINE,
    DRAWS_PER_VCPU,
    EARLIEST_SIZE,
    HALF,
    LANES,
    LANES_SIZE,
    NEVER,
    NEXT,
    POS,
    SLOT_MASK,
    STRIDE,
    TILE,
    TILE_SIZE,
    VCPU_SHIFT,
    block_at,
    host_at,
    int32_at,
)
from fastlhp.engine.stretches import BEGINS, go_on, reconsider
from fastlhp.engine.tailoring import Facts
from fastlhp.engine.waits import lane_value, note_wait
from fastlhp.errors import FastlhpError
from fastlhp.results.counters import HOST_COUNTERS, N_BINS, VM_COUNTERS

_ITEM_SIZE = state.ITEM.itemsize

_NONE, _LOWEST = np.uint64(0), np.uint64(1)
_UNDIVIDED = np.int64(-1)

FEWEST_LANES = 16
"""With one group of lanes alone, each pass would wait for what the one before has just stored."""
BLOCK_BYTES = 256 * 1024
"""Half of a second-level cache, which holds the code, too, and the counters of configurations. Measured."""
ITEMS = 4096
"""Places in the ring of items of a block."""


@device
def is_resting(host):
    """Whether the lane has no replication to simulate."""
    return host.item == 0


@device
def _load(host, block):
    """Start the next item in a lane, or put the lane to rest."""
    if block.next_item < block.n_items:
        start_replication(host, block.items + block.next_item % ITEMS * _ITEM_SIZE)
        block.next_item += 1
        block.n_running += 1
        look(host)
    else:
        host.item = 0
        lane_value(host, DEADLINE).value = np.int32(-1)
        clear_course(host)


@device
def _finish(host, block):
    """The replication is over: the lane takes another."""
    block.n_running -= 1
    _load(host, block)


@device
def _handle(host, block):
    """Handle the event that `look` has found, and look again."""
    if handle(host):
        _finish(host, block)
    else:
        look(host)


@device
def _act(host, block, least):
    """Let scalar code go on with the lane, for so many events at least, until its course begins."""
    while not is_resting(host):
        if go_on(host, least) == BEGINS:
            host.course_began = host.done_until
            resume(host)
            block.n_divided += host.divided
            return
        _finish(host, block)


@device
def _draw(host, lanes):
    """The vCPU of the attempt that is found in these lane values may have left a half of its draws behind."""
    position = np.int64(int32_at(lanes, POS * STRIDE).value)
    draw_if_due(host, vcpu_in(position), (position + 1) & SLOT_MASK)


@device
def _serve(hosts, waits, draws, tile):
    """Do for the lanes whose bits are set what the passes left to scalar code; one kind of work after the other.

    In undivided lanes, or, where lanes are divided, in a tile of theirs (else -1).
    """
    beyond, first_row = 4 * LANES_SIZE * (tile + 1), TILE * max(tile, np.int64(0))
    while waits != _NONE:
        host = host_at(hosts, np.int64(lowest_bit(waits)))
        waits &= waits - _LOWEST
        note_wait(host, host.lanes + beyond, first_row)
    while draws != _NONE:
        host = host_at(hosts, np.int64(lowest_bit(draws)))
        draws &= draws - _LOWEST
        _draw(host, host.lanes + beyond)


@device
def _intervene(hosts, ends, block):
    """The course of the lanes whose bits are set is at its end: let the hypervisor act."""
    while ends != _NONE:
        host = host_at(hosts, np.int64(lowest_bit(ends)))
        ends &= ends - _LOWEST
        block.n_divided -= host.divided
        interrupt(host)
        reconsider(host)
        look(host)
        _act(host, block, 1)


@device
def _intervene_in_tile(hosts, ends, tile):
    """The course of a tile is at its end in the lanes whose bits are set: let the hypervisor act there.

    Returns the lanes in which no tile follows its course any more.
    """
    stopped = _NONE
    while ends != _NONE:
        lane = lowest_bit(ends)
        host = host_at(hosts, np.int64(lane))
        ends &= ends - _LOWEST
        narrow(host, tile)
        end_course(host)
        look(host)
        if go_on(host, 1) == BEGINS:
            begin_course(host)
        else:
            host.n_on_course -= 1
            if host.n_on_course == 0:
                stopped |= _LOWEST << lane
        widen(host)
    return stopped


@device
def _advance_tiles(block, hosts):
    """Carry out the next attempt of each tile of those lanes whose course is divided."""
    n_groups, lane_bytes, zero = -(-block.in_use // WIDTH), block.lane_bytes, np.int32(block.zero)
    rows, lanes, locks, draws = block.rows, block.lanes + 4 * LANES_SIZE, block.locks, block.draws
    n_tiles, n_lock_tiles, has_choices = block.n_tiles, block.n_lock_tiles, block.has_choices != 0
    stopped = _NONE
    # The first pass is always a tile ahead, so that the second has not to wait for what it has just stored.
    for i in range(n_tiles + 1):
        at, values = rows + 4 * TILE_SIZE * i, lanes + 4 * LANES_SIZE * i
        if i < n_tiles:
            if has_choices:
                next_attempts_and_choices(n_groups, at, values, 1, draws, block.choices, lane_bytes)
            else:
                next_attempts(n_groups, at, values, 1, draws, lane_bytes)
        if i > 0:
            at, values = at - 4 * TILE_SIZE, values - 4 * LANES_SIZE
            if has_choices:
                needs = carry_out_choices(n_groups, at, values, locks, 1, n_lock_tiles, zero)
            else:
                needs = carry_out(n_groups, at, values, locks, 1, n_lock_tiles, zero)
            _serve(hosts, needs[0], needs[1], i - 1)
            stopped |= _intervene_in_tile(hosts, needs[2], i - 1)
    # Not before: the first pass has already looked at the next tile.
    _intervene(hosts, stopped, block)


@kernel
def advance(address, n_steps):
    """Advance all lanes of the block at an address by at most so many steps."""
    block = block_at(address, 0)
    hosts, rows, locks, lanes = block.hosts, block.rows, block.locks, block.lanes
    draws, choices, lane_bytes = block.draws, block.choices, block.lane_bytes
    n_tiles, n_lock_tiles, in_use = block.n_tiles, block.n_lock_tiles, block.in_use
    has_choices, scalar_only, zero = block.has_choices != 0, block.scalar_only != 0, np.int32(block.zero)
    n_groups = -(-in_use // WIDTH)
    for lane in range(in_use):
        host = host_at(hosts, lane)
        if is_resting(host) and block.next_item < block.n_items:
            _load(host, block)
            if not scalar_only:
                _act(host, block, 0)
    for _ in range(n_steps):
        if block.n_running == 0:
            break
        block.n_steps += 1
        if block.n_divided > 0:
            _advance_tiles(block, hosts)
        if block.n_running == block.n_divided:
            continue
        if scalar_only:
            for lane in range(in_use):
                if not is_resting(host_at(hosts, lane)):
                    _handle(host_at(hosts, lane), block)
        elif has_choices:
            next_attempts_and_choices(n_groups, rows, lanes, n_tiles, draws, choices, lane_bytes)
            needs = carry_out_choices(n_groups, rows, lanes, locks, n_tiles, n_lock_tiles, zero)
            _serve(hosts, needs[0], needs[1], _UNDIVIDED)
            _intervene(hosts, needs[2], block)
        else:
            next_attempts(n_groups, rows, lanes, n_tiles, draws, lane_bytes)
            needs = carry_out(n_groups, rows, lanes, locks, n_tiles, n_lock_tiles, zero)
            _serve(hosts, needs[0], needs[1], _UNDIVIDED)
            _intervene(hosts, needs[2], block)


def lanes_for(lane_bytes: int) -> int:
    """How many lanes a block has whose lanes need so much memory each: whole groups, whose state a core's cache holds.

    The passes are at their best with as many lanes as there can be, scalar code with as few.
    """
    return max(FEWEST_LANES, min(LANES, BLOCK_BYTES // lane_bytes // WIDTH * WIDTH))


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
    lanes : int, optional
        Lanes to use, 1..LANES; the results do not depend on it. By default as many as `lanes_for` says.
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
        lanes: int | None = None,
        scalar_only: bool = False,
    ) -> None:
        if lanes is not None and not 1 <= lanes <= LANES:
            raise FastlhpError(f"a block has 1 to {LANES} lanes, got {lanes}")
        n_tile, n_lock_tile = -(-n_pcpu // TILE), -(-max(n_lock, 1) // TILE)
        n_draw = n_vcpu * DRAWS_PER_VCPU
        i4, i8 = np.int32, np.int64
        n_lock = max(n_lock, 1)
        of_lane: dict[str, tuple[int, Any]] = {
            "present": (n_tile * TILE * state.PRESENT_FIELDS, i4),
            "guests": (n_tile * TILE, i8),
            "thresholds": (n_tile * TILE, i8),
            "timers": (n_tile * TILE, i8),
            "waits": (n_pcpu, state.WAITS),
            "locks": (n_lock, i4),
            "draws": (n_draw, i4),
            "choices": (n_draw if choices else 0, i4),
            "pcpus": (n_tile * TILE, state.PCPU),
            "lock_records": (n_lock, state.LOCK_RECORD),
            "waiters": (n_lock * state.TICKETS, np.int16),
            "streams": (n_vcpu, state.STREAM),
            "vcpus": (n_vcpu, state.VCPU),
            "vms": (n_vm, state.VM),
            "spent": (n_vm * state.N_STATES, i8),
            "queues": (n_pcpu, state.QUEUE),
            "scratch": (2 * (n_pcpu + n_vcpu), i8),
        }
        if lanes is None:
            lanes = lanes_for(sum(count * np.dtype(dtype).itemsize for count, dtype in of_lane.values()))
        memory = allocate(
            {
                # One tile more of rows and locks: those of nobody, where passes may write what does not count.
                "rows": (((n_tile + 1) * (TILE_SIZE + EARLIEST_SIZE),), i4),
                "free": (((n_lock_tile + 1) * TILE * STRIDE,), i4),
                "lanes": (((n_tile + 1) * LANES_SIZE,), i4),
                "variates": ((2 * HALF,), np.float32),
                "newcomers": ((n_pcpu,), i8),
                "hosts": ((lanes,), state.HOST),
                **{name: ((lanes, count), dtype) for name, (count, dtype) in of_lane.items()},
            }
        )
        self._memory = memory
        self._code: Callable[[int, int], int] = advance
        self.n_lanes = lanes
        self.rows, self.free, self.lanes = memory["rows"], memory["free"], memory["lanes"]
        self._items = np.zeros(ITEMS, state.ITEM)
        self._shared = np.zeros(1, state.BLOCK_STATE)
        shared = self._shared[0]
        for name, array in (
            ("hosts", memory["hosts"]),
            ("rows", self.rows),
            ("lanes", self.lanes),
            ("locks", self.free),
            ("draws", memory["draws"]),
            ("choices", memory["choices"]),
            ("items", self._items),
        ):
            shared[name] = array.ctypes.data
        shared["n_tiles"], shared["n_lock_tiles"], shared["lane_bytes"] = n_tile, n_lock_tile, 4 * n_draw
        shared["in_use"], shared["has_choices"], shared["scalar_only"] = lanes, choices, scalar_only
        hosts, each = memory["hosts"], np.arange(lanes)
        for name in ("rows", "lanes", "free"):
            hosts[name] = memory[name].ctypes.data + 4 * each
        for name in of_lane:
            hosts[name] = memory[name].ctypes.data + memory[name].strides[0] * each
        if not choices:
            hosts["choices"] = 0
        for name in ("variates", "newcomers"):
            hosts[name] = memory[name].ctypes.data
        hosts["seed_low"], hosts["seed_high"] = seed & 0xFFFFFFFF, seed >> 32
        hosts["n_row"] = n_tile * TILE
        end_of_rows = (n_tile + 1) * TILE_SIZE
        self.rows[:end_of_rows].reshape(n_tile + 1, state.ROW_FIELDS, TILE, STRIDE)[:, NEXT] = NEVER
        self.rows[end_of_rows:].reshape(n_tile + 1, 2, STRIDE)[:, 0] = NEVER
        self.lanes.reshape(-1, state.LANE_FIELDS, STRIDE)[:, DEADLINE] = -1

    @property
    def n_waiting(self) -> int:
        """Items that no lane has started yet."""
        return int(self._shared["n_items"][0] - self._shared["next_item"][0])

    @property
    def n_divided(self) -> int:
        """Lanes whose course is divided (`course.start_tiles`) now."""
        return int(self._shared["n_divided"][0])

    @property
    def is_busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._shared["n_running"][0] > 0 or self.n_waiting > 0)

    def known(self, facts: Facts) -> Facts:
        """Return all that is known, given what is known of every configuration that the block has or is given."""
        shared = self._shared[0]
        n_tile = int(shared["n_tiles"])
        own = {(f"block.{name}", int(shared[name])) for name in ("n_tiles", "n_lock_tiles", "lane_bytes")}
        own |= {(f"block.{name}", int(shared[name])) for name in ("has_choices", "scalar_only")}
        own.add(("host.n_row", TILE * n_tile))
        if not shared["has_choices"]:
            own.add(("host.choices", 0))
        if n_tile < FEWEST_TILES or ("config.divisible", 0) in facts:
            own |= {(field, 0) for field in ("host.divisible", "host.divided", "host.first_tile")}
            own |= {("host.n_tile", n_tile), ("block.n_divided", 0)}
        return facts | own

    def use(self, code: MachineCode | None) -> None:
        """Go on with other machine code, whose facts hold for this block (`known`); None for that without any."""
        self._code = code or advance

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
        places = (self._shared["n_items"][0] + np.arange(len(items))) % ITEMS
        self._items[places] = items
        self._shared["n_items"] += len(items)
        return places

    def outcome(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What became of items: 0 not done yet, 1 done, negative an error of `state`."""
        return np.asarray(self._items["done"][places])

    def n_since(self, place: int) -> int:
        """How many places of the ring have been used from the one given on."""
        return int((self._shared["n_items"][0] - place) % ITEMS)

    def advance(self, n_steps: int) -> bool:
        """Advance by at most so many steps; false when everything is done. Releases the GIL."""
        self._code(self._shared.ctypes.data, n_steps)
        return self.is_busy


N_VM_COUNTERS, N_HOST_COUNTERS = len(VM_COUNTERS), len(HOST_COUNTERS)


def simulate(
    encoded: Encoded,
    seed: int,
    replications: range,
    *,
    lanes: int | None = None,
    scalar_only: bool = False,
    tailored: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Simulate some replications of one configuration in this thread; with code made for it, if that is wanted.

    Returns
    -------
    vm : ndarray of int64, shape (replication, vm, counter)
    host : ndarray of int64, shape (replication, counter)
    histogram : ndarray of int64, shape (2, bin)
    """
    options: dict[str, Any] = {"lanes": lanes, "scalar_only": scalar_only, "tailored": tailored}
    vm, host, histogram = simulate_parts(encoded, seed, replications, 1, **options)
    return vm[:, 0], host[:, 0], histogram


def simulate_parts(
    encoded: Encoded,
    seed: int,
    replications: range,
    parts: int,
    *,
    lanes: int | None = None,
    scalar_only: bool = False,
    tailored: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """As `simulate`, with counters of each of so many parts of the window, equal but for a rounding to ns.

    Returns
    -------
    vm : ndarray of int64, shape (replication, part, vm, counter)
    host : ndarray of int64, shape (replication, part, counter)
    histogram : ndarray of int64, shape (2, bin)
        Of the whole window.
    """
    n = len(replications)
    vm = np.zeros((n, parts, encoded.n_vm, N_VM_COUNTERS), np.int64)
    host = np.zeros((n, parts, N_HOST_COUNTERS), np.int64)
    histogram = np.zeros((2, N_BINS), np.int64)
    block = Block(seed, **encoded.room, lanes=lanes, scalar_only=scalar_only)
    if tailored:
        block.use(advance.tailor(block.known(encoded.facts)))
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
    """Items for some replications of a configuration, with results going to the given arrays.

    Parameters
    ----------
    encoded : Encoded
        The configuration.
    replications : range
        Which replications.
    vm : ndarray of int64, shape (replication, part, vm, counter)
    host : ndarray of int64, shape (replication, part, counter)
    histogram : ndarray of int64, shape (2, bin)
    """
    n = len(replications)
    items = np.zeros(n, state.ITEM)
    items["config"] = encoded.address
    items["replication"] = np.arange(replications.start, replications.stop)
    items["n_part"] = vm.shape[1]
    items["vm_out"] = vm.ctypes.data + np.arange(n) * vm.strides[0]
    items["host_out"] = host.ctypes.data + np.arange(n) * host.strides[0]
    items["histogram"] = histogram.ctypes.data
    return items
