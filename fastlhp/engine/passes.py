"""The guest path: what guests do on their own, in vectors.

Each pass is a loop over the lanes of a block, without branches on lane data, and does one thing. It works on
four int32 arrays with the lane as last index (`state.py`): ``rows``, ``locks`` (lock words), ``lanes`` (lane
values) and ``draws``. What a pass cannot do it leaves to scalar code by a bit in CODE.

Indices are unsigned: a signed run-time index carries Python's wrap-around, and LLVM then refuses to vectorise.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine import state
from fastlhp.engine.jit import device
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


@device
def next_event(rows, lanes, n_tiles):
    """Earliest row of each lane; reads UNTIL, POSITION, LOCK0; writes NOW, ROW, POS, FIRST_LOCK.

    Of several rows with the same time the lowest wins.
    """
    for l in range(LANES):
        u0, u1 = rows[UNTIL + l], rows[UNTIL + ROW_1 + l]
        u2, u3 = rows[UNTIL + ROW_2 + l], rows[UNTIL + ROW_3 + l]
        p0, p1 = rows[POSITION + l], rows[POSITION + ROW_1 + l]
        p2, p3 = rows[POSITION + ROW_2 + l], rows[POSITION + ROW_3 + l]
        k0, k1 = rows[LOCK0 + l], rows[LOCK0 + ROW_1 + l]
        k2, k3 = rows[LOCK0 + ROW_2 + l], rows[LOCK0 + ROW_3 + l]
        a = u1 < u0
        ua = u1 if a else u0
        ra = _I(1) if a else _I(0)
        pa = p1 if a else p0
        ka = k1 if a else k0
        b = u3 < u2
        ub = u3 if b else u2
        rb = _I(3) if b else _I(2)
        pb = p3 if b else p2
        kb = k3 if b else k2
        c = ub < ua
        lanes[NOW + l] = ub if c else ua
        lanes[ROW + l] = rb if c else ra
        lanes[POS + l] = pb if c else pa
        lanes[FIRST_LOCK + l] = kb if c else ka
    for tile in range(_U(1), n_tiles):
        base = tile * TILE_SIZE
        row = _I(4) * _I(tile)
        for l in range(LANES):
            u0, u1 = rows[base + UNTIL + l], rows[base + UNTIL + ROW_1 + l]
            u2, u3 = rows[base + UNTIL + ROW_2 + l], rows[base + UNTIL + ROW_3 + l]
            p0, p1 = rows[base + POSITION + l], rows[base + POSITION + ROW_1 + l]
            p2, p3 = rows[base + POSITION + ROW_2 + l], rows[base + POSITION + ROW_3 + l]
            k0, k1 = rows[base + LOCK0 + l], rows[base + LOCK0 + ROW_1 + l]
            k2, k3 = rows[base + LOCK0 + ROW_2 + l], rows[base + LOCK0 + ROW_3 + l]
            best, best_row = lanes[NOW + l], lanes[ROW + l]
            best_pos, best_lock = lanes[POS + l], lanes[FIRST_LOCK + l]
            a = u1 < u0
            ua = u1 if a else u0
            ra = _I(1) if a else _I(0)
            pa = p1 if a else p0
            ka = k1 if a else k0
            b = u3 < u2
            ub = u3 if b else u2
            rb = _I(3) if b else _I(2)
            pb = p3 if b else p2
            kb = k3 if b else k2
            c = ub < ua
            uc = ub if c else ua
            rc = row + (rb if c else ra)
            pc = pb if c else pa
            kc = kb if c else ka
            d = uc < best
            lanes[NOW + l] = uc if d else best
            lanes[ROW + l] = rc if d else best_row
            lanes[POS + l] = pc if d else best_pos
            lanes[FIRST_LOCK + l] = kc if d else best_lock


@device
def classify(lanes):
    """What each lane's event is, for VMs with one lock, no kernel phase and no HLT; writes WORK, LOCK, CODE, MISC."""
    for l in range(LANES):
        now, pos = lanes[NOW + l], lanes[POS + l]
        deadline, active, first_lock = lanes[DEADLINE + l], lanes[ACTIVE + l], lanes[FIRST_LOCK + l]
        phase = (pos >> _PHASE_SHIFT) & _I(3)
        guest = (now <= deadline) & (phase != _I(TRAP))
        work = _I(RELEASES) if phase == _I(HOLDING) else _I(ATTEMPTS)
        lanes[WORK + l] = work if guest else _I(NOTHING)
        lanes[CODE + l] = _I(0) if guest else active * _I(NEEDS_STEP)
        lanes[LOCK + l] = first_lock


@device
def gather_draws(lanes, draws, stride):
    """The hold or user time that each lane's event needs; reads POS, WORK; writes DRAW."""
    for l in range(LANES):
        pos, work = lanes[POS + l], lanes[WORK + l]
        step = _TO_NEXT_USER if work == _I(RELEASES) else _TO_HOLD
        step = step if work != _I(NOTHING) else _I(0)
        lanes[DRAW + l] = draws[l * stride + _U(pos + step)]


