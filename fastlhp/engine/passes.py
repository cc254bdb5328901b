"""The guest path: what guests do on their own, in vectors.

Each pass is a loop over the lanes of a block, without branches on lane data, and does one thing. It works on
four int32 arrays with the lane as last index (`state.py`): ``rows``, ``locks`` (lock words), ``lanes`` (lane
values) and ``draws``. What a pass cannot do it leaves to scalar code by a bit in CODE.

Four rules keep the loops vectorised and fast. Choices are `select`, never ``if``. Every result is cut back to int32
at once (``_I``), because Numba computes in int64. Indices are unsigned: a signed run-time index carries Python's
wrap-around, and LLVM then refuses to vectorise. And no value is loaded, selected from and stored to the same place
with nothing between: LLVM makes a masked store of that, which takes a dozen cycles on AMD's Zen processors.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine import state
from fastlhp.engine.jit import Select, device
from fastlhp.engine.state import (
    ATTEMPTS,
    COUNT_UNIT,
    HOLDING,
    KERNEL_STARTS,
    MISC_HALT,
    NEEDS_BOOKING,
    NEEDS_DRAWS,
    NEEDS_GRANT,
    NEEDS_STEP,
    NEVER,
    NO_GRANT,
    NO_KEY,
    NOTHING,
    RELEASES,
    SLOTS,
    TICKETS,
    TRAP,
    USER,
    WORD_SCALAR,
    WORD_TRAP_RELEASE,
    WORD_UNFAIR,
)

_U = np.uint64
_U32 = np.uint32
_I = np.int32
LANES = _U(state.LANES)
ROW_1, ROW_2, ROW_3 = _U(state.LANES), _U(2 * state.LANES), _U(3 * state.LANES)
TILE_SIZE = _U(state.TILE_SIZE)


def _field(field: int) -> np.uint64:
    """Offset of a field's first row in a tile."""
    return _U(field * state.TILE * state.LANES)


def _lane(value: int) -> np.uint64:
    """Offset of a lane value."""
    return _U(value * state.LANES)


UNTIL, POSITION, KEY = _field(state.UNTIL), _field(state.POSITION), _field(state.KEY)
HOLD, ATTEMPT, LOCK0 = _field(state.HOLD), _field(state.ATTEMPT), _field(state.LOCK0)
DEADLINE, THRESHOLD, ACTIVE = _lane(state.DEADLINE), _lane(state.THRESHOLD), _lane(state.ACTIVE)
NOW, ROW, POS, FIRST_LOCK = _lane(state.NOW), _lane(state.ROW), _lane(state.POS), _lane(state.FIRST_LOCK)
LOCK, WORK, DRAW, CODE = _lane(state.LOCK), _lane(state.WORK), _lane(state.DRAW), _lane(state.CODE)
NEW_UNTIL, NEW_POS, NEW_KEY = _lane(state.NEW_UNTIL), _lane(state.NEW_POS), _lane(state.NEW_KEY)
GRANT_KEY, GRANT_ROW = _lane(state.GRANT_KEY), _lane(state.GRANT_ROW)
MISC, RIVALS = _lane(state.MISC), _lane(state.RIVALS)

_PHASE_SHIFT = _I(SLOTS.bit_length() - 1)
_COUNT_SHIFT = _I(COUNT_UNIT.bit_length() - 1)
_TO_HOLD = _I(2 * SLOTS)
_TO_KERNEL = _I(SLOTS)
_TO_NEXT_USER = _I(1 - 2 * SLOTS)
_LAST_SLOT = _I(SLOTS - 1)
_LOCKS_IN_MISC = _I(MISC_HALT - 1)


select = Select()


