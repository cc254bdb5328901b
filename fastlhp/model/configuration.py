"""One configuration of a study: what a replication simulates."""

from dataclasses import dataclass

from fastlhp.model.host import HostSpec
from fastlhp.model.policy import GuardParameters, ResponseParameters, SchedulerParameters
from fastlhp.model.vm import VmSpec

__all__ = ["Configuration", "HostSpec", "VmSpec"]


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
