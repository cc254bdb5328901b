"""How configurations are put together, and how a study is checked.

The parts of a study (the window, the host, each policy, each group of VMs) are checked once for every
combination of the swept values that reach *them*, not for every configuration: ten thousand configurations
usually have a few dozen different parts.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from fastlhp.errors import Problem
from fastlhp.model.configuration import Configuration
from fastlhp.model.distributions import Distribution
from fastlhp.model.host import MAX_LOCKS, MAX_PCPUS, MAX_VCPUS, HostForm, HostSpec, clock_of
from fastlhp.model.policy import PolicyParameters, parameters_from
from fastlhp.model.presets import merged, preset, preset_names
from fastlhp.model.profiles import filled_in
from fastlhp.model.sweep import MAX_CONFIGURATIONS, Axis, axes_from, format_keys, substituted
from fastlhp.model.units import UnitError, format_duration, parse_duration, round_ns
from fastlhp.model.validation import (
    NOTHING,
    Accepts,
    Context,
    Form,
    Keys,
    Mistake,
    Mistakes,
    Written,
    checked,
    one_of,
    refused,
    show,
    unknown_key,
    written,
)
from fastlhp.model.vm import MAX_VM_COUNT, MAX_VM_VCPUS, VmForm, VmGroup, VmSpec, default_name
from fastlhp.policies import kinds
from fastlhp.policies.compatibility import WIDTH_UNDER_GANG, conflicts

__all__ = ["Plan", "ReplicationCount", "Seed", "StudyForm"]

_SECTIONS = ("study", "host", "policy", "vm", "sweep")
_POLICY_FAMILIES = ("scheduler", "guard", "response")
_MAX_GROUPS = 256
_MAX_WINDOW_NS = 10**15
_NAME_HELP = "a name of 1 to 200 printable characters"
_WINDOW_HELP = 'a duration with a unit (ns, us, ms, s or cycles) of at most 1e6 s, such as "2s"'
_CUT_WORTH_TELLING = 1e-3


ReplicationCount = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]


def _study_name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 200:
        raise refused(value, _NAME_HELP)
    return value


def _window(value: object, info: ValidationInfo) -> int:
    context = info.context if isinstance(info.context, Context) else Context()
    if not isinstance(value, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        raise refused(value, f"a bare number has no unit; give {_WINDOW_HELP}" if number else _WINDOW_HELP)
    try:
        window_ns = round_ns(parse_duration(value, context.clock, _WINDOW_HELP))
    except UnitError as error:
        raise refused(value, error.accepted) from None
    if window_ns > _MAX_WINDOW_NS:
        raise refused(value, _WINDOW_HELP)
    return window_ns


def _duration(value: object, info: ValidationInfo) -> int:
    window_ns = _window(value, info)
    if window_ns == 0:
        raise refused(value, f"above 0; {_WINDOW_HELP}")
    return window_ns


_TEXT = WithJsonSchema({"type": "string"})


class StudyForm(Form):
    """``[study]`` as written."""

    name: Annotated[str, PlainValidator(_study_name), Accepts(_NAME_HELP), _TEXT]
    seed: Seed = 1
    duration: Annotated[int, PlainValidator(_duration), Accepts(_WINDOW_HELP), _TEXT]
    warmup: Annotated[int, PlainValidator(_window), Accepts(_WINDOW_HELP), _TEXT] = written("0s")
    replications: ReplicationCount = 32


@dataclass(eq=False)
class Part:
    """A part of the study, and one variant of it for each combination of the swept values that reach it.

    ``variants`` is flat, in C order of ``axes``; None where a variant is not valid. ``facts`` are what other
    parts must fit to; known even of a variant in which something else is wrong.
    """

    keys: Keys
    axes: tuple[int, ...]
    build: Callable[[Mapping[str, Any]], Any]
    variants: list[Any] = dataclasses.field(default_factory=list)
    facts: list[Any] = dataclasses.field(default_factory=list)
    strides: tuple[int, ...] = ()


class Plan:
    """The parts of a study and how configurations are put together from them."""

    def __init__(self, tree: dict[str, Any], folder: Path, default_study_name: str) -> None:
        self.tree = tree
        self.folder = folder
        self.default_study_name = default_study_name
        self.files: dict[tuple[str, str], tuple[float, ...] | Mistakes] = {}
        self.axes: list[Axis] = []
        self.parts: dict[str | int, Part] = {}
        self._found: dict[tuple[str, str, str], int] = {}

    @property
    def n_configurations(self) -> int:
        """Number of configurations: the product of the lengths of the axes."""
        return math.prod(len(axis.values) for axis in self.axes)

    # Checking

    def check(self) -> list[Problem]:
        """Return all problems; the plan can be used only if there are none."""
        groups = self._check_frame()
        self.axes, mistakes = axes_from(self.tree.get("sweep", {}), self._vm_names(groups))
        for mistake in mistakes:
            self._note(self._sweep_path(mistake.keys), mistake, None)
        self._drop_impossible_paths()
        if self.n_configurations > MAX_CONFIGURATIONS:
            # Reported already; the first values alone still show what else is wrong.
            self.axes = [dataclasses.replace(a, values=a.values[:1], labels=a.labels[:1]) for a in self.axes]
        self._make_parts(groups)
        for part in self.parts.values():
            self._build_variants(part)
        self._check_together(groups)
        n = self.n_configurations
        return [
            Problem(*key, *((count, n) if 0 < count < n else (None, None)))
            for key, count in self._found.items()
        ]

    def _note(self, path: str, mistake: Mistake, count: int | None) -> None:
        key = (path, show(mistake.found), mistake.accepted)
        self._found[key] = self._found.get(key, 0) + (count or 0)

    @staticmethod
    def _sweep_path(keys: Keys) -> str:
        if len(keys) < 2:
            return "sweep"
        rest = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys[2:])
        return f"sweep.{show(keys[1], 200)}{rest}"

    def _check_frame(self) -> int:
        """Check what does not depend on the sweep; return the number of VM groups."""
        for key in self.tree:
            if key not in _SECTIONS:
                self._note(format_keys((key,)), unknown_key((key,), self.tree[key], _SECTIONS), None)
        vms = self.tree.get("vm", NOTHING)
        one = " (one VM too is written in two brackets)" if isinstance(vms, dict) else ""
        if not isinstance(vms, list) or not 1 <= len(vms) <= _MAX_GROUPS:
            self._note("vm", Mistake((), vms, f"1 to {_MAX_GROUPS} tables [[vm]]{one}"), None)
            return 0
        names = self._vm_names(len(vms))
        for index, name in enumerate(names):
            if name in names[:index]:
                self._note(f"vm.{index}.name", Mistake((), name, "a name that no other VM group has"), None)
        return len(vms)

    def _vm_names(self, groups: int) -> list[str]:
        names = []
        for index in range(groups):
            table = self.tree["vm"][index]
            name = table.get("name", default_name(index)) if isinstance(table, dict) else default_name(index)
            names.append(name if isinstance(name, str) else default_name(index))
        return names

    def _drop_impossible_paths(self) -> None:
        """Report paths that lead into a text or number, and go on without them."""
        possible = []
        # Shorter paths first: a longer one may lead into the tables that a shorter one brings.
        tree: object = self.tree
        for axis in sorted(self.axes, key=lambda axis: len(axis.keys)):
            try:
                tree = substituted(tree, axis.keys, axis.values[0])
                possible.append(axis)
            except Mistakes as error:
                for mistake in error.mistakes:
                    self._note(axis.shown, mistake, None)
        self.axes = [axis for axis in self.axes if axis in possible]

    def _reaching(self, *places: Keys) -> tuple[int, ...]:
        """Return the axes that change something at, above or below the places."""
        return tuple(
            number
            for number, axis in enumerate(self.axes)
            if any(all(a == b for a, b in zip(axis.keys, place, strict=False)) for place in places)
        )

    def _make_parts(self, groups: int) -> None:
        clock: tuple[Keys, ...] = (("host", "frequency"), ("host", "pause"))
        chosen: Keys = ("policy", "preset")
        self.parts["study"] = Part(("study",), self._reaching(("study",), *clock), self._build_study)
        self.parts["host"] = Part(("host",), self._reaching(("host",), chosen), self._build_host)
        families = [("policy", family) for family in _POLICY_FAMILIES]
        frame = tuple(n for n in self._reaching(("policy",)) if self.axes[n].keys[:2] not in families)
        self.parts["policy"] = Part(("policy",), frame, self._build_policy_frame)
        for family in _POLICY_FAMILIES:
            axes = self._reaching(("policy", family), chosen, *clock)
            self.parts[family] = Part(("policy", family), axes, partial(self._build_policy, family=family))
        for index in range(groups):
            lock: tuple[Keys, ...] = (chosen,) if self._lock_may_be_the_presets(index) else ()
            axes = self._reaching(("vm", index), *lock, *clock)
            self.parts[index] = Part(("vm", index), axes, partial(self._build_vm, index=index))
        for part in self.parts.values():
            lengths = [len(self.axes[number].values) for number in part.axes]
            part.strides = tuple(math.prod(lengths[i + 1 :]) for i in range(len(lengths)))

    def _lock_may_be_the_presets(self, index: int) -> bool:
        table = self.tree["vm"][index]
        lock = table.get("lock") if isinstance(table, dict) else None
        own = isinstance(lock, dict) and "kind" in lock
        return not own or any(axis.keys == ("vm", index, "lock") for axis in self.axes)

    def _build_variants(self, part: Part) -> None:
        # Shorter paths first, whatever their order in the file.
        order = sorted(range(len(part.axes)), key=lambda i: len(self.axes[part.axes[i]].keys))
        shape = [len(self.axes[number].values) for number in part.axes]
        share = self.n_configurations // math.prod(shape)
        for position in np.ndindex(*shape):
            tree: Any = self.tree
            try:
                for i in order:
                    axis = self.axes[part.axes[i]]
                    try:
                        tree = substituted(tree, axis.keys, axis.values[position[i]])
                    except Mistakes as error:
                        raise Mistakes(mistake.under(*axis.keys) for mistake in error.mistakes) from None
                variant = part.build(tree)
                part.variants.append(variant)
                part.facts.append(_facts(variant))
            except Mistakes as error:
                part.variants.append(None)
                part.facts.append(self._guessed_facts(part, tree))
                for mistake in error.mistakes:
                    located, path = self._locate(part, position, mistake)
                    self._note(path, located, share)

    def _locate(self, part: Part, position: Sequence[int], mistake: Mistake) -> tuple[Mistake, str]:
        """Return a mistake and its path in the file: that of a swept value, if one is to blame."""
        keys = mistake.keys
        best = None
        for number, index in zip(part.axes, position, strict=True):
            axis = self.axes[number]
            if mistake.unknown and axis.keys[: len(keys)] == keys:
                # The path itself names a key that does not exist, whatever the value.
                return mistake._replace(found=str(keys[-1])), axis.shown
            if keys[: len(axis.keys)] == axis.keys and (best is None or len(axis.keys) > len(best[0].keys)):
                best = (axis, index)
        if best is None:
            return mistake, format_keys(keys)
        axis, index = best
        rest = format_keys(keys[len(axis.keys) :])
        dot = "." if rest and not rest.startswith("[") else ""
        return mistake, f"{axis.shown}[{index}]{dot}{rest}"

    # Building the parts from a tree in which swept values have been put

    def _context(self, tree: Mapping[str, Any]) -> Context:
        return Context(clock_of(tree.get("host")), self.folder, self.files)

    @staticmethod
    def _preset(tree: Mapping[str, Any]) -> Mapping[str, Any]:
        policy = tree.get("policy")
        name = policy.get("preset") if isinstance(policy, dict) else None
        return preset(name) if isinstance(name, str) and name in preset_names() else {}

    def _build_study(self, tree: Mapping[str, Any]) -> StudyForm:
        table = tree.get("study", NOTHING)
        if isinstance(table, dict):
            table = {"name": self.default_study_name, **table}
        return _under(("study",), lambda: checked(StudyForm, table, self._context(tree)))

    def _build_host(self, tree: Mapping[str, Any]) -> HostSpec:
        table = tree.get("host", NOTHING)
        if isinstance(table, dict):
            table = {**self._preset(tree).get("host", {}), **table}
        return _under(("host",), lambda: checked(HostForm, table, self._context(tree)).build())

    def _build_policy_frame(self, tree: Mapping[str, Any]) -> bool:
        table = tree.get("policy", NOTHING)
        known = ("preset", *_POLICY_FAMILIES)
        if not isinstance(table, dict):
            raise Mistakes([Mistake(("policy",), table, f"a table with the keys {', '.join(known)}")])
        mistakes = [unknown_key(("policy", key), table[key], known) for key in table if key not in known]
        name = table.get("preset", NOTHING)
        if name is not NOTHING and (not isinstance(name, str) or name not in preset_names()):
            mistakes.append(Mistake(("policy", "preset"), name, f"a preset: {one_of(preset_names(), name)}"))
        if mistakes:
            raise Mistakes(mistakes)
        return True

    def _build_policy(self, tree: Mapping[str, Any], family: str) -> PolicyParameters | None:
        policy = tree.get("policy")
        if not isinstance(policy, dict):
            return None
        given = self._preset(tree).get("policy", {}).get(family, NOTHING)
        name = policy.get("preset", NOTHING)
        if name is not NOTHING and given is NOTHING and family not in policy:
            return None  # an unknown preset is reported by itself
        if given is NOTHING and family != "scheduler":
            given = {"kind": "none"}
        table = merged(policy.get(family, NOTHING), given)
        if table is NOTHING:
            accepted = (
                f'a table {{ kind = "...", parameters }} or policy.preset; kind is {one_of(kinds(family))}'
            )
            raise Mistakes([Mistake(("policy", family), table, accepted)])
        context = self._context(tree)
        return _under(("policy", family), lambda: parameters_from(family, table, kinds(family), context))

    def _build_vm(self, tree: Mapping[str, Any], index: int) -> VmGroup:
        table = tree["vm"][index]
        if isinstance(table, dict):
            table = {"name": default_name(index), **filled_in(table)}
            lock = merged(table.get("lock", NOTHING), self._preset(tree).get("lock", NOTHING))
            if lock is not NOTHING:
                table["lock"] = lock
        return _under(("vm", index), lambda: checked(VmForm, table, self._context(tree)).build())

    def _guessed_facts(self, part: Part, tree: Any) -> Any:
        """Return the facts of a variant in which something is wrong, None where they cannot be told."""
        table: Any = tree
        for key in part.keys:
            if isinstance(table, dict):
                table = table.get(key)
            else:
                table = table[key] if isinstance(table, list) and isinstance(key, int) else None
        if not isinstance(table, dict):
            return None

        def number(key: str, low: int, high: int, default: int | None = None) -> int | None:
            value = table.get(key, default)
            return value if type(value) is int and low <= value <= high else None

        def kind(family: str, policy: Any) -> str | None:
            found = policy.get("kind") if isinstance(policy, dict) else None
            return found if isinstance(found, str) and found in kinds(family) else None

        if part.keys == ("host",):
            return number("pcpus", 1, MAX_PCPUS)
        if part.keys[0] == "vm":
            lock = table.get("lock")
            n_lock = lock.get("count", 1) if isinstance(lock, dict) else 1
            return (
                number("vcpus", 1, MAX_VM_VCPUS),
                number("count", 0, MAX_VM_COUNT, 1),
                kind("lock", lock),
                n_lock if type(n_lock) is int else None,
            )
        return kind(str(part.keys[-1]), table)

    # What only shows when parts are put together

    def _combinations(self, *columns: tuple[Part, Sequence[Any]]) -> Iterator[tuple[list[Any], int]]:
        """Yield the distinct combinations of facts, and in how many configurations each occurs.

        Parameters
        ----------
        *columns : tuple of Part and sequence
            A part, and for each of its variants the fact that matters; None where it is not known.
        """
        values: list[list[Any]] = []
        code: Any = np.zeros((), dtype=np.int64)
        known: Any = np.ones((), dtype=bool)
        for part, facts in columns:
            found: dict[Any, int] = {}
            codes = [-1 if fact is None else found.setdefault(fact, len(found)) for fact in facts]
            array = self._spread(part, codes)
            code = code * max(len(found), 1) + array
            known = known & (array >= 0)
            values.append(list(found))
        code = np.where(known, code, -1)
        share = self.n_configurations // code.size
        for combined, count in zip(*np.unique(code, return_counts=True), strict=True):
            if combined < 0:
                continue
            rest, combination = int(combined), []
            for choices in reversed(values):
                rest, index = divmod(rest, len(choices))
                combination.append(choices[index])
            yield combination[::-1], int(count) * share

    def _spread(self, part: Part, numbers: Sequence[int]) -> Any:
        """Return one number per variant as an array with one dimension per axis of the sweep."""
        shape = [1] * len(self.axes)
        for number in part.axes:
            shape[number] = len(self.axes[number].values)
        return np.array(numbers, dtype=np.int64).reshape(shape)

    def _check_together(self, groups: int) -> None:
        scheduler, host = self.parts["scheduler"], self.parts["host"]
        for (parameters, pcpus), count in self._combinations(
            (scheduler, scheduler.variants), (host, host.facts)
        ):
            for mistake in parameters.host_mistakes(pcpus):
                self._note(format_keys(("policy", "scheduler", *mistake.keys)), mistake, count)
        response = self.parts["response"]
        families: list[tuple[str, str, Part, list[Any]]] = [
            (family, f"policy.{family}.kind", self.parts[family], self.parts[family].facts)
            for family in ("guard", "response")
        ]
        for index in range(groups):
            part = self.parts[index]
            locks = [facts and facts[2] for facts in part.facts]
            families.append(("lock", f"vm.{index}.lock.kind", part, locks))
            self._check_pairs("response", response, "lock", f"vm.{index}.lock.kind", part, locks)
            self._check_lock(index, part)
            self._check_width(index, [facts and facts[0] for facts in part.facts])
        for family, path, part, others in families:
            self._check_pairs("scheduler", scheduler, family, path, part, others)
        self._check_totals(groups)

    def _check_pairs(
        self, refusing: str, refusing_part: Part, family: str, path: str, part: Part, facts: list[Any]
    ) -> None:
        """Check that policies of two families go together."""
        for (other, kind), count in self._combinations((refusing_part, refusing_part.facts), (part, facts)):
            for conflict in conflicts({refusing: other, family: kind}):
                accepted = f"not this {family} with the {refusing} {other}: {conflict.reason}"
                self._note(path, Mistake((), kind, accepted), count)

    def _check_lock(self, index: int, part: Part) -> None:
        """Check that a group's lock can work with the scheduler's parameters."""
        scheduler = self.parts["scheduler"]
        locks = [group and group.model.lock for group in part.variants]
        for (lock, parameters), count in self._combinations((part, locks), (scheduler, scheduler.variants)):
            for mistake in lock.scheduler_mistakes(parameters):
                self._note(format_keys(("vm", index, "lock", *mistake.keys)), mistake, count)

    def _check_width(self, index: int, widths: Sequence[int | None]) -> None:
        """Check that the VMs of a group fit into a slot of `gang`."""
        scheduler, host, part = self.parts["scheduler"], self.parts["host"], self.parts[index]
        columns = (scheduler, scheduler.facts), (host, host.facts), (part, widths)
        for (scheduler_kind, pcpus, vcpus), count in self._combinations(*columns):
            if scheduler_kind == "gang" and vcpus > pcpus:
                accepted = f"at most host.pcpus = {pcpus} with the scheduler gang: {WIDTH_UNDER_GANG}"
                self._note(f"vm.{index}.vcpus", Mistake((), vcpus, accepted), count)

    def _check_totals(self, groups: int) -> None:
        """Check the numbers of vCPUs and locks of each configuration."""
        vcpus, known = self._total(groups, 0)
        locks, locks_known = self._total(groups, 3)
        for what, total, wrong, accepted in (
            ("vCPUs", vcpus, known & (vcpus > MAX_VCPUS), f"at most {MAX_VCPUS} vCPUs of all VMs together"),
            ("vCPUs", vcpus, known & (vcpus == 0), "at least one VM (the counts of all groups are 0)"),
            ("locks", locks, locks_known & (locks > MAX_LOCKS), f"at most {MAX_LOCKS} locks of all VMs together"),
        ):
            if groups and wrong.any():
                found = f"{int(total[wrong].max())} {what}"
                share = self.n_configurations // total.size
                self._note("vm", Mistake((), Written(found), accepted), int(wrong.sum()) * share)

    def _total(self, groups: int, fact: int) -> tuple[Any, Any]:
        """Return the sum over all VMs of a number among the facts of their groups, and where it is known."""
        total: Any = np.zeros((), dtype=np.int64)
        known: Any = np.ones((), dtype=bool)
        for index in range(groups):
            part = self.parts[index]
            sizes = [
                -1 if facts is None or None in (facts[fact], facts[1]) else facts[fact] * facts[1]
                for facts in part.facts
            ]
            array = self._spread(part, sizes)
            known = known & (array >= 0)
            total = total + array
        return total, known

    # Using a plan without problems

    def _variant(self, name: str | int, position: Sequence[int]) -> Any:
        part = self.parts[name]
        flat = 0
        for number, stride in zip(part.axes, part.strides, strict=True):
            flat += position[number] * stride
        return part.variants[flat]

    def _position(self, index: int) -> list[int]:
        position = []
        for axis in reversed(self.axes):
            index, own = divmod(index, len(axis.values))
            position.append(own)
        return position[::-1]

    def window(self, index: int) -> StudyForm:
        """Return the ``[study]`` table of a configuration."""
        form: StudyForm = self._variant("study", self._position(index))
        return form

    def configuration(self, index: int) -> Configuration:
        """Return a configuration."""
        position = self._position(index)
        window: StudyForm = self._variant("study", position)
        names = (name for name in self.parts if isinstance(name, int))
        groups: Iterator[VmGroup] = (self._variant(name, position) for name in names)
        return Configuration(
            index=index,
            labels={axis.path: axis.labels[i] for axis, i in zip(self.axes, position, strict=True)},
            duration_ns=window.duration,
            warmup_ns=window.warmup,
            host=self._variant("host", position),
            scheduler=self._variant("scheduler", position),
            guard=self._variant("guard", position),
            response=self._variant("response", position),
            vms=tuple(vm for group in groups for vm in group.vms),
        )

    def _distributions(self) -> Iterator[tuple[str, Distribution]]:
        """Yield every distribution of every part, with its path."""
        for part in self.parts.values():
            where = format_keys(part.keys)
            for variant in part.variants:
                table = variant.model if isinstance(variant, VmGroup) else variant
                if isinstance(table, HostSpec | VmSpec):
                    items = [(field.name, getattr(table, field.name)) for field in dataclasses.fields(table)]
                elif isinstance(table, PolicyParameters):
                    items = [(name, getattr(table, name)) for name in type(table).model_fields]
                else:
                    items = []
                yield from (
                    (f"{where}.{name.replace('halt_time', 'halt.time')}", item)
                    for name, item in items
                    if isinstance(item, Distribution)
                )

    def cut_tails(self) -> Iterator[str]:
        """Yield a line for every distribution of whose mean more than 0.1 % is cut."""
        for path, distribution in dict.fromkeys(self._distributions()):
            share = distribution.cut_share()
            if share > _CUT_WORTH_TELLING:
                yield (
                    f"{path}: {distribution.describe()} is cut at 1.073741824s (2^30 ns), "
                    f"which takes {share:.2%} off its mean"
                )

    def doubts(self) -> Iterator[str]:
        """Yield a line for everything that is valid and probably not meant."""
        study, scheduler = self.parts["study"], self.parts["scheduler"]
        windows = [form.duration for form in study.variants]
        slices = [getattr(parameters, "slice", None) for parameters in scheduler.variants]
        columns = (study, windows), (scheduler, [each and each.mean_ns for each in slices])
        for (duration_ns, slice_ns), count in self._combinations(*columns):
            if duration_ns < 10 * slice_ns:
                window = f"{format_duration(duration_ns)} is only {duration_ns / slice_ns:.3g} slices"
                where = f" (in {count} of {self.n_configurations} configurations)"
                yield f"study.duration: {window} of {format_duration(slice_ns)}{where}"


def _facts(variant: Any) -> Any:
    """Return what other parts must fit to: pCPUs; vCPUs, count, lock and its number of VMs; the kind of a policy."""
    if isinstance(variant, HostSpec):
        return variant.pcpus
    if isinstance(variant, VmGroup):
        return variant.model.vcpus, variant.count, variant.model.lock.kind, variant.model.lock.count
    return variant.kind if isinstance(variant, PolicyParameters) else None


T = TypeVar("T")


def _under(keys: Keys, build: Callable[[], T]) -> T:
    try:
        return build()
    except Mistakes as error:
        raise Mistakes(mistake.under(*keys) for mistake in error.mistakes) from None
