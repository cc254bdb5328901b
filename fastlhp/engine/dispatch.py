"""Putting a vCPU on a pCPU: context switch, start of its slice, and what its guest then does first."""

from __future__ import annotations

import numpy as np

from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device, inline
from fastlhp.engine.machine import (
    draw_ns,
    is_constant,
    put_on,
    restore_guest,
    save_guest,
    set_state,
    settle,
    spend,
    spin_on,
)
from fastlhp.engine.rows import lock_on, put_timer
from fastlhp.engine.state import (
    EXTENDED,
    FOREVER,
    NOT_EXTENDED,
    READY,
    RUNNING,
    SLICE,
    SWITCH,
    SWITCHING,
    TILE,
    WAITING,
    config_at,
    distribution_at,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_at,
    vm_config_at,
)

resume_wait = Hook("lock", "resume_wait")
slice_ns = Hook("scheduler", "slice_ns")


@device
def _nothing(host, p, t):
    pass


@device
def nobody(host, p):
    """No vCPU: where a policy does not say."""
    return np.int64(-1)


@device
def never(host):
    """No: where a policy does not say."""
    return False


slice_begins = Hook("scheduler", "slice_begins", default=_nothing)
replace = Hook("scheduler", "replace")
take = Hook("scheduler", "take")
successor = Hook("scheduler", "successor", default=nobody)
owes_overrun = Hook("guard", "owes_overrun", default=never)
favourite = Hook("response", "favourite", default=nobody)


@device
def draw_slice(host, v, distribution):
    """A new slice for vCPU v."""
    if is_constant(distribution):
        return distribution_at(distribution, 0).value
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.n_slice += 1
    return draw_ns(host, distribution, vcpu, SLICE, vcpu.n_slice - 1)


@inline
def new_slice(host, p, t):
    """Begin a drawn slice for the vCPU on p, less what it owes."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    length = slice_ns(config_at(host.config, 0).scheduler, host, pcpu.vcpu)
    pcpu.extended = NOT_EXTENDED
    pcpu.watching = 0
    end, began = np.int64(FOREVER), np.int64(FOREVER)
    if length < FOREVER:
        debt = np.int64(0)
        if owes_overrun(config_at(host.config, 0).guard, host):
            debt = vcpu.debt_ns
            vcpu.debt_ns = 0
        end = t + max(length - debt, np.int64(1))
        began = end - length
    pcpu.slice_end = end
    pcpu.slice_began = began
    put_timer(host, p, end)
    slice_begins(config_at(host.config, 0).scheduler, host, p, t)


@inline
def begin_slice(host, p, t):
    """Begin the slice of the vCPU that starts to run on p: inherited, kept or drawn."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    kept = vcpu.inherited_ns if vcpu.inherited_ns > 0 else vcpu.rest_ns
    vcpu.inherited_ns = 0
    vcpu.rest_ns = 0
    if kept > 0:
        pcpu.extended = NOT_EXTENDED
        pcpu.watching = 0
        pcpu.slice_began = FOREVER
        pcpu.slice_end = t + kept
        put_timer(host, p, pcpu.slice_end)
        slice_begins(config_at(host.config, 0).scheduler, host, p, t)
    else:
        new_slice(host, p, t)


@device
def start_running(host, p, t):
    """The vCPU of p runs from now on; a waiter looks at its lock."""
    put_on(host, p, t)
    look_at_lock(host, p, t)


@inline
def look_at_lock(host, p, t):
    """If the vCPU that starts to run on p waits, it sees whether it has its lock by now, and else spins."""
    vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
    if vcpu.phase == WAITING:
        g = lock_on(host, p)
        kind = vm_config_at(host.config_vms, vcpu.vm).lock_kind
        if not resume_wait(kind, host, p, g, t):
            spin_on(host, p, t)


@device
def draw_switch(host, v):
    """Length of a context switch to vCPU v."""
    switch = config_at(host.config, 0).context_switch
    if switch == 0:
        return np.int64(0)
    if is_constant(switch):
        return distribution_at(switch, 0).value
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.n_switch += 1
    return draw_ns(host, switch, vcpu, SWITCH, vcpu.n_switch - 1)


@device
def dispatch(host, p, v, t):
    """Give the idle pCPU p to vCPU v, which is in no queue any more."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, v)
    length = np.int64(0)
    if pcpu.last >= 0 and pcpu.last != v:
        host.n_switches += 1
        vm_at(host.vms, vcpu.vm).context_switches += 1
        length = draw_switch(host, v)
    set_state(host, v, SWITCHING if length > 0 else RUNNING, t)
    vcpu.window = 1
    host.n_idle -= 1
    pcpu.vcpu = v
    pcpu.last = v
    if host.divisible != 0:
        first_lock = vm_config_at(host.config_vms, vcpu.vm).first_lock
        if p // TILE != lock_at(host.lock_records, first_lock).tile:
            host.divisible = 0  # a policy of one's own has moved it
    if length > 0:
        pcpu.mode = SWITCHING
        put_timer(host, p, t + length)
    else:
        pcpu.mode = RUNNING
        begin_slice(host, p, t)
        start_running(host, p, t)


@inline
def exchange(host, p, v, t):
    """The guest on p, whose vCPU is queued already, and v, which is in no queue any more, change places at once.

    What `leave` and `dispatch` do one after the other; but no pCPU is idle, and as many vCPUs are queued as before. The
    caller has settled the host's accounts.
    """
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, v)
    save_guest(host, p, t)
    spend(host, pcpu.vcpu, RUNNING, t)
    spend(host, pcpu.vcpu, READY, -t)
    vcpu_at(host.vcpus, pcpu.vcpu).state = READY
    if pcpu.vcpu != v:
        host.n_switches += 1
        vm_at(host.vms, vcpu.vm).context_switches += 1
    spend(host, v, READY, t)
    spend(host, v, RUNNING, -t)
    vcpu.state = RUNNING
    vcpu.window = 1
    pcpu.vcpu = v
    pcpu.last = v
    begin_slice(host, p, t)
    restore_guest(host, p, t)
    look_at_lock(host, p, t)


@device
def end_switch(host, p, t):
    """The context switch on p is over."""
    begin_slice(host, p, t)
    start_running(host, p, t)


@device
def end_exit(host, p, t):
    """The vCPU whose exit on p is over goes on there; its slice clock ran on."""
    pcpu = pcpu_at(host.pcpus, p)
    start_running(host, p, t)
    put_timer(host, p, max(pcpu.extension_end if pcpu.extended == EXTENDED else pcpu.slice_end, t))


@device
def run_next(host, p, t):
    """Let a vCPU run on p, which is free: the one that the response wants, else the scheduler's choice."""
    config = config_at(host.config, 0)
    v = favourite(config.response, host, p)
    if v >= 0:
        take(config.scheduler, host, p, v)
        dispatch(host, p, v, t)
    else:
        replace(config.scheduler, host, p, t)


@device
def make_room(host, p, t):
    """The vCPU on p, which is queued already, makes room for the next: as `run_next` would choose it."""
    config = config_at(host.config, 0)
    settle(host, t)
    v = favourite(config.response, host, p)
    if v >= 0:
        take(config.scheduler, host, p, v)
    else:
        v = successor(config.scheduler, host, p)
    exchange(host, p, v, t)
