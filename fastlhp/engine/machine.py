"""Steps of the scalar half that policies build on: accounts, locks, vCPUs leaving and taking pCPUs.

Every function works on one lane, given as its `HOST` record. Times ``t`` are absolute ns. Nothing here calls a
policy, so that policies may call everything here.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.draws import choice, draw_if_due, duration, words
from fastlhp.engine.jit import device, inline
from fastlhp.engine.rows import (
    cycle_of,
    dequeue,
    get,
    get_until,
    get_word,
    hold_drawn,
    hold_drawn_on,
    is_in_newer_half,
    is_spinning,
    kernel_drawn,
    lock_on,
    phase_of,
    position_of,
    put,
    put_finite_threshold,
    put_nothing,
    put_threshold,
    put_timer,
    put_until,
    put_word,
    slot_of,
    spins_on,
    user_drawn,
)
from fastlhp.engine.state import (
    BROKEN_STATE,
    COSTOPPED,
    COUNT_UNIT,
    EXIT,
    EXITING,
    FAR,
    FOREVER,
    GRANT,
    GUEST_PHASE,
    HALF,
    HANDOVER,
    HANDOVER_DRAW,
    HOLDING,
    IDLE,
    KERNEL,
    LOCK_MASK,
    LOCK_SHIFT,
    LONGEST,
    N_STATES,
    NOBODY,
    NOT_EXTENDED,
    PATIENCE,
    POSITION,
    READY,
    RUNNING,
    SLOT_MASK,
    THRESHOLD_DRAW,
    TRAP_EXTENDED_HOLD,
    TRAP_NONE,
    USER,
    WAITING,
    WAKEUP,
    WORD_SCALAR,
    WORD_UNFAIR,
    config_at,
    distribution_at,
    int64_at,
    lock_at,
    pcpu_at,
    stream_at,
    vcpu_at,
    vm_at,
    vm_config_at,
    waits_at,
)
from fastlhp.results.counters import N_BINS

# Draws of the hypervisor


@device
def draw_ns(host, distribution, vcpu, purpose, n):
    """The n-th duration of a vCPU for a purpose."""
    w0, _ = words(host, vcpu.vm, vcpu.index, purpose, n)
    return duration(distribution, w0)


@device
def is_constant(distribution):
    """Whether nothing is drawn for a distribution."""
    return distribution_at(distribution, 0).kind == 0


@device
def draw_exit(host, v):
    """Length of the vCPU's next exit."""
    exits = config_at(host.config, 0).vm_exit
    if exits == 0:
        return np.int64(0)
    if is_constant(exits):
        return distribution_at(exits, 0).value
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.n_exit += 1
    return draw_ns(host, exits, vcpu, EXIT, vcpu.n_exit - 1)


@device
def draw_threshold(host, v, t):
    """When a waiter, whose attempt at t is foreseen, reaches a threshold: the response's or its lock's own."""
    vcpu = vcpu_at(host.vcpus, v)
    at = draw_response_threshold(host, v, t)
    patience = vm_config_at(host.config_vms, vcpu.vm).patience
    if patience != 0:
        vcpu.threshold_at = at
        vcpu.patience_at = t + distribution_at(patience, 0).value
        at = min(at, vcpu.patience_at)
    return at


@device
def draw_response_threshold(host, v, t):
    """When a spin that starts at t reaches its threshold, grown by the vCPU's window; FOREVER without a response."""
    config = config_at(host.config, 0)
    threshold = config.threshold
    if threshold == 0:
        return np.int64(FOREVER)
    length = config.threshold_ns
    if length < 0:
        vcpu = vcpu_at(host.vcpus, v)
        vcpu.n_threshold += 1
        length = draw_ns(host, threshold, vcpu, THRESHOLD_DRAW, vcpu.n_threshold - 1)
    if config.threshold_max > length:
        length = max(length, min(length * vcpu_at(host.vcpus, v).window, config.threshold_max))
    return t + length


@device
def draw_patience(host, v, distribution):
    """A new threshold of the lock for which v waits."""
    if is_constant(distribution):
        return distribution_at(distribution, 0).value
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.n_patience += 1
    return draw_ns(host, distribution, vcpu, PATIENCE, vcpu.n_patience - 1)


