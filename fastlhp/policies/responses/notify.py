"""Notify: the guest tells the hypervisor of a long spin, and the hypervisor uses it when it decides anyway.

The enlightened spinlocks of Hyper-V [1]_: after a number of failed tries the guest makes the hypercall
HvCallNotifyLongSpinWait, which is advice and always succeeds. What the hypervisor does with it is not published. Here
it marks the VM, and the next pCPU that has to choose whom to run prefers a vCPU of that VM that was preempted while it
held or waited for a lock; nobody is preempted for it. The default threshold is the 0xfff retries that QEMU's
documentation of ``hv-spinlocks`` advises under overcommitment.

References
----------
.. [1] Microsoft, "Hypervisor Top Level Functional Specification", HvCallNotifyLongSpinWait.
"""

from typing import ClassVar

from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device
from fastlhp.engine.state import (
    HANDOVER,
    HOLDING,
    READY,
    WAITING,
    config_at,
    pcpu_at,
    queue_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import ResponseParameters
from fastlhp.model.validation import written

__all__ = ["Notify"]


class Notify(ResponseParameters):
    """After every threshold of spinning, ask for a preempted holder or waiter of the VM to be run soon.

    Attributes
    ----------
    spin_threshold : Distribution
        Continuous spinning since the dispatch, the attempt or the last notification, whichever is latest.
    """

    KIND: ClassVar[str] = "notify"

    spin_threshold: PositiveDuration = written("4095pauses")


@device
def _its_own(host, p):
    return p


served_queue = Hook("scheduler", "served_queue", default=_its_own)


@device
def notifies(host):
    """A spinner tells of it at its threshold, and spins on."""
    return True


@device
def notify(host, v):
    """Mark the VM of v."""
    vm_config = vm_config_at(host.config_vms, vcpu_at(host.vcpus, v).vm)
    vcpu_at(host.vcpus, vm_config.first_vcpu).marked = 1


@device
def is_wanted(host, v):
    """Whether the queued v was preempted while it held or waited for a lock, and its VM is marked."""
    vcpu = vcpu_at(host.vcpus, v)
    vm_config = vm_config_at(host.config_vms, vcpu.vm)
    in_lock = vcpu.phase == HOLDING or vcpu.phase == WAITING or vcpu.phase == HANDOVER
    marked = vcpu_at(host.vcpus, vm_config.first_vcpu).marked != 0
    return marked and in_lock and vcpu.preempted != 0 and vcpu.state == READY


@device
def favourite(host, p):
    """Of the marked VMs' preempted holders and waiters in p's queue, the first; clears its VM's mark. -1: none.

    The one that has just left p is not taken back: nobody's slice is longer for a mark.
    """
    leaver = pcpu_at(host.pcpus, p).last
    v = queue_at(host.queues, served_queue(config_at(host.config, 0).scheduler, host, p)).head
    while v >= 0 and (v == leaver or not is_wanted(host, v)):
        v = vcpu_at(host.vcpus, v).next
    if v >= 0:
        first = vm_config_at(host.config_vms, vcpu_at(host.vcpus, v).vm).first_vcpu
        vcpu_at(host.vcpus, first).marked = 0
    return v
