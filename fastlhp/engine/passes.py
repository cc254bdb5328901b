"""The guest path: what guests do between two interventions of the hypervisor, in vectors.

As long as nobody intervenes, a queued lock is handed from one vCPU to the next in the order of their attempts. So the
whole cycle of a vCPU is known at its attempt: with S the later of the attempt and the instant from which on the lock is
free, it holds the lock from S to S + hold, and attempts again at S + hold + rest, where ``rest`` is what it does outside
the lock. (For the waiting times of a queue this is Lindley's recursion.) One step of a lane is one such attempt, the
earliest; nothing has to be done about queues, grants and releases.

Each pass is a loop over the lanes of a block, without branches on lane data, and does one thing: `next_attempt`;
`draws_of` and `free_of`, which fetch what the attempt needs; `acquire` or `acquire_all`; and `store_rows` and
`store_locks`, which carry the outcome over. What is left to scalar code is said by NEEDS_*.

Five rules keep the loops vectorised and fast. Choices are `select`, never ``if``. Every result is cut back to int32
at once (``_I``), because Numba computes in int64. Indices are unsigned: a signed run-time index carries Python's
wrap-around, and LLVM then refuses to vectorise. Rows and lock values are read and written in whole tiles, with a
choice for each row: writing by index costs a cycle a lane and value, however few the rows. And no value is loaded,
selected from and stored to the same place with nothing between: LLVM makes a masked store of that, which takes a
dozen cycles on AMD's Zen processors; so a ``zero`` that LLVM cannot know is added.

References
----------
D. V. Lindley, "The theory of queues with a single server", Mathematical Proceedings of the Cambridge Philosophical
Society 48 (1952).
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine import state
from fastlhp.engine.jit import device, select
from fastlhp.engine.state import (
    CHOICE_MASK,
    CYCLE_OF_VCPU_MASK,
    FAR,
    HALF,
    HALT_BIT,
    LOCK_MASK,
    LOCK_SHIFT,
    NEVER,
    SLOT_MASK,
)

_U = np.uint64
_U32 = np.uint32
_I = np.int32
LANES = _U(state.LANES)
STRIDE = _U(state.STRIDE)
ROW_1, ROW_2, ROW_3 = _U(state.STRIDE), _U(2 * state.STRIDE), _U(3 * state.STRIDE)
TILE_SIZE = _U(state.TILE_SIZE)
NEXT, COURSE = _U(state.NEXT * state.FIELD_SIZE), _U(state.COURSE * state.FIELD_SIZE)


def _lane(value: int) -> np.uint64:
    """Offset of a lane value."""
    return _U(value * state.STRIDE)


DEADLINE, NOW, ROW, POS = _lane(state.DEADLINE), _lane(state.NOW), _lane(state.ROW), _lane(state.POS)
LOCK, FREE = _lane(state.LOCK), _lane(state.FREE)
NEW_NEXT, NEW_POS, NEW_FREE = _lane(state.NEW_NEXT), _lane(state.NEW_POS), _lane(state.NEW_FREE)
TARGET_ROW, TARGET_LOCK = _lane(state.TARGET_ROW), _lane(state.TARGET_LOCK)
NEEDS_NOTE, NEEDS_DRAWS = _lane(state.NEEDS_NOTE), _lane(state.NEEDS_DRAWS)
NEEDS_STEP = _lane(state.NEEDS_STEP)

_ZERO, _ONE, _TWO, _THREE, _FOUR = _I(0), _I(1), _I(2), _I(3), _I(4)
_NEVER, _TOO_FAR = _I(NEVER), _I(-FAR)  # the bits of what is FAR or more
_LOCK_SHIFT = _I(LOCK_SHIFT)
_SLOT_MASK = _I(SLOT_MASK)
_TWO64, _ONE64 = _U(2), _U(1)
_BY_TILES = _U(2)
"""Up to so many tiles of rows are stored tile by tile; more by index. Measured."""


@device
def _earliest_of_tile(rows, base, l):
    """Time, row in the tile and COURSE of the earliest of four rows; of equal ones the lowest."""
    u0, u1 = rows[base + NEXT + l], rows[base + NEXT + ROW_1 + l]
    u2, u3 = rows[base + NEXT + ROW_2 + l], rows[base + NEXT + ROW_3 + l]
    p0, p1 = rows[base + COURSE + l], rows[base + COURSE + ROW_1 + l]
    p2, p3 = rows[base + COURSE + ROW_2 + l], rows[base + COURSE + ROW_3 + l]
    a = u1 < u0
    b = u3 < u2
    ua, ub = select(a, u1, u0), select(b, u3, u2)
    c = ub < ua
    row = select(c, select(b, _THREE, _TWO), select(a, _ONE, _ZERO))
    return select(c, ub, ua), row, select(c, select(b, p3, p2), select(a, p1, p0))


@device
def next_attempt(rows, lanes, n_tiles, zero):
    """Earliest row of each lane, of several the lowest; reads NEXT, COURSE; writes NOW, ROW, POS."""
    for l in range(LANES):
        at, row, position = _earliest_of_tile(rows, _U(0), l)
        lanes[NOW + l] = at
        lanes[ROW + l] = row
        lanes[POS + l] = position
    for tile in range(_U(1), n_tiles):
        first_row = _I(_I(tile) * _FOUR)
        for l in range(LANES):
            at, row, position = _earliest_of_tile(rows, tile * TILE_SIZE, l)
            at_before, row_before, position_before = lanes[NOW + l], lanes[ROW + l], lanes[POS + l]
            earlier = at < at_before
            lanes[NOW + l] = select(earlier, at, _I(at_before + zero))
            lanes[ROW + l] = select(earlier, _I(row + first_row), _I(row_before + zero))
            lanes[POS + l] = select(earlier, position, _I(position_before + zero))


@device
def draws_of(lanes, draws, drawn, stride):
    """What is drawn for the vCPU's cycle, two int32 as one int64; reads POS.

    Of the draws: the hold time that follows the attempt (low), and the user time after it (high). Of the choices: the
    kernel time after that, and lock and HLT of the next cycle.
    """
    for l in range(LANES):
        drawn[l] = draws[l * stride + _U(_U32(lanes[POS + l] & _I(CYCLE_OF_VCPU_MASK)))]


@device
def _pair(pairs, l):
    """The two int32 of a lane: read as such, because LLVM makes half as wide vectors of a loop that has int64 too."""
    return pairs[_TWO64 * l], pairs[_TWO64 * l + _ONE64]


@device
def _free_of_tile(locks, base, l, lock):
    """From when on a lock, given as its index in a tile, is free."""
    w0, w1 = locks[base + l], locks[base + ROW_1 + l]
    w2, w3 = locks[base + ROW_2 + l], locks[base + ROW_3 + l]
    return select(lock < _TWO, select(lock == _ZERO, w0, w1), select(lock == _TWO, w2, w3))


@device
def free_of(locks, lanes, n_tiles):
    """The lock of each lane's attempt, and from when on it is free; reads POS; writes LOCK, FREE."""
    if n_tiles == _U(1):
        for l in range(LANES):
            lock = _I(_I(lanes[POS + l] >> _LOCK_SHIFT) & _I(LOCK_MASK))
            lanes[FREE + l] = _free_of_tile(locks, _U(0), l, lock)
            lanes[LOCK + l] = lock
    else:
        for l in range(LANES):
            lock = _I(_I(lanes[POS + l] >> _LOCK_SHIFT) & _I(LOCK_MASK))
            lanes[FREE + l] = locks[_U(_U32(lock)) * STRIDE + l]
            lanes[LOCK + l] = lock


