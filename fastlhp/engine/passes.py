"""The guest path: what guests do on their own, in vectors.

Each pass is a loop over the lanes of a block, without branches on lane data, and does one thing. Between them, one
step of the block is: `next_event`; `draws_of` and `words_of`, which fetch what the event needs; `decide`; and
`store_rows` and `store_words`, which carry the outcome over. What the passes do not do themselves, they leave to
scalar code by a bit in CODE, and `list_lanes` collects the lanes that have one.

What the passes do: ends of USER and KERNEL phases; attempts at a lock that is free; releases of a lock that nobody
waits for; and of queued locks the vCPU's own part of all other attempts and releases.

Five rules keep the loops vectorised and fast. Choices are `select`, never ``if``. Every result is cut back to int32
at once (``_I``), because Numba computes in int64. Indices are unsigned: a signed run-time index carries Python's
wrap-around, and LLVM then refuses to vectorise. Rows and lock words are read and written in whole tiles, with a
choice for each row: writing by index costs a cycle a lane and word, however few the rows. And no value is loaded,
selected from and stored to the same place with nothing between: LLVM makes a masked store of that, which takes a
dozen cycles on AMD's Zen processors; so a ``zero`` that LLVM cannot know is added.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine import state
from fastlhp.engine.jit import device, lowest_bit, select, where_set
from fastlhp.engine.state import (
    COUNT_UNIT,
    CYCLE_MASK,
    DRAW_MASK,
    ENTRY_MASK,
    HALT_BIT,
    IN_KERNEL,
    LOCK_MASK,
    LOCK_SHIFT,
    MODE_SHIFT,
    NEEDS_DRAWS,
    NEEDS_EVENT,
    NEEDS_GRANT,
    NEEDS_QUEUE,
    NEEDS_STEP,
    NEVER,
    SLOTS,
    SPINNING,
    WORD_QUEUED,
)

_U = np.uint64
_U32 = np.uint32
_I = np.int32
LANES = _U(state.LANES)
STRIDE = _U(state.STRIDE)
ROW_1, ROW_2, ROW_3 = _U(state.STRIDE), _U(2 * state.STRIDE), _U(3 * state.STRIDE)
TILE_SIZE = _U(state.TILE_SIZE)
LOCK_TILE = _U(state.FIELD_SIZE)
UNTIL, POSITION = _U(state.UNTIL * state.FIELD_SIZE), _U(state.POSITION * state.FIELD_SIZE)


def _lane(value: int) -> np.uint64:
    """Offset of a lane value."""
    return _U(value * state.STRIDE)


DEADLINE, THRESHOLD = _lane(state.DEADLINE), _lane(state.THRESHOLD)
NOW, ROW, POS, LOCK = _lane(state.NOW), _lane(state.ROW), _lane(state.POS), _lane(state.LOCK)
WORD, DRAW, CHOSEN, CODE = _lane(state.WORD), _lane(state.DRAW), _lane(state.CHOSEN), _lane(state.CODE)
NEW_UNTIL, NEW_POS, NEW_WORD = _lane(state.NEW_UNTIL), _lane(state.NEW_POS), _lane(state.NEW_WORD)
TARGET_ROW, TARGET_LOCK = _lane(state.TARGET_ROW), _lane(state.TARGET_LOCK)

_ZERO, _ONE, _TWO, _THREE, _FOUR = _I(0), _I(1), _I(2), _I(3), _I(4)
_COUNT_UNIT = _I(COUNT_UNIT)
_COUNT_SHIFT = _I(COUNT_UNIT.bit_length() - 1)
_LAST_CYCLE = _I(2 * (SLOTS - 1))
_KERNEL_BIT = _I(IN_KERNEL << MODE_SHIFT)
_SPINNING = _I(SPINNING << MODE_SHIFT)
_MODE_SHIFT = _I(MODE_SHIFT)
_LOCK_SHIFT = _I(LOCK_SHIFT)
_BY_TILES = _U(2)
"""Up to so many tiles of rows or lock words are stored tile by tile; more by index. Measured."""


@device
def _earliest_of_tile(rows, base, l):
    """Time, row in the tile and POSITION of the earliest of four rows; of equal ones the lowest."""
    u0, u1 = rows[base + UNTIL + l], rows[base + UNTIL + ROW_1 + l]
    u2, u3 = rows[base + UNTIL + ROW_2 + l], rows[base + UNTIL + ROW_3 + l]
    p0, p1 = rows[base + POSITION + l], rows[base + POSITION + ROW_1 + l]
    p2, p3 = rows[base + POSITION + ROW_2 + l], rows[base + POSITION + ROW_3 + l]
    a = u1 < u0
    b = u3 < u2
    ua, ub = select(a, u1, u0), select(b, u3, u2)
    c = ub < ua
    row = select(c, select(b, _THREE, _TWO), select(a, _ONE, _ZERO))
    return select(c, ub, ua), row, select(c, select(b, p3, p2), select(a, p1, p0))


@device
def next_event(rows, lanes, n_tiles, zero):
    """Earliest row of each lane; reads UNTIL, POSITION; writes NOW, ROW, POS.

    Of several rows with the same time the lowest wins.
    """
    for l in range(LANES):
        until, row, position = _earliest_of_tile(rows, _U(0), l)
        lanes[NOW + l] = until
        lanes[ROW + l] = row
        lanes[POS + l] = position
    for tile in range(_U(1), n_tiles):
        first_row = _I(_I(tile) * _FOUR)
        for l in range(LANES):
            until, row, position = _earliest_of_tile(rows, tile * TILE_SIZE, l)
            until_before, row_before, position_before = lanes[NOW + l], lanes[ROW + l], lanes[POS + l]
            earlier = until < until_before
            lanes[NOW + l] = select(earlier, until, _I(until_before + zero))
            lanes[ROW + l] = select(earlier, _I(row + first_row), _I(row_before + zero))
            lanes[POS + l] = select(earlier, position, _I(position_before + zero))


@device
def draws_of(lanes, draws, stride):
    """The duration that follows the event in its vCPU's buffer; reads POS; writes DRAW."""
    for l in range(LANES):
        at = _I(_I(lanes[POS + l] + _ONE) & _I(DRAW_MASK))
        lanes[DRAW + l] = draws[l * stride + _U(_U32(at))]


