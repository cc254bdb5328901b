"""The hypervisor: one step of a lane in scalar code.

`look` finds the next event of the lane, in the order of `docs/semantics.md` section 2, and `handle` handles it. They do
everything that the vector passes do, so that a lane driven by it alone gives the same results.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.accounts import cross_edge
from fastlhp.engine.dispatch import (
    dispatch,
    end_exit,
    end_switch,
    exchange,
    make_room,
    never,
    new_slice,
    nobody,
    owes_overrun,
    resume_wait,
    run_next,
    take,
)
from fastlhp.engine.draws import duration, words
from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device, inline, part
from fastlhp.engine.machine import (
    begin_exit,
    block,
    count_preemption,
    end_wait,
    kick,
    leave,
    next_cycle,
    owns_lock,
    put_thresholds,
    schedule_wake,
    set_state,
    settle,
    spin_on,
    start_wait,
    take_off,
    vm_config_on,
)
from fastlhp.engine.rows import (
    cycle_of,
    end_pcpu,
    first_pcpu,
    get,
    get_timer,
    kernel_drawn,
    key_of,
    lock_on,
    phase_of,
    put,
    put_nothing,
    put_timer,
    put_until,
    slot_of,
)
from fastlhp.engine.state import (
    AFTER_GIVING_WAY,
    AFTER_GUARD_YIELD,
    AFTER_HALT,
    AFTER_HLT,
    AFTER_KICK,
    AFTER_NOTIFY,
    AFTER_SERVICE,
    AFTER_YIELD,
    BLOCK,
    EDGE,
    EXITING,
    EXTENDED,
    FOREVER,
    GUEST_PHASE,
    GUESTS,
    HALT,
    HALT_BIT,
    HALTED,
    HANDOVER,
    HOLDING,
    INSISTING,
    INTERRUPTS,
    KERNEL,
    LATEST,
    LETS_RUN,
    LETS_YIELD,
    NOT_EXTENDED,
    ORDER_BITS,
    ORDER_MASK,
    OUTSIDE,
    POSITION,
    PREEMPTS,
    READY,
    REBASE_NS,
    RUNNING,
    SERVING,
    SLOT_END,
    SLOT_MASK,
    SPIN_ON,
    SWITCHING,
    TILE,
    TIMERS,
    TRAP_EXTENDED_HOLD,
    TRAP_EXTENDED_KERNEL,
    TRAP_NONE,
    USER,
    WAITING,
    WAKE,
    WAS_EXTENDED,
    config_at,
    pcpu_at,
    vcpu_at,
    vm_at,
    vm_config_at,
)
from fastlhp.engine.vectors import lowest_of, repeat, written


@device
def _nothing(host, argument):
    pass


@device
def _unchanged(host):
    pass


@device
def _no_account(host, dt):
    pass


@device
def _never_too_late(host, p, t):
    return False


@device
def _for_ever(host, p):
    return np.int64(FOREVER)


@device
def _spins_on(host, p, g, t):
    return np.int64(SPIN_ON)


@device
def _no_extension(host, p):
    return np.int64(0)


@device
def _inherits_nothing(host, left_ns):
    return np.int64(0)


@device
def _obeys_all(host, p, target):
    return True


@device
def _lets_run(host):
    return np.int64(LETS_RUN)


lock_attempt = Hook("lock", "attempt")
lock_release = Hook("lock", "release")
lock_can_resume = Hook("lock", "can_resume")
is_too_late = Hook("lock", "is_too_late", default=_never_too_late)
tries_until = Hook("lock", "tries_until", default=_for_ever)
lose_patience = Hook("lock", "lose_patience", default=_spins_on)
has_queued = Hook("scheduler", "has_queued")
yields = Hook("scheduler", "yields")
make_ready = Hook("scheduler", "make_ready")
wake_up = Hook("scheduler", "wake_up")
obeys = Hook("scheduler", "obeys", default=_obeys_all)
keeps_rest = Hook("scheduler", "keeps_rest", default=never)
slot_ends = Hook("scheduler", "slot_ends", default=_nothing)
elapse = Hook("scheduler", "elapse", default=_no_account)
revise = Hook("scheduler", "revise", default=_unchanged)
extension_ns = Hook("guard", "extension_ns", default=_no_extension)
at_release = Hook("guard", "at_release", default=_lets_run)
expires_in_any_phase = Hook("guard", "expires_in_any_phase", default=never)
service_ns = Hook("guard", "service_ns", default=_no_extension)
halts = Hook("response", "halts", default=never)
is_directed = Hook("response", "is_directed", default=never)
target_of = Hook("response", "target_of", default=nobody)
inherits = Hook("response", "inherits", default=_inherits_nothing)
grow_window = Hook("response", "grow_window", default=_nothing)
stays_without_target = Hook("response", "stays_without_target", default=never)
notifies = Hook("response", "notifies", default=never)
notify = Hook("response", "notify", default=_nothing)


@device
def move_clock(host, t):
    """An event that scalar code handles happens at t; no vCPU has changed its state since the last one."""
    elapse(config_at(host.config, 0).scheduler, host, t - host.now)
    host.now = t


# The guest, step by step


@device
def guest_event(host, p, t):
    """The guest phase on p ends."""
    v = pcpu_at(host.pcpus, p).vcpu
    vm_config = vm_config_at(host.config_vms, vcpu_at(host.vcpus, v).vm)
    phase = phase_of(host, p)
    if phase == HANDOVER:
        end_wait(host, p, t)
    elif phase == HOLDING:
        release(host, p, t)
    elif phase == USER and vm_config.has_kernel != 0:
        put(host, GUEST_PHASE, p, KERNEL)
        put_until(host, p, t + kernel_drawn(host, v, slot_of(host, p)))
    elif is_too_late(vm_config.lock_kind, host, p, t):
        start_wait(host, p, t)
        vcpu_at(host.vcpus, v).outside = OUTSIDE
        give_way(host, p, t)
    else:
        lock_attempt(vm_config.lock_kind, host, p, lock_on(host, p), t)


@device
def release(host, p, t):
    """The vCPU on p releases its lock."""
    pcpu = pcpu_at(host.pcpus, p)
    v = pcpu.vcpu
    vcpu = vcpu_at(host.vcpus, v)
    g = lock_on(host, p)
    pcpu.halt_pending = get(host, POSITION, p) & HALT_BIT
    pcpu.guard_pending = LETS_RUN
    if pcpu.trap == TRAP_EXTENDED_HOLD:
        guard = config_at(host.config, 0).guard
        pcpu.guard_pending = at_release(guard, host)
        if owes_overrun(guard, host):
            vcpu.debt_ns += t - pcpu.slice_end
    next_cycle(host, p, t)
    kicked = lock_release(vm_config_at(host.config_vms, vcpu.vm).lock_kind, host, p, g, t)
    after_release(host, p, kicked, t)


@device
def after_release(host, p, kicked, t):
    """Kick a blocked waiter if need be (-1: none); that costs the releaser an exit."""
    if kicked >= 0:
        vm_at(host.vms, vcpu_at(host.vcpus, kicked).vm).kicks += 1
        kick(host, kicked, t)
        if begin_exit(host, p, AFTER_KICK, t):
            return
    after_kick(host, p, t)


@device
def after_kick(host, p, t):
    """What else follows the release: HLT, what the guard waited for, or user work."""
    pcpu = pcpu_at(host.pcpus, p)
    vm = vm_at(host.vms, vcpu_at(host.vcpus, pcpu.vcpu).vm)
    if pcpu.halt_pending != 0:
        vm.guest_halts += 1
        if not begin_exit(host, p, AFTER_HLT, t):
            halt_guest(host, p, t)
    elif pcpu.guard_pending == LETS_YIELD:
        vm.guard_yields += 1
        if not begin_exit(host, p, AFTER_GUARD_YIELD, t):
            yield_pcpu(host, p, t)
    elif pcpu.guard_pending == PREEMPTS:
        preempt_or_renew(host, p, t)
    elif pcpu.guard_pending == INTERRUPTS:
        serve(host, p, t)
    elif pcpu.mode == EXITING:
        end_exit(host, p, t)


@device
def halt_guest(host, p, t):
    """The guest on p has executed HLT."""
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    keep_rest(host, p, t)
    leave(host, p, HALTED, t)
    halt_time = vm_config_at(host.config_vms, vcpu.vm).halt_time
    _, w1 = words(host, vcpu.vm, vcpu.index, HALT, cycle_of(host, v, vcpu.position & SLOT_MASK) - 1)
    schedule_wake(host, v, t + duration(halt_time, w1))
    run_next(host, p, t)


# Leaving the pCPU


@device
def keep_rest(host, p, t):
    """The vCPU on p leaves of its own will: it may keep the rest of its slice."""
    pcpu = pcpu_at(host.pcpus, p)
    rest = np.int64(0)
    if keeps_rest(config_at(host.config, 0).scheduler, host):
        rest = max(pcpu.slice_end - t, np.int64(0))
    vcpu_at(host.vcpus, pcpu.vcpu).rest_ns = rest


@inline
def give_up(host, p, t):
    """The vCPU on p goes to the tail of its queue and another runs."""
    v = pcpu_at(host.pcpus, p).vcpu
    if can_exchange(host, p):
        make_ready(config_at(host.config, 0).scheduler, host, v)
        make_room(host, p, t)
    else:
        leave(host, p, READY, t)
        make_ready(config_at(host.config, 0).scheduler, host, v)
        run_next(host, p, t)


@device
def can_exchange(host, p):
    """Whether the vCPU on p can be queued and another be put in its place at once (`exchange`)."""
    return config_at(host.config, 0).exchanges != 0 and pcpu_at(host.pcpus, p).mode == RUNNING


@device
def preempt_or_renew(host, p, t):
    """The vCPU on p has come to where its guard waited for: it is preempted, or goes on if it is alone.

    It may be about to come out of an exit.
    """
    pcpu = pcpu_at(host.pcpus, p)
    if has_queued(config_at(host.config, 0).scheduler, host, p):
        count_preemption(host, p, t)
        give_up(host, p, t)
    else:
        new_slice(host, p, t)
        if pcpu.mode == EXITING:
            end_exit(host, p, t)


@device
def yield_pcpu(host, p, t):
    """The vCPU on p gives up its pCPU of its own will."""
    vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
    vcpu.yielded = 1
    give_up(host, p, t)
    vcpu.yielded = 0


@device
def end_extension(host, p, t):
    """The extension of p's slice, if any, is over."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.extended == EXTENDED:
        pcpu.extended = WAS_EXTENDED
        put_timer(host, p, max(pcpu.slice_end, t))
        if owes_overrun(config_at(host.config, 0).guard, host):
            vcpu_at(host.vcpus, pcpu.vcpu).debt_ns += t - pcpu.slice_end
        pcpu.watching = 0
        pcpu.trap = TRAP_NONE


