"""Monitor: the hypervisor watches the guest's mode, and preempts it where it cannot hold a lock.

Full virtualization without a change of the guest, after [1]_: in user mode, or when it executes HLT, a guest holds no
spinlock. A vCPU whose slice ends in kernel mode goes on until it is back in user mode, or for a cap. The hypervisor
cannot tell a holder from a waiter, so it lets spinners go on as well. The cap is that of `delay`: of the order of 1 ms,
the paper's own figure was not available to us.

References
----------
.. [1] V. Uhlig et al., "Towards scalable multiprocessor virtual machines", USENIX VM 2004.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import phase_of
from fastlhp.engine.state import PREEMPTS, USER, config_at
from fastlhp.model.distributions import Duration
from fastlhp.model.policy import GuardParameters
from fastlhp.model.validation import written
from fastlhp.policies.guards.delay import draw_extension

__all__ = ["Monitor"]


class Monitor(GuardParameters):
    """Wait until the vCPU is in user mode or halts, at most for a cap.

    Attributes
    ----------
    cap : Distribution
        Longest delay; 0 is no delay at all.
    """

    KIND: ClassVar[str] = "monitor"

    cap: Duration = written("1ms")


parameters = view(Monitor)


@device
def extension_ns(host, p):
    """How long the vCPU on p may go on after its slice end."""
    if phase_of(host, p) == USER:
        return 0
    return draw_extension(host, p, parameters(config_at(host.config, 0).guard_parameters, 0).cap)


@device
def at_release(host):
    """The guest is back in user mode: it is safe to preempt it."""
    return PREEMPTS


@device
def expires_in_any_phase(host):
    """The guest is in kernel mode at the cap, whether it holds a lock or not."""
    return True