@device
def _next_slot(pos):
    """COURSE of a vCPU's next cycle, but for what is drawn for it."""
    return _I(_I(pos & ~_SLOT_MASK) | _I(_I(pos + _ONE) & _SLOT_MASK))


@device
def _acquire(lanes, l, hold, rest, new_pos, halts, nobody, no_lock, zero):
    """What the lane's attempt comes to; ``halts``: whether the vCPU executes HLT at its release.

    The course ends before the attempt, where more than the order of attempts would matter: if the lock is released in
    the very tick, if the vCPU would attempt again in the tick of its release, or if a time would not fit.
    """
    now, free, before = lanes[NOW + l], lanes[FREE + l], lanes[DEADLINE + l]
    begin = select(free > now, free, now)
    blocked = begin == _NEVER
    begins = begin != _NEVER
    end = _I(begin + hold)
    is_far = (_I(_I(_I(begin | hold) | rest) & _TOO_FAR) != _ZERO) & begins
    ends_before = (free == now) | (rest == _ZERO) | is_far
    deadline = select(ends_before, _I(now - _ONE), before)
    deadline = select(halts & begins & (end <= deadline), _I(end - _ONE), deadline)
    deadline = select(before < deadline, before, deadline)
    is_over = now > deadline
    row, lock = lanes[ROW + l], lanes[LOCK + l]
    lanes[DEADLINE + l] = _I(deadline + zero)
    lanes[NEW_NEXT + l] = select(blocked, _NEVER, _I(end + rest))
    lanes[NEW_POS + l] = new_pos
    lanes[NEW_FREE + l] = select(blocked, _NEVER, end)
    lanes[TARGET_ROW + l] = select(is_over, nobody, row)
    lanes[TARGET_LOCK + l] = select(is_over, no_lock, lock)
    goes_on = select(is_over, _ZERO, _ONE)
    lanes[NEEDS_NOTE + l] = select(free > now, goes_on, _ZERO)
    lanes[NEEDS_DRAWS + l] = select(_I(new_pos & _I(HALF - 1)) == _TWO, goes_on, _ZERO)
    lanes[NEEDS_STEP + l] = select(before < _ZERO, _ZERO, _I(_ONE - goes_on))