@device
def end_slice(host, p, t):
    """A slice, or its extension, ends on p."""
    config = config_at(host.config, 0)
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    if not has_queued(config.scheduler, host, p):
        end_extension(host, p, t)
        new_slice(host, p, t)
        return
    if pcpu.extended == NOT_EXTENDED:
        length = extension_ns(config.guard, host, p)
        if length > 0:
            vm_at(host.vms, vcpu.vm).extensions += 1
            pcpu.extended = EXTENDED
            pcpu.extension_end = t + length
            put_timer(host, p, pcpu.extension_end)
            start_extension(host, p, at_release(config.guard, host), t)
            return
    if pcpu.extended == EXTENDED and (
        phase_of(host, p) == HOLDING or expires_in_any_phase(config.guard, host)
    ):
        vm_at(host.vms, vcpu.vm).extensions_expired += 1
    count_preemption(host, p, t)
    end_extension(host, p, t)
    give_up(host, p, t)


@device
def start_extension(host, p, waits_for, t):
    """The slice of the vCPU on p is extended until a release, or what else the guard waits for; or just for a time."""
    pcpu = pcpu_at(host.pcpus, p)
    phase = phase_of(host, p)
    if waits_for == PREEMPTS:
        # Whatever takes the guest towards safety is for scalar code.
        pcpu.watching = 1
        if phase == KERNEL:
            pcpu.trap = TRAP_EXTENDED_KERNEL
    if waits_for != LETS_RUN and phase == HOLDING:
        pcpu.trap = TRAP_EXTENDED_HOLD
    elif waits_for == INTERRUPTS:
        serve(host, p, t)


