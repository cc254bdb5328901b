"""Lines of waiters, for locks that do not serve their waiters strictly in order.

Whoever joins gets the next number, and keeps it in its record until it leaves the line, from whatever place. The
queues of `rows.py` are faster, but are left at the head only.
"""

from __future__ import annotations

import numpy as np

from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device
from fastlhp.engine.machine import draw_ns, is_constant
from fastlhp.engine.rows import spins_on
from fastlhp.engine.state import (
    CHECK,
    FOREVER,
    OUTSIDE,
    distribution_at,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)


@device
def join_line(host, g, v):
    """Waiter v becomes the last in the line of lock g."""
    lock = lock_at(host.lock_records, g)
    vcpu = vcpu_at(host.vcpus, v)
    lock.last_number += 1
    vcpu.number = lock.last_number
    vcpu.lock = g
    vcpu.outside = OUTSIDE
    if lock.first < 0:
        lock.first = v


@device
def leave_line(host, g, v):
    """Waiter v, if it is in the line of lock g, leaves it."""
    vcpu_at(host.vcpus, v).number = 0
    lock = lock_at(host.lock_records, g)
    if lock.first == v:
        lock.first = _lowest_number(host, g)


@device
def return_as_first(host, g, v, number):
    """V gets a number that is lower than those of all waiters in the line of lock g."""
    vcpu_at(host.vcpus, v).number = number
    lock_at(host.lock_records, g).first = v


@device
def stop_waiting(host, g, v):
    """The waiter v, which is in the line of lock g or beside it, gets the lock."""
    lock_at(host.lock_records, g).n_waiting -= 1
    leave_line(host, g, v)


@device
def number_on(host, p):
    """The number of the waiter on p; 0 if it is not in line."""
    return vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).number


@device
def next_spinner(host, g, number):
    """pCPU of the running waiter in the line of lock g with the lowest number above one; -1 if there is none."""
    found, lowest = np.int64(-1), np.int64(FOREVER)
    for p in range(host.n_pcpu):
        if spins_on(host, p, g):
            its = number_on(host, p)
            if number < its < lowest:
                found, lowest = np.int64(p), its
    return found


@device
def all_in_line_run(host, g):
    """Whether all waiters of lock g are in its line and running."""
    n, p = np.int64(0), next_spinner(host, g, 0)
    while p >= 0:
        n += 1
        p = next_spinner(host, g, number_on(host, p))
    return n == lock_at(host.lock_records, g).n_waiting


@device
def first_in_line(host, g):
    """The waiter of lock g with the lowest number; -1 if none is in line."""
    return lock_at(host.lock_records, g).first


@device
def _lowest_number(host, g):
    """`first_in_line`, found by looking at all vCPUs of the VM."""
    vm_config = vm_config_at(host.config_vms, lock_at(host.lock_records, g).vm)
    first = np.int64(-1)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if (
            vcpu.number > 0
            and vcpu.lock == g
            and (first < 0 or vcpu.number < vcpu_at(host.vcpus, first).number)
        ):
            first = np.int64(v)
    return first


@device
def before_in_line(host, v):
    """The waiter just before v in its line; -1 if v is the first."""
    me = vcpu_at(host.vcpus, v)
    vm_config = vm_config_at(host.config_vms, me.vm)
    found = np.int64(-1)
    for u in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, u)
        if vcpu.number > 0 and vcpu.lock == me.lock and vcpu.number < me.number:
            if found < 0 or vcpu.number > vcpu_at(host.vcpus, found).number:
                found = np.int64(u)
    return found


@device
def draw_check(host, v, distribution):
    """How long v spins until it looks at the waiter before it."""
    if is_constant(distribution):
        return distribution_at(distribution, 0).value
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.n_check += 1
    return draw_ns(host, distribution, vcpu, CHECK, vcpu.n_check - 1)


# What a lock with a line is asked for the sake of the course (`course.py`), if it can be foreseen.


@device
def _has_no_line(host, place, lock_or_waiter, t):
    pass


@device
def _has_nothing_to_do(host, v, t):
    pass


@device
def _spins_for_ever(host, v):
    return np.int64(FOREVER)


line_up = Hook("lock", "line_up", default=_has_no_line)
lead_line = Hook("lock", "lead_line", default=_has_no_line)
catch_up = Hook("lock", "catch_up", default=_has_nothing_to_do)
spins_until = Hook("lock", "spins_until", default=_spins_for_ever)
