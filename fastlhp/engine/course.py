"""From the present of a lane to its course, and back.

`resume` says of each guest what it will do if no hypervisor intervenes, for the vector passes to go on from;
`interrupt` says where each guest is when one does. Both take a few steps for each pCPU. Between the two, `note_wait`
keeps the present of those that have to wait: it is not known for certain yet when they will get their lock.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.draws import choice, draw_if_due, words
from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device
from fastlhp.engine.line import all_in_line_run, before_in_line, next_spinner, stop_waiting
from fastlhp.engine.machine import (
    add_waits,
    attempt_of,
    count_wait,
    draw_threshold,
    end_record,
    histogram_bin,
    is_constant,
    put_thresholds,
    start_hold,
    vm_config_on,
)
from fastlhp.engine.rows import (
    count_of,
    cycle_bits,
    dequeue,
    enqueue,
    get,
    get_course,
    get_until,
    get_word,
    hold_drawn,
    hold_drawn_on,
    is_spinning,
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
    FOREVER,
    FREE,
    GRANT,
    GUEST_PHASE,
    HALT_BIT,
    HANDOVER,
    HOLDING,
    KERNEL,
    LOCK,
    LOCK_MASK,
    LOCK_SHIFT,
    LONGEST,
    NEVER,
    NEXT,
    NOBODY,
    NOW,
    POS,
    POSITION,
    REBASE_NS,
    RECORD,
    RECORD_BEGIN,
    ROW,
    SLOT_MASK,
    STRIDE,
    TRAP_NONE,
    UNTIL,
    USER,
    VCPU_SHIFT,
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
    vcpu_at,
    vm_config_at,
    waits_at,
)


@device
def _keeps_no_line(host, p, g, t):
    pass


@device
def _leads_no_line(host, g, v, t):
    pass


@device
def _has_nothing_to_do(host, v, t):
    pass


@device
def _spins_for_ever(host, v):
    return np.int64(FOREVER)


line_up = Hook("lock", "line_up", default=_keeps_no_line)
lead_line = Hook("lock", "lead_line", default=_leads_no_line)
catch_up = Hook("lock", "catch_up", default=_has_nothing_to_do)
spins_until = Hook("lock", "spins_until", default=_spins_for_ever)


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
    free = np.int64(lane_value(host, FREE).value)
    waits = waits_at(host.waits, p)
    if free - now > waits.looked_at:
        note_special_wait(host, p, now, free)
    else:
        waits.attempt = np.int32(now)
        waits.begin = np.int32(free)
        waits.count = np.int32(waits.count + 1)
        waits.ns += free - now
        int64_at(host.histogram, histogram_bin(free - now)).value += 1


@device
def note_special_wait(host, p, now, free):
    """The attempt that p has made has to wait for long, for ever, or in a host where that may end the course."""
    g = np.int64(lane_value(host, LOCK).value)
    waits = waits_at(host.waits, p)
    if waits.begin == NEVER:
        grant_one(host, g, now)
        return
    if get_word(host, g) & WORD_UNFAIR != 0 and is_foreseeable(host, g) and free != NEVER:
        if is_contended(host, p, g, now):
            put_course(host, NEXT, p, NEVER)
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
        put_until(host, p, draw_threshold(host, v, host.base_ns + now))
        if free > get(host, UNTIL, p):
            limit_deadline(host, get(host, UNTIL, p))


@device
def foresee_wait(host, p, wait, begin):
    """The vCPU on p, which has come in this course, will have waited for so long when it gets its lock."""
    add_waits(host, p, 1, wait)
    if get(host, RECORD, p) != 0:
        end_record(host, p, get(host, RECORD, p))
        put(host, RECORD, p, 0)
    if wait > get(host, LONGEST, p):
        put(host, RECORD, p, wait)
        put(host, RECORD_BEGIN, p, begin)


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
        limit_deadline(host, get(host, UNTIL, q))
    return True


@device
def is_old_waiter(host, p, begin):
    """Whether the vCPU on p, which is to get its lock at ``begin``, has waited for it since before the course began."""
    return get(host, GUEST_PHASE, p) == WAITING and get(host, BEGIN, p) == begin


@device
def try_again(host, p, at):
    """The waiter on p tries its lock again when that is released."""
    put_course(host, COURSE, p, position_of(host, vcpu_in(get_course(host, COURSE, p)), tried_slot(host, p)))
    put_course(host, NEXT, p, at)
    waits_at(host.waits, p).begin = np.int32(NEVER)


@device
def grant_one(host, g, now):
    """The unfair lock g is released now, and several wait for it."""
    n = np.int64(0)
    is_clear = True
    for q in range(host.n_pcpu):
        is_clear = is_clear and get_course(host, NEXT, q) != now
        if is_rival(host, q, g):
            n += 1
            is_clear = is_clear and waits_at(host.waits, q).attempt != now
    lock = lock_at(host.lock_records, g)
    first_lock = vm_config_at(host.config_vms, lock.vm).first_lock
    w0, _ = words(host, lock.vm, g - first_lock, GRANT, lock.n_grant)
    winner = nth_rival(host, g, choice(w0, n))
    if not is_clear or not foresee_begin(host, winner, now):
        limit_deadline(host, now - 1)
        return
    lock.n_grant += 1
    end = now + hold_drawn(host, *tried(host, winner))
    other = nth_rival(host, g, 0)
    if n > 2:
        try_again(host, other, end)
    elif foresee_begin(host, other, end):
        lock.waiter = other
        put_free(host, g, end + hold_drawn(host, *tried(host, other)))
    else:
        limit_deadline(host, end - 1)


@device
def is_rival(host, p, g):
    """Whether the vCPU on p waits for lock g, and it is not known for how long."""
    return waits_at(host.waits, p).begin == NEVER and tried_lock(host, p) == g


@device
def nth_rival(host, g, n):
    """pCPU of the n-th of those that wait for lock g for it is not known how long."""
    p = np.int64(0)
    while not is_rival(host, p, g) or n > 0:
        n -= np.int64(is_rival(host, p, g))
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


@device
def can_wait(host, g, begin):
    """Whether a wait for lock g may begin on the course; in a line only if it is known when it ends."""
    return is_foreseeable(host, g) and (begin != NEVER or get_word(host, g) & WORD_LINE == 0)


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
def limit_to_threshold(host, p):
    """The course holds no longer than up to the end of the waiter's threshold on p, should that come first."""
    until = get(host, UNTIL, p)
    if config_at(host.config, 0).has_line != 0 and is_foreseeable(host, lock_on(host, p)):
        if get_word(host, lock_on(host, p)) & WORD_LINE != 0:
            v = pcpu_at(host.pcpus, p).vcpu
            vcpu = vcpu_at(host.vcpus, v)
            kind = vm_config_at(host.config_vms, vcpu.vm).lock_kind
            first = min(vcpu.threshold_at, min(spins_until(kind, host, v), host.base_ns + FAR))
            until = first - host.base_ns
    if get(host, BEGIN, p) > until:
        limit_deadline(host, until)


