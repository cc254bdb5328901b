"""Relaxed co-scheduling: siblings may drift apart up to a threshold of skew (VMware ESX 3 and later).

A base scheduler time-slices, and skew control stops whoever gets too far ahead of its siblings [1]_. ``esx3`` adds up,
for each vCPU, the time during which a sibling progressed and it did not; above the threshold the whole VM is
co-stopped until all that lag can start together. This overestimates: what several siblings gain one after the other
adds up. ``esx4`` compares progress itself: a vCPU that is too far ahead of the slowest sibling co-stops itself, and
nobody else. VMware's own example shows the difference: of four vCPUs v2 runs for 2T and then v3 for T; esx3 finds a
skew of 3T for v0 and v1, where no vCPU is ahead of another by more than 2T. The threshold of 3 ms is unofficial
("about 3 to 4 ms"), the slice of 50 ms ESX's quantum (F. Denneman, 2011).

References
----------
.. [1] VMware, "VMware vSphere 4: the CPU scheduler in VMware ESX 4", white paper, 2009.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import PlainValidator, ValidationInfo

from fastlhp.engine.dispatch import dispatch, run_next
from fastlhp.engine.jit import device
from fastlhp.engine.machine import leave, set_state
from fastlhp.engine.parameters import option, view
from fastlhp.engine.queues import insert, remove
from fastlhp.engine.rows import put_timer
from fastlhp.engine.state import (
    COSTOPPED,
    FOREVER,
    HALTED,
    IDLE,
    NOT_EXTENDED,
    READY,
    RUNNING,
    SERVING,
    SWITCHING,
    config_at,
    distribution_at,
    pcpu_at,
    queue_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import (
    Distribution,
    FixedDuration,
    PositiveDuration,
    PositiveFixedDuration,
    fixed_duration,
)
from fastlhp.model.policy import Phase, PolicyParameters, SchedulerParameters, phase_mistakes
from fastlhp.model.validation import DURATION_SCHEMA, Accepts, Mistake, refused, written
from fastlhp.policies.schedulers import credit, round_robin

__all__ = ["RelaxedCoscheduling"]

_RESUME_HELP = "a fixed time above 0, at most skew_threshold"


def _resume(value: object, info: ValidationInfo) -> Distribution | None:
    if value is None:
        return None
    resume = fixed_duration(value, info)
    threshold = info.data.get("skew_threshold", resume)
    if not 0 < resume.mean_ns <= threshold.mean_ns:
        raise refused(value, _RESUME_HELP)
    return resume


class RelaxedCoscheduling(SchedulerParameters):
    """A base scheduler, and a limit to how far siblings may drift apart (ESX 3 and later).

    Attributes
    ----------
    base : {"round_robin", "credit"}
        Who runs as long as the skew is small.
    variant : {"esx3", "esx4"}
        Stop the VM for those that lag, or each vCPU that is ahead.
    skew_threshold : Distribution
        Skew above which vCPUs are co-stopped. A constant.
    skew_resume : Distribution
        ``esx4``: skew below which a co-stopped vCPU is runnable again. ``esx3``: skew above which a vCPU of a
        co-stopped VM is one of those that start together. A constant; half the threshold if not given.
    slice : Distribution
        Length of a time slice.
    placement, order, phase, slice_after_yield
        With the base `round_robin`: as there.
    tick, ratelimit
        With the base `credit`: as there.
    """

    KIND: ClassVar[str] = "relaxed_coscheduling"

    base: Literal["round_robin", "credit"] = "round_robin"
    variant: Literal["esx3", "esx4"] = "esx4"
    skew_threshold: PositiveFixedDuration = written("3ms")
    skew_resume: Annotated[
        Distribution | None,
        PlainValidator(_resume),
        Accepts(_RESUME_HELP),
        DURATION_SCHEMA,
    ] = None
    slice: PositiveDuration = written("50ms")
    placement: Literal["spread", "aligned", "random", "balance"] = "spread"
    order: Literal["random", "vm"] = "random"
    phase: Phase = "random"
    slice_after_yield: Literal["full", "rest"] = "full"
    tick: PositiveFixedDuration = written("10ms")
    ratelimit: FixedDuration = written("1ms")

    def host_mistakes(self, pcpus: int) -> Iterator[Mistake]:
        """Yield a list of phases that is not one per pCPU."""
        yield from phase_mistakes(self.phase, pcpus, "one for each pCPU")

    def base_policy(self) -> PolicyParameters:
        """Return the parameters of the base."""
        if self.base == "credit":
            return credit.Credit(slice=self.slice, tick=self.tick, ratelimit=self.ratelimit)
        return round_robin.RoundRobin(
            slice=self.slice,
            placement=self.placement,
            order=self.order,
            phase=self.phase,
            slice_after_yield=self.slice_after_yield,
        )


parameters = view(RelaxedCoscheduling)
ON_CREDIT = option(RelaxedCoscheduling, "base", "credit")
ESX3 = option(RelaxedCoscheduling, "variant", "esx3")


@device
def options_of(host):
    """The scheduler's own parameters; the base finds its own where it always does."""
    return parameters(config_at(host.config, 0).overlay_parameters, 0)


