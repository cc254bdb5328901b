"""Fake device driver: an interrupt asks the guest to come to a safe point.

A guest whose kernel cannot be changed can still be given a driver [1]_. At the slice end the hypervisor raises the
driver's interrupt. The guest has interrupts disabled while it holds a spinlock, so that it serves the interrupt outside
of critical sections only, and the handler hands the vCPU back. The default latency of 2 us is of the order of
an interrupt's way into a guest and back; the cap is that of `delay`.

References
----------
.. [1] V. Uhlig et al., "Towards scalable multiprocessor virtual machines", USENIX VM 2004.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.machine import draw_ns, is_constant
from fastlhp.engine.parameters import view
from fastlhp.engine.state import INTERRUPT, INTERRUPTS, config_at, distribution_at, vcpu_at
from fastlhp.model.distributions import Duration
from fastlhp.model.policy import GuardParameters
from fastlhp.model.validation import written
from fastlhp.policies.guards.delay import draw_extension

__all__ = ["Driver"]


class Driver(GuardParameters):
    """Wait until the vCPU, outside of critical sections, has served an interrupt, at most for a cap.

    Attributes
    ----------
    cap : Distribution
        Longest delay, from the slice end; 0 is no delay at all.
    latency : Distribution
        Kernel time that serving the interrupt takes.
    """

    KIND: ClassVar[str] = "driver"

    cap: Duration = written("1ms")
    latency: Duration = written("2us")


parameters = view(Driver)


@device
def extension_ns(host, p):
    """How long the vCPU on p may go on after its slice end."""
    return draw_extension(host, p, parameters(config_at(host.config, 0).guard_parameters, 0).cap)


@device
def at_release(host):
    """The guest takes interrupts again."""
    return INTERRUPTS


@device
def service_ns(host, v):
    """How long v serves the interrupt."""
    latency = parameters(config_at(host.config, 0).guard_parameters, 0).latency
    if is_constant(latency):
        return distribution_at(latency, 0).value
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.n_interrupt += 1
    return draw_ns(host, latency, vcpu, INTERRUPT, vcpu.n_interrupt - 1)
