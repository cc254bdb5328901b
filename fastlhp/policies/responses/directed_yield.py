"""Directed yield: after a threshold of spinning, a sibling runs instead.

What KVM does after a pause-loop exit (``kvm_vcpu_on_spin`` and ``yield_to`` in ``virt/kvm/kvm_main.c``), with
the choice of the sibling as a parameter: `holder` is the oracle that knows who has the lock, `random` knows
nothing, `waiter` is the bad choice that boosts those who would only spin as well, `round_robin` is KVM's own
loop over the siblings. Why the choice matters, and why those that have just yielded themselves are passed
over every other time: [1]_.

With pause-loop exiting the threshold is a window that grows with every exit until the vCPU is scheduled in anew
(``ple_window_grow`` and ``grow_ple_window`` in ``arch/x86/kvm``); there it starts at 4096 cycles and doubles.

References
----------
.. [1] R. K. Thimmappa (Raghavendra), "kvm: handle PLE spinning vCPUs better", Linux kernel mailing list, July
   2012.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from fastlhp.engine.draws import choice, words
from fastlhp.engine.hooks import Hook
from fastlhp.engine.jit import device
from fastlhp.engine.machine import owns_lock
from fastlhp.engine.parameters import option, view
from fastlhp.engine.rows import lock_on
from fastlhp.engine.state import (
    READY,
    RUNNING,
    TARGET,
    USER,
    WAITING,
    config_at,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import Constant, Distribution, PositiveDuration
from fastlhp.model.policy import ResponseParameters
from fastlhp.model.units import DURATION_HELP
from fastlhp.model.validation import Accepts, refused, written

__all__ = ["DirectedYield"]


_GROWTH_HELP = "a whole number from 1 (the window stays as it is) to 1024, or true for 2 and false for 1"


def _growth(value: object) -> int:
    if isinstance(value, bool):
        return 2 if value else 1
    if isinstance(value, int) and 1 <= value <= 1024:
        return value
    raise refused(value, _GROWTH_HELP)


def _is_constant(distribution: Distribution) -> Distribution:
    if not isinstance(distribution, Constant):
        raise refused(distribution.to_input(), f"a constant: {DURATION_HELP}")
    return distribution


class DirectedYield(ResponseParameters):
    """After a threshold of spinning, run a preempted sibling instead.

    Attributes
    ----------
    spin_threshold : Distribution
        Continuous spinning since the dispatch or the attempt, whichever is later.
    target : {"holder", "random", "waiter", "round_robin"}
        Which sibling: the lock's owner, any, one that waits for a lock itself, or the next one in turn as KVM chooses.
    migrate : bool
        Whether a pinned sibling may be pulled from another pCPU's queue.
    boost_slice : {"rest", "full"}
        What the boosted vCPU runs for: the rest of the yielder's slice, or a slice of its own.
    window_grow : int
        Factor by which the threshold grows with each exit until the next dispatch; 1: it stays as it is.
    window_max : Distribution
        Constant: where the growth ends. The default is practically no bound, as in KVM.
    """

    KIND: ClassVar[str] = "directed_yield"

    spin_threshold: PositiveDuration = written("25us")
    target: Literal["holder", "random", "waiter", "round_robin"] = "holder"
    migrate: bool = False
    boost_slice: Literal["rest", "full"] = "rest"
    window_grow: Annotated[
        int,
        PlainValidator(_growth),
        Accepts(_GROWTH_HELP),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "boolean"}]}),
    ] = 1
    window_max: Annotated[PositiveDuration, AfterValidator(_is_constant)] = written("1s")


parameters = view(DirectedYield)
HOLDER = option(DirectedYield, "target", "holder")
WAITER = option(DirectedYield, "target", "waiter")
ROUND_ROBIN = option(DirectedYield, "target", "round_robin")
REST = option(DirectedYield, "boost_slice", "rest")

TRIES = 3
"""Siblings that KVM's loop tries in vain before it gives up."""
WIDEST = 2**30
"""Bound of the growth of a window: its factor alone is longer than any threshold may be."""

# vCPUs that have left their pCPU by a yield to their turn's sibling are in the spin loop until they run again
# (VCPU.spin_loop; 0: not in it).
NOT_ELIGIBLE, ELIGIBLE = 1, 2

