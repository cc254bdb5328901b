"""Credit scheduling: Xen's default scheduler before credit2.

VMs earn credit by weight and vCPUs burn it by running. Whoever has some left is UNDER and goes before those that
are OVER; a vCPU that wakes up UNDER is boosted above both until the next tick finds it running, and preempts a
lower class, though nobody who has run for less than the rate limit. Every pCPU has its own queue, and steals
rather than that it idles or runs OVER while others wait [1]_. Slice 30 ms, ticks of 10 ms, an accounting every
three ticks, rate limit 1 ms (``xen/common/sched/credit.c``: CSCHED_DEFAULT_TSLICE_MS, CSCHED_TICKS_PER_TSLICE,
XEN_SYSCTL_SCHED_RATELIMIT). What is left out: caps, migration costs and the choice among several idle pCPUs.

References
----------
.. [1] L. Cherkasova, D. Gupta and A. Vahdat, "Comparison of the three CPU schedulers in Xen", ACM SIGMETRICS
   Performance Evaluation Review 35(2), 2007.
"""

from typing import ClassVar

from fastlhp.engine.dispatch import dispatch, draw_slice, run_next
from fastlhp.engine.jit import device
from fastlhp.engine.parameters import RANDOM_PHASE, view
from fastlhp.engine.queues import insert, pop, push, remove, room, spread
from fastlhp.engine.rows import put_timer
from fastlhp.engine.state import (
    FOREVER,
    HALTED,
    IDLE,
    NOT_EXTENDED,
    RUNNING,
    SWITCHING,
    config_at,
    distribution_at,
    pcpu_at,
    queue_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import FixedDuration, PositiveDuration, PositiveFixedDuration
from fastlhp.model.policy import SchedulerParameters
from fastlhp.model.validation import written
from fastlhp.policies.schedulers import global_queue, round_robin

__all__ = ["Credit"]


class Credit(SchedulerParameters):
    """Credit by weight, classes BOOST, UNDER and OVER, and stealing (Xen).

    Attributes
    ----------
    slice : Distribution
        Length of a time slice; its mean is also the most credit that a vCPU can have or owe.
    tick : Distribution
        Period after which a running vCPU loses its boost; credit is dealt at every third tick. A constant.
    ratelimit : Distribution
        How long a vCPU runs before a woken one may preempt it. A constant.
    """

    KIND: ClassVar[str] = "credit"

    slice: PositiveDuration = written("30ms")
    tick: PositiveFixedDuration = written("10ms")
    ratelimit: FixedDuration = written("1ms")


parameters = view(Credit)

NOBODY, OVER, UNDER, BOOST = -1, 0, 1, 2
TICKS = 3
"""Ticks from one accounting to the next."""
MOST_WEIGHT = 65535
"""Of a VM, where 256 is an ordinary one: Xen's limit."""


# Credit


@device
def charge(host, v):
    """Take what v has run up to now off its credit."""
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.charged_at < host.now:
        vcpu.credit_ns -= host.now - vcpu.charged_at
        vcpu.charged_at = host.now
        vcpu.has_run = 1


@device
def stop_charging(host, v):
    """V does not run any more."""
    charge(host, v)
    vcpu_at(host.vcpus, v).charged_at = FOREVER


@device
def is_active(host, v):
    """Whether v shares in the credit of its VM: it is runnable, or has run since the last accounting."""
    vcpu = vcpu_at(host.vcpus, v)
    return vcpu.has_run != 0 or vcpu.state != HALTED


@device
def weight_of(host, m):
    """Weight of VM m in Xen's units."""
    return min(max(round(256 * vm_config_at(host.config_vms, m).weight), 1), MOST_WEIGHT)


@device
def n_active(host, m):
    """Number of active vCPUs of VM m."""
    vm_config = vm_config_at(host.config_vms, m)
    n = 0
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        if is_active(host, v):
            n += 1
    return n


@device
def deal(host):
    """Deal the credit of a period to the active VMs by weight, and say who is UNDER and who is OVER."""
    options = parameters(config_at(host.config, 0).scheduler_parameters, 0)
    most = max(round(distribution_at(options.slice, 0).mean), 1)
    total = 0
    for v in range(host.n_vcpu):
        charge(host, v)
    for m in range(host.n_vm):
        if n_active(host, m) > 0:
            total += weight_of(host, m)
    for m in range(host.n_vm):
        vm_config = vm_config_at(host.config_vms, m)
        n = n_active(host, m)
        share = 0
        if n > 0:
            dealt = host.n_pcpu * TICKS * distribution_at(options.tick, 0).value
            share = dealt * weight_of(host, m) // total // n
        for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
            vcpu = vcpu_at(host.vcpus, v)
            if is_active(host, v):
                vcpu.credit_ns = min(max(vcpu.credit_ns + share, -most), most)
            vcpu.has_run = 0
            vcpu.rank = UNDER if vcpu.credit_ns >= 0 else OVER


@device
def sort(host, p):
    """Put the queue of p in the order of the classes, FIFO within."""
    members = room(host)
    n = 0
    v = pop(host, p)
    while v >= 0:
        members[n] = v
        n += 1
        v = pop(host, p)
    for below in range(BOOST + 1):
        for i in range(n):
            if vcpu_at(host.vcpus, members[i]).rank == BOOST - below:
                push(host, p, members[i])


@device
def slot_ends(host, t):
    """A tick: running vCPUs lose their boost; credit is dealt at every third one."""
    host.slot_end = (
        t + distribution_at(parameters(config_at(host.config, 0).scheduler_parameters, 0).tick, 0).value
    )
    host.slot = (host.slot + 1) % TICKS
    for p in range(host.n_pcpu):
        v = pcpu_at(host.pcpus, p).vcpu
        if v >= 0 and vcpu_at(host.vcpus, v).rank == BOOST:
            vcpu_at(host.vcpus, v).rank = UNDER
    if host.slot == 0:
        deal(host)
        for p in range(host.n_pcpu):
            sort(host, p)


# Slices


@device
def slice_ns(host, v):
    """A new slice."""
    return draw_slice(host, v, parameters(config_at(host.config, 0).scheduler_parameters, 0).slice)


@device
def end_slice_at(host, p, t):
    """Let the slice on p end then, if not earlier."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.extended == NOT_EXTENDED and t < pcpu.slice_end:
        pcpu.slice_end = t
        if pcpu.mode == RUNNING or pcpu.mode == SWITCHING:
            put_timer(host, p, t)


@device
def ratelimit_ns(host):
    """How long a vCPU runs at least."""
    return distribution_at(parameters(config_at(host.config, 0).scheduler_parameters, 0).ratelimit, 0).value


@device
def slice_begins(host, p, t):
    """The vCPU on p begins a slice."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    if vcpu.charged_at == FOREVER:
        vcpu.charged_at = t
        vcpu.running_since = t
        if pcpu.tickled != 0:
            pcpu.tickled = 0
            end_slice_at(host, p, t + ratelimit_ns(host))


# Queues


@device
def start(host):
    """Spread the vCPUs over the pCPUs, queue them in random order, and run the head of each queue."""
    for v in range(host.n_vcpu):
        vcpu_at(host.vcpus, v).charged_at = FOREVER
        vcpu_at(host.vcpus, v).rank = UNDER
    spread(host)
    host.slot_end = distribution_at(
        parameters(config_at(host.config, 0).scheduler_parameters, 0).tick, 0
    ).value
    for p in range(host.n_pcpu):
        pcpu_at(host.pcpus, p).tickled = 0
        v = pop(host, p)
        if v >= 0:
            dispatch(host, p, v, 0)
            round_robin.cut_first_slice(host, p, RANDOM_PHASE)


@device
def rank_of(host, v):
    """Class of v, which may be nobody (-1)."""
    return vcpu_at(host.vcpus, v).rank if v >= 0 else NOBODY


@device
def next_of(host, p):
    """The queued vCPU that p runs next, from its own queue or stolen; -1 if there is none."""
    own = queue_at(host.queues, p).head
    rank = rank_of(host, own)
    if rank <= OVER:
        for i in range(1, host.n_pcpu):
            v = queue_at(host.queues, (p + i) % host.n_pcpu).head
            while v >= 0:
                if rank_of(host, v) > rank:
                    return v
                v = vcpu_at(host.vcpus, v).next
    return own


@device
def has_queued(host, p):
    """Whether another vCPU than the one on p is due at its slice end: one of its class or a higher one."""
    rank = rank_of(host, pcpu_at(host.pcpus, p).vcpu)
    if rank_of(host, queue_at(host.queues, p).head) >= rank:
        return True
    return rank == OVER and rank_of(host, next_of(host, p)) > OVER


yields = round_robin.has_queued


@device
def make_ready(host, v):
    """Queue v behind all of its class; a yielder behind one vCPU of a lower class as well."""
    stop_charging(host, v)
    vcpu = vcpu_at(host.vcpus, v)
    u = queue_at(host.queues, vcpu.queue).head
    while u >= 0 and rank_of(host, u) >= vcpu.rank:
        u = vcpu_at(host.vcpus, u).next
    if u >= 0 and vcpu.yielded != 0:
        u = vcpu_at(host.vcpus, u).next
    insert(host, vcpu.queue, v, u)


@device
def account_halt(host, p):
    """If the vCPU that has just left p halted, it does not run any more."""
    last = pcpu_at(host.pcpus, p).last
    if last >= 0 and vcpu_at(host.vcpus, last).state == HALTED:
        stop_charging(host, last)


@device
def pick(host, p):
    """Take the vCPU that p runs next out of its queue; -1 if there is none."""
    account_halt(host, p)
    v = next_of(host, p)
    if v >= 0:
        take(host, p, v)
    return v


@device
def replace(host, p, t):
    """Let the next vCPU run on p, which is free."""
    v = pick(host, p)
    if v >= 0:
        dispatch(host, p, v, t)


@device
def wake_up(host, v, t):
    """V has become runnable: boosted, unless it is OVER; an idle pCPU takes it, or it queues and may preempt."""
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.rank == UNDER:
        vcpu.rank = BOOST
    join(host, v, t)


@device
def join(host, v, t):
    """Let the lowest idle pCPU take v; else queue it, and let it preempt a lower class."""
    vcpu = vcpu_at(host.vcpus, v)
    for p in range(host.n_pcpu):
        if pcpu_at(host.pcpus, p).vcpu < 0:
            vcpu.queue = p
            make_ready(host, v)
            run_next(host, p, t)
            return
    make_ready(host, v)
    p = vcpu.queue
    pcpu = pcpu_at(host.pcpus, p)
    if rank_of(host, pcpu.vcpu) < vcpu.rank:
        if pcpu.mode == SWITCHING:
            pcpu.tickled = 1
        elif pcpu.mode != IDLE:  # under relaxed co-scheduling it may wait there for siblings
            end_slice_at(host, p, max(t, vcpu_at(host.vcpus, pcpu.vcpu).running_since + ratelimit_ns(host)))


# Directed yields


may_take = global_queue.may_take


@device
def take(host, p, v):
    """Take v out of its queue to run on p, where it stays."""
    account_halt(host, p)
    vcpu = vcpu_at(host.vcpus, v)
    remove(host, vcpu.queue, v)
    vcpu.queue = p
