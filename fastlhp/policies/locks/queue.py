"""Queue lock: first come, first served, each waiter spinning on its own cache line.

The MCS lock [1]_, and Linux's qspinlock without its paravirtual part. The same order as `ticket`; only the
handover differs: one cache line moves, however many wait, so that the transfer takes the same time always.

References
----------
.. [1] J. M. Mellor-Crummey and M. L. Scott, "Algorithms for scalable synchronization on shared-memory
   multiprocessors", ACM TOCS 9(1), 1991.
"""

from typing import ClassVar

from fastlhp.model.policy import LockParameters
from fastlhp.policies.locks import ticket

__all__ = ["QueueLock"]


class QueueLock(LockParameters):
    """FIFO as `ticket`, with a handover that does not depend on the number of spinners.

    Attributes
    ----------
    count : int
        Number of locks of the VM.
    weights : tuple of float or None
        How often each is used, relative to the others; None: equally often.
    """

    KIND: ClassVar[str] = "queue"


LOCK_WORD = ticket.LOCK_WORD
HANDOVER_GROWS = False

attempt = ticket.attempt
release = ticket.release
resume_wait = ticket.resume_wait
can_resume = ticket.can_resume
