"""The guest path: what guests do between two interventions of the hypervisor, in vectors.

As long as nobody intervenes, a queued lock is handed from one vCPU to the next in the order of their attempts. So the
whole cycle of a vCPU is known at its attempt: with S the later of the attempt and the instant from which on the lock is
free, it holds the lock from S to S + hold, and attempts again at S + hold + rest, where ``rest`` is what it does outside
the lock. (For the waiting times of a queue this is Lindley's recursion.) One step of a lane is one such attempt, the
earliest; nothing has to be done about queues, grants and releases.

A step takes two passes over the lanes of a block, `WIDTH` of them at a time and without branches on lane data:
`next_attempts` finds each lane's attempt and what is drawn for it, `carry_out` does the rest in registers and says which
lanes have work for scalar code. Two, because the second begins with what the first has put to memory long before: so
neither has to wait for its own loads from far away.

Rows and lock values are read and written in whole tiles, with a choice for each row: by index it would cost a cycle a
lane and value, however few the rows. Only where there are many rows, `next_attempts` compares the earliest attempts of
tiles, and `carry_out` finds that of the one tile anew in which it has changed a row. And no value is loaded, selected from and stored to the same place with nothing
between: LLVM makes a masked store of that, which takes a dozen cycles on AMD's Zen processors; so a ``zero`` that LLVM
cannot know is added.

References
----------
D. V. Lindley, "The theory of queues with a single server", Mathematical Proceedings of the Cambridge Philosophical
Society 48 (1952).
"""

from __future__ import annotations

from fastlhp.engine import state
from fastlhp.engine.state import (
    BY_TILES,
    CHOICE_MASK,
    CYCLE_OF_VCPU_MASK,
    EARLIEST_SIZE,
    FAR,
    FIELD_SIZE,
    HALF,
    HALT_BIT,
    LOCK_MASK,
    LOCK_SHIFT,
    NEVER,
    SLOT_MASK,
    STRIDE,
    TILE,
    TILE_SIZE,
)
from fastlhp.engine.vectors import Value, either, repeat, written

WIDTH = 8
"""Lanes that are looked at together: as many as there are int32 in a register of AVX2."""

_INT32 = 4
_FOUR_ROWS = range(TILE)


def _at(array: Value, lane: Value, index: int = 0) -> Value:
    """Address in an array of int32 of the value ``index`` places after that of a lane."""
    return array + lane * _INT32 + index * _INT32


def _get(array: Value, lane: Value, index: int = 0) -> Value:
    return _at(array, lane, index).load(WIDTH, 32)


def _lane_value(lanes: Value, lane: Value, value: int) -> Value:
    return _at(lanes, lane, value * STRIDE)


# The first pass


def _earlier(a: tuple[Value, ...], b: tuple[Value, ...]) -> tuple[Value, ...]:
    """Of two candidates, given by time and more, the earlier; of equal ones the first."""
    is_later = b[0] < a[0]
    return tuple(is_later.choose(y, x) for x, y in zip(a, b, strict=True))


def _earliest(rows: Value, lane: Value, first_row: Value) -> tuple[Value, ...]:
    """Time, row and COURSE of the earliest attempt in a tile."""
    candidates = []
    for row in _FOUR_ROWS:
        at = _get(rows, lane, state.NEXT * FIELD_SIZE + row * STRIDE)
        course = _get(rows, lane, state.COURSE * FIELD_SIZE + row * STRIDE)
        candidates.append((at, (first_row + row).times(WIDTH), course))
    return _earlier(_earlier(*candidates[:2]), _earlier(*candidates[2:]))


def _kept(rows: Value, n_tiles: Value) -> Value:
    """Address of the earliest attempts of tiles, which come after all rows."""
    return rows + (n_tiles + 1) * (TILE_SIZE * _INT32)


def _row(rows: Value, lane: Value, row: Value) -> Value:
    """Address of a row of each lane."""
    return _places(rows, lane, (row >> 2) * TILE_SIZE + (row & 3) * STRIDE)