@device
def choices_of(lanes, choices, stride):
    """What the second buffer says of the event; reads POS; writes CHOSEN.

    At the end of USER that is the kernel time, at a release the choices of the next cycle.
    """
    for l in range(LANES):
        pos = lanes[POS + l]
        at = _I(_I(pos & _I(DRAW_MASK - ENTRY_MASK)) + _I(_I(pos & _I(ENTRY_MASK)) >> _ONE))
        at = _I(at + _I(_I(pos & _ONE) * _I(SLOTS + 1)))
        lanes[CHOSEN + l] = choices[l * stride + _U(_U32(at))]


@device
def _word_of_tile(locks, base, l, lock):
    """Word of a lock, given as its index in a tile."""
    w0, w1 = locks[base + l], locks[base + ROW_1 + l]
    w2, w3 = locks[base + ROW_2 + l], locks[base + ROW_3 + l]
    return select(lock < _TWO, select(lock == _ZERO, w0, w1), select(lock == _TWO, w2, w3))


@device
def words_of(locks, lanes, n_tiles):
    """The lock of each lane's event and its word; reads POS; writes LOCK, WORD."""
    if n_tiles == _U(1):
        for l in range(LANES):
            lock = _I(_I(lanes[POS + l] >> _LOCK_SHIFT) & _I(LOCK_MASK))
            lanes[WORD + l] = _word_of_tile(locks, _U(0), l, lock)
            lanes[LOCK + l] = lock
    else:
        for l in range(LANES):
            lock = _I(_I(lanes[POS + l] >> _LOCK_SHIFT) & _I(LOCK_MASK))
            lanes[WORD + l] = locks[_U(_U32(lock)) * STRIDE + l]
            lanes[LOCK + l] = lock