@device
def _earliest_of_tile(rows, base, l):
    """Time, row in the tile, POSITION and LOCK0 of the earliest of four rows; of equal ones the lowest."""
    u0, u1 = rows[base + UNTIL + l], rows[base + UNTIL + ROW_1 + l]
    u2, u3 = rows[base + UNTIL + ROW_2 + l], rows[base + UNTIL + ROW_3 + l]
    p0, p1 = rows[base + POSITION + l], rows[base + POSITION + ROW_1 + l]
    p2, p3 = rows[base + POSITION + ROW_2 + l], rows[base + POSITION + ROW_3 + l]
    k0, k1 = rows[base + LOCK0 + l], rows[base + LOCK0 + ROW_1 + l]
    k2, k3 = rows[base + LOCK0 + ROW_2 + l], rows[base + LOCK0 + ROW_3 + l]
    a = u1 < u0
    b = u3 < u2
    ua, ub = select(a, u1, u0), select(b, u3, u2)
    c = ub < ua
    row = select(c, select(b, _I(3), _I(2)), select(a, _I(1), _I(0)))
    position = select(c, select(b, p3, p2), select(a, p1, p0))
    return select(c, ub, ua), row, position, select(c, select(b, k3, k2), select(a, k1, k0))


@device
def next_event(rows, lanes, n_tiles):
    """Earliest row of each lane; reads UNTIL, POSITION, LOCK0; writes NOW, ROW, POS, FIRST_LOCK, GRANT_ROW.

    Of several rows with the same time the lowest wins.
    """
    for l in range(LANES):
        until, row, position, lock = _earliest_of_tile(rows, _U(0), l)
        lanes[NOW + l] = until
        lanes[ROW + l] = row
        lanes[POS + l] = position
        lanes[FIRST_LOCK + l] = lock
        lanes[GRANT_ROW + l] = _I(-1)
    for tile in range(_U(1), n_tiles):
        first_row = _I(_I(4) * _I(tile))
        for l in range(LANES):
            until, row, position, lock = _earliest_of_tile(rows, tile * TILE_SIZE, l)
            earlier = until < lanes[NOW + l]
            lanes[NEW_UNTIL + l] = select(earlier, until, lanes[NOW + l])
            lanes[NEW_KEY + l] = select(earlier, _I(row + first_row), lanes[ROW + l])
            lanes[NEW_POS + l] = select(earlier, position, lanes[POS + l])
            lanes[LOCK + l] = select(earlier, lock, lanes[FIRST_LOCK + l])
        # Through other lane values and back: see above on masked stores.
        for l in range(LANES):
            lanes[NOW + l] = lanes[NEW_UNTIL + l]
            lanes[ROW + l] = lanes[NEW_KEY + l]
            lanes[POS + l] = lanes[NEW_POS + l]
            lanes[FIRST_LOCK + l] = lanes[LOCK + l]


@device
def classify(lanes):
    """What each lane's event is, for VMs with one lock, no kernel phase and no HLT; writes WORK, LOCK, CODE."""
    for l in range(LANES):
        pos = lanes[POS + l]
        phase = _I(_I(pos >> _PHASE_SHIFT) & _I(3))
        guest = (lanes[NOW + l] <= lanes[DEADLINE + l]) & (phase != _I(TRAP))
        work = select(phase == _I(HOLDING), _I(RELEASES), _I(ATTEMPTS))
        lanes[WORK + l] = select(guest, work, _I(NOTHING))
        lanes[CODE + l] = select(guest, _I(0), _I(lanes[ACTIVE + l] * _I(NEEDS_STEP)))
        lanes[LOCK + l] = lanes[FIRST_LOCK + l]


@device
def gather_draws(lanes, draws, stride):
    """The hold or user time that each lane's event needs; reads POS, WORK; writes DRAW."""
    for l in range(LANES):
        work = lanes[WORK + l]
        step = select(work == _I(RELEASES), _TO_NEXT_USER, _TO_HOLD)
        at = _I(lanes[POS + l] + select(work == _I(NOTHING), _I(0), step))
        lanes[DRAW + l] = draws[l * stride + _U(_U32(at))]


