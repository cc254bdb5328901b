"""What happened in one replication during a window: who did what, when, on which pCPU, with which lock."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.model.configuration import Configuration

__all__ = ["ACQUISITION", "PREEMPTION", "Role", "State", "Trace"]

Array = npt.NDArray[Any]


class State(IntEnum):
    """What a vCPU or a pCPU does."""

    IDLE = 0
    USER = 1
    KERNEL = 2
    HOLDING = 3
    SPINNING = 4
    SPINNING_LHP = 5
    SPINNING_LWP = 6
    SWITCH = 7
    EXIT = 8
    READY = 9
    COSTOPPED = 10
    HALTED = 11
    BLOCKED = 12


RUNNING = (State.USER, State.KERNEL, State.HOLDING, State.SPINNING, State.SPINNING_LHP, State.SPINNING_LWP)
"""States in which a guest runs."""


class Role(IntEnum):
    """What a vCPU has to do with its lock."""

    NONE = 0
    WAITS = 1
    GRANTED = 2
    HOLDS = 3


SPAN = np.dtype(
    [(name, np.int64) for name in ("begin_ns", "end_ns")]
    + [(name, np.int16) for name in ("state", "role", "vcpu", "pcpu", "lock", "waiters", "extended")]
)
"""A time in which nothing changes, of a vCPU, a pCPU or a lock; -1: nobody, nowhere, none."""
PREEMPTION = np.dtype([("at_ns", np.int64), ("vcpu", np.int16), ("pcpu", np.int16), ("role", np.int8)])
"""A pCPU is taken from a vCPU against its will."""
ACQUISITION = np.dtype([("at_ns", np.int64), ("vcpu", np.int16), ("lock", np.int16)])
"""A vCPU starts to hold a lock."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A window of one replication.

    The columns of the arrays are vCPUs, in the order of the VMs. Row i holds from ``times[i]`` to ``times[i + 1]``.

    Attributes
    ----------
    study : str
        Name of the study.
    configuration : Configuration
        Which of its configurations.
    seed, replication : int
        Which replication of it.
    times : ndarray of int64, shape (row + 1,)
        In ns since the start of the replication, warm-up included; strictly increasing.
    state, role : ndarray of int8, shape (row, vcpu)
        `State` and `Role` of every vCPU.
    pcpu, lock : ndarray of int16, shape (row, vcpu)
        The pCPU that it has, and the lock that it waits for or owns; -1 if none.
    home : ndarray of int16, shape (row, vcpu)
        The pCPU that it is pinned to; -1 if it may run anywhere.
    extended : ndarray of bool, shape (row, pcpu)
        Whether a guard has put off the end of the slice.
    preemptions : ndarray of PREEMPTION
        In order of time.
    acquisitions : ndarray of ACQUISITION
        In order of time.
    """

    study: str
    configuration: Configuration
    seed: int
    replication: int
    times: Array
    state: Array
    role: Array
    pcpu: Array
    lock: Array
    home: Array
    extended: Array
    preemptions: Array
    acquisitions: Array

    @property
    def begin_ns(self) -> int:
        """Start of the window."""
        return int(self.times[0])

    @property
    def end_ns(self) -> int:
        """End of the window."""
        return int(self.times[-1])

    @cached_property
    def vm_of(self) -> Array:
        """The VM of every vCPU, shape (vcpu,)."""
        vms = self.configuration.vms
        return np.repeat(np.arange(len(vms)), [vm.vcpus for vm in vms])

    @cached_property
    def vcpu_names(self) -> list[str]:
        """``guest.0/1`` is vCPU 1 of VM ``guest.0``."""
        return [f"{vm.name}/{j}" for vm in self.configuration.vms for j in range(vm.vcpus)]

    @cached_property
    def lock_names(self) -> list[str]:
        """``guest.0/lock 1`` is lock 1 of VM ``guest.0``."""
        return [f"{vm.name}/lock {k}" for vm in self.configuration.vms for k in range(vm.lock.count)]

    @cached_property
    def vcpu_on(self) -> Array:
        """The vCPU of every pCPU, -1 if it idles; shape (row, pcpu)."""
        on = np.full((len(self.state), self.configuration.host.pcpus), -1, np.int16)
        rows, vcpus = np.nonzero(self.pcpu >= 0)
        on[rows, self.pcpu[rows, vcpus]] = vcpus
        return on

    @cached_property
    def owner_of(self) -> Array:
        """The vCPU that holds each lock or was granted it, -1 if none; shape (row, lock)."""
        owner = np.full((len(self.state), len(self.lock_names)), -1, np.int16)
        rows, vcpus = np.nonzero(self.role >= Role.GRANTED)
        owner[rows, self.lock[rows, vcpus]] = vcpus
        return owner

    @cached_property
    def waiters_of(self) -> Array:
        """How many vCPUs wait for each lock, running or not; shape (row, lock)."""
        n_lock = len(self.lock_names)
        rows, vcpus = np.nonzero(self.role == Role.WAITS)
        places = rows * n_lock + self.lock[rows, vcpus]
        counts = np.bincount(places, minlength=len(self.state) * n_lock)
        return counts.reshape(len(self.state), n_lock).astype(np.int16)

    def vcpu_spans(self, v: int) -> Array:
        """Return what a vCPU does, as SPANs that follow one another without gaps."""
        return self.spans(
            state=self.state[:, v], role=self.role[:, v], pcpu=self.pcpu[:, v], lock=self.lock[:, v], vcpu=v
        )

    def pcpu_spans(self, p: int) -> Array:
        """Return what a pCPU does, as SPANs that follow one another without gaps."""
        vcpu = self.vcpu_on[:, p]
        return self.spans(vcpu=vcpu, pcpu=p, extended=self.extended[:, p], **self._of(vcpu, State.IDLE))

    def lock_spans(self, g: int) -> Array:
        """Return who owns a lock, with the owner's state and role, as SPANs that follow one another without gaps."""
        vcpu = self.owner_of[:, g]
        return self.spans(vcpu=vcpu, **self._of(vcpu, State.IDLE) | {"lock": g})

    def waiter_spans(self, g: int) -> Array:
        """Return how many vCPUs wait for a lock, as SPANs that follow one another without gaps."""
        return self.spans(lock=g, waiters=self.waiters_of[:, g])

    def _of(self, vcpu: Array, nobody: State) -> dict[str, Any]:
        """What the vCPU named in each row does; `nobody` where that is -1."""
        rows = np.arange(len(vcpu))
        is_none = vcpu < 0
        return {
            "state": np.where(is_none, nobody, self.state[rows, vcpu]),
            "role": np.where(is_none, Role.NONE, self.role[rows, vcpu]),
            "lock": np.where(is_none, -1, self.lock[rows, vcpu]),
        }

    def spans(self, **columns: Any) -> Array:
        """Return SPANs without gaps, in each of which all columns stay the same.

        Parameters
        ----------
        **columns : ndarray of shape (row,) or int
            Fields of a SPAN; an int is the same in all of them.
        """
        changes = np.zeros(len(self.state), bool)
        changes[0] = True
        for column in columns.values():
            if np.ndim(column) > 0:
                changes[1:] |= column[1:] != column[:-1]
        first = np.flatnonzero(changes)
        spans = np.empty(len(first), SPAN)
        spans["begin_ns"] = self.times[first]
        spans["end_ns"] = self.times[np.append(first[1:], len(self.state))]
        for name in ("state", "role", "vcpu", "pcpu", "lock", "waiters", "extended"):
            column = columns.get(name, -1)
            spans[name] = column[first] if np.ndim(column) > 0 else column
        return spans

    def totals(self) -> dict[str, Array]:
        """Return counters of the window.

        Returns
        -------
        dict of str to ndarray of int64
            Under the names of `fastlhp.results.counters`: of the VMs with shape (vm,), of the host with shape ().
            If the window is the measured one, they are those of the replication.
        """
        dt = np.diff(self.times)
        n_vm = len(self.configuration.vms)

        def per_vm(vcpus: Array, values: Array | None = None) -> Array:
            counts = np.zeros(n_vm, np.int64)
            np.add.at(counts, self.vm_of[vcpus], 1 if values is None else values)
            return counts

        every = np.arange(self.state.shape[1])
        time_in = {state: per_vm(every, dt @ (self.state == state)) for state in State}
        preempted = {
            role: per_vm(self.preemptions["vcpu"][self.preemptions["role"] == role]) for role in Role
        }
        waiting = (self.state == State.READY) | (self.state == State.COSTOPPED)
        idle = (self.vcpu_on < 0).sum(axis=1)
        return {
            "acquisitions": per_vm(self.acquisitions["vcpu"]),
            "lhp_events": preempted[Role.HOLDS],
            "lwp_events": preempted[Role.WAITS] + preempted[Role.GRANTED],
            "preemptions": per_vm(self.preemptions["vcpu"]),
            "user_ns": time_in[State.USER],
            "kernel_ns": time_in[State.KERNEL],
            "hold_ns": time_in[State.HOLDING],
            "spin_ns": sum(
                time_in[state] for state in (State.SPINNING, State.SPINNING_LHP, State.SPINNING_LWP)
            ),
            "spin_lhp_ns": time_in[State.SPINNING_LHP],
            "spin_lwp_ns": time_in[State.SPINNING_LWP],
            "switch_ns": time_in[State.SWITCH],
            "exit_ns": time_in[State.EXIT],
            "ready_ns": time_in[State.READY] + time_in[State.SWITCH],
            "costop_ns": time_in[State.COSTOPPED],
            "halted_ns": time_in[State.HALTED] + time_in[State.BLOCKED],
            "priority_inversion_ns": per_vm(every, dt @ self.inverted),
            "idle_ns": dt @ idle,
            "fragmentation_ns": dt @ (idle * waiting.any(axis=1)),
        }

    @cached_property
    def inverted(self) -> Array:
        """Whether a vCPU has to wait although a pCPU that it could use has one of a lighter VM; (row, vcpu)."""
        weights = np.array([vm.weight for vm in self.configuration.vms])[self.vm_of]
        occupants = np.where(self.vcpu_on < 0, np.inf, weights[self.vcpu_on])
        at_home = np.take_along_axis(occupants, np.maximum(self.home, 0), axis=1)
        lightest = np.where(self.home < 0, occupants.min(axis=1, keepdims=True), at_home)
        waiting = (self.state == State.READY) | (self.state == State.COSTOPPED)
        inverted: Array = waiting & (lightest < weights)
        return inverted
