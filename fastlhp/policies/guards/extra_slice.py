"""One extra slice: a lock held at the slice end earns one extension of fixed length.

The enlightened critical sections of [1]_: guest and hypervisor share counters of non-preemptable and
preemptable sections; if one is non-zero at the scheduler's tick, the vCPU gets exactly one extra schedule at
this boundary, and runs all of it, whether the lock is released early or not. 1 ms there.

References
----------
.. [1] S. Kashyap, C. Min and T. Kim, "Scaling guest OS critical sections with eCS", USENIX ATC 2018.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.parameters import view
from fastlhp.engine.rows import phase_of
from fastlhp.engine.state import HOLDING, config_at
from fastlhp.model.distributions import Duration
from fastlhp.model.policy import GuardParameters
from fastlhp.model.validation import written
from fastlhp.policies.guards.delay import draw_extension

__all__ = ["ExtraSlice"]


class ExtraSlice(GuardParameters):
    """One extension of fixed length if a lock is held at the slice end.

    Attributes
    ----------
    length : Distribution
        Length of the extension; 0 is none.
    """

    KIND: ClassVar[str] = "extra_slice"

    length: Duration = written("1ms")


parameters = view(ExtraSlice)


@device
def extension_ns(host, p):
    """How long the vCPU on p may go on after its slice end."""
    if phase_of(host, p) != HOLDING:
        return 0
    return draw_extension(host, p, parameters(config_at(host.config, 0).guard_parameters, 0).length)