@device
def classify_all(lanes, draws, stride):
    """As `classify` and `gather_draws`, with kernel phases, several locks and HLT.

    Writes WORK, LOCK, CODE, DRAW.
    """
    for l in range(LANES):
        pos = lanes[POS + l]
        phase = _I(_I(pos >> _PHASE_SHIFT) & _I(3))
        misc = draws[l * stride + _U(_U32(_I(pos | _I(3 * SLOTS))))]
        user, release = phase == _I(USER), phase == _I(HOLDING)
        guest = (lanes[NOW + l] <= lanes[DEADLINE + l]) & (phase != _I(TRAP))
        guest = guest & ((_I(misc & _I(MISC_HALT)) == _I(0)) | (phase != _I(HOLDING)))
        # The next entry of the cycle: of a USER phase the kernel time, of a KERNEL phase the hold time.
        ahead = select(release | (phase == _I(TRAP)), _I(0), _TO_KERNEL)
        following = draws[l * stride + _U(_U32(_I(pos + ahead)))]
        to_kernel = user & (following >= _I(0))
        step = select(release, _TO_NEXT_USER, select(user, _TO_HOLD, _TO_KERNEL))
        other = draws[l * stride + _U(_U32(_I(pos + select(guest, step, _I(0)))))]
        work = select(release, _I(RELEASES), select(to_kernel, _I(KERNEL_STARTS), _I(ATTEMPTS)))
        lanes[WORK + l] = select(guest, work, _I(NOTHING))
        lanes[DRAW + l] = select(to_kernel, following, other)
        lanes[CODE + l] = select(guest, _I(0), _I(lanes[ACTIVE + l] * _I(NEEDS_STEP)))
        lanes[LOCK + l] = _I(lanes[FIRST_LOCK + l] + _I(misc & _LOCKS_IN_MISC))


@device
def count_rivals(rows, lanes, n_tiles):
    """Running waiters of the event's lock if that is a test_and_set lock (their tickets are all 0); writes RIVALS."""
    no_rivals(lanes)
    for tile in range(_U(0), n_tiles):
        base = tile * TILE_SIZE
        for l in range(LANES):
            key = _I(lanes[LOCK + l] << _COUNT_SHIFT)
            n = _I(lanes[RIVALS + l] + _I(rows[base + KEY + l] == key))
            n = _I(n + _I(rows[base + KEY + ROW_1 + l] == key))
            n = _I(n + _I(rows[base + KEY + ROW_2 + l] == key))
            lanes[RIVALS + l] = _I(n + _I(rows[base + KEY + ROW_3 + l] == key))


@device
def no_rivals(lanes):
    """In place of `count_rivals` where no lane has a test_and_set lock."""
    for l in range(LANES):
        lanes[RIVALS + l] = _I(0)


@device
def gather_words(locks, lanes):
    """Lock word of each lane's event, by index; writes MISC.

    A loop over the locks that selects was tried: no faster for two locks, slower for more.
    """
    for l in range(LANES):
        lanes[MISC + l] = locks[_U(_U32(lanes[LOCK + l])) * LANES + l]


@device
def scatter_words(locks, lanes):
    """Store the lock words that `update_locks` left in MISC, by index."""
    for l in range(LANES):
        locks[_U(_U32(lanes[LOCK + l])) * LANES + l] = lanes[MISC + l]


