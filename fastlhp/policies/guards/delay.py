"""Delayed preemption: the guest says that it holds a lock, and the hypervisor waits a little.

The locking hint of [1]_: the guest publishes whether it is inside a critical section. At a slice end inside
one, preemption waits for the release or for a cap, whichever comes first; at the release the guest yields by
hypercall. With exponential holds of mean h the cap d leaves a share exp(-d/h) of the preemptions. The default
cap of 1 ms is of the order used there; the paper's own figure was not available to us.

References
----------
.. [1] V. Uhlig et al., "Towards scalable multiprocessor virtual machines", USENIX VM 2004.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.machine import draw_ns, is_constant
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import phase_of
from fastlhp.engine.state import EXTENSION, HOLDING, LETS_YIELD, config_at, distribution_at, pcpu_at, vcpu_at
from fastlhp.model.distributions import Duration
from fastlhp.model.policy import GuardParameters
from fastlhp.model.validation import written

__all__ = ["Delay"]


class Delay(GuardParameters):
    """Wait for the release of the lock, at most for a cap; then the guest yields.

    Attributes
    ----------
    cap : Distribution
        Longest delay; 0 is no delay at all.
    repay : bool
        Whether the overrun is taken off the vCPU's next slice.
    """

    KIND: ClassVar[str] = "delay"

    cap: Duration = written("1ms")
    repay: bool = False


parameters = view(Delay)


@device
def draw_extension(host, p, distribution):
    """Length of an extension for the vCPU on p."""
    if is_constant(distribution):
        return distribution_at(distribution, 0).value
    vcpu = vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu)
    vcpu.n_extension += 1
    return draw_ns(host, distribution, vcpu, EXTENSION, vcpu.n_extension - 1)


@device
def extension_ns(host, p):
    """How long the vCPU on p may go on after its slice end."""
    if phase_of(host, p) != HOLDING:
        return 0
    return draw_extension(host, p, parameters(config_at(host.config, 0).guard_parameters, 0).cap)


@device
def at_release(host):
    """The guest gives the pCPU up by hypercall."""
    return LETS_YIELD


@device
def owes_overrun(host):
    """Whether what a vCPU ran beyond its slice is taken off its next one."""
    return parameters(config_at(host.config, 0).guard_parameters, 0).repay != 0
