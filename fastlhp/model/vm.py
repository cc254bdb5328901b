"""The VMs of a study: ``[[vm]]``, a group of equal VMs each."""

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from fastlhp.model.distributions import Constant, Distribution, Duration
from fastlhp.model.policy import LockParameters, PolicyParameters, parameters_from
from fastlhp.model.profiles import profile_names
from fastlhp.model.validation import (
    Accepts,
    Context,
    Form,
    Mistakes,
    Written,
    checked,
    one_of,
    refused,
    wrapped,
    written,
)
from fastlhp.policies import kinds

__all__ = ["MAX_VM_COUNT", "MAX_VM_VCPUS", "VmForm", "VmGroup", "VmSpec", "default_name"]

MAX_VM_VCPUS = 64
MAX_VM_COUNT = 4096
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_NAME_HELP = "a name of up to 64 letters, digits, _ and -, beginning with a letter or _"
_PROFILE_HELP = "a profile"
_LOCK_HELP = 'a table { kind = "...", count, ... }, unless the preset brings a lock'


@dataclass(frozen=True, slots=True)
class VmSpec:
    """One VM, as the engine sees it.

    Attributes
    ----------
    name : str
        Name of the VM: that of its group and its number in it, ``guest.0``.
    group : str
        Name of the ``[[vm]]`` table it comes from.
    vcpus : int
        Number of virtual CPUs.
    weight : float
        Share of the VM under schedulers that know weights.
    lock : LockParameters
        Kind, number and weights of its locks.
    user, kernel, hold, handover : Distribution
        Times in user mode, in the kernel outside locks, in a critical section, and of a contended handover.
    halt_probability : float
        Probability that a cycle ends with HLT.
    halt_time : Distribution
        Wall time for which the vCPU then needs no pCPU.
    """

    name: str
    group: str
    vcpus: int
    weight: float
    lock: LockParameters
    user: Distribution
    kernel: Distribution
    hold: Distribution
    handover: Distribution
    halt_probability: float
    halt_time: Distribution

    @property
    def mean_cycle_ns(self) -> float:
        """Mean pCPU time of one cycle without contention, in ns."""
        return self.user.mean_ns + self.kernel.mean_ns + self.hold.mean_ns


@dataclass(frozen=True, eq=False, slots=True)
class VmGroup:
    """Equal VMs.

    Attributes
    ----------
    model : VmSpec
        What each of them is, but for the name.
    count : int
        How many there are.
    """

    model: VmSpec
    count: int

    @property
    def vms(self) -> tuple[VmSpec, ...]:
        """The VMs, named by group and number."""
        return _vms(self)

    def name_of(self, number: int) -> str:
        """Return the name of one of the VMs."""
        return f"{self.model.name}.{number}"


@lru_cache(maxsize=4096)
def _vms(group: VmGroup) -> tuple[VmSpec, ...]:
    # Not by `replace`, which is slow: sweeps make very many of them.
    others = _OTHERS(group.model)
    return tuple(VmSpec(group.name_of(number), *others) for number in range(group.count))


_OTHERS = attrgetter(*(field.name for field in fields(VmSpec) if field.name != "name"))


def default_name(index: int) -> str:
    """Return the name of a group that has none."""
    return f"vm{index}"


def _lock(value: object, info: ValidationInfo) -> PolicyParameters:
    try:
        return (info.context or Context()).once(_lock_from, value)
    except Mistakes as error:
        raise wrapped(error) from None


def _lock_from(value: object, context: Context) -> PolicyParameters:
    return parameters_from("lock", value, kinds("lock"), context)


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise refused(value, _NAME_HELP)
    return value


def _profile(value: object) -> str | None:
    """Refuse an unknown profile; what it says has been filled in before."""
    if value is not None and (not isinstance(value, str) or value not in profile_names()):
        raise refused(value, f"{_PROFILE_HELP}: {one_of(profile_names(), value)}")
    return value


