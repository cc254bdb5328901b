"""Test-and-set lock: whoever tries first after the release gets it.

The byte lock of Linux before 2.6.25, and today's fallback ``virt_spin_lock`` of guests without paravirtual
support (``arch/x86/include/asm/qspinlock.h``). Unfair, so a preempted waiter harms nobody: there is no
lock-waiter preemption.
"""

from typing import ClassVar

from fastlhp.engine.draws import choice, words
from fastlhp.engine.jit import device
from fastlhp.engine.machine import end_wait, grant_running, random_rival, start_hold, start_waiting
from fastlhp.engine.rows import count_of, get_word, put_word
from fastlhp.engine.state import (
    COUNT_UNIT,
    KICK,
    WAITING,
    WORD_FORESEEABLE,
    WORD_UNFAIR,
    lock_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.policy import LockParameters

__all__ = ["TestAndSet"]


class TestAndSet(LockParameters):
    """Unfair; one of the running waiters gets it, preempted ones are passed over.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    """

    __test__: ClassVar[bool] = False  # not a test class, whatever its name makes pytest think
    KIND: ClassVar[str] = "test_and_set"


LOCK_WORD = WORD_FORESEEABLE | WORD_UNFAIR
HANDOVER_GROWS = True


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g: taken if it is free, even if others wait off CPU."""
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if count_of(host, g) == 1:
        start_hold(host, p, t)
    else:
        start_waiting(host, p, t)


@device
def release(host, p, g, t):
    """Release of lock g: one of the running waiters is granted it, else it is free.

    Returns a blocked waiter to be kicked, or -1.
    """
    put_word(host, g, get_word(host, g) - COUNT_UNIT)
    q = random_rival(host, g)
    if q >= 0:
        grant_running(host, q, g, t)
        return -1
    return random_blocked(host, g)


@device
def random_blocked(host, g):
    """One of the blocked waiters of lock g that are not kicked yet, uniformly at random; -1 if none."""
    lock = lock_at(host.lock_records, g)
    n = lock.n_blocked
    if n == 0:
        return -1
    vm_config = vm_config_at(host.config_vms, lock.vm)
    chosen = 0
    if n > 1:
        w0, _ = words(host, lock.vm, g - vm_config.first_lock, KICK, lock.n_kick)
        lock.n_kick += 1
        chosen = choice(w0, n)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.blocked != 0 and vcpu.phase == WAITING and vcpu.lock == g:
            if chosen == 0:
                return v
            chosen -= 1
    return -1


@device
def resume_wait(host, p, g, t):
    """The waiter on p starts to run and tries lock g; true if it gets it."""
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if count_of(host, g) == 1:
        end_wait(host, p, t)
        return True
    return False


@device
def can_resume(host, v):
    """Whether the off-CPU waiter v would get its lock if it ran."""
    return count_of(host, vcpu_at(host.vcpus, v).lock) == 0
