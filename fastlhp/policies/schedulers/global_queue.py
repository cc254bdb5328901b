"""One global run queue: any vCPU on any pCPU, in FIFO order.

The work-conserving counterpart of `round_robin`: no pCPU idles while a vCPU waits. It bounds what load
balancing can do against lock-holder preemption, since it has no placement at all; an asynchronous scheduler
in the sense of [1]_.

References
----------
.. [1] C. Weng et al., "The hybrid scheduling framework for virtual machine systems", VEE 2009.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from fastlhp.engine.dispatch import dispatch, draw_slice
from fastlhp.engine.jit import device
from fastlhp.engine.parameters import option, view
from fastlhp.engine.queues import fill_in_order, pop, push, remove, room
from fastlhp.engine.state import config_at, pcpu_at, queue_at
from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import Phase, SchedulerParameters, phase_mistakes
from fastlhp.model.validation import Mistake, written
from fastlhp.policies.schedulers.round_robin import cut_first_slice

__all__ = ["GlobalQueue"]


class GlobalQueue(SchedulerParameters):
    """One FIFO run queue for all pCPUs; no pCPU idles while a vCPU waits.

    Attributes
    ----------
    slice : Distribution
        Length of a time slice.
    order : {"random", "vm"}
        Order of the run queue at time 0.
    phase : {"random", "aligned"} or tuple of float
        When the first slices end, as in `round_robin`.
    slice_after_yield : {"full", "rest"}
        What a vCPU runs for after a yield or halt.
    """

    KIND: ClassVar[str] = "global"

    slice: PositiveDuration = written("30ms")
    order: Literal["random", "vm"] = "random"
    phase: Phase = "random"
    slice_after_yield: Literal["full", "rest"] = "full"

    def host_mistakes(self, pcpus: int) -> Iterator[Mistake]:
        """Yield a list of phases that is not one per pCPU."""
        yield from phase_mistakes(self.phase, pcpus, "one for each pCPU")


parameters = view(GlobalQueue)
RANDOM_ORDER = option(GlobalQueue, "order", "random")
REST = option(GlobalQueue, "slice_after_yield", "rest")


@device
def start(host):
    """Queue all vCPUs and run the first ones."""
    options = parameters(config_at(host.config, 0).scheduler_parameters, 0)
    members = room(host)
    for v in range(host.n_vcpu):
        members[v] = v
    fill_in_order(host, 0, members, host.n_vcpu, options.order == RANDOM_ORDER)
    for p in range(min(host.n_pcpu, host.n_vcpu)):
        dispatch(host, p, pop(host, 0), 0)
        cut_first_slice(host, p, options.phase)


@device
def slice_ns(host, v):
    """A new slice."""
    return draw_slice(host, v, parameters(config_at(host.config, 0).scheduler_parameters, 0).slice)


@device
def keeps_rest(host):
    """Whether a vCPU that leaves of its own will keeps the rest of its slice."""
    return parameters(config_at(host.config, 0).scheduler_parameters, 0).slice_after_yield == REST


@device
def served_queue(host, p):
    """The queue from which p takes whom it runs: there is only one."""
    return 0


@device
def has_queued(host, p):
    """Whether another vCPU is queued."""
    return queue_at(host.queues, 0).length > 0


yields = has_queued


@device
def make_ready(host, v):
    """Put v at the tail of the queue."""
    push(host, 0, v)


@device
def successor(host, p):
    """Take the vCPU that p runs next out of the queue; -1 if there is none."""
    return pop(host, 0)


@device
def replace(host, p, t):
    """Let the head of the queue run on p, which is free."""
    v = successor(host, p)
    if v >= 0:
        dispatch(host, p, v, t)


@device
def wake_up(host, v, t):
    """V has become runnable: it queues, and the lowest idle pCPU takes it at once."""
    push(host, 0, v)
    for p in range(host.n_pcpu):
        if pcpu_at(host.pcpus, p).vcpu < 0:
            replace(host, p, t)
            return


@device
def may_take(host, p, v, migrate):
    """Whether the queued v may be run on p out of turn."""
    return True


@device
def take(host, p, v):
    """Take v out of the queue to run on p."""
    remove(host, 0, v)
