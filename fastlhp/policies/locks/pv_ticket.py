"""Paravirtual ticket lock: a ticket lock whose waiters block after a while and are kicked when it is their turn.

Linux 3.12 to 4.1 under KVM and Xen [1]_: a waiter that has spun for SPIN_THRESHOLD, 2^15 iterations of PAUSE, halts;
whoever releases the lock kicks the next ticket's vCPU if that has halted. The default wake-up latency lies between
the 63.6 us (Haswell-EX) and 67.6 us (Westmere-EX) that W. Long reported in Linux commit 45e898b73562.

References
----------
.. [1] J. Fitzhardinge, R. K. Thimmappa (Raghavendra) et al., "Paravirtualized ticket spinlocks", Linux kernel, 2013.
"""

from typing import ClassVar

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.machine import draw_patience, start_hold, start_waiting
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import count_of, enqueue, get_word, put_word
from fastlhp.engine.state import BLOCK, COUNT_UNIT, WORD_FORESEEABLE, lock_at, pcpu_at, vcpu_at, vm_config_at
from fastlhp.model.distributions import Constant, Duration, PositiveDuration
from fastlhp.model.policy import LockParameters
from fastlhp.model.validation import written
from fastlhp.policies.locks import ticket

__all__ = ["PvTicket"]


class PvTicket(LockParameters):
    """FIFO as `ticket`; a waiter blocks after a threshold and is kicked when it is granted the lock.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    spin_threshold : Distribution
        What a waiter spins, all its stretches of running together, before it blocks.
    wakeup : Distribution
        From the kick until the woken vCPU is runnable.
    """

    KIND: ClassVar[str] = "pv_ticket"

    spin_threshold: PositiveDuration = written("32768pauses")
    wakeup: Duration = written("65us")


def lock_word(lock: PvTicket) -> int:
    """With a constant threshold it is foreseeable whether a waiter blocks."""
    return WORD_FORESEEABLE if isinstance(lock.spin_threshold, Constant) else 0


HANDOVER_GROWS = ticket.HANDOVER_GROWS

parameters = view(PvTicket)


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g, as `ticket`; a waiter's patience begins."""
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if count_of(host, g) == 1:
        start_hold(host, p, t)
        return
    v = pcpu_at(host.pcpus, p).vcpu
    options = parameters(vm_config_at(host.config_vms, lock_at(host.lock_records, g).vm).lock_parameters, 0)
    vcpu_at(host.vcpus, v).patience_at = t + draw_patience(host, v, options.spin_threshold)
    start_waiting(host, p, t)
    enqueue(host, g, p)


@device
def lose_patience(host, p, g, t):
    """A waiter blocks at the lock's threshold."""
    return np.int64(BLOCK)


release = ticket.release
resume_wait = ticket.resume_wait
can_resume = ticket.can_resume