@device
def update_locks(lanes):
    """Attempts and releases on the lock words in MISC; writes MISC, CODE, ROW, NEW_*, GRANT_KEY.

    ROW becomes -1 where the passes leave the lane's rows alone.
    """
    for l in range(LANES):
        work, word, rivals = lanes[WORK + l], lanes[MISC + l], lanes[RIVALS + l]
        now, pos, lock, draw = lanes[NOW + l], lanes[POS + l], lanes[LOCK + l], lanes[DRAW + l]
        threshold = lanes[THRESHOLD + l]
        unfair = _I(word & _I(WORD_UNFAIR)) != _I(0)
        count = _I(_I(word >> _COUNT_SHIFT) & _I(TICKETS - 1))
        queued = select(unfair, _I(rivals + _I(1)), count)  # holder and those that a release would serve
        waits = (work == _I(ATTEMPTS)) & (count != _I(0))
        grants = (work == _I(RELEASES)) & (queued > _I(1))
        scalar = (_I(word & _I(WORD_SCALAR)) != _I(0)) & (waits | grants)
        scalar = scalar | ((_I(word & _I(WORD_TRAP_RELEASE)) != _I(0)) & (work == _I(RELEASES)))
        scalar = scalar | (unfair & (work == _I(RELEASES)) & (rivals > _I(1)))
        row = lanes[ROW + l]
        work = select(scalar, _I(NOTHING), work)
        attempt, release = work == _I(ATTEMPTS), work == _I(RELEASES)
        waits, grants = waits & attempt, grants & release

        served = _I(_I(word + _I(1)) & _I(TICKETS - 1))
        served = select(unfair, _I(0), served)
        ticket = select(unfair, _I(0), _I(_I(word + count) & _I(TICKETS - 1)))
        # Fair: an attempt adds one, a release takes one off and serves the next. Unfair: the count is 1 while held.
        step = select(attempt, _I(COUNT_UNIT), select(release, _I(-COUNT_UNIT), _I(0)))
        step = select(unfair & (waits | grants), _I(0), step)
        changed = _I(word + step)
        lanes[MISC + l] = select(release, _I(_I(changed & _I(-TICKETS)) | served), changed)

        phase = _I(_I(pos >> _PHASE_SHIFT) & _I(3))
        to_hold = select(phase == _I(USER), _TO_HOLD, _TO_KERNEL)
        step = select(waits, _I(to_hold + _I(SLOTS)), to_hold)  # TRAP follows HOLDING
        step = select(release, _TO_NEXT_USER, select(work == _I(KERNEL_STARTS), _TO_KERNEL, step))
        new_pos = _I(pos + step)
        lanes[NEW_POS + l] = new_pos
        patience = select(threshold < _I(0), _I(NEVER), _I(now + threshold))
        lanes[NEW_UNTIL + l] = select(waits, patience, _I(now + draw))
        key_of_lock = _I(lock << _COUNT_SHIFT)
        lanes[NEW_KEY + l] = select(waits, _I(key_of_lock | ticket), _I(NO_KEY))
        lanes[GRANT_KEY + l] = select(grants, _I(key_of_lock | served), _I(NO_GRANT))
        last = release & (_I(new_pos & _I(SLOTS - 1)) == _LAST_SLOT)
        code = select(scalar, _I(NEEDS_STEP), lanes[CODE + l])
        lanes[CODE + l] = select(last, _I(NEEDS_DRAWS), code)
        lanes[ROW + l] = select(work == _I(NOTHING), _I(-1), row)


@device
def apply(rows, lanes, n_tiles):
    """Carry the event over to the rows: the event's own and the one that was granted the lock.

    Reads and writes UNTIL, POSITION, KEY, HOLD, ATTEMPT; writes GRANT_ROW (-1 if no row has the granted key).
    A loop over the lanes for each row: with the four rows of a tile in one loop, LLVM gives up.
    """
    for tile in range(_U(0), n_tiles):
        for r in range(_U(4)):
            at = tile * TILE_SIZE + r * ROW_1
            row = _I(_I(_I(4) * _I(tile)) + _I(r))
            for l in range(LANES):
                now, grant_row = lanes[NOW + l], lanes[GRANT_ROW + l]
                until, position, key = rows[at + UNTIL + l], rows[at + POSITION + l], rows[at + KEY + l]
                hold, attempt = rows[at + HOLD + l], rows[at + ATTEMPT + l]
                own = lanes[ROW + l] == row
                granted = key == lanes[GRANT_KEY + l]
                until = select(granted, _I(now + hold), until)
                position = select(granted, _I(position - _I(SLOTS)), position)
                key = select(granted, _I(NO_KEY), key)
                rows[at + UNTIL + l] = select(own, lanes[NEW_UNTIL + l], until)
                rows[at + POSITION + l] = select(own, lanes[NEW_POS + l], position)
                rows[at + KEY + l] = select(own, lanes[NEW_KEY + l], key)
                rows[at + HOLD + l] = select(own, lanes[DRAW + l], hold)
                rows[at + ATTEMPT + l] = select(own, now, attempt)
                lanes[GRANT_ROW + l] = select(granted, row, grant_row)


@device
def list_lanes(lanes, todo):
    """Collect the lanes that scalar code has to look at; writes CODE and ``todo``, returns how many."""
    for l in range(LANES):
        missing = lanes[GRANT_ROW + l] < _I(0)
        grant = select(missing, _I(NEEDS_GRANT), _I(NEEDS_BOOKING))
        grant = select(lanes[GRANT_KEY + l] == _I(NO_GRANT), _I(0), grant)
        lanes[CODE + l] = _I(lanes[CODE + l] | grant)
    n = _U(0)
    for l in range(LANES):
        todo[n] = _I(l)
        n += _U(lanes[CODE + l] != _I(0))
    return n