may_take = Hook("scheduler", "may_take")


@device
def is_directed(host):
    """A yield looks for a target."""
    return True


@device
def inherits(host, left_ns):
    """What of the yielder's slice the target gets; 0: a slice of its own."""
    rest = parameters(config_at(host.config, 0).response_parameters, 0).boost_slice == REST
    return max(left_ns, 0) if rest else 0


@device
def is_candidate(host, p, v, target):
    """Whether the sibling v may be run on p in the yielder's place."""
    config = config_at(host.config, 0)
    if vcpu_at(host.vcpus, v).state != READY:
        return False
    migrate = parameters(config.response_parameters, 0).migrate != 0
    if not may_take(config.scheduler, host, p, v, migrate):
        return False
    if target == WAITER:
        return vcpu_at(host.vcpus, v).phase == WAITING and not owns_lock(host, v)
    return True


@device
def target_of(host, p):
    """The sibling to run instead of the yielder on p, whose exit is over; -1 if there is none."""
    me = pcpu_at(host.pcpus, p).vcpu
    yielder = vcpu_at(host.vcpus, me)
    vm_config = vm_config_at(host.config_vms, yielder.vm)
    target = parameters(config_at(host.config, 0).response_parameters, 0).target
    if target == ROUND_ROBIN:
        return next_in_turn(host, p, me)
    g = lock_on(host, p) if yielder.state == RUNNING else yielder.lock
    owner = lock_at(host.lock_records, g).off_owner
    if target == HOLDER:
        if owner >= 0 and owner != me and is_candidate(host, p, owner, target):
            return owner
        return -1
    first, last = vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu
    n = 0
    for v in range(first, last):
        if v != me and is_candidate(host, p, v, target):
            n += 1
    if n == 0:
        return -1
    chosen = 0
    if n > 1:
        w0, _ = words(host, yielder.vm, yielder.index, TARGET, yielder.n_target)
        yielder.n_target += 1
        chosen = choice(w0, n)
    for v in range(first, last):
        if v != me and is_candidate(host, p, v, target):
            if chosen == 0:
                return v
            chosen -= 1
    return -1


@device
def is_eligible(vcpu):
    """Whether a queued sibling may be boosted as far as its own spinning goes.

    KVM's ``kvm_vcpu_eligible_for_directed_yield``: one that is in the spin loop itself is so at every other look.
    """
    if vcpu.spin_loop == NOT_ELIGIBLE:
        vcpu.spin_loop = ELIGIBLE
        return False
    if vcpu.spin_loop == ELIGIBLE:
        vcpu.spin_loop = NOT_ELIGIBLE
    return True


@device
def next_in_turn(host, p, me):
    """The sibling that KVM's ``kvm_vcpu_on_spin`` yields to, from the one after the last boosted on; -1 if none."""
    config = config_at(host.config, 0)
    vm_config = vm_config_at(host.config_vms, vcpu_at(host.vcpus, me).vm)
    migrate = parameters(config.response_parameters, 0).migrate != 0
    first, n = vm_config.first_vcpu, vm_config.n_vcpu
    turn = vcpu_at(host.vcpus, first)
    tries = TRIES
    v = first + turn.last_boosted
    for _ in range(n):
        v += 1
        if v == first + n:
            v = first
        sibling = vcpu_at(host.vcpus, v)
        in_user = (sibling.phase == USER) & (sibling.preempted != 0)
        if (v != me) & (sibling.state == READY) & (not in_user) and is_eligible(sibling):
            if may_take(config.scheduler, host, p, v, migrate):
                turn.last_boosted = v - first
                vcpu_at(host.vcpus, me).spin_loop = NOT_ELIGIBLE
                return v
            tries -= 1
            if tries == 0:
                return -1
    return -1


@device
def stays_without_target(host):
    """In KVM a spinner that finds nobody to yield to just goes on; otherwise it yields to anybody."""
    return parameters(config_at(host.config, 0).response_parameters, 0).target == ROUND_ROBIN


@device
def grow_window(host, v):
    """Let the spin threshold of v grow, because it has been reached."""
    vcpu = vcpu_at(host.vcpus, v)
    factor = parameters(config_at(host.config, 0).response_parameters, 0).window_grow
    vcpu.window = min(vcpu.window * factor, WIDEST)
