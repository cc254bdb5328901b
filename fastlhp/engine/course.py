"""From the present of a lane to its course, and back.

`resume` says of each guest what it will do if no hypervisor intervenes, for the vector passes to go on from;
`interrupt` says where each guest is when one does. Both take a few steps for each pCPU. Between the two, `note_wait`
keeps the present of those that have to wait: it is not known for certain yet when they will get their lock.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.draws import draw_if_due
from fastlhp.engine.jit import device
from fastlhp.engine.machine import (
    add_wait,
    attempt_of,
    draw_threshold,
    is_constant,
    start_hold,
)
from fastlhp.engine.rows import (
    count_of,
    dequeue,
    enqueue,
    get,
    get_course,
    get_word,
    hold_drawn,
    kernel_drawn,
    lock_on,
    place_of,
    position_of,
    put,
    put_course,
    put_free,
    put_until,
    put_word,
    put_word_only,
    spins_on,
    user_drawn,
    vcpu_in,
)
from fastlhp.engine.state import (
    ATTEMPT,
    BEGIN,
    COUNT_UNIT,
    COURSE,
    DEADLINE,
    FAR,
    FREE,
    GUEST_PHASE,
    HALT_BIT,
    HANDOVER,
    HOLDING,
    KERNEL,
    LOCK,
    NEVER,
    NEXT,
    NOBODY,
    NOW,
    POS,
    POSITION,
    REBASE_NS,
    ROW,
    SLOT_MASK,
    STRIDE,
    TRAP_NONE,
    UNTIL,
    USER,
    WAITING,
    WORD_FORESEEABLE,
    WORD_SCALAR,
    WORD_UNFAIR,
    config_at,
    int32_at,
    int64_array,
    lock_at,
    pcpu_at,
    vcpu_at,
)


@device
def lane_value(host, value):
    """A lane value of the lane."""
    return int32_at(host.lanes, value * STRIDE)


@device
def get_deadline(host):
    """Up to when the course holds, relative to base_ns."""
    return np.int64(lane_value(host, DEADLINE).value)


@device
def limit_deadline(host, at):
    """Let the course hold no longer than up to an instant, relative to base_ns."""
    lane_value(host, DEADLINE).value = np.int32(min(get_deadline(host), at))


# While the course is followed


@device
def note_wait(host):
    """The lane's attempt, which the passes have carried out, has to wait."""
    p = np.int64(lane_value(host, ROW).value)
    now = np.int64(lane_value(host, NOW).value)
    conclude_wait(host, p)
    put(host, GUEST_PHASE, p, WAITING)
    put(host, POSITION, p, lane_value(host, POS).value)
    put(host, ATTEMPT, p, now)
    put(host, BEGIN, p, lane_value(host, FREE).value)
    put(host, UNTIL, p, NEVER)
    if host.is_simple == 0:
        note_special_wait(host, p, np.int64(lane_value(host, LOCK).value), now)


@device
def note_special_wait(host, p, g, now):
    """The attempt at lock g that p has made has to wait, and that may end the course."""
    if not is_foreseeable(host, g):
        limit_deadline(host, now - 1)
        return
    if config_at(host.config, 0).threshold != 0:
        v = vcpu_in(get(host, POSITION, p))
        put_until(host, p, draw_threshold(host, v, host.base_ns + now))
    if get_word(host, g) & WORD_UNFAIR != 0:
        q = lock_at(host.lock_records, g).waiter
        lock_at(host.lock_records, g).waiter = p
        if q >= 0 and q != p and spins_on(host, q, g) and get(host, BEGIN, q) >= now:
            # Two may be waiting when the lock is released: then it is drawn which of them is next.
            limit_deadline(host, get(host, BEGIN, q) - 1)
            put(host, BEGIN, p, NEVER)
            put_course(host, NEXT, p, NEVER)
            put_free(host, g, NEVER)
    limit_to_threshold(host, p)


@device
def limit_to_threshold(host, p):
    """The course holds no longer than up to the end of the waiter's threshold on p, should that come first."""
    if get(host, BEGIN, p) > get(host, UNTIL, p):
        limit_deadline(host, get(host, UNTIL, p))


@device
def is_foreseeable(host, g):
    """Whether the order of attempts says who gets lock g next."""
    return get_word(host, g) & (WORD_FORESEEABLE | WORD_SCALAR) == WORD_FORESEEABLE