@device
def serve(host, p, t):
    """The guest on p serves its driver's interrupt: kernel time in which its own phase is frozen, as in an exit."""
    pcpu = pcpu_at(host.pcpus, p)
    v = pcpu.vcpu
    length = service_ns(config_at(host.config, 0).guard, host, v)
    pcpu.service_end = t + length
    if length == 0:
        after_service(host, p, t)
        return
    if pcpu.mode == RUNNING:
        take_off(host, p, SERVING, t)
    else:
        set_state(host, v, SERVING, t)
    pcpu.mode = EXITING
    pcpu.action = AFTER_SERVICE
    put_timer(host, p, max(min(pcpu.service_end, pcpu.extension_end), t))


@device
def after_service(host, p, t):
    """The interrupt on p is served, or its guard's cap has come first."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.service_end > t and has_queued(config_at(host.config, 0).scheduler, host, p):
        vm_at(host.vms, vcpu_at(host.vcpus, pcpu.vcpu).vm).extensions_expired += 1
    preempt_or_renew(host, p, t)


@device
def end_threshold(host, p, t):
    """The waiter on p has spun for a threshold: the response's, or else its lock's own."""
    config = config_at(host.config, 0)
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    if config.loses_patience != 0 and vcpu.patience_at < FOREVER and vcpu.threshold_at > t:
        end_patience(host, p, t)
        return
    if notifies(config.response, host):
        if not begin_exit(host, p, AFTER_NOTIFY, t):
            after_notify(host, p, t)
        return
    end_extension(host, p, t)
    if halts(config.response, host):
        if not begin_exit(host, p, AFTER_HALT, t):
            after_halt(host, p, t)
    else:
        if config.threshold_max != 0:
            grow_window(config.response, host, pcpu.vcpu)
        vm_at(host.vms, vcpu.vm).yields += 1
        if not begin_exit(host, p, AFTER_YIELD, t):
            after_yield(host, p, t)


@device
def end_patience(host, p, t):
    """The waiter on p may have spun for the threshold of its lock: the lock says what it does then."""
    vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
    if vcpu.patience_at > t:
        put_thresholds(host, p, t)
        return
    put_nothing(host, p)
    kind = vm_config_at(host.config_vms, vcpu.vm).lock_kind
    what = lose_patience(kind, host, p, lock_on(host, p), t)
    if what == BLOCK:
        end_extension(host, p, t)
        if not begin_exit(host, p, AFTER_HALT, t):
            after_halt(host, p, t)
    elif what != SPIN_ON:
        give_way(host, p, t)


@device
def give_way(host, p, t):
    """The vCPU on p does not try for its lock this late in its slice: it yields."""
    end_extension(host, p, t)
    vm_at(host.vms, vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).vm).informed_yields += 1
    if not begin_exit(host, p, AFTER_GIVING_WAY, t):
        after_giving_way(host, p, t)


@device
def after_giving_way(host, p, t):
    """The exit is over: to the tail without the rest of the slice; or, alone, into a new slice and at the lock."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    if has_queued(config_at(host.config, 0).scheduler, host, p):
        give_up(host, p, t)
        return
    new_slice(host, p, t)
    vcpu.outside = INSISTING
    if pcpu.mode == EXITING:
        end_exit(host, p, t)
    elif not resume_wait(vm_config_at(host.config_vms, vcpu.vm).lock_kind, host, p, lock_on(host, p), t):
        spin_on(host, p, t)


