"""From the present of a lane to its course, and back.

`resume` says of each guest what it will do if no hypervisor intervenes, for the vector passes to go on from;
`interrupt` says where each guest is when one does. Both take a few steps for each pCPU. What happens between the two
beside the passes is in `waits.py`.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.control import deadline_of
from fastlhp.engine.jit import device
from fastlhp.engine.line import (
    all_in_line_run,
    before_in_line,
    catch_up,
    lead_line,
    line_up,
    next_spinner,
    number_on,
    spins_until,
    stop_waiting,
)
from fastlhp.engine.machine import (
    attempt_of,
    begin_spin,
    count_wait,
    draw_threshold,
    end_spin,
    is_constant,
    put_thresholds,
    start_hold,
    vm_config_on,
)
from fastlhp.engine.rows import (
    count_of,
    dequeue,
    end_pcpu,
    enqueue,
    find_all_earliest,
    first_pcpu,
    get,
    get_course,
    get_threshold,
    get_until,
    get_word,
    hold_drawn,
    hold_drawn_on,
    is_spinning,
    kernel_drawn,
    key_of,
    lock_on,
    position_of,
    put,
    put_course,
    put_free,
    put_threshold,
    put_until,
    put_word,
    spins_on,
    user_drawn,
    vcpu_in,
    waiter_with,
)
from fastlhp.engine.state import (
    BEGIN,
    COUNT_UNIT,
    COUNTS,
    COURSE,
    DEADLINE,
    EDGE,
    FAR,
    GUEST_PHASE,
    HANDOVER,
    HOLDING,
    KERNEL,
    LANES_SIZE,
    LATEST,
    NEVER,
    NEXT,
    NOBODY,
    ORDER_BITS,
    ORDER_MASK,
    POSITION,
    REBASE_NS,
    SLOT_END,
    SLOT_MASK,
    TILE,
    TRAP_NONE,
    USER,
    VCPU_SHIFT,
    WAITING,
    WAKE,
    WORD_FORESEEABLE,
    WORD_LINE,
    WORD_SCALAR,
    WORD_UNFAIR,
    config_at,
    int64_array,
    int64_at,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
    waits_at,
)
from fastlhp.engine.waits import (
    can_wait,
    first_rival,
    foresee_cycle,
    get_deadline,
    is_foreseeable,
    lane_value,
    limit_deadline,
    settle_record,
    take_back,
    tried,
    try_again,
)

FEWEST_TILES = 3
"""With fewer, a divided course is no faster. Measured."""


@device
def limit_to_threshold(host, p):
    """The course holds no longer than up to the end of the waiter's threshold on p, should that come first."""
    until = get_threshold(host, p) - host.base_ns
    if config_at(host.config, 0).has_line != 0 and is_foreseeable(host, lock_on(host, p)):
        if get_word(host, lock_on(host, p)) & WORD_LINE != 0:
            v = pcpu_at(host.pcpus, p).vcpu
            spins = spins_until(vm_config_on(host, p).lock_kind, host, v)
            first = min(vcpu_at(host.vcpus, v).threshold_at, min(spins, host.base_ns + FAR))
            until = first - host.base_ns
    if get(host, BEGIN, p) > until:
        limit_deadline(host, until)


@device
def dequeue_waiter(host, p, g):
    """The vCPU on p, one of those that lock g counts, does not wait any more: of a queued lock the first."""
    put_word(host, g, get_word(host, g) - COUNT_UNIT)
    if get_word(host, g) & WORD_LINE != 0:
        stop_waiting(host, g, pcpu_at(host.pcpus, p).vcpu)
    elif get_word(host, g) & WORD_UNFAIR == 0:
        dequeue(host, g)


# The end of the course


@device
def interrupt(host):
    """Put the present of the lane where its course is at the deadline, with all events of guests up to then done."""
    if host.divided != 0:
        join_tiles(host)
    else:
        end_course(host)


@device
def end_course(host):
    """`interrupt`, of the tiles that scalar code sees to."""
    at = get_deadline(host)
    host.done_until = host.base_ns + at
    lane_value(host, DEADLINE).value = np.int32(-1)
    first, end = first_pcpu(host), end_pcpu(host)
    newcomers = int64_array(host.newcomers, host.n_pcpu)
    n_new = np.int64(0)
    for p in range(first, end):
        phase = get(host, GUEST_PHASE, p)
        if phase == NOBODY or (phase == WAITING and get(host, BEGIN, p) > at):
            continue
        if phase == WAITING:
            begin = host.base_ns + get(host, BEGIN, p)
            count_wait(host, p, begin - attempt_of(host, p))
            dequeue_waiter(host, p, lock_on(host, p))
            end_spin(host, lock_on(host, p), begin)
            put(host, GUEST_PHASE, p, HOLDING)
        settle_record(host, p, at)
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
        for p in range(first, end):
            if is_spinning(host, p) and get_word(host, lock_on(host, p)) & WORD_LINE != 0:
                follow_line(host, p, lock_on(host, p), host.done_until)