@device
def draw_handover(host, v, rivals):
    """Handover time of vCPU v, which is granted a lock while ``rivals`` others spin on it."""
    vcpu = vcpu_at(host.vcpus, v)
    vm_config = vm_config_at(host.config_vms, vcpu.vm)
    if is_constant(vm_config.handover):
        length = distribution_at(vm_config.handover, 0).value
    else:
        vcpu.n_handover += 1
        length = draw_ns(host, vm_config.handover, vcpu, HANDOVER_DRAW, vcpu.n_handover - 1)
    if vm_config.handover_grows != 0:
        length = length * (rivals + 2) // 2
    return length


# Accounts


@inline
def settle(host, t):
    """Integrate idle time, fragmentation and priority inversion up to t, before something changes."""
    if host.n_idle != 0 or config_at(host.config, 0).weighted != 0:
        _settle_for(host, t - host.settled_until)
    host.settled_until = t


@device
def _settle_for(host, dt):
    """`settle` for ``dt`` in which nothing has changed."""
    idle = host.n_idle * dt
    host.idle_ns += idle
    if host.n_ready > 0:
        host.fragmentation_ns += idle
        if config_at(host.config, 0).weighted != 0:
            _settle_inversion(host, dt)


@device
def _settle_inversion(host, dt):
    """Book priority inversion of ``dt`` to the VMs of the queued vCPUs that suffer it."""
    lightest = np.inf
    for p in range(host.n_pcpu):
        u = pcpu_at(host.pcpus, p).vcpu
        if u >= 0 and pcpu_at(host.pcpus, p).mode != IDLE:
            lightest = min(lightest, vm_config_at(host.config_vms, vcpu_at(host.vcpus, u).vm).weight)
    for v in range(host.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.state == READY or vcpu.state == COSTOPPED:
            occupant = lightest
            if vcpu.home >= 0:
                u = pcpu_at(host.pcpus, vcpu.home).vcpu
                occupant = np.inf
                if u >= 0 and pcpu_at(host.pcpus, vcpu.home).mode != IDLE:
                    occupant = vm_config_at(host.config_vms, vcpu_at(host.vcpus, u).vm).weight
            if occupant < vm_config_at(host.config_vms, vcpu.vm).weight:
                vm_at(host.vms, vcpu.vm).priority_inversion_ns += dt


@device
def spend(host, v, state, t):
    """Add t to what the vCPUs of v's VM have spent in a state: v leaves it then. It enters one with -t."""
    int64_at(host.spent, vcpu_at(host.vcpus, v).vm * N_STATES + state).value += t


@device
def set_state(host, v, state, t):
    """Move a vCPU to another state."""
    vcpu = vcpu_at(host.vcpus, v)
    settle(host, t)
    spend(host, v, vcpu.state, t)
    spend(host, v, state, -t)
    host.n_ready += np.int64(state == READY or state == COSTOPPED)
    host.n_ready -= np.int64(vcpu.state == READY or vcpu.state == COSTOPPED)
    vcpu.state = state


@device
def histogram_bin(x):
    """Bin of a time in ns: 16 to an octave from 1 ns; the exponent and first four bits of the mantissa say which."""
    bits = np.float64(max(x, 1)).view(np.int64)
    return min((bits >> 48) - (1023 << 4), np.int64(N_BINS - 1))


@device
def add_waits(host, p, n, wait):
    """Add a wait of the vCPU on p, or with n = -1 take one off that was foreseen; to be booked when the vCPU leaves."""
    waits = waits_at(host.waits, p)
    waits.count = np.int32(waits.count + n)
    waits.ns += n * wait
    int64_at(host.histogram, histogram_bin(wait)).value += n * host.measuring


@device
def count_wait(host, p, wait):
    """The vCPU on p has got its lock after a wait."""
    add_waits(host, p, 1, wait)
    if wait > get(host, LONGEST, p):
        end_record(host, p, wait)


@device
def end_record(host, p, wait):
    """The wait of the vCPU on p is over, and may have been the longest of the VM's."""
    vm = vm_on(host, p)
    vm.wait_max_ns = max(vm.wait_max_ns, wait)
    look_out(host, vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).vm, vm.wait_max_ns)


@device
def look_out(host, m, longest):
    """Look more closely at waits of VM m that are longer than the longest so far, or in which more may happen."""
    vm_config = vm_config_at(host.config_vms, m)
    quick_ns = vm_config.quick_ns if host.measuring != 0 else np.int64(-1)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        vcpu.longest = min(longest, FAR)
        vcpu.looked_at = min(longest, quick_ns)
        if vcpu.state == RUNNING:
            put_longest(host, vcpu.runs_on, v)


