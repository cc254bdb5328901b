"""Paravirtual queue lock: arrivals may steal the lock from a sleeping head, and waiters sleep.

The pvqspinlock of Linux 4.5 to 4.14 [1]_ (``kernel/locking/qspinlock_paravirt.h``). An arrival tries once to steal the
lock before it queues. In the queue a waiter looks at the one before it every 256 iterations (PV_PREV_CHECK_MASK)
and halts early if that does not run; else after SPIN_THRESHOLD, 2^15 iterations of PAUSE, as does the head. A release
leaves the lock to the head, which is kicked if it has halted. In Linux 4.2 to 4.4 there were neither steals nor early
halts: those are of December 2015 [2]_ [3]_. The default wake-up latency lies between the 63.6 us (Haswell-EX) and
67.6 us (Westmere-EX) that W. Long reported in Linux commit 45e898b73562.

References
----------
.. [1] W. Long and P. Zijlstra, "qspinlock: a 4-byte queue spinlock with PV support", Linux kernel, 2015.
.. [2] W. Long, "locking/pvqspinlock: Allow limited lock stealing", Linux commit 1c4941fd53af, 2015.
.. [3] W. Long, "locking/pvqspinlock: Queue node adaptive spinning", Linux commit cd0272fab785, 2015.
"""