@device
def follow_line(host, p, g, t):
    """What has become of the waiter on p, in the line of lock g or beside it, by the end of the course at t."""
    v = pcpu_at(host.pcpus, p).vcpu
    kind = vm_config_on(host, p).lock_kind
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
        return False
    waits = waits_at(host.waits, p)
    if waits.begin == begin:
        take_back(host, p, begin - waits.attempt)
        return place_waiter(host, p, at)
    # It found the lock free, but after the end of the course.
    before_attempt(host, p, v, last, begin, at)
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
    vcpu_at(host.vcpus, v).attempt = host.base_ns + attempt
    begin_spin(host, lock_on(host, p), host.base_ns + attempt)
    if threshold == 0 or vm_config_on(host, p).quick_ns >= 0:
        put_threshold(host, p, draw_threshold(host, v, host.base_ns + attempt))
    return True


@device
def before_attempt(host, p, v, slot, attempt, at):
    """Put the present of p where its vCPU is at an instant, before an attempt and after the release before it."""
    kernel = kernel_drawn(host, v, slot)
    put(host, POSITION, p, position_of(host, v, slot))
    if attempt - kernel > at:
        put(host, GUEST_PHASE, p, USER)
        put_until(host, p, host.base_ns + attempt - kernel)
    else:
        put(host, GUEST_PHASE, p, KERNEL)
        put_until(host, p, host.base_ns + attempt)


@device
def insert_by_attempt(host, pcpus, n, p):
    """Insert p into a list of n pCPUs, in the order of the attempts of their waiters."""
    i = n
    while i > 0 and attempt_of(host, pcpus[i - 1]) > attempt_of(host, p):
        pcpus[i] = pcpus[i - 1]
        i -= 1
    pcpus[i] = p


@device
def count_waiter(host, p):
    """Let its lock count the waiter on p, which has come since the course began."""
    g = lock_on(host, p)
    if get_word(host, g) & WORD_LINE != 0:
        line_up(vm_config_on(host, p).lock_kind, host, p, g, attempt_of(host, p))
        return
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if get_word(host, g) & WORD_UNFAIR == 0:
        enqueue(host, g, p)


# The beginning of the course


@device
def resume(host):
    """Let the course of the lane begin where its present is; it holds up to when the hypervisor may act."""
    if host.divisible != 0:
        start_tiles(host)
    else:
        begin_course(host)


@device
def put_lock(host, g):
    """For the course, lock g is free, or taken until a release says otherwise (`foresee_release`)."""
    is_free = get_word(host, g) & (COUNT_UNIT * (COUNTS - 1) | WORD_SCALAR) == 0
    put_free(host, g, -1 if is_free else NEVER)


@device
def begin_course(host):
    """`resume`, of the tiles that scalar code sees to."""
    deadline = min(deadline_of(host), last_before(host.horizon))
    lane_value(host, DEADLINE).value = np.int32(min(deadline - host.base_ns, REBASE_NS))
    for m in range(host.n_vm):
        vm_config = vm_config_at(host.config_vms, m)
        first_lock = vm_config.first_lock
        if host.divisible == 0 or lock_at(host.lock_records, first_lock).tile == host.first_tile:
            for g in range(first_lock, first_lock + vm_config.n_lock):
                put_lock(host, g)
    first, end = first_pcpu(host), end_pcpu(host)
    # Those that hold a lock are listed from the front on, those that wait for one from the back on.
    pcpus = int64_array(host.newcomers, host.n_pcpu)
    n_holding, first_waiting = np.int64(0), end - first
    for p in range(first, end):
        phase = get(host, GUEST_PHASE, p)
        pcpus[n_holding] = p
        pcpus[first_waiting - 1] = p
        n_holding += np.int64(phase == HOLDING)
        first_waiting -= np.int64(phase == WAITING)
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
                limit_deadline(host, get_until(host, p) - host.base_ns - 1)
    if host.divisible == 0:
        find_all_earliest(host)
    for i in range(n_holding):
        foresee_release(host, pcpus[i])
    for i in range(first_waiting, end - first):
        limit_to_threshold(host, pcpus[i])


# The divided course: while the hypervisor does not intervene, VMs have nothing to do with each other. If none has pCPUs
# in two tiles, and only the clock brings the hypervisor in, each tile follows its course for itself: one attempt in
# each, and not one in all, is carried out at a time.
#
# When the course of a tile ends, scalar code sees to that tile alone, and it goes on. All stop at the same instant, the
# horizon, when something concerns them all: the edge of the window, say. With a scheduler of `own_queues` nothing else
# does; with another, whatever the hypervisor does on one pCPU may concern the others. So the clock of scalar code may
# go back, from tile to tile. The integrals of the host (`machine.settle`) mind that as little as they mind the order of
# a sum: between two events that change what a vCPU adds to them, exactly the time between these two is added for it.