@device
def _guest_goes_on(lanes, l):
    """Whether the lane's next event is the guest's and not later than it may go by itself."""
    return (lanes[NOW + l] <= lanes[DEADLINE + l]) & (lanes[POS + l] >= _ZERO)


@device
def _settle(lanes, l, code, new_until, new_pos, word_step, nobody, no_lock):
    """Write what the event comes to, or nothing if it is for scalar code."""
    row, lock = lanes[ROW + l], lanes[LOCK + l]
    for_scalar = _I(code & _I(NEEDS_STEP | NEEDS_EVENT))
    scalar = for_scalar != _ZERO
    code = select(scalar, for_scalar, code)  # which then does everything, the draws included
    lanes[NEW_UNTIL + l] = new_until
    lanes[NEW_POS + l] = new_pos
    lanes[NEW_WORD + l] = _I(lanes[WORD + l] + word_step)
    lanes[CODE + l] = select(lanes[DEADLINE + l] < _ZERO, _ZERO, code)
    lanes[TARGET_ROW + l] = select(scalar, nobody, row)
    lanes[TARGET_LOCK + l] = select(scalar, no_lock, lock)


@device
def _patience(lanes, l):
    """When the vCPU of the event, should it start to spin, has spun for the threshold."""
    threshold = lanes[THRESHOLD + l]
    return select(threshold < _ZERO, _I(NEVER), _I(lanes[NOW + l] + threshold))


@device
def decide(lanes, nobody, no_lock):
    """What each lane's event comes to, for VMs with one lock, no kernel phase and no HLT.

    Reads the lane values; writes NEW_*, TARGET_*, CODE. ``nobody`` and ``no_lock`` are the targets of lanes in which
    the passes change nothing.
    """
    for l in range(LANES):
        now, pos, word, draw = lanes[NOW + l], lanes[POS + l], lanes[WORD + l], lanes[DRAW + l]
        guest = _guest_goes_on(lanes, l)
        holding = _I(pos & _ONE)
        alone = word < _I(_COUNT_UNIT + _I(holding << _COUNT_SHIFT))  # nobody has the lock, or nobody else
        # NEEDS_QUEUE for an attempt, NEEDS_GRANT for a release.
        queued = select(_I(word & _I(WORD_QUEUED)) != _ZERO, _I(holding + _I(NEEDS_QUEUE)), _I(NEEDS_EVENT))
        code = select(alone, _ZERO, queued)
        new_pos = _I(pos + _ONE)
        spins = code == _I(NEEDS_QUEUE)
        last = _I(new_pos & _I(ENTRY_MASK)) == _LAST_CYCLE
        code = _I(code | select(last, _I(NEEDS_DRAWS), _ZERO))
        code = select(guest, code, _I(NEEDS_STEP))
        new_until = select(spins, _patience(lanes, l), _I(now + draw))
        new_pos = select(spins, _I(new_pos | _SPINNING), new_pos)
        step = _I(_COUNT_UNIT - _I(holding << _I(_COUNT_SHIFT + _ONE)))
        _settle(lanes, l, code, new_until, new_pos, step, nobody, no_lock)