@device
def conclude_wait(host, p):
    """If the vCPU on p waited when it was last looked at, it has got its lock when the course said so.

    Without a branch for whether it did: that would be mispredicted every few times.
    """
    n = np.int64(get(host, GUEST_PHASE, p) == WAITING)
    wait = n * (host.base_ns + get(host, BEGIN, p) - attempt_of(host, p))
    add_wait(host, p, wait, n)
    if n & np.int64(not is_new_waiter(host, p)) != 0:
        dequeue_waiter(host, lock_on(host, p))


@device
def is_new_waiter(host, p):
    """Whether the waiter on p has come since the course began: then it is not among those that its lock counts."""
    return get(host, ATTEMPT, p) > host.resumed


@device
def dequeue_waiter(host, g):
    """One of those that lock g counts does not wait any more: of a queued lock the first."""
    put_word_only(host, g, get_word(host, g) - COUNT_UNIT)
    if get_word(host, g) & WORD_UNFAIR == 0:
        dequeue(host, g)


# The end of the course


@device
def interrupt(host):
    """Put the present of the lane where its course is at the deadline, with all events of guests up to then done."""
    at = get_deadline(host)
    host.done_until = host.base_ns + at
    newcomers = int64_array(host.newcomers, host.n_pcpu)
    n_new = np.int64(0)
    for p in range(host.n_pcpu):
        phase = get(host, GUEST_PHASE, p)
        moves = phase != NOBODY
        if phase == WAITING:
            if get(host, BEGIN, p) <= at:
                conclude_wait(host, p)
            else:
                moves = False
                if get(host, ATTEMPT, p) > at:
                    withdraw_wait(host, p, at)
                elif is_new_waiter(host, p):
                    insert_by_attempt(host, newcomers, n_new, p)
                    n_new += 1
        next_attempt = get_course(host, NEXT, p)
        if moves and next_attempt != NEVER:
            place_guest(host, p, next_attempt, get_course(host, COURSE, p), at)
    for i in range(n_new):
        count_waiter(host, newcomers[i])


@device
def place_guest(host, p, next_attempt, course, at):
    """Put the present of p where its vCPU, which does not wait, is at an instant before its next attempt."""
    v, slot = vcpu_in(course), course & SLOT_MASK
    user_end = next_attempt - kernel_drawn(host, v, slot)
    end = user_end - user_drawn(host, v, slot)
    last = (slot - 1) & SLOT_MASK
    if end > at:
        begin = end - hold_drawn(host, v, last)
        if begin > at:
            # It found the lock free, but after the end of the course.
            before_attempt(host, p, v, last, begin, at)
            put_free(host, lock_on(host, p), -1)
        else:
            put(host, POSITION, p, position_of(host, v, last))
            g = lock_on(host, p)
            put_word(host, g, get_word(host, g) + COUNT_UNIT)
            start_hold(host, p, host.base_ns + begin)
            put(host, UNTIL, p, end)
    else:
        before_attempt(host, p, v, slot, next_attempt, at)


@device
def before_attempt(host, p, v, slot, attempt, at):
    """Put the present of p where its vCPU is at an instant, before an attempt and after the release before it."""
    kernel = kernel_drawn(host, v, slot)
    put(host, POSITION, p, position_of(host, v, slot))
    if attempt - kernel > at:
        put(host, GUEST_PHASE, p, USER)
        put(host, UNTIL, p, attempt - kernel)
    else:
        put(host, GUEST_PHASE, p, KERNEL)
        put(host, UNTIL, p, attempt)


@device
def withdraw_wait(host, p, at):
    """The attempt of the vCPU on p, which has to wait, comes after the end of the course."""
    position = get(host, POSITION, p)
    v = vcpu_in(position)
    threshold = config_at(host.config, 0).threshold
    if threshold != 0 and not is_constant(threshold) and is_foreseeable(host, lock_on(host, p)):
        vcpu_at(host.vcpus, v).n_threshold -= 1  # it will be drawn again
    before_attempt(host, p, v, position & SLOT_MASK, get(host, ATTEMPT, p), at)


@device
def insert_by_attempt(host, pcpus, n, p):
    """Insert p into a list of n pCPUs, in the order of the attempts of their waiters."""
    i = n
    while i > 0 and get(host, ATTEMPT, pcpus[i - 1]) > get(host, ATTEMPT, p):
        pcpus[i] = pcpus[i - 1]
        i -= 1
    pcpus[i] = p


@device
def count_waiter(host, p):
    """Let its lock count the waiter on p, which has come since the course began."""
    g = lock_on(host, p)
    put_word_only(host, g, get_word(host, g) + COUNT_UNIT)
    if get_word(host, g) & WORD_UNFAIR == 0:
        enqueue(host, g, p)


