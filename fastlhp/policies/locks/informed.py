"""Informed lock: a vCPU too late in its time slice does not try for the lock, so as not to be preempted with it.

I-Spinlock [1]_: the hypervisor tells its guests when their slices end. A vCPU tries for a ticket lock, and enters its
queue, only if what is left of its slice is enough for the critical section; else it yields and tries again in its
next slice. It still may be granted the lock late in a slice, if it had to wait for it. How much is enough is for the
user to say; the default is many times a kernel's critical sections, most of which are shorter than 2^12 cycles (Linux
commit 4b8d54f9726f).

References
----------
.. [1] B. Teabe, V. Nitu, A. Tchana and D. Hagimont, "The lock holder and the lock waiter pre-emption problems: nip
   them in the bud using informed spinlocks (I-Spinlock)", EuroSys 2017.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from fastlhp.engine.jit import device
from fastlhp.engine.machine import draw_patience, end_wait, vm_config_on
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import count_of, enqueue, get_word, put_threshold, put_word
from fastlhp.engine.state import (
    COUNT_UNIT,
    FOREVER,
    GIVE_WAY,
    IN_RING,
    INSISTING,
    WORD_FORESEEABLE,
    WORD_SCALAR,
    distribution_at,
    pcpu_at,
    vcpu_at,
)
from fastlhp.model.distributions import Constant, Duration
from fastlhp.model.policy import LockParameters, SchedulerParameters
from fastlhp.model.units import format_duration
from fastlhp.model.validation import Mistake, Written, written
from fastlhp.policies.locks import ticket

__all__ = ["Informed"]


class Informed(LockParameters):
    """FIFO as `ticket`, but tried for only if enough of the slice is left; else the vCPU yields.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    reserve : Distribution
        What has to be left of the slice.
    """

    KIND: ClassVar[str] = "informed"

    reserve: Duration = written("100us")

    def scheduler_mistakes(self, scheduler: SchedulerParameters) -> Iterator[Mistake]:
        """Yield a reserve for which slices are too short: nobody would ever get the lock."""
        time_slice = getattr(scheduler, "slice", None)
        if time_slice is not None and self.reserve.mean_ns > time_slice.mean_ns:
            accepted = f"at most the scheduler's slice, {format_duration(time_slice.mean_ns)} on average"
            yield Mistake(("reserve",), Written(self.reserve.describe()), accepted)


def lock_word(lock: Informed) -> int:
    """With a constant reserve it is foreseeable, up to an instant (`tries_until`), who tries for the lock."""
    return WORD_FORESEEABLE if isinstance(lock.reserve, Constant) else WORD_SCALAR


HANDOVER_GROWS = ticket.HANDOVER_GROWS

parameters = view(Informed)


@device
def is_too_late(host, p, t):
    """Whether less than the reserve is left of the slice of the vCPU on p."""
    pcpu = pcpu_at(host.pcpus, p)
    reserve = draw_patience(host, pcpu.vcpu, parameters(vm_config_on(host, p).lock_parameters, 0).reserve)
    return pcpu.slice_end - t < reserve


@device
def tries_until(host, p):
    """Up to when the vCPU on p is not too late, if its reserve is constant."""
    reserve = parameters(vm_config_on(host, p).lock_parameters, 0).reserve
    return pcpu_at(host.pcpus, p).slice_end - distribution_at(reserve, 0).value


@device
def attempt(host, p, g, t):
    """Attempt of the vCPU on p at lock g, in time; as `ticket`."""
    vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).outside = IN_RING
    ticket.attempt(host, p, g, t)


release = ticket.release


@device
def resume_wait(host, p, g, t):
    """The waiter on p starts to run: is lock g its own, or can it have it? If it tries in vain, it queues.

    True unless it spins from now on.
    """
    v = pcpu_at(host.pcpus, p).vcpu
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.outside == IN_RING:
        return ticket.resume_wait(host, p, g, t)
    if vcpu.outside != INSISTING and is_too_late(host, p, t):
        # It gives way, in an event of its own.
        vcpu.threshold_at = FOREVER
        vcpu.patience_at = t
        put_threshold(host, p, t)
        return True
    vcpu.outside = IN_RING
    vcpu.patience_at = FOREVER
    put_word(host, g, get_word(host, g) + COUNT_UNIT)
    if count_of(host, g) == 1:
        end_wait(host, p, t)
        return True
    enqueue(host, g, p)
    return False


@device
def lose_patience(host, p, g, t):
    """The waiter on p has found that too little of its slice is left."""
    return np.int64(GIVE_WAY)


can_resume = ticket.can_resume