@device
def after_yield(host, p, t):
    """The exit of a spinner's yield is over."""
    config = config_at(host.config, 0)
    pcpu = pcpu_at(host.pcpus, p)
    v = pcpu.vcpu
    target = np.int64(-1)
    stays = False
    if is_directed(config.response, host):
        target = target_of(config.response, host, p)
        if target < 0:
            stays = stays_without_target(config.response, host)
        elif not obeys(config.scheduler, host, p, target):
            target = np.int64(-1)
        count_target(host, v, target)
    if target >= 0:
        boosted = vcpu_at(host.vcpus, target)
        inherited = inherits(config.response, host, pcpu.slice_end - t)
        keep_rest(host, p, t)
        if inherited > 0:
            vcpu_at(host.vcpus, v).rest_ns = 0
        settle(host, t)  # `take` may change the target's home
        take(config.scheduler, host, p, target)
        boosted.rest_ns = 0
        boosted.inherited_ns = inherited
        exchanges = can_exchange(host, p)
        if not exchanges:
            leave(host, p, READY, t)
        vcpu_at(host.vcpus, v).yielded = 1
        make_ready(config.scheduler, host, v)
        vcpu_at(host.vcpus, v).yielded = 0
        if exchanges:
            exchange(host, p, target, t)
        else:
            dispatch(host, p, target, t)
    elif yields(config.scheduler, host, p) and not stays:
        keep_rest(host, p, t)
        yield_pcpu(host, p, t)
    else:
        go_on_spinning(host, p, t)


