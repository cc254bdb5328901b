"""A configuration as the memory that compiled code reads."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlhp.engine import state
from fastlhp.engine.parameters import ALIGNED_PHASE, RANDOM_PHASE, record_type, words_of
from fastlhp.engine.quantiles import segments
from fastlhp.model.configuration import Configuration, VmSpec
from fastlhp.model.distributions import Constant, Distribution, Exponential
from fastlhp.model.policy import PolicyParameters
from fastlhp.policies import kinds

SHORT_PHASES = 10
"""Fewer guest phases than that before the next intervention are left to scalar code. Measured."""
_Row = dict[str, Any]
_GROUP = operator.attrgetter("group")
ALWAYS = state.FOREVER
"""Longer than until any intervention."""
_MOST_SHARED = 10_000
_RECORDS_AT_A_TIME = 64


def has_choice(spec: VmSpec) -> bool:
    """Whether the cycles of a VM differ by more than their user and hold times."""
    return spec.lock.count > 1 or not spec.kernel.is_zero or spec.halt_probability > 0


def _number(family: str, kind: str) -> int:
    # Asked anew by each `Shared`: a policy of one's own changes the numbers.
    return list(kinds(family)).index(kind)


def _policy(lock: PolicyParameters) -> Any:
    """The module of a lock."""
    return sys.modules[type(lock).__module__]


class Encoded:
    """The records of one configuration. Their addresses stay valid as long as this object lives.

    Parameters
    ----------
    configuration : Configuration
        What to encode.
    shared : Shared, optional
        Has what other configurations have in common with it.

    Attributes
    ----------
    address : int
        Of the configuration's record.
    n_pcpu, n_lock, n_vcpu, n_vm : int
        What a block needs room for.
    needs_choice : bool
        Whether its lanes need the vector passes for kernel phases, several locks and HLT.
    """

    def __init__(self, configuration: Configuration, shared: Shared | None = None) -> None:
        self._shared = shared = shared or Shared()
        specs, n_pcpu = configuration.vms, configuration.host.pcpus
        base = shared.base(configuration)
        vms = shared.vms(specs, base.threshold, base.wakeup)
        config = base.fields | {
            "n_vcpu": vms.n_vcpu,
            "n_vm": len(specs),
            "n_lock": vms.n_lock,
            "vms": vms.address,
            "weighted": vms.is_weighted,
            "window_start": configuration.warmup_ns,
            "window_end": configuration.warmup_ns + configuration.duration_ns,
            "gives_way": vms.gives_way,
            "has_line": vms.has_line,
            "short_ns": ALWAYS if vms.is_scalar else round(SHORT_PHASES * vms.phase_ns / n_pcpu),
        }
        if base.threshold is None and vms.has_patience:
            config["threshold"] = shared.distribution(Constant(state.FOREVER))
        self.address = shared.configurations.add([tuple(config.values())])
        self.warmup_ns = configuration.warmup_ns
        self.n_lock = vms.n_lock
        self.n_vcpu = vms.n_vcpu
        self.n_vm = len(specs)
        self.n_pcpu = n_pcpu
        self.needs_choice = vms.needs_choice

    @property
    def room(self) -> dict[str, Any]:
        """What a `Block` for this configuration alone has to be told of it."""
        numbers = {name: getattr(self, name) for name in ("n_pcpu", "n_vcpu", "n_vm", "n_lock")}
        return numbers | {"choices": self.needs_choice}


class _Base(NamedTuple):
    """What host and policy decide: fields of CONFIG, the others 0, and when waiters of a VM give up and are woken."""

    fields: dict[str, int]
    threshold: Distribution | None
    wakeup: Distribution | None


class _Vms(NamedTuple):
    """Where the records of some VMs are, and what a configuration has to know of them."""

    address: int
    n_vcpu: int
    n_lock: int
    phase_ns: float  # mean length of the phases of running guests
    is_weighted: bool
    is_scalar: bool
    has_line: bool
    has_patience: bool
    gives_way: bool
    needs_choice: bool


class _Records:
    """Memory of records, many at a time; an array for each of them would be slow to make."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.n = 0
        self._arrays = [np.zeros(0, dtype)]
        self._n_free = 0

    def add(self, rows: list[tuple[Any, ...]]) -> int:
        """Keep records side by side, and return the address of the first."""
        if self._n_free < len(rows):
            self._n_free = max(len(rows), _RECORDS_AT_A_TIME)
            self._arrays.append(np.zeros(self._n_free, self._arrays[0].dtype))
            self._address = int(self._arrays[-1].ctypes.data)
        array = self._arrays[-1]
        first = len(array) - self._n_free
        array[first : first + len(rows)] = rows
        self._n_free -= len(rows)
        self.n += len(rows)
        return self._address + first * array.itemsize