@device
def classify_all(lanes, draws, stride):
    """As `classify` and `gather_draws`, with kernel phases, several locks and HLT.

    Writes WORK, LOCK, CODE, DRAW.
    """
    for l in range(LANES):
        now, pos = lanes[NOW + l], lanes[POS + l]
        deadline, active, first_lock = lanes[DEADLINE + l], lanes[ACTIVE + l], lanes[FIRST_LOCK + l]
        phase = (pos >> _PHASE_SHIFT) & _I(3)
        guest = (now <= deadline) & (phase != _I(TRAP))
        misc = draws[l * stride + _U(pos | _I(3 * SLOTS))]
        # The next entry of the cycle: of a USER phase the kernel time, of a KERNEL phase the hold time.
        following = draws[l * stride + _U(pos + (_TO_KERNEL if phase < _I(HOLDING) else _I(0)))]
        release = phase == _I(HOLDING)
        guest = guest & ((phase != _I(HOLDING)) | ((misc & _I(MISC_HALT)) == _I(0)))
        to_kernel = (phase == _I(USER)) & (following >= _I(0))
        work = _I(RELEASES) if release else (_I(KERNEL_STARTS) if to_kernel else _I(ATTEMPTS))
        work = work if guest else _I(NOTHING)
        step = _TO_NEXT_USER if release else (_TO_HOLD if phase == _I(USER) else _TO_KERNEL)
        step = step if guest else _I(0)
        other = draws[l * stride + _U(pos + step)]
        lanes[WORK + l] = work
        lanes[DRAW + l] = following if to_kernel else other
        lanes[CODE + l] = _I(0) if guest else active * _I(NEEDS_STEP)
        lanes[LOCK + l] = first_lock + (misc & _LOCKS_IN_MISC)


@device
def count_rivals(rows, lanes, n_tiles):
    """Running waiters of the event's lock if that is a test_and_set lock (their tickets are all 0); writes RIVALS."""
    for l in range(LANES):
        lanes[RIVALS + l] = _I(0)
    for tile in range(_U(0), n_tiles):
        base = tile * TILE_SIZE
        for l in range(LANES):
            key = lanes[LOCK + l] << _COUNT_SHIFT
            k0, k1 = rows[base + KEY + l], rows[base + KEY + ROW_1 + l]
            k2, k3 = rows[base + KEY + ROW_2 + l], rows[base + KEY + ROW_3 + l]
            n = (_I(1) if k0 == key else _I(0)) + (_I(1) if k1 == key else _I(0))
            m = (_I(1) if k2 == key else _I(0)) + (_I(1) if k3 == key else _I(0))
            lanes[RIVALS + l] = lanes[RIVALS + l] + n + m


@device
def no_rivals(lanes):
    """In place of `count_rivals` where no lane has a test_and_set lock."""
    for l in range(LANES):
        lanes[RIVALS + l] = _I(0)


@device
def gather_words(locks, lanes):
    """Lock word of each lane's event, by index; any number of locks; writes MISC."""
    for l in range(LANES):
        lanes[MISC + l] = locks[_U(lanes[LOCK + l]) * LANES + l]


@device
def select_words(locks, lanes, n_locks):
    """As `gather_words`, as a loop over the locks: faster up to about a dozen."""
    for l in range(LANES):
        lanes[MISC + l] = locks[l]
    for k in range(_U(1), n_locks):
        for l in range(LANES):
            word, old = locks[k * LANES + l], lanes[MISC + l]
            lanes[MISC + l] = word if lanes[LOCK + l] == _I(k) else old


@device
def scatter_words(locks, lanes):
    """Store the lock words that `update_locks` left in MISC, by index."""
    for l in range(LANES):
        locks[_U(lanes[LOCK + l]) * LANES + l] = lanes[MISC + l]


@device
def store_words(locks, lanes, n_locks):
    """As `scatter_words`, as a loop over the locks."""
    for k in range(_U(0), n_locks):
        for l in range(LANES):
            word, old = lanes[MISC + l], locks[k * LANES + l]
            locks[k * LANES + l] = word if lanes[LOCK + l] == _I(k) else old