@device
def is_foreseeable(host, g):
    """Whether the order of attempts says who gets lock g next."""
    return get_word(host, g) & (WORD_FORESEEABLE | WORD_SCALAR) == WORD_FORESEEABLE


@device
def dequeue_waiter(host, p, g):
    """The vCPU on p, one of those that lock g counts, does not wait any more: of a queued lock the first."""
    put_word_only(host, g, get_word(host, g) - COUNT_UNIT)
    if get_word(host, g) & WORD_LINE != 0:
        stop_waiting(host, g, pcpu_at(host.pcpus, p).vcpu)
    elif get_word(host, g) & WORD_UNFAIR == 0:
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
        if phase == NOBODY or (phase == WAITING and get(host, BEGIN, p) > at):
            continue
        if phase == WAITING:
            count_wait(host, p, host.base_ns + get(host, BEGIN, p) - attempt_of(host, p))
            dequeue_waiter(host, p, lock_on(host, p))
        if get(host, RECORD, p) != 0 and get(host, RECORD_BEGIN, p) <= at:
            end_record(host, p, get(host, RECORD, p))
            put(host, RECORD, p, 0)
        is_waiting = False
        if waits_at(host.waits, p).begin == NEVER:
            is_waiting = place_waiter(host, p, at)
        elif get_course(host, NEXT, p) != NEVER:
            is_waiting = place_guest(host, p, at)
        if is_waiting:
            insert_by_attempt(host, newcomers, n_new, p)
            n_new += 1
    for i in range(n_new):
        count_waiter(host, newcomers[i])
    if config_at(host.config, 0).has_line != 0:
        for p in range(host.n_pcpu):
            if is_spinning(host, p) and get_word(host, lock_on(host, p)) & WORD_LINE != 0:
                follow_line(host, p, lock_on(host, p), host.done_until)


