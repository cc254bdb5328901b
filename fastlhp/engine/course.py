"""From the present of a lane to its course, and back.

`resume` says of each guest what it will do if no hypervisor intervenes, for the vector passes to go on from;
`interrupt` says where each guest is when one does. Both take a few steps for each pCPU. Between the two, `note_wait`
keeps the present of those that have to wait: it is not known for certain yet when they will get their lock.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.draws import draw_if_due
from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device
from fastlhp.engine.line import all_in_line_run, before_in_line, leave_line, next_spinner
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
    waits.attempt = np.int32(now)
    waits.begin = np.int32(free)
    if free - now > waits.looked_at:
        note_special_wait(host, p, now, free)
    else:
        waits.count = np.int32(waits.count + 1)
        waits.ns += free - now
        int64_at(host.histogram, histogram_bin(free - now)).value += 1


@device
def note_special_wait(host, p, now, free):
    """The attempt that p has made has to wait for long, for ever, or in a host where that may end the course."""
    if free != NEVER:
        add_waits(host, p, 1, free - now)
        if get(host, RECORD, p) != 0:
            end_record(host, p, get(host, RECORD, p))
            put(host, RECORD, p, 0)
        if free - now > get(host, LONGEST, p):
            put(host, RECORD, p, free - now)
            put(host, RECORD_BEGIN, p, free)
    if free - now <= vm_config_on(host, p).quick_ns:
        return
    g = np.int64(lane_value(host, LOCK).value)
    if not can_wait(host, g, free):
        limit_deadline(host, now - 1)
        return
    until = np.int64(NEVER)
    if config_at(host.config, 0).threshold != 0:
        v = vcpu_in(np.int64(lane_value(host, POS).value))
        put_until(host, p, draw_threshold(host, v, host.base_ns + now))
        until = get(host, UNTIL, p)
    if get_word(host, g) & WORD_UNFAIR != 0:
        q = lock_at(host.lock_records, g).waiter
        lock_at(host.lock_records, g).waiter = p
        if q >= 0 and q != p and waits_at(host.waits, q).begin >= now and lock_tried(host, q) == g:
            # Two may be waiting when the lock is released: then it is drawn which of them is next.
            limit_deadline(host, waits_at(host.waits, q).begin - 1)
            never_begin(host, p, now, free)
            put_free(host, g, NEVER)
            free = np.int64(NEVER)
    if free > until:
        limit_deadline(host, until)


@device
def can_wait(host, g, begin):
    """Whether a wait for lock g may begin on the course; in a line only if it is known when it ends."""
    return is_foreseeable(host, g) and (begin != NEVER or get_word(host, g) & WORD_LINE == 0)


@device
def lock_tried(host, p):
    """The lock of the last attempt of the vCPU on p."""
    course = get_course(host, COURSE, p)
    return (position_of(host, vcpu_in(course), (course - 1) & SLOT_MASK) >> LOCK_SHIFT) & LOCK_MASK


@device
def never_begin(host, p, now, free):
    """It is not known any more when the new waiter on p gets its lock."""
    if free != NEVER:
        take_back(host, p, free - now)
    waits_at(host.waits, p).begin = np.int32(NEVER)
    put_course(host, NEXT, p, NEVER)


@device
def take_back(host, p, wait):
    """The last wait on p, which has been foreseen, is not over."""
    add_waits(host, p, -1, wait)
    put(host, RECORD, p, 0)


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
        leave_line(host, g, pcpu_at(host.pcpus, p).vcpu)
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
        if get_course(host, NEXT, p) == NEVER:
            is_waiting = waits_at(host.waits, p).begin == NEVER and place_waiter(host, p, at)
        else:
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
    course, attempt = get_course(host, COURSE, p), np.int64(waits_at(host.waits, p).attempt)
    v, slot = vcpu_in(course), (course - 1) & SLOT_MASK
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
    elif word & WORD_LINE != 0:
        foresee_line(host, g, end)
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
            waits_at(host.waits, q).begin = np.int32(end)  # for those who come to the lock before that
            put_free(host, g, end_of_hold(host, q, end))
        else:
            limit_deadline(host, end - 1)
    else:
        limit_deadline(host, end - 1)


@device
def foresee_line(host, g, end):
    """The course of those in the line of lock g, which is released at an instant: they get it one after the other."""
    if not all_in_line_run(host, g):
        limit_deadline(host, end - 1)
        return
    q = next_spinner(host, g, 0)
    while q >= 0:
        if not foresee_cycle(host, q, 1, end):
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