@inline
def put_longest(host, p, v):
    """Let what is known of the waits of v's VM be known on p."""
    vcpu = vcpu_at(host.vcpus, v)
    put(host, LONGEST, p, vcpu.longest)
    waits_at(host.waits, p).looked_at = np.int32(vcpu.looked_at)


@device
def vm_on(host, p):
    """The counters of the VM whose vCPU has pCPU p."""
    return vm_at(host.vms, vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).vm)


@device
def vm_config_on(host, p):
    """The configuration of the VM whose vCPU has pCPU p."""
    return vm_config_at(host.config_vms, vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).vm)


@device
def book_waits(host, p):
    """Book the waits of the vCPU on p to its VM."""
    waits = waits_at(host.waits, p)
    vm = vm_on(host, p)
    vm.contended_acquisitions += waits.count
    vm.wait_ns += waits.ns
    waits.count = np.int32(0)
    waits.ns = 0


@device
def attempt_of(host, p):
    """When the waiter on p made its attempt."""
    return vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).attempt


# Spinning is booked by lock, and not by waiter. Whoever begins to spin takes the clock off the lock's account, whoever
# ends adds it. So the account, with the clock added for all that spin now, is the time that was spun since it was 0.


@inline
def begin_spin(host, g, t):
    """Lock g has one more running waiter from t on."""
    lock = lock_at(host.lock_records, g)
    lock.n_spinning += 1
    lock.spun_ns -= t


@inline
def end_spin(host, g, t):
    """Lock g has one less running waiter from t on."""
    lock = lock_at(host.lock_records, g)
    lock.n_spinning -= 1
    lock.spun_ns += t


@device
def settle_lock(host, g, t):
    """Book the spinning on lock g up to t to its cause, if that is not contention."""
    lock = lock_at(host.lock_records, g)
    spun = lock.spun_ns + lock.n_spinning * t
    lock.spun_ns -= spun
    if lock.off_owner >= 0:
        vm = vm_at(host.vms, lock.vm)
        if lock.off_holding != 0:
            vm.spin_lhp_ns += spun
        else:
            vm.spin_lwp_ns += spun


@device
def owner_leaves(host, g, v, holding, t):
    """The owner of lock g is off CPU from t on."""
    settle_lock(host, g, t)
    lock = lock_at(host.lock_records, g)
    lock.off_owner = v
    lock.off_holding = holding
    if holding == 0 and config_at(host.config, 0).loses_patience != 0:
        for p in range(host.n_pcpu):
            if spins_on(host, p, g) and vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).patience_at <= t:
                put_threshold(host, p, t)  # it may take the lock


@device
def owner_returns(host, g, t):
    """The owner of lock g runs again."""
    settle_lock(host, g, t)
    lock_at(host.lock_records, g).off_owner = -1


# Guests


@inline
def stop_spinning(host, p, t):
    """The vCPU on p, if it was spinning, has got its lock."""
    if is_spinning(host, p):
        end_spin(host, lock_on(host, p), t)


@device
def start_hold(host, p, t):
    """The vCPU on p starts HOLDING."""
    stop_spinning(host, p, t)
    put(host, GUEST_PHASE, p, HOLDING)
    put_until(host, p, t + hold_drawn_on(host, p))
    pcpu = pcpu_at(host.pcpus, p)
    pcpu.trap = TRAP_EXTENDED_HOLD if pcpu.watching != 0 else TRAP_NONE


@device
def put_thresholds(host, p, t):
    """Let the waiter on p spin up to the response's threshold or the lock's own, whichever is first."""
    vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
    put_threshold(host, p, min(vcpu.threshold_at, max(vcpu.patience_at, t)))


@inline
def spin_on(host, p, t):
    """The waiter on p starts a new stretch of spinning."""
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    config = config_at(host.config, 0)
    if config.loses_patience == 0 and config.threshold != 0:
        put_finite_threshold(host, p, draw_response_threshold(host, v, t))
    elif config.threshold == 0 and vcpu.patience_at >= FOREVER:
        vcpu.threshold_at = FOREVER
        put_nothing(host, p)
    else:
        vcpu.threshold_at = draw_response_threshold(host, v, t)
        put_thresholds(host, p, t)


