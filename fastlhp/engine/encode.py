"""Configurations as the memory that compiled code reads.

A sweep puts the same few parts together again and again, and short configurations are too many to be seen to singly:
each part is encoded once, and the records of many configurations are written column by column.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import state
from fastlhp.engine.facts import VARIES, Known, distinct, of_configurations, of_vms
from fastlhp.engine.parameters import ALIGNED_PHASE, RANDOM_PHASE, record_name, record_type, words_of
from fastlhp.engine.quantiles import segments
from fastlhp.engine.tailoring import Facts
from fastlhp.model.configuration import Choice, Configuration, HostSpec, Parts, VmSpec
from fastlhp.model.distributions import Constant, Distribution, Exponential
from fastlhp.model.policy import (
    GuardParameters,
    PolicyParameters,
    ResponseParameters,
    SchedulerParameters,
)
from fastlhp.policies import FAMILIES, kinds

SHORT_PHASES = 5
"""Fewer guest phases than that before the next intervention are left to scalar code. Measured."""
_Row = dict[str, Any]
_Columns = dict[str, NDArray[Any]]
_Waits = tuple[Distribution | None, Distribution | None]
"""When waiters of a VM give up and how long it takes to wake them, as the response says: threshold and wakeup."""
ALWAYS = state.FOREVER
"""Longer than until any intervention."""
_MOST_SHARED = 10_000


def has_choice(spec: VmSpec) -> bool:
    """Whether the cycles of a VM differ by more than their user and hold times."""
    return spec.lock.count > 1 or not spec.kernel.is_zero or spec.halt_probability > 0


def _policy(parameters: PolicyParameters) -> Any:
    """The module of a policy."""
    return sys.modules[type(parameters).__module__]


def _waits(response: ResponseParameters) -> _Waits:
    return getattr(response, "spin_threshold", None), getattr(response, "wakeup", None)


def _addresses(array: NDArray[Any]) -> NDArray[np.int64]:
    """Return where each record of an array is."""
    return array.ctypes.data + np.arange(len(array)) * array.itemsize


class Encoding:
    """The records of some configurations. Their addresses stay valid as long as this object lives.

    Parameters
    ----------
    parts : Parts
        The configurations.
    shared : Shared, optional
        Has what others have in common with them.

    Attributes
    ----------
    address : ndarray of int64, shape (configuration,)
        Of their records.
    n_pcpu, n_lock, n_vcpu, n_vm : ndarray of int64, shape (configuration,)
        What a block needs room for.
    needs_choice : ndarray of bool, shape (configuration,)
        Whether their lanes need the vector passes for kernel phases, several locks and HLT.
    warmup_ns : ndarray of int64, shape (configuration,)
        Length of the warm-up.
    known : Known
        What is known of them beforehand.
    """

    def __init__(self, parts: Parts, shared: Shared | None = None) -> None:
        self._shared = shared = shared or Shared()
        host = _columns(parts.host, shared.host)
        columns = host | _columns(parts.guard, shared.guard)
        columns |= _columns(parts.scheduler, shared.scheduler) | _columns(parts.response, shared.response)
        vms, self._vms, known_of_vms = shared.vms(parts)
        has_patience, is_scalar = vms.pop("has_patience"), vms.pop("is_scalar")
        by_clock_only = vms.pop("by_clock_only")
        phase_ns, self.needs_choice = vms.pop("phase_ns"), vms.pop("needs_choice")
        never = shared.distribution(Constant(state.FOREVER))
        columns |= vms
        columns["exchanges"] = columns.pop("switches_at_once") & columns.pop("can_exchange")
        columns["divisible"] = by_clock_only & (columns["threshold"] == 0)
        is_never = (columns["threshold"] == 0) & has_patience
        columns["threshold"] = np.where(is_never, never, columns["threshold"])
        columns["threshold_ns"] = np.where(is_never, state.FOREVER, columns["threshold_ns"])
        columns["window_start"] = parts.warmup_ns
        columns["window_end"] = parts.warmup_ns + parts.duration_ns
        short_ns = np.rint(SHORT_PHASES * phase_ns / host["n_pcpu"])
        columns["short_ns"] = np.where(is_scalar, ALWAYS, short_ns.astype(np.int64))
        self._records = np.zeros(len(parts.duration_ns), state.CONFIG)
        for name, column in columns.items():
            self._records[name] = column
        self.address = _addresses(self._records)
        policies = [
            Known.each([shared.known_of(policy) for policy in choice.variants], choice.which)
            for choice in (parts.scheduler, parts.guard, parts.response)
        ]
        self.known = of_configurations(self._records, known_of_vms, *policies)
        self.warmup_ns = parts.warmup_ns
        self.n_pcpu, self.n_lock, self.n_vcpu, self.n_vm = (
            columns[name] for name in ("n_pcpu", "n_lock", "n_vcpu", "n_vm")
        )

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self._records)


class Encoded:
    """The records of one configuration. Their addresses stay valid as long as this object lives.

    Parameters
    ----------
    configuration : Configuration
        What to encode.

    Attributes
    ----------
    address, n_pcpu, n_lock, n_vcpu, n_vm, warmup_ns : int
        As of `Encoding`.
    needs_choice : bool
        As of `Encoding`.
    facts : Facts
        What is known of it beforehand.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._encoding = it = Encoding(Parts.of(configuration))
        self.address = int(it.address[0])
        self.warmup_ns = int(it.warmup_ns[0])
        self.n_pcpu, self.n_lock = int(it.n_pcpu[0]), int(it.n_lock[0])
        self.n_vcpu, self.n_vm = int(it.n_vcpu[0]), int(it.n_vm[0])
        self.needs_choice = bool(it.needs_choice[0])
        (self.facts,) = it.known.facts

    @property
    def room(self) -> dict[str, Any]:
        """What a `Block` for this configuration alone has to be told of it."""
        numbers = {name: getattr(self, name) for name in ("n_pcpu", "n_vcpu", "n_vm", "n_lock")}
        return numbers | {"choices": self.needs_choice}