# The beginning of the course


@device
def resume(host, deadline):
    """Let the course of the lane begin where its present is; it holds up to a deadline, when the hypervisor may act."""
    host.resumed = host.done_until - host.base_ns
    lane_value(host, DEADLINE).value = np.int32(min(deadline - host.base_ns, REBASE_NS))
    for p in range(host.n_pcpu):
        phase = get(host, GUEST_PHASE, p)
        if phase == NOBODY:
            put_course(host, NEXT, p, NEVER)
        elif phase == USER or phase == KERNEL:
            foresee_attempt(host, p, phase)
        else:
            put_course(host, NEXT, p, NEVER)
            put(host, BEGIN, p, NEVER)
            if phase == HANDOVER:
                limit_deadline(host, get(host, UNTIL, p) - 1)
    for p in range(host.n_pcpu):
        if get(host, GUEST_PHASE, p) == HOLDING:
            foresee_release(host, p)
    for p in range(host.n_pcpu):
        if get(host, GUEST_PHASE, p) == WAITING:
            limit_to_threshold(host, p)


@device
def foresee_attempt(host, p, phase):
    """The course of the vCPU on p, which is before an attempt."""
    position = get(host, POSITION, p)
    until = get(host, UNTIL, p)
    attempt = until
    if phase == USER:
        attempt += kernel_drawn(host, vcpu_in(position), position & SLOT_MASK)
    if attempt >= NEVER or pcpu_at(host.pcpus, p).trap != TRAP_NONE:
        limit_deadline(host, until - 1)
        attempt = np.int64(NEVER)
    put_course(host, NEXT, p, attempt)
    put_course(host, COURSE, p, position)


@device
def foresee_release(host, p):
    """The course of the vCPU on p, which holds a lock, and of those that get it after that."""
    g = lock_on(host, p)
    end = get(host, UNTIL, p)
    word = get_word(host, g)
    n_waiting = count_of(host, g) - 1
    put_free(host, g, NEVER)
    if pcpu_at(host.pcpus, p).trap != TRAP_NONE or not foresee_cycle(host, p, 0, end):
        limit_deadline(host, end - 1)
        return
    put_word_only(host, g, word - COUNT_UNIT)
    if word & WORD_SCALAR != 0:
        limit_deadline(host, end - 1)
    elif n_waiting == 0:
        put_free(host, g, end)
    elif word & WORD_FORESEEABLE == 0:
        limit_deadline(host, end - 1)
    elif word & WORD_UNFAIR == 0:
        for i in range(n_waiting):
            q = np.int64(place_of(host, g, word + i).value)
            if q < 0 or not foresee_cycle(host, q, 1, end):
                limit_deadline(host, end - 1)
                return
            put(host, BEGIN, q, end)
            end = end_of_hold(host, q, end)
        put_free(host, g, end)
    elif n_waiting == 1:
        q = np.int64(0)
        while not spins_on(host, q, g):
            q += 1
        lock_at(host.lock_records, g).waiter = q
        if foresee_cycle(host, q, 1, end):
            put(host, BEGIN, q, end)
            put_free(host, g, end_of_hold(host, q, end))
        else:
            limit_deadline(host, end - 1)
    else:
        limit_deadline(host, end - 1)


@device
def end_of_hold(host, p, begin):
    """When the vCPU on p releases the lock that it gets at an instant."""
    position = get(host, POSITION, p)
    return begin + hold_drawn(host, vcpu_in(position), position & SLOT_MASK)


@device
def foresee_cycle(host, p, waits, at):
    """The next attempt of the vCPU on p, which releases its lock, or if it ``waits`` gets it, at an instant.

    False if scalar code has to see to that.
    """
    position = get(host, POSITION, p)
    v, slot = vcpu_in(position), position & SLOT_MASK
    after = (slot + 1) & SLOT_MASK
    draw_if_due(host, v, after)
    hold = hold_drawn(host, v, slot) if waits != 0 else np.int64(0)
    rest = user_drawn(host, v, after) + kernel_drawn(host, v, after)
    if rest == 0 or (at | hold | rest) >= FAR:
        return False
    end = at + hold
    put_course(host, NEXT, p, end + rest)
    put_course(host, COURSE, p, position_of(host, v, after))
    if position & HALT_BIT != 0 or pcpu_at(host.pcpus, p).watching != 0:
        limit_deadline(host, end - 1)
    return True