@device
def start_wait(host, p, t):
    """The wait of the vCPU on p begins; the caller says what comes next there."""
    put(host, GUEST_PHASE, p, WAITING)
    pcpu = pcpu_at(host.pcpus, p)
    pcpu.trap = TRAP_NONE
    vcpu_at(host.vcpus, pcpu.vcpu).attempt = t
    begin_spin(host, lock_on(host, p), t)


@device
def start_waiting(host, p, t):
    """The attempt of the vCPU on p failed: it spins."""
    start_wait(host, p, t)
    spin_on(host, p, t)


@device
def start_handover(host, p, length, t):
    """The vCPU on p was granted a lock and waits through the handover."""
    stop_spinning(host, p, t)
    put(host, GUEST_PHASE, p, HANDOVER)
    put_until(host, p, t + length)


@device
def end_wait(host, p, t):
    """The wait of the vCPU on p is over: book it and start HOLDING."""
    count_wait(host, p, t - attempt_of(host, p))
    start_hold(host, p, t)


@device
def grant_running(host, p, g, t):
    """Grant lock g to the waiter that runs on p."""
    v = pcpu_at(host.pcpus, p).vcpu
    if vm_config_at(host.config_vms, vcpu_at(host.vcpus, v).vm).has_handover != 0:
        start_handover(host, p, draw_handover(host, v, lock_at(host.lock_records, g).n_spinning - 1), t)
    else:
        end_wait(host, p, t)


@device
def schedule_wake(host, v, t):
    """Let a vCPU become runnable at t."""
    vcpu_at(host.vcpus, v).wake_at = t
    host.next_wake = min(host.next_wake, t)


@device
def block(host, v):
    """Mark a waiter as blocked until it is kicked."""
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.blocked = 1
    vcpu.asleep = 1
    vcpu.pending = 0
    lock_at(host.lock_records, vcpu.lock).n_blocked += 1
    word = get_word(host, vcpu.lock)
    if word & WORD_UNFAIR != 0:
        put_word(host, vcpu.lock, word | WORD_SCALAR)  # the next release has to kick


@device
def kick(host, v, t):
    """Wake a blocked waiter."""
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.blocked = 0
    lock = lock_at(host.lock_records, vcpu.lock)
    lock.n_blocked -= 1
    word = get_word(host, vcpu.lock)
    if lock.n_blocked == 0 and word & WORD_UNFAIR != 0:
        put_word(host, vcpu.lock, word & ~WORD_SCALAR)
    wakeup = vm_config_at(host.config_vms, vcpu.vm).wakeup
    if is_constant(wakeup):
        latency = distribution_at(wakeup, 0).value
    else:
        vcpu.n_wakeup += 1
        latency = draw_ns(host, wakeup, vcpu, WAKEUP, vcpu.n_wakeup - 1)
    schedule_wake(host, v, t + latency)


@device
def draw_rival(host, g, n):
    """Which of n waiters, 0..n-1, gets lock g at its next grant by lot."""
    lock = lock_at(host.lock_records, g)
    first_lock = vm_config_at(host.config_vms, lock.vm).first_lock
    w0, _ = words(host, lock.vm, g - first_lock, GRANT, lock.n_grant)
    return choice(w0, n)


@device
def random_rival(host, g):
    """pCPU of one of the running waiters of lock g, uniformly at random; -1 if there is none."""
    n = lock_at(host.lock_records, g).n_spinning
    if n == 0:
        return np.int64(-1)
    chosen = np.int64(0)
    if n > 1:
        chosen = draw_rival(host, g, n)
        lock_at(host.lock_records, g).n_grant += 1
    for p in range(host.n_pcpu):
        if spins_on(host, p, g):
            if chosen == 0:
                return np.int64(p)
            chosen -= 1
    return np.int64(-1)


@device
def grant_next(host, g, t):
    """Queued lock g has been released: grant it to its longest waiter. Returns that vCPU if it is blocked, else -1."""
    p = dequeue(host, g)
    if p < 0:
        return grant_off_cpu(host, g, ~p, t)
    grant_running(host, p, g, t)
    return np.int64(-1)


@device
def grant_off_cpu(host, g, v, t):
    """Queued lock g is granted to v, which is off CPU. Returns v if it is blocked, else -1."""
    vcpu = vcpu_at(host.vcpus, v)
    vm_at(host.vms, vcpu.vm).lwp_grants += 1
    if vcpu.phase != WAITING or vcpu.lock != g:
        host.error = BROKEN_STATE
    if vm_config_at(host.config_vms, vcpu.vm).has_handover != 0:
        vcpu.handover = draw_handover(host, v, lock_at(host.lock_records, g).n_spinning)
    owner_leaves(host, g, v, 0, t)
    return np.int64(v) if vcpu.blocked != 0 else np.int64(-1)