@device
def decide_all(lanes, nobody, no_lock):
    """As `decide`, with kernel phases, several locks and HLT; reads CHOSEN too."""
    for l in range(LANES):
        now, pos, word, draw = lanes[NOW + l], lanes[POS + l], lanes[WORD + l], lanes[DRAW + l]
        chosen = lanes[CHOSEN + l]
        guest = _guest_goes_on(lanes, l)
        holding = _I(pos & _ONE)
        # A choice is a kernel time, or none (negative), at the end of USER only.
        to_kernel = (holding == _ZERO) & (pos < _KERNEL_BIT) & (chosen >= _ZERO)
        halts = (holding != _ZERO) & (_I(pos & _I(HALT_BIT)) != _ZERO)
        alone = word < _I(_COUNT_UNIT + _I(holding << _COUNT_SHIFT))
        queued = select(_I(word & _I(WORD_QUEUED)) != _ZERO, _I(holding + _I(NEEDS_QUEUE)), _I(NEEDS_EVENT))
        code = select(alone | to_kernel, _ZERO, queued)
        code = select(halts, _I(NEEDS_EVENT), code)
        spins = code == _I(NEEDS_QUEUE)
        after_attempt = _I(_I(pos & _I(~(3 << MODE_SHIFT))) + _ONE)
        after_release = _I(_I(_I(pos + _ONE) & _I(~CYCLE_MASK)) | chosen)
        new_pos = select(holding != _ZERO, after_release, after_attempt)
        last = _I(new_pos & _I(ENTRY_MASK)) == _LAST_CYCLE
        code = _I(code | select(last, _I(NEEDS_DRAWS), _ZERO))
        code = select(guest, code, _I(NEEDS_STEP))
        new_until = select(spins, _patience(lanes, l), _I(now + select(to_kernel, chosen, draw)))
        new_pos = select(spins, _I(new_pos | _SPINNING), new_pos)
        new_pos = select(to_kernel, _I(pos | _KERNEL_BIT), new_pos)
        step = _I(_COUNT_UNIT - _I(holding << _I(_COUNT_SHIFT + _ONE)))
        step = select(to_kernel, _ZERO, step)
        _settle(lanes, l, code, new_until, new_pos, step, nobody, no_lock)


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
    """Carry the event over to its row: UNTIL and POSITION."""
    if n_tiles <= _BY_TILES:
        for tile in range(_U(0), n_tiles):
            base = tile * TILE_SIZE
            first_row = _I(_I(tile) * _FOUR)
            for l in range(LANES):
                row = _I(lanes[TARGET_ROW + l] - first_row)
                _store_tile(rows, base + UNTIL, l, row, lanes[NEW_UNTIL + l], zero)
                _store_tile(rows, base + POSITION, l, row, lanes[NEW_POS + l], zero)
    else:
        for l in range(LANES):
            row = _U(_U32(lanes[TARGET_ROW + l]))
            at = (row >> _U(2)) * TILE_SIZE + (row & _U(3)) * STRIDE + l
            rows[at + UNTIL] = lanes[NEW_UNTIL + l]
            rows[at + POSITION] = lanes[NEW_POS + l]


@device
def store_words(locks, lanes, n_tiles, zero):
    """Carry the event over to its lock's word."""
    if n_tiles == _U(1):
        for l in range(LANES):
            _store_tile(locks, _U(0), l, lanes[TARGET_LOCK + l], lanes[NEW_WORD + l], zero)
    else:
        for l in range(LANES):
            locks[_U(_U32(lanes[TARGET_LOCK + l])) * STRIDE + l] = lanes[NEW_WORD + l]


@device
def list_lanes(lanes, todo):
    """Sort the lanes with a CODE into the lists of ``todo``: draws, queue, grant, and what else there is to do.

    Each list has room for all lanes; a lane may be in several. Returns how many are in each. One loop for all
    lists, without branches but its own: a branch that is often mispredicted costs as much as a pass over ten lanes.
    """
    n_draws, n_queue, n_grant, n_other = _U(0), LANES, _U(2) * LANES, _U(3) * LANES
    for first in range(_U(0), LANES, _U(64)):
        left = where_set(lanes, CODE + first)
        while left != _U(0):
            l = first + lowest_bit(left)
            left &= left - _U(1)
            code = lanes[CODE + l]
            lane = _I(l)
            todo[n_draws] = lane
            todo[n_queue] = lane
            todo[n_grant] = lane
            todo[n_other] = lane
            n_draws += _U(code & _I(NEEDS_DRAWS) != _ZERO)
            n_queue += _U(code & _I(NEEDS_QUEUE) != _ZERO)
            n_grant += _U(code & _I(NEEDS_GRANT) != _ZERO)
            n_other += _U(code & _I(NEEDS_STEP | NEEDS_EVENT) != _ZERO)
    return n_draws, n_queue - LANES, n_grant - _U(2) * LANES, n_other - _U(3) * LANES
