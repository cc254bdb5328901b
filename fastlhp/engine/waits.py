"""Waits that begin while a course is followed.

The passes carry an attempt out whether the lock is free or not; here is what else has to be done if it is not. Mostly
that is to note the wait, which is over when the course says so. But it may be the longest so far, last beyond a
threshold, or be for a lock of which it is not certain who gets it next: then it is looked at more closely
(`note_special_wait`), and if need be the course ends before it.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.draws import draw_if_due
from fastlhp.engine.jit import device
from fastlhp.engine.machine import (
    add_waits,
    draw_rival,
    draw_threshold,
    end_record,
    histogram_bin,
    vm_config_on,
)
from fastlhp.engine.rows import (
    cycle_bits,
    get,
    get_course,
    get_threshold,
    get_word,
    hold_drawn,
    kernel_drawn,
    position_of,
    put,
    put_course,
    put_free,
    put_next,
    put_threshold,
    user_drawn,
    vcpu_in,
)
from fastlhp.engine.state import (
    BEGIN,
    COURSE,
    DEADLINE,
    FAR,
    FREE,
    GUEST_PHASE,
    HALT_BIT,
    LOCK_MASK,
    LOCK_SHIFT,
    LONGEST,
    NEVER,
    NEXT,
    NOW,
    POS,
    RECORD,
    RECORD_BEGIN,
    ROW,
    SLOT_MASK,
    STRIDE,
    WAITING,
    WORD_FORESEEABLE,
    WORD_LINE,
    WORD_SCALAR,
    WORD_UNFAIR,
    config_at,
    int32_at,
    int64_array,
    int64_at,
    lock_at,
    pcpu_at,
    waits_at,
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


@device
def note_wait(host, lanes, first_row):
    """The attempt that is found in these lane values, and that the passes have carried out, has to wait."""
    p = first_row + np.int64(int32_at(lanes, ROW * STRIDE).value)
    now = np.int64(int32_at(lanes, NOW * STRIDE).value)
    free = np.int64(int32_at(lanes, FREE * STRIDE).value)
    waits = waits_at(host.waits, p)
    if free - now > waits.looked_at:
        undivided = host.lanes
        host.lanes = lanes
        note_special_wait(host, p, now, free)
        host.lanes = undivided
    else:
        waits.attempt = np.int32(now)
        waits.begin = np.int32(free)
        waits.count = np.int32(waits.count + 1)
        waits.ns += free - now
        int64_at(host.histogram, histogram_bin(free - now)).value += 1


@device
def note_special_wait(host, p, now, free):
    """The attempt that p has made has to wait for long, for ever, or in a host where that may end the course."""
    g = (np.int64(lane_value(host, POS).value) >> LOCK_SHIFT) & LOCK_MASK
    waits = waits_at(host.waits, p)
    if waits.begin == NEVER:
        grant_one(host, g, now)
        return
    if get_word(host, g) & WORD_UNFAIR != 0 and is_foreseeable(host, g) and free != NEVER:
        if is_contended(host, p, g, now):
            put_next(host, p, NEVER)
            put_free(host, g, NEVER)
            free = np.int64(NEVER)
        lock_at(host.lock_records, g).waiter = p
    waits.attempt = np.int32(now)
    waits.begin = np.int32(free)
    if free != NEVER:
        foresee_wait(host, p, free - now, free)
    if free - now <= vm_config_on(host, p).quick_ns:
        return
    if not can_wait(host, g, free):
        limit_deadline(host, now - 1)
    elif config_at(host.config, 0).threshold != 0:
        v = vcpu_in(np.int64(lane_value(host, POS).value))
        threshold = draw_threshold(host, v, host.base_ns + now)
        put_threshold(host, p, threshold)
        if free > threshold - host.base_ns:
            limit_deadline(host, threshold - host.base_ns)


@device
def foresee_wait(host, p, wait, begin):
    """The vCPU on p, which has come in this course, will have waited for so long when it gets its lock."""
    add_waits(host, p, 1, wait)
    settle_record(host, p, begin)
    if wait > get(host, LONGEST, p):
        put(host, RECORD, p, wait)
        put(host, RECORD_BEGIN, p, begin)


@device
def settle_record(host, p, at):
    """If there is a record on p that is over by an instant, it stands."""
    if get(host, RECORD, p) != 0 and get(host, RECORD_BEGIN, p) <= at:
        end_record(host, p, get(host, RECORD, p))
        put(host, RECORD, p, 0)


@device
def take_back(host, p, wait):
    """The last wait on p, which has been foreseen, is not over."""
    add_waits(host, p, -1, wait)
    put(host, RECORD, p, 0)


# Unfair locks: when one is released for which several wait, it is drawn which of them is next. Until then it is not
# known of any when it gets the lock; one of them tries again at the release, so that the passes come to it.


@device
def is_contended(host, p, g, now):
    """Whether there already is a waiter when the one on p comes to the unfair lock g: then that will try again."""
    q = lock_at(host.lock_records, g).waiter
    if q < 0 or q == p:
        return False
    waits = waits_at(host.waits, q)
    begin = np.int64(waits.begin)
    if begin < now or begin == NEVER or tried_lock(host, q) != g:
        return False
    if begin == now:
        limit_deadline(host, now - 1)  # before p or after it?
    if is_old_waiter(host, q, begin):
        put(host, BEGIN, q, NEVER)
    else:
        take_back(host, q, begin - waits.attempt)
    try_again(host, q, begin)
    if config_at(host.config, 0).threshold != 0:
        limit_deadline(host, get_threshold(host, q) - host.base_ns)
    return True


@device
def is_old_waiter(host, p, begin):
    """Whether the vCPU on p, which is to get its lock at ``begin``, has waited for it since before the course began."""
    return get(host, GUEST_PHASE, p) == WAITING and get(host, BEGIN, p) == begin


@device
def try_again(host, p, at):
    """The waiter on p tries its lock again when that is released."""
    put_course(host, COURSE, p, position_of(host, vcpu_in(get_course(host, COURSE, p)), tried_slot(host, p)))
    put_next(host, p, at)
    waits_at(host.waits, p).begin = np.int32(NEVER)


@device
def grant_one(host, g, now):
    """The unfair lock g is released now, and several wait for it."""
    rivals = int64_array(host.newcomers, host.n_pcpu)
    n = np.int64(0)
    is_clear = True
    for q in range(host.n_pcpu):
        is_clear = is_clear and get_course(host, NEXT, q) != now
        if is_rival(host, q, g):
            rivals[n] = q
            n += 1
            is_clear = is_clear and waits_at(host.waits, q).attempt != now
    lock = lock_at(host.lock_records, g)
    chosen = draw_rival(host, g, n)
    winner = rivals[chosen]
    v, slot = tried(host, winner)
    end = now + hold_drawn(host, v, slot)
    # What has been drawn cannot be undone: from here on the course must not end before this instant.
    if not is_clear or end == now or not foresee_begin(host, winner, now):
        limit_deadline(host, now - 1)
        return
    other = rivals[1] if chosen == 0 else rivals[0]
    lock.n_grant += 1
    if n > 2:
        try_again(host, other, end)
    elif foresee_begin(host, other, end):
        lock.waiter = other
        v, slot = tried(host, other)
        put_free(host, g, end + hold_drawn(host, v, slot))
    else:
        limit_deadline(host, end - 1)


@device
def is_rival(host, p, g):
    """Whether the vCPU on p waits for lock g, and it is not known for how long."""
    return waits_at(host.waits, p).begin == NEVER and tried_lock(host, p) == g


@device
def first_rival(host, g):
    """The first pCPU whose vCPU waits for lock g for it is not known how long."""
    p = np.int64(0)
    while not is_rival(host, p, g):
        p += 1
    return p


@device
def foresee_begin(host, p, at):
    """The waiter on p gets its lock at an instant; false if scalar code has to see to that."""
    v, slot = tried(host, p)
    waits = waits_at(host.waits, p)
    if not foresee_cycle(host, p, v, slot, 1, at):
        return False
    waits.begin = np.int32(at)
    if is_old_waiter(host, p, NEVER):
        put(host, BEGIN, p, at)
    else:
        foresee_wait(host, p, at - waits.attempt, at)
    return True


# What is known of a vCPU and its lock while the course is followed


@device
def can_wait(host, g, begin):
    """Whether a wait for lock g may begin on the course; in a line only if it is known when it ends."""
    return is_foreseeable(host, g) and (begin != NEVER or get_word(host, g) & WORD_LINE == 0)


@device
def is_foreseeable(host, g):
    """Whether the order of attempts says who gets lock g next."""
    return get_word(host, g) & (WORD_FORESEEABLE | WORD_SCALAR) == WORD_FORESEEABLE


@device
def tried_slot(host, p):
    """The cycle of the last attempt of the vCPU on p, as its place among the draws."""
    tries_again = waits_at(host.waits, p).begin == NEVER and get_course(host, NEXT, p) != NEVER
    return (get_course(host, COURSE, p) - np.int64(not tries_again)) & SLOT_MASK


@device
def tried(host, p):
    """The vCPU on p, and the cycle of its last attempt."""
    return vcpu_in(get_course(host, COURSE, p)), tried_slot(host, p)


@device
def tried_lock(host, p):
    """The lock of the last attempt of the vCPU on p."""
    v, slot = tried(host, p)
    return (position_of(host, v, slot) >> LOCK_SHIFT) & LOCK_MASK


@device
def foresee_cycle(host, p, v, slot, waits, at):
    """The next attempt of the vCPU v on p, which releases its lock, or if it ``waits`` gets it, at an instant.

    False if scalar code has to see to that.
    """
    after = (slot + 1) & SLOT_MASK
    draw_if_due(host, v, after)
    hold = hold_drawn(host, v, slot) if waits != 0 else np.int64(0)
    rest = user_drawn(host, v, after) + kernel_drawn(host, v, after)
    if rest == 0 or (at | hold | rest) >= FAR:
        return False
    end = at + hold
    put_next(host, p, end + rest)
    put_course(host, COURSE, p, position_of(host, v, after))
    if cycle_bits(host, v, slot) & HALT_BIT != 0 or pcpu_at(host.pcpus, p).watching != 0:
        limit_deadline(host, end - 1)
    return True