@device
def go_on_spinning(host, p, t):
    """The exit of the waiter on p, of whatever length, is over, and it keeps its pCPU."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.mode == EXITING:
        end_exit(host, p, t)
    else:
        vcpu_at(host.vcpus, pcpu.vcpu).spin_loop = 0
        spin_on(host, p, t)


@device
def after_notify(host, p, t):
    """The exit by which the waiter on p tells of its long spin is over."""
    notify(config_at(host.config, 0).response, host, pcpu_at(host.pcpus, p).vcpu)
    go_on_spinning(host, p, t)


@device
def count_target(host, v, target):
    """Count a directed yield of v by what its target (-1: none) is."""
    vm = vm_at(host.vms, vcpu_at(host.vcpus, v).vm)
    if target < 0:
        vm.directed_yields_none += 1
        return
    if owns_lock(host, target):
        vm.directed_yields_holder += 1
    elif vcpu_at(host.vcpus, target).phase == WAITING:
        vm.directed_yields_waiter += 1
    else:
        vm.directed_yields_other += 1


@device
def after_halt(host, p, t):
    """The exit of a waiter that wants to block is over."""
    pcpu = pcpu_at(host.pcpus, p)
    v = pcpu.vcpu
    vcpu = vcpu_at(host.vcpus, v)
    if pcpu.mode == EXITING and lock_can_resume(vm_config_at(host.config_vms, vcpu.vm).lock_kind, host, v):
        end_exit(host, p, t)
    else:
        vm_at(host.vms, vcpu.vm).halts += 1
        keep_rest(host, p, t)
        leave(host, p, HALTED, t)
        block(host, v)
        run_next(host, p, t)


@device
def pcpu_event(host, p, t):
    """The timer of pCPU p has gone off."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.mode == SWITCHING:
        end_switch(host, p, t)
    elif pcpu.mode == RUNNING:
        end_slice(host, p, t)
    elif pcpu.action == AFTER_KICK:
        after_kick(host, p, t)
    elif pcpu.action == AFTER_YIELD:
        after_yield(host, p, t)
    elif pcpu.action == AFTER_HALT:
        after_halt(host, p, t)
    elif pcpu.action == AFTER_HLT:
        halt_guest(host, p, t)
    elif pcpu.action == AFTER_GIVING_WAY:
        after_giving_way(host, p, t)
    elif pcpu.action == AFTER_NOTIFY:
        after_notify(host, p, t)
    elif pcpu.action == AFTER_SERVICE:
        after_service(host, p, t)
    else:
        yield_pcpu(host, p, t)


