"""Preemptable ticket lock: a ticket lock that goes past a preempted head after a while.

A ticket lock whose order is relaxed where it would wait for a vCPU that does not run [1]_: a waiter d tickets behind
the one being served takes the lock out of order if it has spun for d timeouts and the lock lies idle. The further
back, the longer the timeout, so that the order is kept where it costs nothing. The authors leave TIMEOUT_UNIT to be
tuned (the scripts in their repository sweep 2^0 to 2^14); the default, 2^8 iterations of PAUSE, is about the middle.

References
----------
.. [1] J. Ouyang and J. R. Lange, "Preemptable ticket spinlocks: improving consolidated performance in the cloud",
   VEE 2013.
"""

from typing import ClassVar

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.line import first_in_line, join_line, leave_line, return_as_first
from fastlhp.engine.machine import (
    draw_patience,
    end_wait,
    grant_off_cpu,
    grant_running,
    is_granted,
    owner_returns,
    put_thresholds,
    start_handover_or_hold,
    start_hold,
    start_waiting,
)
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import count_of, get_word, put_threshold, put_word, spins_on
from fastlhp.engine.state import (
    COUNT_UNIT,
    FOREVER,
    RUNNING,
    SPIN_ON,
    WAITING,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import LockParameters
from fastlhp.model.validation import written
from fastlhp.policies.locks import ticket

__all__ = ["PreemptableTicket"]


class PreemptableTicket(LockParameters):
    """FIFO as `ticket`, but a waiter that has spun long enough goes past a head that is off CPU.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    timeout : Distribution
        What a waiter spins before it goes past the head, for each ticket that it is behind the one being served.
    """

    KIND: ClassVar[str] = "preemptable_ticket"

    timeout: PositiveDuration = written("256pauses")


LOCK_WORD = 0
HANDOVER_GROWS = ticket.HANDOVER_GROWS

parameters = view(PreemptableTicket)


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g, as `ticket`; a waiter's patience begins.

    Only waiters get numbers. The distances are still right where they matter: nobody can pass the holder that came
    without a number, and at its release they are counted anew.
    """
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if count_of(host, g) == 1:
        start_hold(host, p, t)
        return
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    join_line(host, g, v)
    options = parameters(vm_config_at(host.config_vms, vcpu.vm).lock_parameters, 0)
    vcpu.timeout_ns = draw_patience(host, v, options.timeout)
    vcpu.patience_at = t + vcpu.timeout_ns * (vcpu.number - lock_at(host.lock_records, g).serving)
    start_waiting(host, p, t)


@device
def release(host, p, g, t):
    """Release of lock g: the longest waiter is granted it. Returns a blocked waiter to be kicked, or -1.

    If the lock had gone out of order, the number being served stays the same.
    """
    put_word(host, g, get_word(host, g) - COUNT_UNIT)
    lock = lock_at(host.lock_records, g)
    head = first_in_line(host, g)
    if head < 0:
        return np.int64(-1)
    vcpu = vcpu_at(host.vcpus, head)
    number = vcpu.number
    leave_line(host, g, head)
    if lock.out_of_order == 0:
        serve(host, g, number, t)
    lock.out_of_order = 0
    if vcpu.state == RUNNING:
        grant_running(host, vcpu_at(host.vcpus, head).runs_on, g, t)
        return np.int64(-1)
    return grant_off_cpu(host, g, head, t)


@device
def serve(host, g, number, t):
    """Lock g is serving another number: all its waiters' patience begins anew."""
    lock = lock_at(host.lock_records, g)
    lock.serving = number
    vm_config = vm_config_at(host.config_vms, lock.vm)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.number > 0 and vcpu.lock == g:
            vcpu.patience_ns = vcpu.timeout_ns * (vcpu.number - number)
            if vcpu.state == RUNNING:
                vcpu.patience_at = t + vcpu.patience_ns
                put_thresholds(host, vcpu_at(host.vcpus, v).runs_on, t)


@device
def lose_patience(host, p, g, t):
    """The patience of the waiter on p is over: does lock g lie idle? Then the first such waiter takes it."""
    lock = lock_at(host.lock_records, g)
    head = lock.off_owner
    put_threshold(host, p, vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).threshold_at)
    if head >= 0 and lock.off_holding == 0:
        q = first_impatient(host, g, t)
        taker = pcpu_at(host.pcpus, q).vcpu
        owner_returns(host, g, t)
        passed = vcpu_at(host.vcpus, head)
        return_as_first(host, g, head, lock.serving)
        passed.phase = WAITING
        passed.handover = -1
        passed.patience_ns = FOREVER
        leave_line(host, g, taker)
        lock.out_of_order = 1
        end_wait(host, q, t)
    return np.int64(SPIN_ON)


@device
def first_impatient(host, g, t):
    """pCPU of the running waiter of lock g whose patience is over and whose number is the lowest."""
    found, lowest = np.int64(-1), np.int64(FOREVER)
    for p in range(host.n_pcpu):
        if spins_on(host, p, g):
            vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
            if vcpu.number > 0 and vcpu.patience_at <= t and vcpu.number < lowest:
                found, lowest = np.int64(p), vcpu.number
    return found


@device
def resume_wait(host, p, g, t):
    """The waiter on p starts to run: has it been granted lock g? Then it goes on, and the answer is true."""
    if is_granted(host, pcpu_at(host.pcpus, p).vcpu):
        start_handover_or_hold(host, p, g, t)
        return True
    return False


can_resume = ticket.can_resume
