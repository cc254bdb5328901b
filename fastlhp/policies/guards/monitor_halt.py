"""Monitor HLT: preemption waits for the guest to halt, for a short window.

What is left of [1]_'s monitoring where the hypervisor does not even see the guest's mode, as with hardware
virtualization: HLT always exits, and a vCPU that executes it holds no spinlock. So at a slice end preemption waits for
a while, whatever the guest is doing, in the hope of an HLT. The default window is the cap of the other guards.

References
----------
.. [1] V. Uhlig et al., "Towards scalable multiprocessor virtual machines", USENIX VM 2004.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.parameters import view
from fastlhp.engine.state import config_at
from fastlhp.model.distributions import Duration
from fastlhp.model.policy import GuardParameters
from fastlhp.model.validation import written
from fastlhp.policies.guards.delay import draw_extension

__all__ = ["MonitorHalt"]


class MonitorHalt(GuardParameters):
    """Wait for the vCPU to halt, at most for a window.

    Attributes
    ----------
    window : Distribution
        Longest delay; 0 is no delay at all.
    """

    KIND: ClassVar[str] = "monitor_halt"

    window: Duration = written("1ms")


parameters = view(MonitorHalt)


@device
def extension_ns(host, p):
    """How long the vCPU on p may go on after its slice end."""
    return draw_extension(host, p, parameters(config_at(host.config, 0).guard_parameters, 0).window)


@device
def expires_in_any_phase(host):
    """There was no HLT, whatever the guest is doing."""
    return True
