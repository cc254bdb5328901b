"""A configuration as the memory that compiled code reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import state
from fastlhp.engine.parameters import ALIGNED_PHASE, RANDOM_PHASE, record_type, words_of
from fastlhp.engine.quantiles import segments
from fastlhp.model.configuration import Configuration, VmSpec
from fastlhp.model.distributions import Constant, Distribution, Exponential
from fastlhp.model.policy import PolicyParameters
from fastlhp.policies import kinds

SHORT_PHASES = 4
"""Fewer guest phases than that before the next intervention are left to scalar code. Measured."""
ALWAYS = state.FOREVER
"""Longer than until any intervention."""
_MOST_SHARED = 20_000


def has_choice(spec: VmSpec) -> bool:
    """Whether the cycles of a VM differ by more than their user and hold times."""
    return spec.lock.count > 1 or not spec.kernel.is_zero or spec.halt_probability > 0


def _phase_ns(specs: Sequence[VmSpec]) -> float:
    """Mean length of the phases of running guests."""
    return sum(spec.vcpus * (spec.user.mean_ns + spec.hold.mean_ns) for spec in specs) / (
        2 * sum(spec.vcpus for spec in specs)
    )


def _policy(spec: VmSpec) -> Any:
    """The module of a VM's lock."""
    return sys.modules[type(spec.lock).__module__]


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
    record : ndarray of CONFIG, shape (1,)
        The configuration.
    n_tile, n_lock, n_vcpu, n_vm : int
        What a block needs room for.
    needs_choice : bool
        Whether its lanes need the vector passes for kernel phases, several locks and HLT.
    """

    def __init__(self, configuration: Configuration, shared: Shared | None = None) -> None:
        self._shared = shared = shared or Shared()
        host = configuration.host
        specs = configuration.vms
        threshold = getattr(configuration.response, "spin_threshold", None)
        wakeup = getattr(configuration.response, "wakeup", None)
        threshold_max: Any = getattr(configuration.response, "window_max", None)
        grows = getattr(configuration.response, "window_grow", 1) > 1
        vms = shared.vms(specs, threshold, wakeup)
        config: dict[str, int] = dict.fromkeys(state.CONFIG.names or (), 0)
        config["n_pcpu"] = host.pcpus
        config["n_vcpu"] = sum(spec.vcpus for spec in specs)
        config["n_vm"] = len(specs)
        config["n_lock"] = sum(spec.lock.count for spec in specs)
        for family in ("scheduler", "guard", "response"):
            parameters = getattr(configuration, family)
            config[family] = list(kinds(family)).index(parameters.kind)
            config[f"{family}_parameters"] = shared.parameters(parameters)
        config["overlay_parameters"] = config["scheduler_parameters"]
        if configuration.scheduler.base_policy() is not configuration.scheduler:
            config["scheduler_parameters"] = shared.parameters(configuration.scheduler.base_policy())
        config["vms"] = vms.ctypes.data
        config["context_switch"] = shared.distribution(host.context_switch)
        config["vm_exit"] = shared.distribution(host.vm_exit)
        config["threshold"] = shared.distribution(threshold) if threshold is not None else 0
        if threshold is None and vms["patience"].any():
            config["threshold"] = shared.distribution(Constant(state.FOREVER))
        config["threshold_max"] = threshold_max.value_ns if grows else 0
        config["weighted"] = int(len({spec.weight for spec in specs}) > 1)
        config["window_start"] = configuration.warmup_ns
        config["gives_way"] = any(hasattr(_policy(spec), "tries_until") for spec in specs)
        in_line = state.WORD_FORESEEABLE | state.WORD_LINE
        config["has_line"] = (vms["lock_word"] & in_line == in_line).any()
        if (vms["lock_word"] & state.WORD_SCALAR).all():
            config["short_ns"] = ALWAYS
        else:
            config["short_ns"] = round(SHORT_PHASES * _phase_ns(specs) / host.pcpus)
        config["window_end"] = configuration.warmup_ns + configuration.duration_ns
        self.record = np.array([tuple(config.values())], state.CONFIG)
        # Asked for often, and slow to find out.
        self.address = int(self.record.ctypes.data)
        self.warmup_ns = configuration.warmup_ns
        self.n_tile = -(-host.pcpus // state.TILE)
        self.n_lock = config["n_lock"]
        self.n_vcpu = config["n_vcpu"]
        self.n_vm = len(specs)
        self.n_pcpu = host.pcpus
        self.needs_choice = bool(vms["has_choice"].any())


class Shared:
    """Records of what configurations have in common: VMs, policies, distributions.

    A sweep puts the same few objects together again and again; each of them is encoded once.
    """

    def __init__(self) -> None:
        self._alive: list[Any] = []
        self._distributions: dict[Distribution, int] = {}
        self._policies: dict[int, int] = {}
        self._vms: dict[tuple[object, ...], NDArray[Any]] = {}

    @property
    def is_full(self) -> bool:
        """Whether there is so much in it that a new one should be begun."""
        return len(self._alive) > _MOST_SHARED

    def vms(
        self, specs: Sequence[VmSpec], threshold: Distribution | None, wakeup: Distribution | None
    ) -> NDArray[Any]:
        """VM_CONFIG of VMs that wait and are woken as a response says."""
        key = (threshold, wakeup, *map(id, specs))
        if key in self._vms:
            return self._vms[key]
        vms = np.zeros(len(specs), state.VM_CONFIG)
        # VMs of one group share their objects: encode each group once.
        encoded: dict[int, Any] = {}
        first_vcpu = first_lock = 0
        for m, spec in enumerate(specs):
            own = id(spec.lock)
            if own not in encoded or encoded[own][0].group != spec.group:
                encoded[own] = (spec, self._vm(spec, threshold, wakeup))
            vms[m] = encoded[own][1]
            vms[m]["first_vcpu"] = first_vcpu
            vms[m]["first_lock"] = first_lock
            first_vcpu += spec.vcpus
            first_lock += spec.lock.count
        self._alive.append(specs)
        self._vms[key] = vms
        return vms

    def _vm(self, spec: VmSpec, threshold: Distribution | None, wakeup: Distribution | None) -> Any:
        policy = _policy(spec)
        vm = np.zeros(1, state.VM_CONFIG)[0]
        n_lock = spec.lock.count
        vm["n_vcpu"] = spec.vcpus
        vm["n_lock"] = n_lock
        vm["lock_kind"] = list(kinds("lock")).index(spec.lock.kind)
        for name in ("user", "kernel", "hold", "handover", "halt_time"):
            vm[name] = self.distribution(getattr(spec, name))
        vm["has_kernel"] = not spec.kernel.is_zero
        vm["has_handover"] = not spec.handover.is_zero
        vm["handover_grows"] = policy.HANDOVER_GROWS
        vm["has_halt"] = spec.halt_probability > 0
        vm["halt_below"] = round(spec.halt_probability * 2**32)
        vm["has_choice"] = has_choice(spec)
        weights = np.array(spec.lock.weights or (1.0,) * n_lock)
        bounds = np.round(2.0**32 * np.cumsum(weights) / weights.sum()).astype(np.int64)
        bounds[-1] = 2**32
        self._alive.append(bounds)
        vm["lock_bounds"] = bounds.ctypes.data
        word = policy.lock_word(spec.lock) if hasattr(policy, "lock_word") else policy.LOCK_WORD
        if vm["has_handover"]:
            word &= ~state.WORD_FORESEEABLE
        vm["lock_word"] = word
        vm["lock_parameters"] = self.parameters(spec.lock)
        own_wakeup = getattr(spec.lock, "wakeup", wakeup)
        vm["wakeup"] = self.distribution(own_wakeup) if own_wakeup is not None else 0
        vm["weight"] = spec.weight
        spin_threshold = getattr(spec.lock, "spin_threshold", None)
        if word & state.WORD_FORESEEABLE and isinstance(spin_threshold, Constant):
            vm["patience"] = self.distribution(spin_threshold)
        vm["quick_ns"] = -1
        if word & (state.WORD_FORESEEABLE | state.WORD_UNFAIR) == state.WORD_FORESEEABLE:
            thresholds = [d for d in (threshold, spin_threshold) if d is not None]
            constants = [d.value_ns for d in thresholds if isinstance(d, Constant)]
            if len(constants) == len(thresholds):
                vm["quick_ns"] = min([state.FAR, *constants])
        return vm

    def parameters(self, parameters: PolicyParameters) -> int:
        """Address of the record of a policy's parameters."""
        if id(parameters) in self._policies:
            return self._policies[id(parameters)]
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
        self._alive += (record, parameters)
        address = self._policies[id(parameters)] = int(record.ctypes.data)
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