def _next_attempts(
    n_groups: Value,
    rows: Value,
    lanes: Value,
    n_tiles: Value,
    draws: Value,
    choices: Value | None,
    lane_bytes: Value,
) -> None:
    of_lanes = lane_bytes.multiples(WIDTH)

    def group(number: Value) -> tuple[()]:
        lane = number * WIDTH

        def of_rows() -> tuple[Value, ...]:
            def tile(i: Value, *best: Value) -> tuple[Value, ...]:
                return _earlier(
                    best, _earliest(rows + (i + 1) * (TILE_SIZE * _INT32), lane, (i + 1).narrow() * TILE)
                )

            first = _earliest(rows, lane, lane_bytes.like(0).narrow())
            return repeat(n_tiles - 1, tile, *first)

        def of_tiles() -> tuple[Value, ...]:
            def kept(i: Value) -> tuple[Value, ...]:
                base = _kept(rows, n_tiles) + i * (EARLIEST_SIZE * _INT32)
                return _get(base, lane), _get(base, lane, STRIDE)

            first = kept(n_tiles.like(0))
            at, row = repeat(n_tiles - 1, lambda i, *best: _earlier(best, kept(i + 1)), *first)
            return at, row, (_row(rows, lane, row) + state.COURSE * FIELD_SIZE * _INT32).gather(32)

        at, row, course = either(n_tiles <= BY_TILES, of_rows, of_tiles)
        cycle = (course & CYCLE_OF_VCPU_MASK).wide() << 3
        cycle = cycle + of_lanes + (lane * lane_bytes).times(WIDTH)
        drawn = (cycle + draws.times(WIDTH)).gather()
        hold, rest = drawn.narrow(), (drawn >> 32).narrow()
        if choices is not None:
            chosen = (cycle + choices.times(WIDTH)).gather()
            rest = rest + chosen.narrow()
            _lane_value(lanes, lane, state.CHOSEN).store((chosen >> 32).narrow())
        for value, vector in (
            (state.NOW, at),
            (state.ROW, row),
            (state.POS, course),
            (state.HOLD, hold),
            (state.REST, rest),
        ):
            _lane_value(lanes, lane, value).store(vector)
        return ()

    repeat(n_groups, group)


@written("none(int64, int64, int64, int64, int64, int64)")
def next_attempts(
    n_groups: Value, rows: Value, lanes: Value, n_tiles: Value, draws: Value, lane_bytes: Value
) -> None:
    """Find the earliest row of each lane, of several the lowest, and the draws for it; there are no choices."""
    _next_attempts(n_groups, rows, lanes, n_tiles, draws, None, lane_bytes)


@written("none(int64, int64, int64, int64, int64, int64, int64)")
def next_attempts_and_choices(
    n_groups: Value,
    rows: Value,
    lanes: Value,
    n_tiles: Value,
    draws: Value,
    choices: Value,
    lane_bytes: Value,
) -> None:
    """As `next_attempts`, with kernel phases, several locks and HLT."""
    _next_attempts(n_groups, rows, lanes, n_tiles, draws, choices, lane_bytes)


# The second pass


def _free_of(locks: Value, lane: Value, lock: Value, n_tiles: Value) -> Value:
    """From when on each lane's lock is free."""

    def of_tile() -> Value:
        w0, w1, w2, w3 = (_get(locks, lane, i * STRIDE) for i in _FOUR_ROWS)
        return (lock < 2).choose(lock.equals(0).choose(w0, w1), lock.equals(2).choose(w2, w3))

    def by_index() -> Value:
        return _places(locks, lane, lock * STRIDE).gather(32)

    return either(n_tiles.equals(1), of_tile, by_index)


def _places(array: Value, lane: Value, index: Value) -> Value:
    """Address in an array of int32 for each lane, ``index`` places after its own."""
    own = (array + lane * _INT32).counting(WIDTH, _INT32)
    return own + (index.wide() << 2)


def _store_tile(values: Value, lane: Value, first: int, target: Value, new: Value, zero: Value) -> None:
    """Set one of four rows, or none if the target is another one."""
    for row in _FOUR_ROWS:
        old = _get(values, lane, first + row * STRIDE) + zero
        _at(values, lane, first + row * STRIDE).store(target.equals(row).choose(new, old))