class Shared:
    """Records of what configurations have in common: VMs, policies, distributions.

    A sweep puts the same few objects together again and again; each of them is encoded once.
    """

    def __init__(self) -> None:
        self.configurations = _Records(state.CONFIG)
        self._vm_records = _Records(state.VM_CONFIG)
        self._alive: list[Any] = []
        self._distributions: dict[Distribution, int] = {}
        self._policies: dict[PolicyParameters, int] = {}
        self._locks: dict[tuple[object, ...], _Row] = {}
        self._bases: dict[tuple[int, ...], _Base] = {}
        self._vms: dict[tuple[object, ...], _Vms] = {}

    @property
    def is_full(self) -> bool:
        """Whether there is so much in it that a new one should be begun."""
        return max(len(self._alive), self.configurations.n) > _MOST_SHARED

    def base(self, configuration: Configuration) -> _Base:
        """What host and policy of a configuration decide."""
        host, response = configuration.host, configuration.response
        policy = (configuration.scheduler, configuration.guard, response)
        key = (id(host), *map(id, policy))
        if key in self._bases:
            return self._bases[key]
        fields = dict.fromkeys(state.CONFIG.names or (), 0)
        fields["n_pcpu"] = host.pcpus
        for family, parameters in zip(("scheduler", "guard", "response"), policy, strict=True):
            fields[family] = _number(family, parameters.kind)
            fields[f"{family}_parameters"] = self.parameters(parameters)
        fields["overlay_parameters"] = fields["scheduler_parameters"]
        if configuration.scheduler.base_policy() is not configuration.scheduler:
            fields["scheduler_parameters"] = self.parameters(configuration.scheduler.base_policy())
        fields["context_switch"] = self.distribution(host.context_switch)
        fields["vm_exit"] = self.distribution(host.vm_exit)
        threshold = getattr(response, "spin_threshold", None)
        fields["threshold"] = self.distribution(threshold) if threshold is not None else 0
        if getattr(response, "window_grow", 1) > 1:
            largest: Any = getattr(response, "window_max", None)
            fields["threshold_max"] = largest.value_ns
        self._alive.append((host, *policy))
        base = self._bases[key] = _Base(fields, threshold, getattr(response, "wakeup", None))
        return base

    def vms(
        self, specs: Sequence[VmSpec], threshold: Distribution | None, wakeup: Distribution | None
    ) -> _Vms:
        """VMs that wait and are woken as a response says."""
        key = (threshold, wakeup, *map(id, specs))
        if key in self._vms:
            return self._vms[key]
        rows: list[tuple[Any, ...]] = []
        different: list[_Row] = []
        locks: list[PolicyParameters] = []
        n_vcpu = n_lock = 0
        work_ns = 0.0
        # VMs of one group differ in nothing else.
        for _, group in itertools.groupby(specs, _GROUP):
            row: _Row = {}
            for spec in group:
                row = row or self._vm(spec, threshold, wakeup)
                row["first_vcpu"], row["first_lock"] = n_vcpu, n_lock
                rows.append(tuple(row.values()))
                n_vcpu += spec.vcpus
                n_lock += spec.lock.count
                work_ns += spec.vcpus * (spec.user.mean_ns + spec.hold.mean_ns)
            different.append(row)
            locks.append(spec.lock)
        words = [row["lock_word"] for row in different]
        in_line = state.WORD_FORESEEABLE | state.WORD_LINE
        found = self._vms[key] = _Vms(
            address=self._vm_records.add(rows),
            n_vcpu=n_vcpu,
            n_lock=n_lock,
            phase_ns=work_ns / (2 * n_vcpu),
            is_weighted=len({row["weight"] for row in different}) > 1,
            is_scalar=all([word & state.WORD_SCALAR for word in words]),
            has_line=in_line in [word & in_line for word in words],
            has_patience=any([row["patience"] for row in different]),
            gives_way=any([hasattr(_policy(lock), "tries_until") for lock in locks]),
            needs_choice=any([row["has_choice"] for row in different]),
        )
        self._alive.append(specs)
        return found

    def _vm(self, spec: VmSpec, threshold: Distribution | None, wakeup: Distribution | None) -> _Row:
        has_handover = not spec.handover.is_zero
        return self._lock(spec.lock, threshold, wakeup, has_handover) | {
            "n_vcpu": spec.vcpus,
            "user": self.distribution(spec.user),
            "kernel": self.distribution(spec.kernel),
            "hold": self.distribution(spec.hold),
            "handover": self.distribution(spec.handover),
            "halt_time": self.distribution(spec.halt_time),
            "has_kernel": not spec.kernel.is_zero,
            "has_handover": has_handover,
            "has_halt": spec.halt_probability > 0,
            "halt_below": round(spec.halt_probability * 2**32),
            "has_choice": has_choice(spec),
            "weight": spec.weight,
        }

    def _lock(
        self,
        lock: PolicyParameters,
        threshold: Distribution | None,
        wakeup: Distribution | None,
        has_handover: bool,
    ) -> _Row:
        """The fields of a VM that its locks decide; the others are 0."""
        key = (lock, threshold, wakeup, has_handover)
        if key in self._locks:
            return self._locks[key]
        vm: _Row = dict.fromkeys(state.VM_CONFIG.names or (), 0)
        policy = _policy(lock)
        its: Any = lock
        vm["n_lock"] = its.count
        vm["lock_kind"] = _number("lock", lock.kind)
        vm["handover_grows"] = policy.HANDOVER_GROWS
        weights = np.array(its.weights or (1.0,) * its.count)
        bounds = np.round(2.0**32 * np.cumsum(weights) / weights.sum()).astype(np.int64)
        bounds[-1] = 2**32
        self._alive.append(bounds)
        vm["lock_bounds"] = bounds.ctypes.data
        word = policy.lock_word(lock) if hasattr(policy, "lock_word") else policy.LOCK_WORD
        if has_handover:
            word &= ~state.WORD_FORESEEABLE
        vm["lock_word"] = word
        vm["lock_parameters"] = self.parameters(lock)
        own_wakeup = getattr(lock, "wakeup", wakeup)
        vm["wakeup"] = self.distribution(own_wakeup) if own_wakeup is not None else 0
        spin_threshold = getattr(lock, "spin_threshold", None)
        if word & state.WORD_FORESEEABLE and isinstance(spin_threshold, Constant):
            vm["patience"] = self.distribution(spin_threshold)
        vm["quick_ns"] = -1
        if word & (state.WORD_FORESEEABLE | state.WORD_UNFAIR) == state.WORD_FORESEEABLE:
            thresholds = [d for d in (threshold, spin_threshold) if d is not None]
            constants = [d.value_ns for d in thresholds if isinstance(d, Constant)]
            if len(constants) == len(thresholds):
                vm["quick_ns"] = min([state.FAR, *constants])
        self._locks[key] = vm
        return vm

    def parameters(self, parameters: PolicyParameters) -> int:
        """Address of the record of a policy's parameters."""
        if parameters in self._policies:
            return self._policies[parameters]
        record = np.zeros(1, record_type(type(parameters)))
        for name in type(parameters).model_fields:
            value = getattr(parameters, name)
            if isinstance(value, Distribution):
                number = self.distribution(value)
            elif isinstance(value, tuple):
                array = np.array(value, dtype=np.float64)
                self._alive.append(array)
                number = int(array.ctypes.data)
            elif value is None:
                number = 0
            elif name == "phase":
                number = {"random": RANDOM_PHASE, "aligned": ALIGNED_PHASE}[value]
            elif isinstance(value, str):
                number = words_of(type(parameters), name).index(value)
            else:
                number = 0 if value is None else int(value)
            record[name] = number
        self._alive.append(record)
        address = self._policies[parameters] = int(record.ctypes.data)
        return address

    def distribution(self, distribution: Distribution) -> int:
        """Address of the record of a distribution."""
        address = self._distributions.get(distribution)
        if address is None:
            record = np.zeros(1, state.DISTRIBUTION)
            if isinstance(distribution, Constant):
                record["kind"], record["value"] = state.CONSTANT, distribution.value_ns
                record["mean"] = distribution.mean_ns
            elif isinstance(distribution, Exponential):
                record["kind"], record["mean"] = state.EXPONENTIAL, distribution.mean_ns
            else:
                record["mean"] = distribution.mean_ns
                table = segments(distribution)
                self._alive.append(table)
                record["kind"], record["segments"] = state.TABLE, table.ctypes.data
            self._alive.append(record)
            address = self._distributions[distribution] = int(record.ctypes.data)
        return address