@device
def acquire(lanes, drawn, nobody, no_lock, zero):
    """Attempts of VMs with one lock, no kernel phase and no HLT.

    Reads and writes lane values; ``nobody`` and ``no_lock`` are the targets of lanes in which nothing changes.
    """
    for l in range(LANES):
        hold, rest = _pair(drawn, l)
        _acquire(lanes, l, hold, rest, _next_slot(lanes[POS + l]), False, nobody, no_lock, zero)


@device
def acquire_all(lanes, drawn, chosen, nobody, no_lock, zero):
    """As `acquire`, with kernel phases, several locks and HLT."""
    for l in range(LANES):
        hold, user = _pair(drawn, l)
        kernel, choice = _pair(chosen, l)
        pos = lanes[POS + l]
        new_pos = _I(_I(_next_slot(pos) & _I(~CHOICE_MASK)) | choice)
        halts = _I(pos & _I(HALT_BIT)) != _ZERO
        _acquire(lanes, l, hold, _I(user + kernel), new_pos, halts, nobody, no_lock, zero)


@device
def _store_tile(values, base, l, row, new, zero):
    """Set one of four rows, or none if ``row`` is another number."""
    v0, v1 = values[base + l], values[base + ROW_1 + l]
    v2, v3 = values[base + ROW_2 + l], values[base + ROW_3 + l]
    values[base + l] = select(row == _ZERO, new, _I(v0 + zero))
    values[base + ROW_1 + l] = select(row == _ONE, new, _I(v1 + zero))
    values[base + ROW_2 + l] = select(row == _TWO, new, _I(v2 + zero))
    values[base + ROW_3 + l] = select(row == _THREE, new, _I(v3 + zero))


@device
def store_rows(rows, lanes, n_tiles, zero):
    """Carry the attempt over to its row: NEXT and COURSE."""
    if n_tiles <= _BY_TILES:
        for tile in range(_U(0), n_tiles):
            base = tile * TILE_SIZE
            first_row = _I(_I(tile) * _FOUR)
            for l in range(LANES):
                row = _I(lanes[TARGET_ROW + l] - first_row)
                _store_tile(rows, base + NEXT, l, row, lanes[NEW_NEXT + l], zero)
                _store_tile(rows, base + COURSE, l, row, lanes[NEW_POS + l], zero)
    else:
        for l in range(LANES):
            row = _U(_U32(lanes[TARGET_ROW + l]))
            at = (row >> _U(2)) * TILE_SIZE + (row & _U(3)) * STRIDE + l
            rows[at + NEXT] = lanes[NEW_NEXT + l]
            rows[at + COURSE] = lanes[NEW_POS + l]


@device
def store_locks(locks, lanes, n_tiles, zero):
    """Carry the attempt over to its lock: from when on it is free."""
    if n_tiles == _U(1):
        for l in range(LANES):
            _store_tile(locks, _U(0), l, lanes[TARGET_LOCK + l], lanes[NEW_FREE + l], zero)
    else:
        for l in range(LANES):
            locks[_U(_U32(lanes[TARGET_LOCK + l])) * STRIDE + l] = lanes[NEW_FREE + l]
