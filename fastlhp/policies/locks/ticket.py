"""Ticket lock: strictly first come, first served, whether the next one runs or not.

Linux 2.6.25 to 4.1. Fair on bare metal; under overcommitment a preempted next waiter blocks all others, and
in the worst case n waiters need O(n^2) slices to drain (Linux commit 74d4affde8feb). While it is handed over,
every spinner's copy of the lock word is invalidated, so that the transfer takes longer the more there are
[1]_: half the `handover` time per spinner, plus half.

References
----------
.. [1] S. Boyd-Wickizer et al., "Non-scalable locks are dangerous", Ottawa Linux Symposium 2012.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.machine import (
    get,
    get_word,
    grant_off_cpu,
    grant_running,
    is_granted,
    put_word,
    start_handover_or_hold,
    start_hold,
    start_waiting,
)
from fastlhp.engine.state import COUNT_UNIT, KEY, TICKETS, pcpu_at, vcpu_at
from fastlhp.model.policy import LockParameters

__all__ = ["Ticket"]


class Ticket(LockParameters):
    """FIFO; a grant goes to the longest waiter, running or not.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    """

    KIND: ClassVar[str] = "ticket"


LOCK_WORD = 0
HANDOVER_GROWS = True


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g: taken only if no one holds it or queues."""
    word = get_word(host, g)
    put_word(host, g, word + COUNT_UNIT)
    count = (word // COUNT_UNIT) % TICKETS
    if count == 0:
        start_hold(host, p, t)
    else:
        start_waiting(host, p, g * TICKETS + (word + count) % TICKETS, t)


@device
def release(host, p, g, t):
    """Release of lock g: the longest waiter is granted it. Returns a blocked waiter to be kicked, or -1."""
    word = get_word(host, g) - COUNT_UNIT
    serving = (word + 1) % TICKETS
    put_word(host, g, word - word % TICKETS + serving)
    if (word // COUNT_UNIT) % TICKETS == 0:
        return -1
    for q in range(host.n_pcpu):
        if get(host, KEY, q) == g * TICKETS + serving:
            grant_running(host, q, g, t)
            return -1
    v = grant_off_cpu(host, g, t)
    return v if vcpu_at(host.vcpus, v).blocked != 0 else -1


@device
def resume_wait(host, p, g, t):
    """The waiter on p starts to run: has it been granted lock g? Then it goes on, and the answer is true."""
    if is_granted(host, pcpu_at(host.pcpus, p).vcpu):
        start_handover_or_hold(host, p, g, t)
        return True
    return False


@device
def can_resume(host, v):
    """Whether the off-CPU waiter v would not wait any more if it ran."""
    return is_granted(host, v)