@device
def wake(host, t):
    """The lowest vCPU that is due becomes runnable."""
    woken = np.int64(-1)
    host.next_wake = FOREVER
    for v in range(host.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.wake_at == t and woken < 0:
            woken = v
            vcpu.wake_at = FOREVER
        host.next_wake = min(host.next_wake, vcpu.wake_at)
    set_state(host, woken, READY, t)
    wake_up(config_at(host.config, 0).scheduler, host, woken, t)


# One step


@device
def deadline_of(host):
    """Up to when the guests that scalar code sees to may go on by themselves."""
    deadline = min(host.edge - 1, min(host.slot_end, host.next_wake))
    for p in range(first_pcpu(host), end_pcpu(host)):
        deadline = min(deadline, get_timer(host, p))
    if config_at(host.config, 0).gives_way != 0:
        for p in range(host.n_pcpu):
            if pcpu_at(host.pcpus, p).mode == RUNNING:
                deadline = min(deadline, tries_until(vm_config_on(host, p).lock_kind, host, p))
        deadline = max(deadline, host.done_until)
    return deadline


@written("UniTuple(int64, 2)(int64, int64, int64, int64)")
def nearest(guests, thresholds, timers, n_tiles):
    """The keys of what guests do next on all pCPUs, and of what else comes next there."""

    def tile(i, guest, other):
        def keys(array):
            return [(array + i * (8 * TILE) + 8 * j).number() for j in range(TILE)]

        return guest.lower(lowest_of(keys(guests))), other.lower(lowest_of(keys(thresholds) + keys(timers)))

    never = guests.like(LATEST << ORDER_BITS)
    return repeat(n_tiles, tile, never, never)


@inline
def look(host):
    """Find the lane's next event: `next_key` in its record, and the next one that is not a guest's: `other_key`."""
    before = 8 * TILE * host.first_tile
    guest, other = nearest(host.guests + before, host.thresholds + before, host.timers + before, host.n_tile)
    if min(host.edge, min(host.slot_end, host.next_wake)) <= other >> ORDER_BITS:
        other = min(other, key_of(host.slot_end, SLOT_END))
        other = min(other, key_of(host.next_wake, WAKE))
        other = min(other, key_of(host.edge, EDGE))
    host.next_key = min(guest, other)
    if config_at(host.config, 0).gives_way != 0:
        other = min(other, key_of(deadline_of(host) + 1, EDGE))
    host.other_key = other


@device
def next_at(host):
    """When the next event is that `look` has found."""
    return host.next_key >> ORDER_BITS


@part
def handle(host):
    """Handle the event that `look` has found. True if that is the end of the replication, whose results are written."""
    t, order = next_at(host), host.next_key & ORDER_MASK
    if order == EDGE:
        host.done_until = t - 1  # guests' events at t are still to come
        if cross_edge(host, t):
            return True
    else:
        move_clock(host, t)
        host.done_until = t
        if t - host.base_ns > REBASE_NS:
            host.base_ns = t
        if order < SLOT_END:
            guest_event(host, order - GUESTS, t)
        elif order == SLOT_END:
            slot_ends(config_at(host.config, 0).scheduler, host, t)
        elif order == WAKE:
            wake(host, t)
        elif (order - TIMERS) & 1 != 0:
            end_threshold(host, (order - TIMERS) >> 1, t)
        else:
            pcpu_event(host, (order - TIMERS) >> 1, t)
    revise(config_at(host.config, 0).scheduler, host)
    return False


@device
def handle_here(host):
    """`handle`, of what is most frequent where decisions are: the end of a slice, or of a spin threshold.

    With one caller, into which LLVM puts it.
    """
    t, order = next_at(host), host.next_key & ORDER_MASK
    p = (order - TIMERS) >> 1
    if (
        order < TIMERS
        or order == WAKE
        or pcpu_at(host.pcpus, p).mode != RUNNING
        or t - host.base_ns > REBASE_NS
    ):
        return handle(host)
    move_clock(host, t)
    host.done_until = t
    if (order - TIMERS) & 1 != 0:
        end_threshold(host, p, t)
    else:
        end_slice(host, p, t)
    revise(config_at(host.config, 0).scheduler, host)
    return False
