"""Fair scheduling by weighted virtual runtime: Linux's CFS, the scheduler below KVM until Linux 6.6.

Every pCPU has its own queue and runs the vCPU whose weighted running time, its virtual runtime, is smallest
[1]_. A slice is an equal share of the latency among those runnable on the pCPU, but not less than the
granularity. A sleeper wakes up with at most half a latency of credit, and preempts whoever is far enough
behind it. Defaults are those of a host with eight or more CPUs: latency 24 ms, minimum granularity 3 ms,
wake-up granularity 4 ms (``kernel/sched/fair.c``: 6, 0.75 and 1 ms times 1 + log2 of the CPUs, at most 8).
What is left out: periodic load balancing, and the share of a slice by weight (a heavier vCPU gets more slices,
not longer ones).

References
----------
.. [1] I. Molnar, "Modular scheduler core and completely fair scheduler [CFS]", Linux kernel mailing list, April
   2007; ``Documentation/scheduler/sched-design-CFS.rst``.
"""

from typing import ClassVar

from fastlhp.engine.dispatch import dispatch, run_next
from fastlhp.engine.draws import duration, words
from fastlhp.engine.jit import device
from fastlhp.engine.machine import is_constant, leave
from fastlhp.engine.parameters import view
from fastlhp.engine.queues import cut, pop, push, remove, spread
from fastlhp.engine.rows import put_timer
from fastlhp.engine.state import (
    EXITING,
    FOREVER,
    HALTED,
    HOST_OWNER,
    NOT_EXTENDED,
    PHASE,
    READY,
    RUNNING,
    SLICE,
    SWITCHING,
    config_at,
    distribution_at,
    pcpu_at,
    queue_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import FixedDuration, PositiveDuration
from fastlhp.model.policy import SchedulerParameters
from fastlhp.model.validation import written
from fastlhp.policies.schedulers import global_queue, round_robin

__all__ = ["Fair"]


class Fair(SchedulerParameters):
    """Per-pCPU queues ordered by weighted virtual runtime (CFS).

    Attributes
    ----------
    latency : Distribution
        Time in which all vCPUs that are runnable on a pCPU should run once: a slice is an equal share of it.
    granularity : Distribution
        Shortest slice.
    wakeup_granularity : Distribution
        How far a woken vCPU has to be ahead of the running one, in virtual runtime, to preempt it; and how far the
        target of a directed yield may be behind. A constant.
    tick : Distribution
        Period of the timer at which slices are checked; 0: a slice ends exactly when it is over. A constant.
    """

    KIND: ClassVar[str] = "fair"

    latency: PositiveDuration = written("24ms")
    granularity: PositiveDuration = written("3ms")
    wakeup_granularity: FixedDuration = written("4ms")
    tick: FixedDuration = written("0ns")


parameters = view(Fair)

LEAST_WEIGHT = 15
"""Of a vCPU, where 1024 is an ordinary one: that of CFS's nicest process."""
UNIT_BITS = 16
"""Virtual runtime is in 2^-16 ns of an ordinary vCPU's time, so that weights need not divide evenly."""


# Virtual runtime


@device
def charge(host, v):
    """Bring the virtual runtime of v up to now, if it is running or in an exit."""
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.charged_at < FOREVER:
        vcpu.vruntime += (host.now - vcpu.charged_at) * vcpu.rate
        vcpu.charged_at = host.now


@device
def stop_charging(host, v):
    """V does not run any more."""
    charge(host, v)
    vcpu_at(host.vcpus, v).charged_at = FOREVER


@device
def share(host, m):
    """Share the weight of VM m among its vCPUs that are runnable now."""
    vm_config = vm_config_at(host.config_vms, m)
    first, last = vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu
    n = 0
    for v in range(first, last):
        charge(host, v)
        if vcpu_at(host.vcpus, v).state != HALTED:
            n += 1
    weight = max(LEAST_WEIGHT, round(1024 * vm_config.weight))
    for v in range(first, last):
        vcpu_at(host.vcpus, v).rate = ((n << (UNIT_BITS + 10)) + weight // 2) // weight


@device
def least(host, p, extra):
    """The vCPU with the smallest virtual runtime of those on p, in its queue, and ``extra`` (-1: none)."""
    best = pcpu_at(host.pcpus, p).vcpu
    if best < 0:
        best = extra
    else:
        charge(host, best)
    v = queue_at(host.queues, p).head
    if best < 0:
        best = v
    if best >= 0:
        lowest = vcpu_at(host.vcpus, best).vruntime
        while v >= 0:
            vcpu = vcpu_at(host.vcpus, v)
            # A choice, not a branch, which would be mispredicted.
            is_lower = vcpu.vruntime - lowest < 0
            best = v if is_lower else best
            lowest = vcpu.vruntime if is_lower else lowest
            v = vcpu.next
    return best


@device
def raise_floor(host, p, extra):
    """Raise p's floor to its smallest virtual runtime (``min_vruntime``), that of the vCPU returned.

    Due before that may fall.
    """
    pcpu = pcpu_at(host.pcpus, p)
    v = least(host, p, extra)
    if v >= 0:
        vruntime = vcpu_at(host.vcpus, v).vruntime
        if vruntime - pcpu.floor > 0:
            pcpu.floor = vruntime
    return v


@device
def raise_floors(host, p, v):
    """Raise the floors of p and of the pCPU in whose queue v is; returns the vCPU with p's smallest virtual runtime."""
    u = raise_floor(host, p, -1)
    if vcpu_at(host.vcpus, v).queue != p:
        raise_floor(host, vcpu_at(host.vcpus, v).queue, -1)
    return u


@device
def move(host, v, p):
    """Let v belong to pCPU p's queue from now on: it keeps its distance from the floor."""
    vcpu = vcpu_at(host.vcpus, v)
    if vcpu.queue != p:
        vcpu.vruntime += pcpu_at(host.pcpus, p).floor - pcpu_at(host.pcpus, vcpu.queue).floor
        vcpu.queue = p


# Slices


@device
def set_end(host, p, end):
    """Let the slice on p end then, or at the next tick."""
    pcpu = pcpu_at(host.pcpus, p)
    tick = distribution_at(parameters(config_at(host.config, 0).scheduler_parameters, 0).tick, 0).value
    end = max(end, host.now)
    if tick > 0:
        end = (end + tick - 1) // tick * tick
    pcpu.slice_end = end
    if pcpu.mode != EXITING:
        put_timer(host, p, end)


@device
def length_of(host, v):
    """Length of the slice of v beside those that are queued now."""
    vcpu = vcpu_at(host.vcpus, v)
    return max(vcpu.latency_ns // (queue_at(host.queues, vcpu.queue).length + 1), vcpu.granularity_ns)


@device
def check_again(host, p):
    """The number of vCPUs that are runnable on p has changed: so does the length of the slice there."""
    pcpu = pcpu_at(host.pcpus, p)
    if pcpu.mode != RUNNING and pcpu.mode != EXITING:
        return
    if pcpu.extended == NOT_EXTENDED and pcpu.slice_began < FOREVER and pcpu.slice_end > host.now:
        set_end(host, p, pcpu.slice_began + length_of(host, pcpu.vcpu))


@device
def slice_ns(host, v):
    """A new slice."""
    options = parameters(config_at(host.config, 0).scheduler_parameters, 0)
    vcpu = vcpu_at(host.vcpus, v)
    w0, w1 = 0, 0
    if not (is_constant(options.latency) and is_constant(options.granularity)):
        w0, w1 = words(host, vcpu.vm, vcpu.index, SLICE, vcpu.n_slice)
        vcpu.n_slice += 1
    vcpu.latency_ns = duration(options.latency, w0)
    vcpu.granularity_ns = duration(options.granularity, w1)
    return length_of(host, v)


@device
def slice_begins(host, p, t):
    """The vCPU on p begins a slice."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu = vcpu_at(host.vcpus, pcpu.vcpu)
    if vcpu.charged_at == FOREVER:
        vcpu.charged_at = t
    set_end(host, p, pcpu.slice_end)


@device
def has_queued(host, p):
    """Whether another vCPU than the one on p is due at its slice end: one that is not behind it."""
    v = pcpu_at(host.pcpus, p).vcpu
    charge(host, v)
    u = queue_at(host.queues, p).head
    while u >= 0:
        if vcpu_at(host.vcpus, u).vruntime - vcpu_at(host.vcpus, v).vruntime <= 0:
            return True
        u = vcpu_at(host.vcpus, u).next
    return False


# Queues


@device
def start(host):
    """Spread the vCPUs over the pCPUs, queue them in random order, and run the head of each queue."""
    for v in range(host.n_vcpu):
        vcpu_at(host.vcpus, v).charged_at = FOREVER
    for m in range(host.n_vm):
        share(host, m)
    spread(host)
    for p in range(host.n_pcpu):
        v = pop(host, p)
        if v >= 0:
            dispatch(host, p, v, 0)
            # As if the pCPU had been running for a while.
            pcpu = pcpu_at(host.pcpus, p)
            length = length_of(host, v)
            w0, _ = words(host, HOST_OWNER, p, PHASE, 0)
            pcpu.slice_began = cut(w0, length) - length
            set_end(host, p, pcpu.slice_began + length)


yields = round_robin.has_queued


@device
def make_ready(host, v):
    """Queue v."""
    stop_charging(host, v)
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.queued_at = host.now
    push(host, vcpu.queue, v)


@device
def next_of(host, p):
    """The queued vCPU with the smallest virtual runtime, the longest there of several; -1 if there is none.

    The one that p has just run comes last: it yielded, or others were due.
    """
    last = pcpu_at(host.pcpus, p).last
    best = -1
    v = queue_at(host.queues, p).head
    while v >= 0:
        vcpu = vcpu_at(host.vcpus, v)
        if best < 0 or best == last:
            best = v
        elif v != last and vcpu.vruntime - vcpu_at(host.vcpus, best).vruntime < 0:
            best = v
        v = vcpu.next
    return best


@device
def longest_waiter(host):
    """The vCPU that has been queued the longest on any pCPU; -1 if there is none."""
    best = -1
    for v in range(host.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.state == READY and (best < 0 or vcpu.queued_at < vcpu_at(host.vcpus, best).queued_at):
            best = v
    return best


@device
def pull(host, p, v):
    """Take v out of its queue to run on p, where it stays."""
    q = vcpu_at(host.vcpus, v).queue
    remove(host, q, v)
    move(host, v, p)
    if q != p:
        check_again(host, q)


@device
def account_halt(host, p):
    """If the vCPU that has just left p halted, it does not run any more, and its siblings share its weight."""
    last = pcpu_at(host.pcpus, p).last
    if (
        last >= 0
        and vcpu_at(host.vcpus, last).state == HALTED
        and vcpu_at(host.vcpus, last).charged_at < FOREVER
    ):
        stop_charging(host, last)
        raise_floor(host, p, last)
        share(host, vcpu_at(host.vcpus, last).vm)


@device
def replace(host, p, t):
    """Let the next vCPU run on p, which is free; it is pulled from elsewhere rather than that p idles."""
    account_halt(host, p)
    v = next_of(host, p)
    if v < 0:
        v = longest_waiter(host)
        if v < 0:
            return
        raise_floor(host, vcpu_at(host.vcpus, v).queue, -1)
    pull(host, p, v)
    dispatch(host, p, v, t)


@device
def wake_up(host, v, t):
    """V has become runnable: the lowest idle pCPU takes it, or it queues and may preempt."""
    vcpu = vcpu_at(host.vcpus, v)
    share(host, vcpu.vm)
    idle = 0
    while idle < host.n_pcpu and pcpu_at(host.pcpus, idle).vcpu >= 0:
        idle += 1
    if idle < host.n_pcpu:
        raise_floor(host, vcpu.queue, -1)
        move(host, v, idle)
    p = vcpu.queue
    pcpu = pcpu_at(host.pcpus, p)
    raise_floor(host, p, -1)
    earliest = pcpu.floor - (vcpu.latency_ns // 2 << UNIT_BITS)
    if earliest - vcpu.vruntime > 0:
        vcpu.vruntime = earliest
    make_ready(host, v)
    if pcpu.vcpu < 0:
        replace(host, p, t)
        return
    check_again(host, p)
    ahead = vcpu_at(host.vcpus, pcpu.vcpu).vruntime - vcpu.vruntime
    granularity = parameters(config_at(host.config, 0).scheduler_parameters, 0).wakeup_granularity
    if ahead <= distribution_at(granularity, 0).value << UNIT_BITS:
        return
    if pcpu.mode == SWITCHING:
        u = pcpu.vcpu
        leave(host, p, READY, t)
        make_ready(host, u)
        run_next(host, p, t)
    elif pcpu.extended == NOT_EXTENDED and pcpu.slice_end > t:
        # The slice ends now; in an exit, when that is over.
        pcpu.slice_began = FOREVER
        pcpu.slice_end = t
        if pcpu.mode == RUNNING:
            put_timer(host, p, t)


# Directed yields


may_take = global_queue.may_take


@device
def obeys(host, p, target):
    """Whether the target is not too far behind to be run on p out of turn."""
    u = raise_floors(host, p, target)
    vcpu = vcpu_at(host.vcpus, target)
    vruntime = vcpu.vruntime + pcpu_at(host.pcpus, p).floor - pcpu_at(host.pcpus, vcpu.queue).floor
    granularity = parameters(config_at(host.config, 0).scheduler_parameters, 0).wakeup_granularity
    behind = vruntime - vcpu_at(host.vcpus, u).vruntime
    return behind <= distribution_at(granularity, 0).value << UNIT_BITS


@device
def take(host, p, v):
    """Take v out of its queue to run on p, where it stays."""
    account_halt(host, p)
    raise_floors(host, p, v)
    pull(host, p, v)
