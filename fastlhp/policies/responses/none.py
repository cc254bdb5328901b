"""No response: a spinning vCPU spins until it gets the lock or its slice ends.

The guest of a hypervisor that does not notice spinning, and the case whose cost [1]_ measured.

References
----------
.. [1] T. Friebel and S. Biemueller, "How to deal with lock holder preemption", Xen Summit 2008.
"""

from typing import ClassVar

from fastlhp.model.policy import ResponseParameters

__all__ = ["NoResponse"]


class NoResponse(ResponseParameters):
    """Spin on."""

    KIND: ClassVar[str] = "none"
