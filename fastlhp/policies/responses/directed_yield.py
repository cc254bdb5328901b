"""Directed yield: after a threshold of spinning, a sibling runs instead.

What KVM does after a pause-loop exit (``kvm_vcpu_on_spin`` and ``yield_to`` in ``virt/kvm/kvm_main.c``), with
the choice of the sibling as a parameter: `holder` is the oracle that bounds what any choice can gain,
`random` knows nothing, `waiter` is the bad choice that boosts those who would only spin as well. Why the
choice matters: [1]_.

References
----------
.. [1] R. K. Thimmappa (Raghavendra), "kvm: handle PLE spinning vCPUs better", Linux kernel mailing list, July
   2012.
"""

from typing import ClassVar, Literal

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
    WAITING,
    config_at,
    lock_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import ResponseParameters
from fastlhp.model.validation import written

__all__ = ["DirectedYield"]


class DirectedYield(ResponseParameters):
    """After a threshold of spinning, run a preempted sibling instead.

    Attributes
    ----------
    spin_threshold : Distribution
        Continuous spinning since the dispatch or the attempt, whichever is later.
    target : {"holder", "random", "waiter"}
        Which sibling: the lock's owner, any, or one that waits for a lock itself.
    migrate : bool
        Whether a pinned sibling may be pulled from another pCPU's queue.
    boost_slice : {"rest", "full"}
        What the boosted vCPU runs for: the rest of the yielder's slice, or a slice of its own.
    """

    KIND: ClassVar[str] = "directed_yield"

    spin_threshold: PositiveDuration = written("25us")
    target: Literal["holder", "random", "waiter"] = "holder"
    migrate: bool = False
    boost_slice: Literal["rest", "full"] = "rest"


parameters = view(DirectedYield)
HOLDER = option(DirectedYield, "target", "holder")
WAITER = option(DirectedYield, "target", "waiter")
REST = option(DirectedYield, "boost_slice", "rest")

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
def is_candidate(host, p, v, target, owner):
    """Whether the sibling v may be run on p in the yielder's place."""
    config = config_at(host.config, 0)
    if vcpu_at(host.vcpus, v).state != READY:
        return False
    migrate = parameters(config.response_parameters, 0).migrate != 0
    if not may_take(config.scheduler, host, p, v, migrate):
        return False
    if target == HOLDER:
        return v == owner
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
    g = lock_on(host, p) if yielder.state == RUNNING else yielder.lock
    owner = lock_at(host.lock_records, g).off_owner
    first, last = vm_config.first_vcpu, vm_config.first_vcpu + vm_config.n_vcpu
    n = 0
    for v in range(first, last):
        if v != me and is_candidate(host, p, v, target, owner):
            n += 1
    if n == 0:
        return -1
    chosen = 0
    if n > 1:
        w0, _ = words(host, yielder.vm, yielder.index, TARGET, yielder.n_target)
        yielder.n_target += 1
        chosen = choice(w0, n)
    for v in range(first, last):
        if v != me and is_candidate(host, p, v, target, owner):
            if chosen == 0:
                return v
            chosen -= 1
    return -1