from typing import ClassVar

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.line import before_in_line, draw_check, first_in_line, join_line, number_on, stop_waiting
from fastlhp.engine.machine import (
    draw_patience,
    draw_rival,
    end_wait,
    grant_running,
    is_granted,
    owner_leaves,
    owner_returns,
    put_thresholds,
    start_hold,
    start_waiting,
)
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import count_of, get_word, put_word, spins_on
from fastlhp.engine.state import (
    BLOCK,
    COUNT_UNIT,
    RUNNING,
    SPIN_ON,
    WORD_FORESEEABLE,
    WORD_LINE,
    distribution_at,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import Constant, Duration, PositiveDuration
from fastlhp.model.policy import LockParameters
from fastlhp.model.validation import written

__all__ = ["PvQueue"]


class PvQueue(LockParameters):
    """FIFO as `queue`, but arrivals may steal it from a sleeping head; waiters block, and the head is kicked.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    spin_threshold : Distribution
        What a waiter spins, all its stretches of running together, before it blocks; anew as the head.
    wakeup : Distribution
        From the kick until the woken vCPU is runnable.
    check : Distribution
        What a waiter spins between two looks at the one before it.
    """

    KIND: ClassVar[str] = "pv_queue"

    spin_threshold: PositiveDuration = written("32768pauses")
    wakeup: Duration = written("65us")
    check: PositiveDuration = written("256pauses")


def lock_word(lock: PvQueue) -> int:
    """With constant times it is foreseeable, while all in the line run, who gets the lock when."""
    is_constant = isinstance(lock.check, Constant) and isinstance(lock.spin_threshold, Constant)
    return WORD_FORESEEABLE | WORD_LINE if is_constant else 0


HANDOVER_GROWS = False

parameters = view(PvQueue)


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g: taken if it is free and no head is awake; else it joins the line."""
    head = first_in_line(host, g)
    if is_free(host, g) and (head < 0 or vcpu_at(host.vcpus, head).asleep != 0):
        take_at_once(host, p, g, t)
    else:
        begin_to_wait(host, g)
        queue_up(host, p, g, t)
        start_waiting(host, p, t)


@device
def is_free(host, g):
    """Whether nobody holds lock g nor is being handed it."""
    return count_of(host, g) == lock_at(host.lock_records, g).n_waiting


@device
def take_at_once(host, p, g, t):
    """The attempt of the vCPU on p finds lock g free, even if a head is waiting for it."""
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if lock_at(host.lock_records, g).off_owner >= 0:
        owner_returns(host, g, t)
    start_hold(host, p, t)


@device
def begin_to_wait(host, g):
    """Lock g has a waiter more."""
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    lock_at(host.lock_records, g).n_waiting += 1


@device
def queue_up(host, p, g, t):
    """The waiter on p joins the line of lock g."""
    v = pcpu_at(host.pcpus, p).vcpu
    join_line(host, g, v)
    begin_loop(host, g, v, first_in_line(host, g) == v, t)


@device
def begin_loop(host, g, v, is_head, t):
    """The running waiter v begins to count its iterations, as the head (it then is pending) or behind another."""
    vcpu = vcpu_at(host.vcpus, v)
    options = parameters(vm_config_at(host.config_vms, vcpu.vm).lock_parameters, 0)
    vcpu.asleep = 0
    vcpu.pending = np.int64(is_head)
    vcpu.beyond_ns = draw_patience(host, v, options.spin_threshold)
    if is_head:
        vcpu.patience_at = t + vcpu.beyond_ns
        vcpu.beyond_ns = 0
    else:
        spin_until_check(host, v, options.check, t)


@device
def spin_until_check(host, v, check, t):
    """The running waiter v spins until its next look at the one before it, or its threshold."""
    vcpu = vcpu_at(host.vcpus, v)
    stretch = min(draw_check(host, v, check), vcpu.beyond_ns)
    vcpu.beyond_ns -= stretch
    vcpu.patience_at = t + stretch


@device
def line_up(host, p, g, t):
    """The vCPU on p has joined the line of lock g at t, while the lock was taken and all in the line ran."""
    v = pcpu_at(host.pcpus, p).vcpu
    begin_to_wait(host, g)
    join_line(host, g, v)
    begin_loop(host, g, v, False, t)


@device
def lead_line(host, g, v, t):
    """The running waiter v, if it is not yet pending, has been the head of the line of lock g since t."""
    if vcpu_at(host.vcpus, v).pending == 0:
        begin_loop(host, g, v, True, t)


@device
def catch_up(host, v, t):
    """The running waiter v has looked at the one before it whenever it was time to before t: that ran."""
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.patience_at < t:
        options = parameters(vm_config_at(host.config_vms, vcpu.vm).lock_parameters, 0)
        check = distribution_at(options.check, 0).value
        stretch = min(((t - 1 - vcpu.patience_at) // check + 1) * check, vcpu.beyond_ns)
        vcpu.patience_at += stretch
        vcpu.beyond_ns -= stretch


@device
def spins_until(host, v):
    """Up to when the running waiter v surely spins on, if nobody stops running: its threshold or next look."""
    vcpu = vcpu_at(host.vcpus, v)
    before = before_in_line(host, v)
    if before >= 0 and vcpu_at(host.vcpus, before).state == RUNNING:
        return vcpu.patience_at + vcpu.beyond_ns
    return vcpu.patience_at


@device
def lose_patience(host, p, g, t):
    """The waiter on p has come to its threshold, and blocks; or it looks at the one before it."""
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.beyond_ns == 0 or vcpu_at(host.vcpus, before_in_line(host, v)).state != RUNNING:
        return np.int64(BLOCK)
    spin_until_check(host, v, parameters(vm_config_at(host.config_vms, vcpu.vm).lock_parameters, 0).check, t)
    put_thresholds(host, p, t)
    return np.int64(SPIN_ON)


@device
def release(host, p, g, t):
    """Release of lock g: a running head takes it; else it is free, or taken by one that tries beside the line.

    Returns a blocked head to be kicked, or -1.
    """
    put_word(host, g, get_word(host, g) - COUNT_UNIT)
    head = first_in_line(host, g)
    if head < 0:
        return np.int64(-1)
    vcpu = vcpu_at(host.vcpus, head)
    if vcpu.state == RUNNING:
        stop_waiting(host, g, head)
        grant_running(host, vcpu_at(host.vcpus, head).runs_on, g, t)
        raise_next(host, g, t)
        return np.int64(-1)
    q = random_beside(host, g) if vcpu.pending == 0 else np.int64(-1)
    if q >= 0:
        stop_waiting(host, g, pcpu_at(host.pcpus, q).vcpu)
        grant_running(host, q, g, t)
    else:
        owner_leaves(host, g, head, 0, t)
    return head if vcpu.blocked != 0 else np.int64(-1)


@device
def raise_next(host, g, t):
    """The line of lock g has moved on: a running head begins its loop."""
    head = first_in_line(host, g)
    if head >= 0 and vcpu_at(host.vcpus, head).state == RUNNING:
        begin_loop(host, g, head, True, t)
        put_thresholds(host, vcpu_at(host.vcpus, head).runs_on, t)


@device
def is_beside(host, p, g):
    """Whether the vCPU on p spins on lock g without being in its line."""
    return spins_on(host, p, g) and number_on(host, p) == 0


@device
def random_beside(host, g):
    """pCPU of one of those that spin on lock g beside its line, uniformly at random; -1 if there is none."""
    n = 0
    for p in range(host.n_pcpu):
        n += np.int64(is_beside(host, p, g))
    if n == 0:
        return np.int64(-1)
    chosen = np.int64(0)
    if n > 1:
        chosen = draw_rival(host, g, n)
        lock_at(host.lock_records, g).n_grant += 1
    for p in range(host.n_pcpu):
        if is_beside(host, p, g):
            if chosen == 0:
                return np.int64(p)
            chosen -= 1
    return np.int64(-1)


@device
def take_on_return(host, p, g, t):
    """The waiter on p starts to run and finds lock g free for it."""
    if lock_at(host.lock_records, g).off_owner >= 0:
        owner_returns(host, g, t)
    stop_waiting(host, g, pcpu_at(host.pcpus, p).vcpu)
    end_wait(host, p, t)


@device
def resume_wait(host, p, g, t):
    """The waiter on p, which is in the line of lock g, starts to run; true if it takes the lock."""
    v = pcpu_at(host.pcpus, p).vcpu
    if is_granted(host, v):  # it is the head, and the lock is free
        take_on_return(host, p, g, t)
        raise_next(host, g, t)
        return True
    if vcpu_at(host.vcpus, v).pending == 0 and first_in_line(host, g) == v:
        begin_loop(host, g, v, True, t)
    return False


@device
def can_resume(host, v):
    """Whether the off-CPU waiter v would take the lock if it ran."""
    return is_granted(host, v)
