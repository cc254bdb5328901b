"""Strict co-scheduling: all vCPUs of a VM run at the same time, or none.

Ousterhout's matrix [1]_: slots of one length, all vCPUs of a VM in one slot, VMs packed first fit in VM order
into the lowest free columns; the slots take turns. Siblings lose their pCPUs together, so none spins on a
preempted holder; the price is pCPUs that idle where a slot has holes. ``fill`` is Ousterhout's alternate
selection. ESX 2 co-scheduled in this way; the default slot is ESX's quantum of 50 ms (VMware's public
scheduler papers).

References
----------
.. [1] J. K. Ousterhout, "Scheduling techniques for concurrent systems", ICDCS 1982.
"""

from collections.abc import Iterator
from typing import ClassVar

from fastlhp.engine.dispatch import dispatch
from fastlhp.engine.draws import duration, words
from fastlhp.engine.jit import device
from fastlhp.engine.machine import count_preemption, leave
from fastlhp.engine.parameters import ALIGNED_PHASE, RANDOM_PHASE, view
from fastlhp.engine.queues import cut, room
from fastlhp.engine.state import (
    EXITING,
    FOREVER,
    HALTED,
    HOST_OWNER,
    IDLE,
    PHASE,
    READY,
    RUNNING,
    SLICE,
    config_at,
    distribution_at,
    float64_at,
    pcpu_at,
    vcpu_at,
    vm_config_at,
)
from fastlhp.model.distributions import PositiveDuration
from fastlhp.model.policy import Phase, SchedulerParameters, phase_mistakes
from fastlhp.model.validation import Mistake, written

__all__ = ["Gang"]


class Gang(SchedulerParameters):
    """Strict co-scheduling: slots in which all vCPUs of a VM run together.

    Attributes
    ----------
    slice : Distribution
        Length of a slot.
    fill : bool
        Whether the hole in a column runs the next runnable vCPU of the same column from the following slots.
    phase : {"random", "aligned"} or tuple of float
        When the first slot ends; a list has one fraction, for the whole matrix.
    """

    KIND: ClassVar[str] = "gang"

    slice: PositiveDuration = written("50ms")
    fill: bool = False
    phase: Phase = "random"

    def host_mistakes(self, pcpus: int) -> Iterator[Mistake]:
        """Yield a list of phases that is not a single one."""
        yield from phase_mistakes(self.phase, 1, "one for the whole matrix")


parameters = view(Gang)


@device
def draw_slot(host):
    """Length of the next slot."""
    slot = parameters(config_at(host.config, 0).scheduler_parameters, 0).slice
    if distribution_at(slot, 0).kind == 0:
        return distribution_at(slot, 0).value
    w0, _ = words(host, HOST_OWNER, 0, SLICE, host.n_slot_draw)
    host.n_slot_draw += 1
    return duration(slot, w0)


@device
def pack(host):
    """Pack the VMs into slots, first fit: the scratch values become the matrix [slot][column] of vCPUs."""
    matrix = room(host)
    n = host.n_pcpu
    for m in range(host.n_vm):
        vm_config = vm_config_at(host.config_vms, m)
        row = 0
        while True:
            if row == host.n_slot:
                for c in range(n):
                    matrix[row * n + c] = -1
                host.n_slot += 1
            free = 0
            for c in range(n):
                free += matrix[row * n + c] < 0
            if free >= vm_config.n_vcpu:
                break
            row += 1
        j = 0
        for c in range(n):
            if j < vm_config.n_vcpu and matrix[row * n + c] < 0:
                v = vm_config.first_vcpu + j
                matrix[row * n + c] = v
                vcpu_at(host.vcpus, v).home = c
                vcpu_at(host.vcpus, v).matrix_row = row
                j += 1


@device
def choice_of(host, c):
    """The vCPU that column c should run now; -1 if none."""
    matrix = room(host)
    fill = parameters(config_at(host.config, 0).scheduler_parameters, 0).fill
    for i in range(host.n_slot if fill != 0 else 1):
        v = matrix[(host.slot + i) % host.n_slot * host.n_pcpu + c]
        if v >= 0 and vcpu_at(host.vcpus, v).state != HALTED:
            return v
    return -1


@device
def start(host):
    """Pack the matrix and start its first slot."""
    phase = parameters(config_at(host.config, 0).scheduler_parameters, 0).phase
    pack(host)
    host.slot_end = draw_slot(host)
    if phase == RANDOM_PHASE:
        w0, _ = words(host, HOST_OWNER, 0, PHASE, 0)
        host.slot_end = cut(w0, host.slot_end)
    elif phase != ALIGNED_PHASE:
        host.slot_end = max(1, round(float64_at(phase, 0).value * host.slot_end))
    for c in range(host.n_pcpu):
        replace(host, c, 0)


@device
def slot_ends(host, t):
    """The next slot begins: every column goes over to its choice."""
    host.slot = (host.slot + 1) % host.n_slot
    host.slot_end = t + draw_slot(host)
    for c in range(host.n_pcpu):
        pcpu = pcpu_at(host.pcpus, c)
        if pcpu.mode == EXITING:
            pcpu.slice_end = t if choice_of(host, c) != pcpu.vcpu else FOREVER  # acts when the exit is over
        elif choice_of(host, c) != pcpu.vcpu:
            if pcpu.mode == RUNNING:
                count_preemption(host, c, t)
            if pcpu.mode != IDLE:
                leave(host, c, READY, t)
            replace(host, c, t)


@device
def slice_ns(host, v):
    """There is no slice in a slot."""
    return FOREVER


@device
def has_queued(host, p):
    """Whether column p should run another vCPU than it does."""
    return choice_of(host, p) != pcpu_at(host.pcpus, p).vcpu


@device
def yields(host, p):
    """A yield gives nothing up."""
    return False


@device
def make_ready(host, v):
    """A vCPU's place is in the matrix."""


@device
def replace(host, p, t):
    """Let its choice run in column p, which is free."""
    v = choice_of(host, p)
    if v >= 0:
        dispatch(host, p, v, t)


@device
def wake_up(host, v, t):
    """V has become runnable: it takes its column if that is idle or, in its own slot, held by a filler."""
    vcpu = vcpu_at(host.vcpus, v)
    c = vcpu.home
    pcpu = pcpu_at(host.pcpus, c)
    if pcpu.mode == IDLE:
        replace(host, c, t)
    elif vcpu.matrix_row == host.slot:
        if pcpu.mode == EXITING:
            pcpu.slice_end = t  # acts when the exit is over
            return
        if pcpu.mode == RUNNING:
            count_preemption(host, c, t)
        leave(host, c, READY, t)
        replace(host, c, t)


@device
def may_take(host, p, v, migrate):
    """Directed yields are refused under this scheduler."""
    return False


@device
def take(host, p, v):
    """Never asked, see `may_take`."""
