"""Hybrid queue lock: paravirtual queue lock that is unfair for as long as the head of its queue does not run.

The pvqspinlock of Linux 4.15 and later [1]_: an arrival does not queue behind a head that sleeps or has not been
running since it became the head, but goes on trying for the lock. The head ends that by setting the lock's pending bit
as soon as it spins as the head, so that nobody starves. All else is as in `pv_queue`, whose source names the defaults'
origin too.

References
----------
.. [1] W. Long, "locking/pvqspinlock: Implement hybrid PV queued/unfair locks", Linux commit 11752adb68a3, 2017.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.line import first_in_line
from fastlhp.engine.machine import put_thresholds, start_waiting
from fastlhp.engine.state import FOREVER, OUTSIDE, pcpu_at, vcpu_at
from fastlhp.policies.locks import pv_queue
from fastlhp.policies.locks.pv_queue import (
    PvQueue,
    begin_to_wait,
    is_beside,
    is_free,
    queue_up,
    take_at_once,
    take_on_return,
)

__all__ = ["HybridQueue"]


class HybridQueue(PvQueue):
    """As `pv_queue`, but arrivals go on trying while the head sleeps or has yet to run.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    spin_threshold : Distribution
        What a waiter in the line spins, all its stretches of running together, before it blocks; anew as the head.
    wakeup : Distribution
        From the kick until the woken vCPU is runnable.
    check : Distribution
        What a waiter spins between two looks at the one before it.
    """

    KIND: ClassVar[str] = "hybrid_queue"


lock_word = pv_queue.lock_word
HANDOVER_GROWS = pv_queue.HANDOVER_GROWS

line_up = pv_queue.line_up
lead_line = pv_queue.lead_line
catch_up = pv_queue.catch_up
spins_until = pv_queue.spins_until
release = pv_queue.release
lose_patience = pv_queue.lose_patience
can_resume = pv_queue.can_resume


@device
def has_pending_head(host, g):
    """Whether the line of lock g has a head that has spun as such since it last blocked."""
    head = first_in_line(host, g)
    return head >= 0 and vcpu_at(host.vcpus, head).pending != 0


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g: taken if it is free and no head is pending; else it waits."""
    if is_free(host, g) and not has_pending_head(host, g):
        take_at_once(host, p, g, t)
    else:
        begin_to_wait(host, g)
        vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
        vcpu.outside = OUTSIDE
        vcpu.patience_at = FOREVER
        if first_in_line(host, g) < 0 or has_pending_head(host, g):
            queue_up(host, p, g, t)
        start_waiting(host, p, t)


@device
def resume_wait(host, p, g, t):
    """The waiter on p, in the line of lock g or beside it, starts to run; true if it takes the lock."""
    vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
    if vcpu.number > 0:
        if pv_queue.resume_wait(host, p, g, t):
            return True
        if vcpu.pending != 0:
            end_trying(host, g, t)
    elif is_free(host, g) and not has_pending_head(host, g):
        take_on_return(host, p, g, t)
        return True
    elif first_in_line(host, g) < 0 or has_pending_head(host, g):
        queue_up(host, p, g, t)
    return False


@device
def end_trying(host, g, t):
    """A head is pending: those that spin on lock g beside its line join it."""
    for q in range(host.n_pcpu):
        if is_beside(host, q, g):
            queue_up(host, q, g, t)
            put_thresholds(host, q, t)
