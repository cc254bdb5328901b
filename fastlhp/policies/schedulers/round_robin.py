"""Pinned round robin: every vCPU has its pCPU, and every pCPU serves its own queue.

Independent time slicing, the baseline of all the literature: a pCPU runs the head of its queue for one slice
and puts it at the tail; a lone runnable vCPU just gets a new slice. Nothing coordinates the pCPUs of a VM, so
a slice may end inside a critical section. The default slice is that of Xen's credit scheduler
(``xen/common/sched/credit.c``: tslice 30 ms). Placement ``balance``, which keeps siblings on distinct pCPUs,
is from [1]_.

References
----------
.. [1] O. Sukwong and H. S. Kim, "Is co-scheduling too expensive for SMP VMs?", EuroSys 2011.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from fastlhp.engine.dispatch import dispatch, draw_slice, run_next
from fastlhp.engine.draws import choice, words
from fastlhp.engine.jit import device
from fastlhp.engine.parameters import ALIGNED_PHASE, RANDOM_PHASE, option, view
from fastlhp.engine.queues import cut, fill_in_order, pop, push, remove, room, shuffle
from fastlhp.engine.rows import put_timer
from fastlhp.engine.state import (
    HOST_OWNER,
    PHASE,
    PLACEMENT,
    config_at,
    float64_at,
    pcpu_at,
    queue_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import Phase, SchedulerParameters, phase_mistakes
from fastlhp.model.validation import Mistake, written

__all__ = ["RoundRobin"]


class RoundRobin(SchedulerParameters):
    """Every vCPU pinned; each pCPU serves its own FIFO run queue.

    Attributes
    ----------
    slice : Distribution
        Length of a time slice.
    placement : {"spread", "aligned", "random", "balance"}
        Which pCPU vCPU j of a VM is pinned to: the next one after those of earlier VMs, pCPU j, any, or one
        of a uniform set of distinct pCPUs.
    order : {"random", "vm"}
        Order of the run queues at time 0.
    phase : {"random", "aligned"} or tuple of float
        When the first slices end: independently, all at once, or at given fractions of a slice, one per pCPU.
    slice_after_yield : {"full", "rest"}
        What a vCPU runs for after a yield or halt: a full slice, or the rest of the one it left.
    """

    KIND: ClassVar[str] = "round_robin"

    slice: PositiveDuration = written("30ms")
    placement: Literal["spread", "aligned", "random", "balance"] = "spread"
    order: Literal["random", "vm"] = "random"
    phase: Phase = "random"
    slice_after_yield: Literal["full", "rest"] = "full"

    def host_mistakes(self, pcpus: int) -> Iterator[Mistake]:
        """Yield a list of phases that is not one per pCPU."""
        yield from phase_mistakes(self.phase, pcpus, "one for each pCPU")


OWN_QUEUES = True

parameters = view(RoundRobin)
SPREAD = option(RoundRobin, "placement", "spread")
ALIGNED = option(RoundRobin, "placement", "aligned")
BALANCE = option(RoundRobin, "placement", "balance")
RANDOM_ORDER = option(RoundRobin, "order", "random")
REST = option(RoundRobin, "slice_after_yield", "rest")


@device
def place(host):
    """Pin every vCPU to its pCPU."""
    placement = parameters(config_at(host.config, 0).scheduler_parameters, 0).placement
    n = host.n_pcpu
    pcpus = room(host)
    for m in range(host.n_vm):
        vm_config = vm_config_at(host.config_vms, m)
        for j in range(vm_config.n_vcpu):
            v = vm_config.first_vcpu + j
            if placement == SPREAD:
                home = v % n
            elif placement == ALIGNED:
                home = j % n
            elif placement == BALANCE:
                if j % n == 0:
                    for i in range(n):
                        pcpus[i] = i
                    shuffle(host, pcpus, n, PLACEMENT, m, j // n)
                home = pcpus[j % n]
            else:
                w0, _ = words(host, m, j, PLACEMENT, 0)
                home = choice(w0, n)
            vcpu_at(host.vcpus, v).home = home


@device
def cut_first_slice(host, p, phase):
    """Let the slice that began on p at time 0 end early, as the phase says."""
    pcpu = pcpu_at(host.pcpus, p)
    if phase == ALIGNED_PHASE:
        return
    if phase == RANDOM_PHASE:
        w0, _ = words(host, HOST_OWNER, p, PHASE, 0)
        pcpu.slice_end = cut(w0, pcpu.slice_end)
    else:
        pcpu.slice_end = max(1, round(float64_at(phase, p).value * pcpu.slice_end))
    put_timer(host, p, pcpu.slice_end)


@device
def start(host):
    """Place the vCPUs, queue them, and run the head of each queue."""
    options = parameters(config_at(host.config, 0).scheduler_parameters, 0)
    place(host)
    members = room(host)
    for p in range(host.n_pcpu):
        n = 0
        for v in range(host.n_vcpu):
            if vcpu_at(host.vcpus, v).home == p:
                members[n] = v
                n += 1
        fill_in_order(host, p, members, n, options.order == RANDOM_ORDER)
    for p in range(host.n_pcpu):
        v = pop(host, p)
        if v >= 0:
            dispatch(host, p, v, 0)
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
def has_queued(host, p):
    """Whether another vCPU is queued that p may run."""
    return queue_at(host.queues, p).length > 0


yields = has_queued


@device
def make_ready(host, v):
    """Put v at the tail of its queue."""
    push(host, vcpu_at(host.vcpus, v).home, v)


@device
def pick(host, p):
    """Take the vCPU that p runs next out of its queue; -1 if there is none."""
    return pop(host, p)


successor = pick


@device
def replace(host, p, t):
    """Let the head of its queue run on p, which is free."""
    v = pick(host, p)
    if v >= 0:
        dispatch(host, p, v, t)


@device
def wake_up(host, v, t):
    """V has become runnable: it queues, or runs at once if its pCPU is idle."""
    p = vcpu_at(host.vcpus, v).home
    make_ready(host, v)
    if pcpu_at(host.pcpus, p).vcpu < 0:
        run_next(host, p, t)


@device
def may_take(host, p, v, migrate):
    """Whether the queued v may be run on p out of turn."""
    return migrate or vcpu_at(host.vcpus, v).home == p


@device
def take(host, p, v):
    """Take v out of its queue to run on p, where it stays."""
    vcpu = vcpu_at(host.vcpus, v)
    remove(host, vcpu.home, v)
    vcpu.home = p
