"""No guard: a slice end preempts, whatever the guest is doing.

What hypervisors do without the guest's help, and the case in which lock-holder preemption was first described
[1]_.

References
----------
.. [1] V. Uhlig et al., "Towards scalable multiprocessor virtual machines", USENIX VM 2004.
"""

from typing import ClassVar

from fastlhp.model.policy import GuardParameters

__all__ = ["NoGuard"]


class NoGuard(GuardParameters):
    """Preempt at once."""

    KIND: ClassVar[str] = "none"