@device
def is_granted(host, v):
    """Whether an off-CPU waiter of a FIFO lock has been granted it."""
    return lock_at(host.lock_records, vcpu_at(host.vcpus, v).lock).off_owner == v


@device
def owns_lock(host, v):
    """Whether an off-CPU vCPU holds a lock or has been granted one."""
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.phase == HOLDING or vcpu.phase == HANDOVER:
        return True
    return vcpu.phase == WAITING and lock_at(host.lock_records, vcpu.lock).off_owner == v


@device
def next_cycle(host, p, t):
    """The vCPU on p leaves HOLDING for USER of its next cycle."""
    v = pcpu_at(host.pcpus, p).vcpu
    slot = (slot_of(host, p) + 1) & SLOT_MASK
    put(host, POSITION, p, position_of(host, v, slot))
    put(host, GUEST_PHASE, p, USER)
    put_until(host, p, t + user_drawn(host, v, slot))
    pcpu_at(host.pcpus, p).trap = TRAP_NONE
    draw_if_due(host, v, slot)


# Taking and leaving a pCPU


@inline
def save_guest(host, p, t):
    """Move what the guest that runs on p does to its record."""
    pcpu = pcpu_at(host.pcpus, p)
    v = pcpu.vcpu
    vcpu = vcpu_at(host.vcpus, v)
    book_waits(host, p)
    phase = phase_of(host, p)
    position = get(host, POSITION, p)
    vcpu.phase = phase
    vcpu.position = position
    vcpu.lock = (position >> LOCK_SHIFT) & LOCK_MASK
    if phase == WAITING:
        end_spin(host, vcpu.lock, t)
        word = get_word(host, vcpu.lock)
        if word & WORD_UNFAIR != 0:
            put_word(host, vcpu.lock, word - COUNT_UNIT)
        if config_at(host.config, 0).loses_patience != 0:
            vcpu.patience_ns = vcpu.patience_at - t
    else:
        vcpu.residual = get_until(host, p) - t
    pcpu.trap = TRAP_NONE
    if phase == HOLDING or phase == HANDOVER:
        owner_leaves(host, vcpu.lock, v, np.int64(phase == HOLDING), t)


@device
def take_off(host, p, state, t):
    """The guest on p does not run from now on."""
    save_guest(host, p, t)
    put_nothing(host, p)
    put(host, GUEST_PHASE, p, NOBODY)
    set_state(host, pcpu_at(host.pcpus, p).vcpu, state, t)


@inline
def restore_guest(host, p, t):
    """Move what the guest of p's vCPU does from its record to p. A waiter spins (see `resume_wait`)."""
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.runs_on = p
    vcpu.preempted = 0
    vcpu.spin_loop = 0
    phase = vcpu.phase
    put_longest(host, p, v)
    put(host, POSITION, p, vcpu.position)
    put(host, GUEST_PHASE, p, phase)
    if phase == WAITING:
        begin_spin(host, vcpu.lock, t)
        if config_at(host.config, 0).loses_patience != 0:
            vcpu.patience_at = t + vcpu.patience_ns
    else:
        put_until(host, p, t + vcpu.residual)
        if phase == HOLDING or phase == HANDOVER:
            owner_returns(host, vcpu.lock, t)
    if vcpu.off_since >= 0:
        spell = t - vcpu.off_since
        vcpu.off_since = -1
        vm = vm_at(host.vms, vcpu.vm)
        vm.holder_off_ns += spell
        vm.holder_off_spells += 1
        vm.holder_off_max_ns = max(vm.holder_off_max_ns, spell)
        if host.measuring != 0:
            int64_at(host.histogram, N_BINS + histogram_bin(spell)).value += 1


@device
def put_on(host, p, t):
    """The guest of p's vCPU runs from now on. A waiter spins (see `resume_wait`)."""
    pcpu = pcpu_at(host.pcpus, p)
    if vcpu_at(host.vcpus, pcpu.vcpu).state != RUNNING:
        set_state(host, pcpu.vcpu, RUNNING, t)
    pcpu.mode = RUNNING
    restore_guest(host, p, t)