@device
def follow_line(host, p, g, t):
    """What has become of the waiter on p, in the line of lock g or beside it, by the end of the course at t."""
    v = pcpu_at(host.pcpus, p).vcpu
    kind = vm_config_at(host.config_vms, vcpu_at(host.vcpus, v).vm).lock_kind
    if vcpu_at(host.vcpus, v).number == 0:
        return
    if before_in_line(host, v) < 0:
        since = attempt_of(host, p)
        for q in range(host.n_pcpu):
            if get(host, GUEST_PHASE, q) == HOLDING and lock_on(host, q) == g:
                since = max(since, get_until(host, q) - hold_drawn_on(host, q))
        lead_line(kind, host, g, v, since)
    else:
        catch_up(kind, host, v, t)
    put_thresholds(host, p, t)


@device
def place_guest(host, p, at):
    """Put the present of p where its vCPU is at an instant before its next attempt; true if it waits then."""
    next_attempt, course = get_course(host, NEXT, p), get_course(host, COURSE, p)
    v, slot = vcpu_in(course), course & SLOT_MASK
    end = next_attempt - kernel_drawn(host, v, slot) - user_drawn(host, v, slot)
    if end <= at:
        before_attempt(host, p, v, slot, next_attempt, at)
        return False
    last = (slot - 1) & SLOT_MASK
    begin = end - hold_drawn(host, v, last)
    if begin <= at:
        put(host, POSITION, p, position_of(host, v, last))
        g = lock_on(host, p)
        put_word(host, g, get_word(host, g) + COUNT_UNIT)
        start_hold(host, p, host.base_ns + begin)
        put(host, UNTIL, p, end)
        return False
    waits = waits_at(host.waits, p)
    if waits.begin == begin:
        take_back(host, p, begin - waits.attempt)
        return place_waiter(host, p, at)
    # It found the lock free, but after the end of the course.
    before_attempt(host, p, v, last, begin, at)
    put_free(host, lock_on(host, p), -1)
    return False


@device
def place_waiter(host, p, at):
    """Put the present of p, whose vCPU has to wait since its last attempt, where it is before that is over.

    False if even the attempt comes after the end of the course.
    """
    attempt = np.int64(waits_at(host.waits, p).attempt)
    v, slot = tried(host, p)
    threshold = config_at(host.config, 0).threshold
    if attempt > at:
        before_attempt(host, p, v, slot, attempt, at)
        if (
            threshold != 0
            and not is_constant(threshold)
            and can_wait(host, lock_on(host, p), waits_at(host.waits, p).begin)
        ):
            vcpu_at(host.vcpus, v).n_threshold -= 1  # it will be drawn again
        return False
    put(host, POSITION, p, position_of(host, v, slot))
    put(host, GUEST_PHASE, p, WAITING)
    put(host, ATTEMPT, p, attempt)
    if threshold == 0 or vm_config_on(host, p).quick_ns >= 0:
        put_until(host, p, draw_threshold(host, v, host.base_ns + attempt))
    return True


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
    if get_word(host, g) & WORD_LINE != 0:
        vm_config = vm_config_on(host, p)
        line_up(vm_config.lock_kind, host, p, g, attempt_of(host, p))
        return
    put_word_only(host, g, get_word(host, g) + COUNT_UNIT)
    if get_word(host, g) & WORD_UNFAIR == 0:
        enqueue(host, g, p)