@device
def is_divisible(host):
    """Whether courses of this replication can be divided: no VM is pinned to pCPUs of two tiles."""
    if host.n_row < FEWEST_TILES * TILE or config_at(host.config, 0).divisible == 0:
        return False
    for m in range(host.n_vm):
        vm_config = vm_config_at(host.config_vms, m)
        tile = vcpu_at(host.vcpus, vm_config.first_vcpu).home // TILE
        for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
            home = vcpu_at(host.vcpus, v).home
            if home < 0 or home // TILE != tile:
                return False
        lock_at(host.lock_records, vm_config.first_lock).tile = tile
    for p in range(host.n_pcpu):
        v = pcpu_at(host.pcpus, p).vcpu
        if v >= 0 and vcpu_at(host.vcpus, v).home // TILE != p // TILE:
            return False
    return True


@device
def narrow(host, tile):
    """Let scalar code see to one tile alone, in which the lane values are those of the tile."""
    host.first_tile = tile
    host.n_tile = 1
    host.short_ns = min(config_at(host.config, 0).short_ns, FAR) * (host.n_row // TILE)
    host.lanes += 4 * LANES_SIZE * (tile + 1)


@device
def widen(host):
    """Let scalar code see to all tiles again."""
    host.lanes -= 4 * LANES_SIZE * (host.first_tile + 1)
    host.short_ns = config_at(host.config, 0).short_ns
    host.first_tile = 0
    host.n_tile = host.n_row // TILE


@device
def horizon_of(host):
    """The first event that concerns tiles other than that in which it happens."""
    key = min(key_of(host.edge, EDGE), key_of(host.base_ns + REBASE_NS + 1, EDGE))
    key = min(key, min(key_of(host.slot_end, SLOT_END), key_of(host.next_wake, WAKE)))
    if config_at(host.config, 0).own_queues == 0:
        for p in range(host.n_pcpu):
            key = min(key, int64_at(host.timers, p).value)
    return key


@device
def last_before(key):
    """The last instant at which guests are before the event with a key."""
    return (key >> ORDER_BITS) - np.int64(key & ORDER_MASK == EDGE)


@device
def start_tiles(host):
    """Let the course of each tile begin."""
    lane_value(host, DEADLINE).value = np.int32(-1)
    host.horizon = horizon_of(host)
    host.scalar_events = 0
    for tile in range(host.n_row // TILE):
        narrow(host, tile)
        begin_course(host)
        widen(host)
    host.divided = 1
    host.n_on_course = host.n_row // TILE


@device
def join_tiles(host):
    """All tiles have come up to the horizon."""
    host.done_until = last_before(host.horizon)
    host.horizon = LATEST << ORDER_BITS
    host.divided = 0


@device
def foresee_attempt(host, p, phase):
    """The course of the vCPU on p, which is before an attempt."""
    position = get(host, POSITION, p)
    until = get_until(host, p) - host.base_ns
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
    end = get_until(host, p) - host.base_ns
    word = get_word(host, g)
    n_waiting = count_of(host, g) - 1
    put_free(host, g, NEVER)
    v, slot = cycle_on(host, p)
    if pcpu_at(host.pcpus, p).trap != TRAP_NONE or not foresee_cycle(host, p, v, slot, 0, end):
        limit_deadline(host, end - 1)
        return
    put_word(host, g, word - COUNT_UNIT)
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
            q = waiter_with(host, g, word + i)
            if q < 0:
                limit_deadline(host, end - 1)
                return
            v, slot = cycle_on(host, q)
            if not foresee_cycle(host, q, v, slot, 1, end):
                limit_deadline(host, end - 1)
                return
            put(host, BEGIN, q, end)
            end += hold_drawn_on(host, q)
        put_free(host, g, end)
    elif n_waiting == 1:
        q = np.int64(0)
        while not spins_on(host, q, g):
            q += 1
        lock_at(host.lock_records, g).waiter = q
        v, slot = cycle_on(host, q)
        if foresee_cycle(host, q, v, slot, 1, end):
            put(host, BEGIN, q, end)
            waits_at(host.waits, q).begin = np.int32(end)  # for those who come to the lock before that
            put_free(host, g, end + hold_drawn_on(host, q))
        else:
            limit_deadline(host, end - 1)
    else:
        for p in range(host.n_pcpu):
            if spins_on(host, p, g):
                v, slot = cycle_on(host, p)
                put_course(host, COURSE, p, (v << VCPU_SHIFT) | ((slot + 1) & SLOT_MASK))
                waits_at(host.waits, p).begin = np.int32(NEVER)
        try_again(host, first_rival(host, g), end)


@device
def foresee_line(host, g, end):
    """The course of those in the line of lock g, which is released at an instant: they get it one after the other."""
    if not all_in_line_run(host, g):
        limit_deadline(host, end - 1)
        return
    q = next_spinner(host, g, 0)
    while q >= 0:
        v, slot = cycle_on(host, q)
        if not foresee_cycle(host, q, v, slot, 1, end):
            limit_deadline(host, end - 1)
            return
        put(host, BEGIN, q, end)
        end += hold_drawn_on(host, q)
        q = next_spinner(host, g, number_on(host, q))
    put_free(host, g, end)


@device
def cycle_on(host, p):
    """The vCPU on p and its cycle, as its place among the draws."""
    position = get(host, POSITION, p)
    return vcpu_in(position), position & SLOT_MASK