@device
def start_handover_or_hold(host, p, g, t):
    """The waiter that starts to run on p has been granted FIFO lock g while it was off CPU."""
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    end_spin(host, g, t)
    put(host, GUEST_PHASE, p, HANDOVER)
    owner_returns(host, g, t)
    if vm_config_on(host, p).has_handover != 0 and vcpu.handover >= 0:
        start_handover(host, p, vcpu.handover, t)
        vcpu.handover = -1
    else:
        end_wait(host, p, t)


@device
def begin_exit(host, p, action, t):
    """The vCPU on p exits to the hypervisor. True if that takes time; else the caller goes on at once."""
    pcpu = pcpu_at(host.pcpus, p)
    length = draw_exit(host, pcpu.vcpu)
    if length == 0:
        return False
    if pcpu.mode == RUNNING:
        take_off(host, p, EXITING, t)
    pcpu.mode = EXITING
    pcpu.action = action
    put_timer(host, p, t + length)
    return True


@device
def leave(host, p, state, t):
    """The vCPU on p gives up its pCPU, which is idle until somebody is dispatched."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.mode == RUNNING:
        take_off(host, p, state, t)
    else:
        set_state(host, pcpu.vcpu, state, t)
    pcpu.vcpu = -1
    pcpu.mode = IDLE
    put_timer(host, p, FOREVER)
    pcpu.extended = NOT_EXTENDED
    pcpu.watching = 0
    host.n_idle += 1


@inline
def count_preemption(host, p, t):
    """The pCPU p is about to be taken from its vCPU against its will."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    vm = vm_at(host.vms, vcpu.vm)
    phase = phase_of(host, p) if pcpu.mode == RUNNING else vcpu.phase
    vm.preemptions += 1
    vcpu.preempted = 1
    if phase == HOLDING:
        vm.lhp_events += 1
        slot = slot_of(host, p) if pcpu.mode == RUNNING else vcpu.position & SLOT_MASK
        cycle = cycle_of(host, pcpu.vcpu, slot)
        if vcpu.lhp_cycle != cycle:
            vcpu.lhp_cycle = cycle
            vm.lhp_acquisitions += 1
        vcpu.off_since = t
    elif phase == WAITING or phase == HANDOVER:
        vm.lwp_events += 1
    vcpu.rest_ns = 0


@device
def consumed(host, v, t):
    """What a vCPU has had by t since the start: user, kernel, hold ns, acquisitions, ended phases that took time."""
    vcpu = vcpu_at(host.vcpus, v)
    has_kernel = vm_config_at(host.config_vms, vcpu.vm).has_kernel
    stream = stream_at(host.streams, v)
    phase, slot, residual = vcpu.phase, vcpu.position & SLOT_MASK, vcpu.residual
    if vcpu.state == RUNNING:
        p = vcpu.runs_on
        phase = phase_of(host, p)
        slot = slot_of(host, p)
        residual = get_until(host, p) - t
    cycles = cycle_of(host, v, slot)
    if is_in_newer_half(host, v, slot):
        user, kernel = stream.newer_user_ns, stream.newer_kernel_ns
        hold, zeros = stream.newer_hold_ns, stream.newer_zeros
    else:
        user, kernel = stream.older_user_ns, stream.older_kernel_ns
        hold, zeros = stream.older_hold_ns, stream.older_zeros
    for i in range(slot // HALF * HALF, slot):
        hold_ns, user_ns, kernel_ns = (
            hold_drawn(host, v, i),
            user_drawn(host, v, i + 1),
            kernel_drawn(host, v, i + 1),
        )
        hold += hold_ns
        user += user_ns
        kernel += kernel_ns
        zeros += np.int64(hold_ns == 0) + np.int64(user_ns == 0) + has_kernel * np.int64(kernel_ns == 0)
    # So far all user and kernel times up to those of the present cycle.
    phases = (2 + has_kernel) * cycles + 1 + has_kernel - zeros
    if phase == USER:
        user -= residual
        phases -= np.int64(user_drawn(host, v, slot) != 0)
    if phase == USER or phase == KERNEL:
        kernel_ns = kernel_drawn(host, v, slot)
        kernel -= residual if phase == KERNEL else kernel_ns
        phases -= np.int64(kernel_ns != 0)
    if phase == HOLDING:
        hold += hold_drawn(host, v, slot) - residual
    return user, kernel, hold, cycles + np.int64(phase == HOLDING), phases