def _carry_out(
    n_groups: Value,
    rows: Value,
    lanes: Value,
    locks: Value,
    n_tiles: Value,
    n_lock_tiles: Value,
    zero: Value,
    has_choices: bool,
) -> tuple[Value, ...]:
    zeros = zero.times(WIDTH)
    nobody, no_lock = (n_tiles.narrow() * TILE).times(WIDTH), (n_lock_tiles.narrow() * TILE).times(WIDTH)

    def group(number: Value, *words: Value) -> tuple[Value, ...]:
        lane = number * WIDTH
        before, now, row, pos, hold, rest = (
            _get(lanes, lane, value * STRIDE)
            for value in (state.DEADLINE, state.NOW, state.ROW, state.POS, state.HOLD, state.REST)
        )
        lock = (pos >> LOCK_SHIFT) & LOCK_MASK
        free = _free_of(locks, lane, lock, n_lock_tiles)
        begin = (free > now).choose(free, now)
        begins = begin.differs(NEVER)
        end = begin + hold
        # The course ends before the attempt, where more than the order of attempts would matter: if the lock is
        # released in the very tick, if the vCPU would attempt again in the tick of its release, or if a time
        # would not fit.
        is_far = ((begin | hold | rest) & -FAR).differs(0) & begins
        ends_before = free.equals(now) | rest.equals(0) | is_far
        limit = ends_before.choose(now - 1, before)
        next_slot = (pos & ~SLOT_MASK) | ((pos + 1) & SLOT_MASK)
        if has_choices:
            halts = (pos & HALT_BIT).differs(0) & begins & (end <= limit)
            limit = halts.choose(end - 1, limit)
            next_slot = (next_slot & ~CHOICE_MASK) | _get(lanes, lane, state.CHOSEN * STRIDE)
        deadline = (before < limit).choose(before, limit)
        is_over = now > deadline
        _lane_value(lanes, lane, state.DEADLINE).store(deadline)
        _lane_value(lanes, lane, state.FREE).store(free)

        new_next, new_free = begins.choose(end + rest, begin), begins.choose(end, begin)
        target, target_lock = is_over.choose(nobody, row), is_over.choose(no_lock, lock)

        def tile(i: Value) -> tuple[()]:
            own = target - (i.narrow() * TILE).times(WIDTH)
            base = rows + i * (TILE_SIZE * _INT32)
            _store_tile(base, lane, state.NEXT * FIELD_SIZE, own, new_next, zeros)
            _store_tile(base, lane, state.COURSE * FIELD_SIZE, own, next_slot, zeros)
            return ()

        def by_index() -> tuple[()]:
            place = _row(rows, lane, target)
            (place + state.NEXT * FIELD_SIZE * _INT32).scatter(new_next)
            (place + state.COURSE * FIELD_SIZE * _INT32).scatter(next_slot)
            first = target & ~(TILE - 1)
            candidates = []
            for i in _FOUR_ROWS:
                at = (_row(rows, lane, first + i) + state.NEXT * FIELD_SIZE * _INT32).gather(32)
                candidates.append((target.equals(first + i).choose(new_next, at), first + i))
            earliest = _earlier(_earlier(*candidates[:2]), _earlier(*candidates[2:]))
            kept = _places(_kept(rows, n_tiles), lane, (target >> 2) * EARLIEST_SIZE)
            kept.scatter(earliest[0])
            (kept + STRIDE * _INT32).scatter(earliest[1])
            return ()

        def lock_tile() -> None:
            _store_tile(locks, lane, 0, target_lock, new_free, zeros)

        def lock_by_index() -> None:
            _places(locks, lane, target_lock * STRIDE).scatter(new_free)

        either(n_tiles <= BY_TILES, lambda: repeat(n_tiles, tile), by_index)
        either(n_lock_tiles.equals(1), lock_tile, lock_by_index)
        goes_on = ~is_over
        needs = (
            (free > now) & goes_on,
            (next_slot & (HALF - 1)).equals(2) & goes_on,
            is_over & ~(before < 0),
        )
        return tuple(word | flags.where() << lane for word, flags in zip(words, needs, strict=True))

    none = n_tiles.like(0)
    return repeat(n_groups, group, none, none, none)


@written("UniTuple(uint64, 3)(int64, int64, int64, int64, int64, int64, int32)")
def carry_out(
    n_groups: Value,
    rows: Value,
    lanes: Value,
    locks: Value,
    n_tiles: Value,
    n_lock_tiles: Value,
    zero: Value,
) -> tuple[Value, ...]:
    """Carry each lane's attempt out; for VMs with one lock, no kernel phase and no HLT.

    Returns which lanes have work for scalar code, as the bits of three words: where the attempt has to wait; where the
    vCPU has left a half of its draws behind; where the course is at its end, and so nothing is carried out.
    """
    return _carry_out(n_groups, rows, lanes, locks, n_tiles, n_lock_tiles, zero, has_choices=False)


@written("UniTuple(uint64, 3)(int64, int64, int64, int64, int64, int64, int32)")
def carry_out_choices(
    n_groups: Value,
    rows: Value,
    lanes: Value,
    locks: Value,
    n_tiles: Value,
    n_lock_tiles: Value,
    zero: Value,
) -> tuple[Value, ...]:
    """As `carry_out`, with kernel phases, several locks and HLT."""
    return _carry_out(n_groups, rows, lanes, locks, n_tiles, n_lock_tiles, zero, has_choices=True)