@device
def update_locks(lanes):
    """Attempts and releases on the lock words in MISC; writes MISC, CODE, ROW, NEW_*, GRANT_KEY.

    ROW becomes -1 where the passes leave the lane's rows alone.
    """
    for l in range(LANES):
        work, word, rivals = lanes[WORK + l], lanes[MISC + l], lanes[RIVALS + l]
        now, pos, lock, draw = lanes[NOW + l], lanes[POS + l], lanes[LOCK + l], lanes[DRAW + l]
        threshold, code = lanes[THRESHOLD + l], lanes[CODE + l]
        attempt = work == _I(ATTEMPTS)
        release = work == _I(RELEASES)
        unfair = (word & _I(WORD_UNFAIR)) != _I(0)
        count = (word >> _COUNT_SHIFT) & _I(TICKETS - 1)
        queued = (rivals + _I(1)) if unfair else count  # holder and those that a release would serve
        waits = attempt & (count != _I(0))
        grants = release & (queued > _I(1))
        scalar = ((word & _I(WORD_SCALAR)) != _I(0)) & (waits | grants)
        scalar = scalar | (((word & _I(WORD_TRAP_RELEASE)) != _I(0)) & release)
        scalar = scalar | (unfair & release & (rivals > _I(1)))
        code = _I(NEEDS_STEP) if scalar else code
        attempt = attempt & (not scalar)
        release = release & (not scalar)
        waits = waits & (not scalar)
        grants = grants & (not scalar)

        ticket = (word + count) & _I(TICKETS - 1)
        key = (lock << _COUNT_SHIFT) | (_I(0) if unfair else ticket)
        served = (word & _I(TICKETS - 1)) + _I(1)
        served = _I(0) if unfair else (served & _I(TICKETS - 1))
        # Fair: an attempt adds one, a release takes one off and serves the next. Unfair: the count is 1 while held.
        kept = unfair & (waits | grants)
        step = (_I(COUNT_UNIT) if attempt else _I(0)) - (_I(COUNT_UNIT) if release else _I(0))
        step = _I(0) if kept else step
        changed = word + step
        changed = ((changed & _I(~(TICKETS - 1))) | served) if release else changed
        lanes[MISC + l] = changed

        holds = pos + _TO_HOLD
        holds = holds if ((pos >> _PHASE_SHIFT) & _I(3)) == _I(USER) else pos + _TO_KERNEL
        until = now + draw
        never = _I(NEVER) if threshold < _I(0) else now + threshold
        lanes[NEW_UNTIL + l] = never if waits else until
        new_pos = (holds + _I(SLOTS)) if waits else holds  # TRAP follows HOLDING
        new_pos = (pos + _TO_NEXT_USER) if release else new_pos
        new_pos = (pos + _TO_KERNEL) if work == _I(KERNEL_STARTS) else new_pos
        lanes[NEW_POS + l] = new_pos
        lanes[NEW_KEY + l] = key if waits else _I(NO_KEY)
        lanes[GRANT_KEY + l] = ((lock << _COUNT_SHIFT) | served) if grants else _I(NO_GRANT)
        acts = attempt | release | (work == _I(KERNEL_STARTS))
        lanes[ROW + l] = lanes[ROW + l] if acts else _I(-1)
        last = release & ((new_pos & _I(SLOTS - 1)) == _LAST_SLOT)
        lanes[CODE + l] = code | (_I(NEEDS_DRAWS) if last else _I(0))


@device
def apply(rows, lanes, n_tiles):
    """Carry the event over to the rows: the event's own and the one that was granted the lock.

    Reads and writes UNTIL, POSITION, KEY, HOLD, ATTEMPT; writes GRANT_ROW (-1 if no row has the granted key).
    """
    for l in range(LANES):
        lanes[GRANT_ROW + l] = _I(-1)
    for tile in range(_U(0), n_tiles):
        base = tile * TILE_SIZE
        for r in range(_U(4)):
            at = base + r * ROW_1
            row = _I(4) * _I(tile) + _I(r)
            for l in range(LANES):
                until, position, key = rows[at + UNTIL + l], rows[at + POSITION + l], rows[at + KEY + l]
                hold, attempt = rows[at + HOLD + l], rows[at + ATTEMPT + l]
                now, draw, grant_row = lanes[NOW + l], lanes[DRAW + l], lanes[GRANT_ROW + l]
                new_until, new_pos, new_key = lanes[NEW_UNTIL + l], lanes[NEW_POS + l], lanes[NEW_KEY + l]
                own = lanes[ROW + l] == row
                granted = key == lanes[GRANT_KEY + l]
                until = (now + hold) if granted else until
                position = (position - _I(SLOTS)) if granted else position
                key = _I(NO_KEY) if granted else key
                rows[at + UNTIL + l] = new_until if own else until
                rows[at + POSITION + l] = new_pos if own else position
                rows[at + KEY + l] = new_key if own else key
                rows[at + HOLD + l] = draw if own else hold
                rows[at + ATTEMPT + l] = now if own else attempt
                lanes[GRANT_ROW + l] = row if granted else grant_row


@device
def list_lanes(lanes, todo):
    """Collect the lanes that scalar code has to look at; writes ``todo``, returns how many."""
    n = _U(0)
    for l in range(LANES):
        granted = lanes[GRANT_KEY + l] != _I(NO_GRANT)
        missing = lanes[GRANT_ROW + l] < _I(0)
        grant = (_I(NEEDS_GRANT) if missing else _I(NEEDS_BOOKING)) if granted else _I(0)
        lanes[CODE + l] = lanes[CODE + l] | grant
    for l in range(LANES):
        todo[n] = _I(l)
        n += _U(1) if lanes[CODE + l] != _I(0) else _U(0)
    return n