# The beginning of the course


@device
def resume(host, deadline):
    """Let the course of the lane begin where its present is; it holds up to a deadline, when the hypervisor may act."""
    lane_value(host, DEADLINE).value = np.int32(min(deadline - host.base_ns, REBASE_NS))
    for p in range(host.n_pcpu):
        phase = get(host, GUEST_PHASE, p)
        waits_at(host.waits, p).begin = np.int32(-1)
        waits_at(host.waits, p).attempt = np.int32(-1)
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
    if pcpu_at(host.pcpus, p).trap != TRAP_NONE or not foresee_cycle(host, p, *cycle_on(host, p), 0, end):
        limit_deadline(host, end - 1)
        return
    put_word_only(host, g, word - COUNT_UNIT)
    if word & WORD_SCALAR != 0:
        limit_deadline(host, end - 1)
    elif n_waiting == 0:
        put_free(host, g, end)
    elif word & WORD_FORESEEABLE == 0:
        limit_deadline(host, end - 1)
    elif word & WORD_LINE != 0:
        foresee_line(host, g, end)
    elif word & WORD_UNFAIR == 0:
        for i in range(n_waiting):
            q = np.int64(place_of(host, g, word + i).value)
            if q < 0 or not foresee_cycle(host, q, *cycle_on(host, q), 1, end):
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
        if foresee_cycle(host, q, *cycle_on(host, q), 1, end):
            put(host, BEGIN, q, end)
            waits_at(host.waits, q).begin = np.int32(end)  # for those who come to the lock before that
            put_free(host, g, end_of_hold(host, q, end))
        else:
            limit_deadline(host, end - 1)
    else:
        for p in range(host.n_pcpu):
            if spins_on(host, p, g):
                v, slot = cycle_on(host, p)
                put_course(host, COURSE, p, (v << VCPU_SHIFT) | ((slot + 1) & SLOT_MASK))
                waits_at(host.waits, p).begin = np.int32(NEVER)
        try_again(host, nth_rival(host, g, 0), end)


@device
def foresee_line(host, g, end):
    """The course of those in the line of lock g, which is released at an instant: they get it one after the other."""
    if not all_in_line_run(host, g):
        limit_deadline(host, end - 1)
        return
    q = next_spinner(host, g, 0)
    while q >= 0:
        if not foresee_cycle(host, q, *cycle_on(host, q), 1, end):
            limit_deadline(host, end - 1)
            return
        put(host, BEGIN, q, end)
        end = end_of_hold(host, q, end)
        q = next_spinner(host, g, vcpu_at(host.vcpus, pcpu_at(host.pcpus, q).vcpu).number)
    put_free(host, g, end)


@device
def end_of_hold(host, p, begin):
    """When the vCPU on p releases the lock that it gets at an instant."""
    position = get(host, POSITION, p)
    return begin + hold_drawn(host, vcpu_in(position), position & SLOT_MASK)


@device
def cycle_on(host, p):
    """The vCPU on p and its cycle, as its place among the draws."""
    position = get(host, POSITION, p)
    return vcpu_in(position), position & SLOT_MASK


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
    put_course(host, NEXT, p, end + rest)
    put_course(host, COURSE, p, position_of(host, v, after))
    if cycle_bits(host, v, slot) & HALT_BIT != 0 or pcpu_at(host.pcpus, p).watching != 0:
        limit_deadline(host, end - 1)
    return True
