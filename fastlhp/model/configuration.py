"""One configuration of a study, what a replication simulates; and many of them as what they have in common."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fastlhp.model.host import HostSpec
from fastlhp.model.policy import GuardParameters, ResponseParameters, SchedulerParameters
from fastlhp.model.vm import VmGroup, VmSpec

__all__ = ["Choice", "Configuration", "HostSpec", "Parts", "VmSpec"]


@dataclass(frozen=True)
class Configuration:
    """A host, its VMs and its policy.

    Attributes
    ----------
    index : int
        Position in the study.
    labels : dict of str to str, int or float
        Label of each swept path, in the order of the sweep.
    duration_ns, warmup_ns : int
        Length of the measured window, and of the time before it.
    host : HostSpec
        The physical machine.
    scheduler, guard, response : PolicyParameters
        The policy; each has a ``kind``.
    vms : tuple of VmSpec
        All VMs, groups expanded.
    has_auto_warmup : bool
        Whether ``warmup_ns``, 0 so far, is to be found by pilots.
    """

    index: int
    labels: dict[str, str | int | float]
    duration_ns: int
    warmup_ns: int
    host: HostSpec
    scheduler: SchedulerParameters
    guard: GuardParameters
    response: ResponseParameters
    vms: tuple[VmSpec, ...]
    has_auto_warmup: bool = False

    @property
    def n_vcpu(self) -> int:
        """Number of vCPUs of all VMs."""
        return sum(vm.vcpus for vm in self.vms)

    @property
    def overcommit_ratio(self) -> float:
        """Number of vCPUs per pCPU."""
        return self.n_vcpu / self.host.pcpus


T = TypeVar("T")
_GROUP = attrgetter("group")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One part of some configurations.

    Attributes
    ----------
    variants : sequence
        The part, as often as it differs.
    which : ndarray of int64, shape (configuration,)
        Which of them each configuration has.
    """

    variants: Sequence[T]
    which: npt.NDArray[np.int64]


class Parts(NamedTuple):
    """Configurations as the few parts that they are put together from: what can be said of each part, once for all.

    Attributes
    ----------
    duration_ns, warmup_ns : ndarray of int64, shape (configuration,)
        As of `Configuration`.
    has_auto_warmup : ndarray of bool, shape (configuration,)
        As of `Configuration`.
    host, scheduler, guard, response : Choice
        As of `Configuration`.
    groups : tuple of Choice
        The groups of VMs.
    """

    duration_ns: npt.NDArray[np.int64]
    warmup_ns: npt.NDArray[np.int64]
    has_auto_warmup: npt.NDArray[np.bool_]
    host: Choice[HostSpec]
    scheduler: Choice[SchedulerParameters]
    guard: Choice[GuardParameters]
    response: Choice[ResponseParameters]
    groups: tuple[Choice[VmGroup], ...]

    @classmethod
    def of(cls, configuration: Configuration) -> "Parts":
        """Return the parts of one configuration."""

        def only(variant: T) -> Choice[T]:
            return Choice([variant], np.zeros(1, np.int64))

        # VMs of one group differ in nothing but the name.
        groups = [list(vms) for _, vms in itertools.groupby(configuration.vms, _GROUP)]
        return cls(
            np.array([configuration.duration_ns]),
            np.array([configuration.warmup_ns]),
            np.array([configuration.has_auto_warmup]),
            only(configuration.host),
            only(configuration.scheduler),
            only(configuration.guard),
            only(configuration.response),
            tuple(only(VmGroup(vms[0], len(vms))) for vms in groups),
        )