def _columns(choice: Choice[Any], encode: Callable[[Sequence[Any]], _Columns]) -> _Columns:
    """Return fields of configurations, given what encodes the variants of the part that decides them."""
    return {name: column[choice.which] for name, column in encode(choice.variants).items()}


class Shared:
    """Records of what configurations have in common: distributions, policies, locks. Each is encoded once."""

    def __init__(self) -> None:
        self._alive: list[Any] = []
        self._distributions: dict[Distribution | None, int] = {None: 0}
        self._policies: dict[PolicyParameters, int] = {}
        self._locks: dict[tuple[object, ...], _Row] = {}
        self._options: dict[PolicyParameters, Facts] = {}
        # Asked anew by each of these: a policy of one's own changes the numbers.
        self._kinds = {family: list(kinds(family)) for family in FAMILIES}

    @property
    def is_full(self) -> bool:
        """Whether there is so much in it that a new one should be begun."""
        return len(self._distributions) + len(self._policies) > _MOST_SHARED

    def host(self, hosts: Sequence[HostSpec]) -> _Columns:
        """Fields of a configuration that its host decides, for each of some hosts."""
        return {
            "n_pcpu": np.array([host.pcpus for host in hosts]),
            "context_switch": self._unless_zero([host.context_switch for host in hosts]),
            "vm_exit": self._unless_zero([host.vm_exit for host in hosts]),
            "switches_at_once": np.array([host.context_switch.is_zero for host in hosts]),
        }

    def _unless_zero(self, times: Sequence[Distribution]) -> NDArray[np.int64]:
        return self.distributions([None if time.is_zero else time for time in times])

    def scheduler(self, schedulers: Sequence[SchedulerParameters]) -> _Columns:
        """As `host`, of schedulers."""
        columns = self._policy("scheduler", schedulers)
        return columns | {
            "scheduler_parameters": self.parameters([each.base_policy() for each in schedulers]),
            "overlay_parameters": columns["scheduler_parameters"],
            "can_exchange": np.array([hasattr(_policy(each), "successor") for each in schedulers]),
            "own_queues": np.array([getattr(_policy(each), "OWN_QUEUES", False) for each in schedulers]),
        }

    def guard(self, guards: Sequence[GuardParameters]) -> _Columns:
        """As `host`, of guards."""
        return self._policy("guard", guards)

    def response(self, responses: Sequence[ResponseParameters]) -> _Columns:
        """As `host`, of responses."""
        largest = [
            getattr(each, "window_max", None) if getattr(each, "window_grow", 1) > 1 else None
            for each in responses
        ]
        thresholds = [getattr(each, "spin_threshold", None) for each in responses]
        return self._policy("response", responses) | {
            "threshold": self.distributions(thresholds),
            "threshold_ns": np.array(
                [each.value_ns if isinstance(each, Constant) else -1 for each in thresholds]
            ),
            "threshold_max": np.array([each.value_ns if each is not None else 0 for each in largest]),
        }

    def _policy(self, family: str, policies: Sequence[PolicyParameters]) -> _Columns:
        return {
            family: np.array([self._kinds[family].index(each.kind) for each in policies]),
            f"{family}_parameters": self.parameters(policies),
        }

    def vms(self, parts: Parts) -> tuple[_Columns, NDArray[Any], Known]:
        """As `host`, of VMs under the responses of configurations; and the VMs' records, and what is known of the VMs.

        Beside fields there are columns of what else has to be known: ``needs_choice``, ``has_patience`` (whether any
        lock has a threshold of its own), ``is_scalar`` (whether all want scalar code), ``by_clock_only`` (whether no
        guest ever calls the hypervisor, if its response does not), and ``phase_ns``, the mean length of the phases of
        running guests.
        """
        waits: dict[_Waits, int] = {}
        numbers = [waits.setdefault(_waits(each), len(waits)) for each in parts.response.variants]
        wait = np.array(numbers)[parts.response.which]
        # All that follows is done once for each combination of waits and groups, and of a group once for each pair.
        one, which = distinct(len(wait), wait, *(group.which for group in parts.groups))
        wait = wait[one]
        pairs: list[tuple[VmSpec, _Waits]] = []
        pair, count = np.empty((2, len(one), len(parts.groups)), np.int64)
        for position, group in enumerate(parts.groups):
            variant = group.which[one]
            first, number = distinct(len(wait), variant, wait)
            pair[:, position] = len(pairs) + number
            count[:, position] = np.array([each.count for each in group.variants])[variant]
            models = [group.variants[v].model for v in variant[first].tolist()]
            pairs += zip(models, map(list(waits).__getitem__, wait[first].tolist()), strict=True)
        table = self._vm_records(pairs)
        specs = [spec for spec, _ in pairs]
        phases_ns = np.array([spec.vcpus * (spec.user.mean_ns + spec.hold.mean_ns) for spec in specs])
        gives_way = np.array([hasattr(_policy(spec.lock), "tries_until") for spec in specs])
        loses_patience = np.array([hasattr(_policy(spec.lock), "lose_patience") for spec in specs])
        n_vm, n_vcpu = count.sum(axis=1), (count * table["n_vcpu"][pair]).sum(axis=1)

        def any_of(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return np.asarray((flags[pair] & (count > 0)).any(axis=1))

        words, in_line = table["lock_word"], state.WORD_FORESEEABLE | state.WORD_LINE
        heaviest = np.where(count > 0, table["weight"][pair], -np.inf).max(axis=1)
        lightest = np.where(count > 0, table["weight"][pair], np.inf).min(axis=1)
        # Side by side the VMs of each combination, which differ from others of their group in where they begin.
        records = table[np.repeat(pair.ravel(), count.ravel())]
        begin = np.cumsum(n_vm) - n_vm
        for first_one, number_of in (("first_vcpu", "n_vcpu"), ("first_lock", "n_lock")):
            before = np.cumsum(records[number_of]) - records[number_of]
            records[first_one] = before - np.repeat(before[begin], n_vm)
        columns = {
            "n_vcpu": n_vcpu,
            "n_vm": n_vm,
            "n_lock": (count * table["n_lock"][pair]).sum(axis=1),
            "vms": _addresses(records)[begin],
            "weighted": lightest < heaviest,
            "gives_way": any_of(gives_way),
            "loses_patience": any_of(loses_patience | (words & state.WORD_LINE != 0)),
            "has_line": any_of(words & in_line == in_line),
            "needs_choice": any_of(table["has_choice"] != 0),
            "has_patience": any_of(table["patience"] != 0),
            "is_scalar": ~any_of(words & state.WORD_SCALAR == 0),
            "by_clock_only": ~any_of(
                (words & (state.WORD_FORESEEABLE | state.WORD_SCALAR) != state.WORD_FORESEEABLE)
                | (table["patience"] != 0)
                | (table["has_halt"] != 0)
                | gives_way
            ),
            "phase_ns": (count * phases_ns[pair]).sum(axis=1) / (2 * n_vcpu),
        }
        known = of_vms(records, begin)[which]
        return {name: column[which] for name, column in columns.items()}, records, known

    def _vm_records(self, pairs: Sequence[tuple[VmSpec, _Waits]]) -> NDArray[Any]:
        """Records of VMs, each as if it were the first."""
        specs = [spec for spec, _ in pairs]
        records = np.zeros(len(pairs), state.VM_CONFIG)
        for name in ("user", "kernel", "hold", "handover", "halt_time"):
            records[name] = self.distributions([getattr(spec, name) for spec in specs])
        records["n_vcpu"] = [spec.vcpus for spec in specs]
        records["weight"] = [spec.weight for spec in specs]
        records["has_kernel"] = [not spec.kernel.is_zero for spec in specs]
        records["has_handover"] = [not spec.handover.is_zero for spec in specs]
        records["has_halt"] = [spec.halt_probability > 0 for spec in specs]
        records["halt_below"] = [round(spec.halt_probability * 2**32) for spec in specs]
        records["has_choice"] = [has_choice(spec) for spec in specs]
        locks = [self._lock(spec.lock, *waits, not spec.handover.is_zero) for spec, waits in pairs]
        for name in locks[0]:
            records[name] = [lock[name] for lock in locks]
        return records

    def _lock(
        self,
        lock: PolicyParameters,
        threshold: Distribution | None,
        wakeup: Distribution | None,
        has_handover: bool,
    ) -> _Row:
        """The fields of a VM that its locks decide."""
        key = (lock, threshold, wakeup, has_handover)
        if key in self._locks:
            return self._locks[key]
        policy = _policy(lock)
        its: Any = lock
        weights = np.array(its.weights or (1.0,) * its.count)
        bounds = np.round(2.0**32 * np.cumsum(weights) / weights.sum()).astype(np.int64)
        bounds[-1] = 2**32
        self._alive.append(bounds)
        word = policy.lock_word(lock) if hasattr(policy, "lock_word") else policy.LOCK_WORD
        if has_handover:
            word &= ~state.WORD_FORESEEABLE
        spin_threshold = getattr(lock, "spin_threshold", None)
        has_patience = word & state.WORD_FORESEEABLE and isinstance(spin_threshold, Constant)
        quick_ns = -1
        if word & (state.WORD_FORESEEABLE | state.WORD_UNFAIR) == state.WORD_FORESEEABLE:
            thresholds = [d for d in (threshold, spin_threshold) if d is not None]
            constants = [d.value_ns for d in thresholds if isinstance(d, Constant)]
            if len(constants) == len(thresholds):
                quick_ns = min([state.FAR, *constants])
        found = self._locks[key] = {
            "n_lock": its.count,
            "lock_kind": self._kinds["lock"].index(lock.kind),
            "handover_grows": policy.HANDOVER_GROWS,
            "lock_bounds": bounds.ctypes.data,
            "lock_word": word,
            "lock_parameters": int(self.parameters([lock])[0]),
            "wakeup": self.distribution(getattr(lock, "wakeup", wakeup)),
            "patience": self.distribution(spin_threshold if has_patience else None),
            "quick_ns": quick_ns,
        }
        return found

    def parameters(self, policies: Sequence[PolicyParameters]) -> NDArray[np.int64]:
        """Addresses of the records of policies' parameters."""
        new = [each for each in dict.fromkeys(policies) if each not in self._policies]
        for cls in {type(each): None for each in new}:
            these = [each for each in new if type(each) is cls]
            records = np.zeros(len(these), record_type(cls))
            options = {}
            for name in cls.model_fields:
                values = [getattr(each, name) for each in these]
                records[name] = self._numbers(cls, name, values)
                is_option = [isinstance(value, (str, int)) for value in values]
                if any(is_option):
                    options[f"{record_name(cls)}.{name}"] = np.where(is_option, records[name], VARIES)
            known = Known.of(len(these), options)
            self._options.update(zip(these, map(known.facts.__getitem__, known.which), strict=True))
            self._alive.append(records)
            self._policies.update(zip(these, _addresses(records).tolist(), strict=True))
        return np.array([self._policies[each] for each in policies])

    def known_of(self, policy: PolicyParameters) -> Facts:
        """Return the options of a policy that is encoded, and of the one that it builds on."""
        options = self._options[policy]
        if isinstance(policy, SchedulerParameters) and (base := policy.base_policy()) is not policy:
            options |= self._options[base]
        return options

    def _numbers(
        self, cls: type[PolicyParameters], name: str, values: Sequence[Any]
    ) -> Sequence[int] | NDArray[np.int64]:
        """Values of a parameter as the numbers that stand in records."""
        if all(value is None or isinstance(value, Distribution) for value in values):
            return self.distributions(values)
        numbers = {value: self._number(cls, name, value) for value in dict.fromkeys(values)}
        return [numbers[value] for value in values]

    def _number(self, cls: type[PolicyParameters], name: str, value: Any) -> int:
        if value is None or isinstance(value, Distribution):
            return self.distribution(value)
        if isinstance(value, tuple):
            array = np.array(value, dtype=np.float64)
            self._alive.append(array)
            return int(array.ctypes.data)
        if name == "phase":
            return {"random": RANDOM_PHASE, "aligned": ALIGNED_PHASE}[value]
        return words_of(cls, name).index(value) if isinstance(value, str) else int(value)

    def distribution(self, distribution: Distribution | None) -> int:
        """Address of the record of a distribution; 0 for none."""
        return int(self.distributions([distribution])[0])

    def distributions(self, distributions: Sequence[Distribution | None]) -> NDArray[np.int64]:
        """Addresses of the records of distributions; 0 for none."""
        known = self._distributions
        new = [each for each in dict.fromkeys(distributions) if each not in known]
        if new:
            records = np.array([self._record(each) for each in new if each is not None], state.DISTRIBUTION)
            self._alive.append(records)
            known.update(zip(new, _addresses(records).tolist(), strict=True))
        return np.array([known[each] for each in distributions])

    def _record(self, distribution: Distribution) -> tuple[int, int, float, int]:
        """Fields of a record: kind, value, mean and segments."""
        if isinstance(distribution, Constant):
            return state.CONSTANT, distribution.value_ns, distribution.mean_ns, 0
        if isinstance(distribution, Exponential):
            return state.EXPONENTIAL, 0, distribution.mean_ns, 0
        table = segments(distribution)
        self._alive.append(table)
        return state.TABLE, 0, distribution.mean_ns, int(table.ctypes.data)