@device
def on_credit(host):
    """Whether the base is `credit`."""
    return options_of(host).base == ON_CREDIT


@device
def is_esx3(host):
    """Which variant it is."""
    return options_of(host).variant == ESX3


@device
def threshold_ns(host):
    """Skew above which vCPUs are co-stopped."""
    return distribution_at(options_of(host).skew_threshold, 0).value


@device
def resume_ns(host):
    """Skew at which they are not any more."""
    resume = options_of(host).skew_resume
    if resume == 0:
        return max(threshold_ns(host) // 2, 1)
    return distribution_at(resume, 0).value


# Skew


@device
def progresses(host, v):
    """Whether v progresses: its guest runs, or idles by HLT or in a halted wait."""
    state = vcpu_at(host.vcpus, v).state
    return state == RUNNING or state == SERVING or state == HALTED


@device
def n_progressing(host, m):
    """Number of vCPUs of VM m that progress."""
    vm_config = vm_config_at(host.config_vms, m)
    n = 0
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        if progresses(host, v):
            n += 1
    return n


@device
def elapse(host, dt):
    """Book ``dt``, during which no vCPU changed its state: to the skew (esx3) or the progress (esx4)."""
    for m in range(host.n_vm):
        vm_config = vm_config_at(host.config_vms, m)
        grows = is_esx3(host) and n_progressing(host, m) > 0
        for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
            vcpu = vcpu_at(host.vcpus, v)
            if not is_esx3(host):
                if progresses(host, v):
                    vcpu.skew_ns += dt
            elif progresses(host, v):
                vcpu.skew_ns = max(vcpu.skew_ns - dt, 0)
            elif grows:
                vcpu.skew_ns += dt


@device
def slowest(host, m, moving):
    """Least progress of the vCPUs of VM m that progress now (``moving``) or of those that do not (esx4)."""
    vm_config = vm_config_at(host.config_vms, m)
    least = FOREVER
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        if progresses(host, v) == moving:
            least = min(least, vcpu_at(host.vcpus, v).skew_ns)
    return least


@device
def is_ahead(host, v):
    """Whether v is too far ahead of its slowest sibling (esx4)."""
    vcpu = vcpu_at(host.vcpus, v)
    least = min(slowest(host, vcpu.vm, True), slowest(host, vcpu.vm, False))
    return vcpu.skew_ns - least > threshold_ns(host)


@device
def stopped_at(host, m):
    """When VM m was co-stopped (esx3); FOREVER if it is not. Stands in the record of its first vCPU."""
    return vcpu_at(host.vcpus, vm_config_at(host.config_vms, m).first_vcpu).vm_stopped_at


@device
def has_to_stop(host, v):
    """Whether v may not run on."""
    if is_esx3(host):
        return stopped_at(host, vcpu_at(host.vcpus, v).vm) < FOREVER
    return is_ahead(host, v)


# The next event


@device
def due_esx4(host, v, least_still, least_moving):
    """When v is to be co-stopped or made runnable again, if no state changes before; see `slowest`."""
    vcpu = vcpu_at(host.vcpus, v)
    still = vcpu.skew_ns - least_still
    moving = vcpu.skew_ns - least_moving
    if vcpu.state == RUNNING and vcpu.stopping == 0:
        if max(still, moving) > threshold_ns(host):
            return host.now
        return host.now + threshold_ns(host) + 1 - still
    if vcpu.state == COSTOPPED and still < resume_ns(host):
        return host.now + max(moving - resume_ns(host) + 1, 0)
    return FOREVER


@device
def queue_place(host, v):
    """The queue to which v belongs."""
    vcpu = vcpu_at(host.vcpus, v)
    return vcpu.home if vcpu.home >= 0 else vcpu.queue


@device
def is_behind_sibling(host, v):
    """Whether a sibling is on v's pCPU or before v in its queue: both cannot run at once."""
    vm = vcpu_at(host.vcpus, v).vm
    p = queue_place(host, v)
    occupant = pcpu_at(host.pcpus, p).vcpu
    if occupant >= 0 and vcpu_at(host.vcpus, occupant).vm == vm:
        return True
    u = queue_at(host.queues, p).head
    while u != v:
        if vcpu_at(host.vcpus, u).vm == vm:
            return True
        u = vcpu_at(host.vcpus, u).next
    return False


@device
def due_esx3(host, m):
    """When VM m is to be co-stopped, if no state changes before."""
    if stopped_at(host, m) < FOREVER or n_progressing(host, m) == 0:
        return FOREVER
    due = FOREVER
    vm_config = vm_config_at(host.config_vms, m)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.state == READY and not is_behind_sibling(host, v):
            due = min(due, host.now + max(threshold_ns(host) + 1 - vcpu.skew_ns, 0))
    return due


@device
def is_holding_pcpu(host, v):
    """Whether a pCPU idles for v, which waits for its siblings to start with it."""
    p = queue_place(host, v)
    pcpu = pcpu_at(host.pcpus, p)
    return pcpu.vcpu == v and pcpu.mode == IDLE


@device
def is_complete(host, m):
    """Whether all vCPUs of VM m that have to start together have a pCPU; several on one count as one."""
    vm_config = vm_config_at(host.config_vms, m)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.lagging != 0 and vcpu.state != HALTED:
            if vcpu.state != COSTOPPED:
                return False
            holder = pcpu_at(host.pcpus, queue_place(host, v)).vcpu
            if holder < 0 or vcpu_at(host.vcpus, holder).vm != m or not is_holding_pcpu(host, holder):
                return False
    return True


@device
def next_to_start(host):
    """The VM that has been co-stopped for the longest (esx3); -1 if none is."""
    best = -1
    for m in range(host.n_vm):
        if stopped_at(host, m) < FOREVER and (best < 0 or stopped_at(host, m) < stopped_at(host, best)):
            best = m
    return best


@device
def revise(host):
    """Look when the next event is that concerns several pCPUs."""
    due = host.tick_at
    if is_esx3(host):
        if host.costarting >= 0:
            if is_complete(host, host.costarting):
                due = host.now
        elif next_to_start(host) >= 0:
            due = host.now
        for m in range(host.n_vm):
            due = min(due, due_esx3(host, m))
    else:
        for m in range(host.n_vm):
            vm_config = vm_config_at(host.config_vms, m)
            still, moving = slowest(host, m, False), slowest(host, m, True)
            for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
                due = min(due, due_esx4(host, v, still, moving))
    host.slot_end = due


@device
def slot_ends(host, t):
    """A tick of the base; else one co-start or co-stop."""
    if host.tick_at == t:
        credit.slot_ends(host, t)
        host.tick_at = host.slot_end
    elif not is_esx3(host):
        for v in range(host.n_vcpu):
            m = vcpu_at(host.vcpus, v).vm
            if due_esx4(host, v, slowest(host, m, False), slowest(host, m, True)) == t:
                if vcpu_at(host.vcpus, v).state == COSTOPPED:
                    set_state(host, v, READY, t)
                    join(host, v, t)
                else:
                    stop_running(host, queue_place(host, v), t)
                return
    elif host.costarting >= 0 and is_complete(host, host.costarting):
        co_start(host, host.costarting, t)
    elif host.costarting < 0 and next_to_start(host) >= 0:
        host.costarting = next_to_start(host)
        queue_laggards(host, host.costarting)
        fill_idle(host, t)
    else:
        for m in range(host.n_vm):
            if due_esx3(host, m) == t:
                co_stop(host, m, t)
                return


# Stopping and starting


@device
def stop_running(host, p, t):
    """The slice on p ends now, or after the exit: its vCPU has to stop."""
    pcpu = pcpu_at(host.pcpus, p)
    vcpu_at(host.vcpus, pcpu.vcpu).stopping = 1
    if pcpu.extended == NOT_EXTENDED and pcpu.slice_end > t:
        pcpu.slice_began = FOREVER
        pcpu.slice_end = t
        if pcpu.mode == RUNNING:
            put_timer(host, p, t)


@device
def co_stop(host, m, t):
    """Stop VM m: those that lag are going to start together (esx3)."""
    vm_config = vm_config_at(host.config_vms, m)
    vcpu_at(host.vcpus, vm_config.first_vcpu).vm_stopped_at = t
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        vcpu = vcpu_at(host.vcpus, v)
        vcpu.lagging = 1 if vcpu.state != HALTED and vcpu.skew_ns > resume_ns(host) else 0
        if vcpu.state == READY:
            remove(host, queue_place(host, v), v)
            set_state(host, v, COSTOPPED, t)
    for p in range(host.n_pcpu):
        pcpu = pcpu_at(host.pcpus, p)
        if pcpu.vcpu >= 0 and vcpu_at(host.vcpus, pcpu.vcpu).vm == m:
            if pcpu.mode == SWITCHING:
                pcpu.tickled = 0
                leave(host, p, COSTOPPED, t)
                run_next(host, p, t)
            else:
                stop_running(host, p, t)


@device
def queue_laggard(host, v):
    """Put v first in its queue, but behind siblings with lower numbers."""
    vcpu = vcpu_at(host.vcpus, v)
    if on_credit(host):
        vcpu.rank = credit.BOOST
    p = queue_place(host, v)
    u = queue_at(host.queues, p).head
    while u >= 0 and vcpu_at(host.vcpus, u).lagging != 0 and u < v:
        u = vcpu_at(host.vcpus, u).next
    insert(host, p, v, u)


@device
def queue_laggards(host, m):
    """Let the vCPUs of VM m that lag wait for pCPUs."""
    vm_config = vm_config_at(host.config_vms, m)
    for v in range(vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu):
        if vcpu_at(host.vcpus, v).lagging != 0 and vcpu_at(host.vcpus, v).state == COSTOPPED:
            queue_laggard(host, v)


@device
def fill_idle(host, t):
    """Let every idle pCPU choose."""
    for p in range(host.n_pcpu):
        if pcpu_at(host.pcpus, p).vcpu < 0:
            run_next(host, p, t)


@device
def co_start(host, m, t):
    """Start those of VM m that waited for each other; all others are runnable again (esx3)."""
    vm_config = vm_config_at(host.config_vms, m)
    first, last = vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu
    host.costarting = -1
    vcpu_at(host.vcpus, first).vm_stopped_at = FOREVER
    for p in range(host.n_pcpu):
        pcpu = pcpu_at(host.pcpus, p)
        if pcpu.vcpu >= 0 and pcpu.mode == IDLE:
            vcpu_at(host.vcpus, pcpu.vcpu).lagging = 0
            dispatch(host, p, pcpu.vcpu, t)
    for v in range(first, last):
        vcpu = vcpu_at(host.vcpus, v)
        if vcpu.state == COSTOPPED:
            set_state(host, v, READY, t)
            if vcpu.lagging == 0:
                join(host, v, t)
        vcpu.lagging = 0


# What the base does otherwise


@device
def start(host):
    """Start the base."""
    host.tick_at = FOREVER
    host.costarting = -1
    for v in range(host.n_vcpu):
        vcpu_at(host.vcpus, v).vm_stopped_at = FOREVER
    if on_credit(host):
        credit.start(host)
        host.tick_at = host.slot_end
    else:
        round_robin.start(host)


@device
def slice_ns(host, v):
    """A new slice."""
    return credit.slice_ns(host, v) if on_credit(host) else round_robin.slice_ns(host, v)


@device
def slice_begins(host, p, t):
    """The vCPU on p begins a slice."""
    vcpu_at(host.vcpus, pcpu_at(host.pcpus, p).vcpu).stopping = 0
    if on_credit(host):
        credit.slice_begins(host, p, t)


@device
def keeps_rest(host):
    """Whether a vCPU that leaves of its own will keeps the rest of its slice."""
    return False if on_credit(host) else round_robin.keeps_rest(host)


@device
def has_queued(host, p):
    """Whether the vCPU on p has to go at its slice end."""
    if has_to_stop(host, pcpu_at(host.pcpus, p).vcpu):
        return True
    return credit.has_queued(host, p) if on_credit(host) else round_robin.has_queued(host, p)


yields = round_robin.has_queued


@device
def make_ready(host, v):
    """Queue v, or keep it stopped."""
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.stopping = 0
    if on_credit(host):
        credit.stop_charging(host, v)
    if has_to_stop(host, v):
        set_state(host, v, COSTOPPED, host.now)
        if vcpu.lagging != 0 and host.costarting == vcpu.vm:
            queue_laggard(host, v)
    elif on_credit(host):
        credit.make_ready(host, v)
    else:
        round_robin.make_ready(host, v)


@device
def replace(host, p, t):
    """Let the next vCPU run on p, which is free; one that is to start with siblings waits for them there."""
    v = credit.pick(host, p) if on_credit(host) else round_robin.pick(host, p)
    if v < 0:
        return
    if vcpu_at(host.vcpus, v).lagging != 0:
        pcpu_at(host.pcpus, p).vcpu = v
    else:
        dispatch(host, p, v, t)


@device
def join(host, v, t):
    """V is runnable again without having slept."""
    if on_credit(host):
        credit.join(host, v, t)
    else:
        round_robin.wake_up(host, v, t)


@device
def wake_up(host, v, t):
    """V has become runnable, unless it has to stop. Who slept does not lag."""
    vcpu_at(host.vcpus, v).lagging = 0
    if has_to_stop(host, v):
        set_state(host, v, COSTOPPED, t)
    elif on_credit(host):
        credit.wake_up(host, v, t)
    else:
        round_robin.wake_up(host, v, t)


@device
def may_take(host, p, v, migrate):
    """Whether the queued v may be run on p out of turn."""
    return True if on_credit(host) else round_robin.may_take(host, p, v, migrate)


@device
def take(host, p, v):
    """Take v out of its queue to run on p, where it stays."""
    if on_credit(host):
        credit.take(host, p, v)
    else:
        round_robin.take(host, p, v)