class HaltForm(Form):
    """``halt = { probability = 0.1, time = { exponential = "1ms" } }``.

    Attributes
    ----------
    probability : float
        Probability that a cycle ends with HLT.
    time : Distribution
        Wall time for which the vCPU then needs no pCPU.
    """

    probability: Annotated[float, Field(ge=0, le=1)]
    time: Duration


_HALT_HELP = "a table { probability = ..., time = ... }"


def _halt(value: object, info: ValidationInfo) -> HaltForm | None:
    if value is None:
        return None
    try:
        return (info.context or Context()).once(_halt_from, value)
    except Mistakes as error:
        raise wrapped(error) from None


def _halt_from(value: object, context: Context) -> HaltForm:
    return checked(HaltForm, value, context)


def _hold(hold: Distribution, info: ValidationInfo) -> Distribution:
    """Refuse a cycle that takes no time; user and kernel have been read before."""
    user, kernel = info.data.get("user"), info.data.get("kernel")
    if user is not None and kernel is not None:
        mean_ns = hold.mean_ns + user.mean_ns + kernel.mean_ns
        if mean_ns < 1:
            accepted = "user + kernel + hold of at least 1ns on average: a cycle must take time"
            raise refused(Written(f"a cycle of {mean_ns:g}ns"), accepted)
    return hold


class VmForm(Form):
    """``[[vm]]`` as written.

    Attributes
    ----------
    name : str
        Name of the group, for paths and results; vm0, vm1, ... if there is none.
    profile : str or None
        Takes `hold`, if there is none, from a measured lock of Linux; `fastlhp presets` lists them.
    count : int
        How many VMs of the group there are.
    vcpus : int
        vCPUs of each VM.
    weight : float
        Share of each VM under the schedulers `credit` and `fair`.
    lock : LockParameters
        Kind, number and parameters of the locks of each VM; that of the preset if there is none.
    user : Distribution
        Time in user mode between two visits to the kernel.
    kernel : Distribution
        Time in the kernel before each attempt, outside of critical sections.
    hold : Distribution
        Time in a critical section.
    handover : Distribution
        Time to hand a contended lock over.
    halt : HaltForm or None
        How often a vCPU halts at the end of a cycle, and for how long; never if there is none.
    """

    name: Annotated[str, PlainValidator(_name), Accepts(_NAME_HELP), WithJsonSchema({"type": "string"})]
    profile: Annotated[
        str | None, PlainValidator(_profile), Accepts(_PROFILE_HELP), WithJsonSchema({"type": "string"})
    ] = None
    count: Annotated[int, Field(ge=0, le=MAX_VM_COUNT)] = 1
    vcpus: Annotated[int, Field(ge=1, le=MAX_VM_VCPUS)]
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    lock: Annotated[
        LockParameters, PlainValidator(_lock), Accepts(_LOCK_HELP), WithJsonSchema({"type": "object"})
    ]
    user: Duration
    kernel: Duration = written("0ns")
    hold: Annotated[Duration, AfterValidator(_hold)]
    handover: Duration = written("0ns")
    halt: Annotated[
        HaltForm | None, PlainValidator(_halt), Accepts(_HALT_HELP), WithJsonSchema({"type": "object"})
    ] = None

    def build(self, known: dict[Any, Any] | None = None) -> VmGroup:
        """Return the VMs of the group.

        Parameters
        ----------
        known : dict, optional
            Locks and distributions of other groups, to be used in place of equal ones: a sweep may make a million
            groups, of the same few.
        """
        known = {} if known is None else known
        halt_time = self.halt.time if self.halt else Constant(0)
        model = VmSpec(
            name=self.name,
            group=self.name,
            vcpus=self.vcpus,
            weight=float(self.weight),
            lock=known.setdefault(self.lock, self.lock),
            user=known.setdefault(self.user, self.user),
            kernel=known.setdefault(self.kernel, self.kernel),
            hold=known.setdefault(self.hold, self.hold),
            handover=known.setdefault(self.handover, self.handover),
            halt_probability=float(self.halt.probability) if self.halt else 0.0,
            halt_time=known.setdefault(halt_time, halt_time),
        )
        return VmGroup(model, self.count)
