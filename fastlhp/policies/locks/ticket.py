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
    grant_next,
    is_granted,
    start_handover_or_hold,
    start_hold,
    start_waiting,
)
from fastlhp.engine.rows import count_of, enqueue, get_word, put_word
from fastlhp.engine.state import COUNT_UNIT, WORD_FORESEEABLE, pcpu_at
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


LOCK_WORD = WORD_FORESEEABLE
HANDOVER_GROWS = True


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g: taken only if no one holds it or queues."""
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if count_of(host, g) == 1:
        start_hold(host, p, t)
    else:
        start_waiting(host, p, t)
        enqueue(host, g, p)


@device
def release(host, p, g, t):
    """Release of lock g: the longest waiter is granted it. Returns a blocked waiter to be kicked, or -1."""
    put_word(host, g, get_word(host, g) - COUNT_UNIT)
    return grant_next(host, g, t) if count_of(host, g) > 0 else -1


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
