"""Halt: after a threshold of spinning, the waiter blocks until it is kicked.

Spin, then block in the hypervisor; the vCPU that hands the lock over kicks the sleeper. First done for Xen by
[1]_ and since Linux 3.12 in the paravirtual lock of the guest. The default threshold is Linux's
SPIN_THRESHOLD of 2^15 iterations of PAUSE. The default wake-up latency lies between the 63.6 us (Haswell-EX)
and 67.6 us (Westmere-EX) that W. Long reported in Linux commit 45e898b73562.

References
----------
.. [1] J. Fitzhardinge, "xen: implement Xen-specific spinlocks", Linux kernel, 2008.
"""

from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.model.distributions import Duration, PositiveDuration
from fastlhp.model.policy import ResponseParameters
from fastlhp.model.validation import written

__all__ = ["Halt"]


class Halt(ResponseParameters):
    """After a threshold of spinning, block until granted the lock and kicked.

    Attributes
    ----------
    spin_threshold : Distribution
        Continuous spinning since the dispatch or the attempt, whichever is later.
    wakeup : Distribution
        From the kick until the woken vCPU is runnable.
    """

    KIND: ClassVar[str] = "halt"

    spin_threshold: PositiveDuration = written("32768pauses")
    wakeup: Duration = written("65us")


@device
def halts(host):
    """A waiter blocks at its threshold."""
    return True
