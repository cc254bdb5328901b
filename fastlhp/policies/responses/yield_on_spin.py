"""Yield on spin: after a threshold of spinning, the vCPU gives up its slice.

A spin threshold with a hypercall [1]_, or the same seen from outside by pause-loop exiting (Xen HVM; KVM
before 2011 slept instead). The yielder goes to the tail of its run queue. The default threshold is that of
[1]_, 2^16 cycles, which is about 25 us at 2.6 GHz.

References
----------
.. [1] T. Friebel and S. Biemueller, "How to deal with lock holder preemption", Xen Summit 2008.
"""

from typing import ClassVar

from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import ResponseParameters
from fastlhp.model.validation import written

__all__ = ["YieldOnSpin"]


class YieldOnSpin(ResponseParameters):
    """After a threshold of spinning, go to the tail of the run queue.

    Attributes
    ----------
    spin_threshold : Distribution
        Continuous spinning since the dispatch or the attempt, whichever is later.
    """

    KIND: ClassVar[str] = "yield"

    spin_threshold: PositiveDuration = written("25us")
