"""How configurations are put together, and how a study is checked.

The parts of a study (the window, the host, each policy, each group of VMs) are checked once for every
combination of the swept values that reach *them*, not for every configuration: ten thousand configurations
usually have a few dozen different parts.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from fastlhp.errors import Problem
from fastlhp.model.configuration import Choice, Configuration, Parts
from fastlhp.model.design import Design
from fastlhp.model.distributions import Distribution
from fastlhp.model.filters import Filter
from fastlhp.model.host import MAX_LOCKS, MAX_PCPUS, MAX_VCPUS, HostForm, HostSpec, clock_of
from fastlhp.model.policy import PolicyParameters, parameters_from
from fastlhp.model.precision import TARGETS_HELP, Target, targets_from
from fastlhp.model.presets import merged, preset, preset_names
from fastlhp.model.profiles import filled_in
from fastlhp.model.sweep import Axis, Label, Sweep, format_keys, format_sweep_keys, substituted
from fastlhp.model.units import Clock, UnitError, format_duration, parse_duration, round_ns
from fastlhp.model.validation import (
    DURATION_SCHEMA,
    NOTHING,
    Accepts,
    Context,
    Form,
    Keys,
    Mistake,
    Mistakes,
    ReplicationCount,
    Seed,
    Written,
    checked,
    one_of,
    refused,
    show,
    unknown_key,
    wrapped,
    written,
)
from fastlhp.model.vm import MAX_VM_COUNT, MAX_VM_VCPUS, VmForm, VmGroup, VmSpec, default_name
from fastlhp.policies import kinds
from fastlhp.policies.compatibility import WIDTH_UNDER_GANG, conflicts

__all__ = ["Plan", "StudyForm"]

_SECTIONS = ("study", "host", "policy", "vm", "sweep")
_POLICY_FAMILIES = ("scheduler", "guard", "response")
_CLOCK: tuple[Keys, ...] = (("host", "frequency"), ("host", "pause"))
_MAX_GROUPS = 256
_MAX_WINDOW_NS = 10**15
_NAME_HELP = "a name of 1 to 200 printable characters"
_WINDOW_HELP = 'a duration with a unit (ns, us, ms, s or cycles) of at most 1e6 s, such as "2s"'
_WARMUP_HELP = f'{_WINDOW_HELP}, or "auto"'
_DESIGN_HELP = 'a table such as { kind = "sobol", points = 64, seed = 1 }'
_CUT_WORTH_TELLING = 1e-3


def _study_name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 200:
        raise refused(value, _NAME_HELP)
    return value


def _window(value: object, info: ValidationInfo, accepted: str = _WINDOW_HELP) -> int:
    context = info.context if isinstance(info.context, Context) else Context()
    if not isinstance(value, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        raise refused(value, f"a bare number has no unit; give {accepted}" if number else accepted)
    try:
        window_ns = round_ns(parse_duration(value, context.clock, accepted))
    except UnitError as error:
        raise refused(value, error.accepted) from None
    if window_ns > _MAX_WINDOW_NS:
        raise refused(value, accepted)
    return window_ns


def _duration(value: object, info: ValidationInfo) -> int:
    window_ns = _window(value, info)
    if window_ns == 0:
        raise refused(value, f"above 0; {_WINDOW_HELP}")
    return window_ns


def _design(value: object) -> Design | None:
    try:
        return None if value is None else checked(Design, value, None)
    except Mistakes as error:
        raise wrapped(error) from None


def _precision(value: object) -> tuple[Target, ...]:
    try:
        return value if isinstance(value, tuple) else targets_from(value)
    except Mistakes as error:
        raise wrapped(error) from None


def _warmup(value: object, info: ValidationInfo) -> int | None:
    return None if value == "auto" else _window(value, info, _WARMUP_HELP)


_TEXT = WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200})
_WARMUP_SCHEMA = WithJsonSchema({"anyOf": [DURATION_SCHEMA.json_schema, {"const": "auto"}]})


class StudyForm(Form):
    """``[study]`` as written.

    Attributes
    ----------
    name : str
        Name of the study; that of the file if there is none.
    seed : int
        Seed of all draws.
    duration : int
        Simulated time that is measured, in each replication.
    warmup : int or None
        Simulated time before it; None to find out how much is needed.
    replications : int
        Independent repetitions of each configuration.
    design : Design or None
        How the ranges of the sweep are sampled.
    precision : tuple of Target
        How precise results must be: decides the number of replications of each configuration.
    store : {"replications", "summaries"}
        What the result file keeps: all values of each replication, or estimates of each configuration only.
    """

    name: Annotated[str, PlainValidator(_study_name), Accepts(_NAME_HELP), _TEXT]
    seed: Seed = 1
    duration: Annotated[int, PlainValidator(_duration), Accepts(_WINDOW_HELP), DURATION_SCHEMA]
    warmup: Annotated[int | None, PlainValidator(_warmup), Accepts(_WARMUP_HELP), _WARMUP_SCHEMA] = written(
        "0s"
    )
    replications: ReplicationCount = 32
    design: Annotated[Design | None, PlainValidator(_design), Accepts(_DESIGN_HELP)] = None
    precision: Annotated[tuple[Target, ...], PlainValidator(_precision), Accepts(TARGETS_HELP)] = ()
    store: Literal["replications", "summaries"] = "replications"


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


Facts = tuple[Part, Sequence[Any]]


class Plan:
    """The parts of a study and how configurations are put together from them."""

    def __init__(self, tree: dict[str, Any], folder: Path, default_study_name: str) -> None:
        self.tree = tree
        self.folder = folder
        self.default_study_name = default_study_name
        self.files: dict[tuple[str, str], tuple[float, ...] | Mistakes] = {}
        self.axes: list[Axis] = []
        self.parts: dict[str | int, Part] = {}
        self.dropped: dict[str, int] = {}
        self._found: dict[tuple[str, str, str], int] = {}
        self._drop_impossible = False
        self._known: dict[Any, Any] = {}
        self._tables: dict[tuple[object, int, Clock], tuple[object, Any]] = {}
        self._is_kept: Any = None
        self._kept: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def n_combinations(self) -> int:
        """Number of combinations of the swept values."""
        return math.prod(self.shape)

    @property
    def n_configurations(self) -> int:
        """Number of configurations: the combinations that are not dropped."""
        return self.n_combinations - sum(self.dropped.values())

    # Checking

    def check(self) -> list[Problem]:
        """Return all problems; the plan can be used only if there are none."""
        groups = self._check_frame()
        vm_names = self._vm_names(groups)
        sweep = Sweep(self.tree.get("sweep", {}), vm_names, self._design())
        self._note_sweep(sweep.mistakes)
        self.axes = sweep.axes
        self._check_design()
        self._drop_impossible_paths()
        self._apply_filters(sweep, vm_names)
        n = self.n_configurations
        self._drop_impossible = sweep.drop_impossible
        self._make_parts(groups)
        for part in self.parts.values():
            self._build_variants(part)
        self._check_together(groups)
        self._finish_dropping()
        return [
            Problem(*key, *((count, n) if 0 < count < n else (None, None)))
            for key, count in self._found.items()
        ]

    def _note(self, path: str, mistake: Mistake, count: int | None) -> None:
        key = (path, show(mistake.found), mistake.accepted)
        self._found[key] = self._found.get(key, 0) + (count or 0)

    def _note_sweep(self, mistakes: Sequence[Mistake], count: int | None = None) -> None:
        for mistake in mistakes:
            self._note(format_sweep_keys(mistake.keys), mistake, count)

    def _design(self) -> Design | None:
        """Return the design, if there is a valid one; what is wrong with another is told with ``[study]``."""
        study = self.tree.get("study")
        raw = study.get("design") if isinstance(study, dict) else None
        try:
            return checked(Design, raw, None) if raw is not None else None
        except Mistakes:
            return None

    def _check_design(self) -> None:
        """Check that there are ranges where there is a design, and a design where there are ranges."""
        study = self.tree.get("study")
        design = study.get("design", NOTHING) if isinstance(study, dict) else NOTHING
        ranges = any(column.range is not None for axis in self.axes for column in axis.columns)
        if ranges and design is NOTHING:
            accepted = 'how to sample the ranges of [sweep], such as { kind = "sobol", points = 64 }'
            self._note("study.design", Mistake((), design, accepted), None)
        elif not ranges and design is not NOTHING and not self._found:
            accepted = (
                'a design only with a range in [sweep], such as { from = "1us", to = "1ms", scale = "log" }'
            )
            self._note("study.design", Mistake((), design, accepted), None)

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
        columns = [column for axis in self.axes for column in axis.columns]
        impossible = []
        # Shorter paths first: a longer one may lead into the tables that a shorter one brings.
        tree: object = self.tree
        for column in sorted(columns, key=lambda column: len(column.keys)):
            try:
                tree = substituted(tree, column.keys, column.values[0])
            except Mistakes as error:
                impossible.append(column.path)
                for mistake in error.mistakes:
                    self._note(column.shown, mistake, None)
        kept = (tuple(c for c in axis.columns if c.path not in impossible) for axis in self.axes)
        self.axes = [Axis(columns) for columns in kept if columns]

    # Dropping

    def _apply_filters(self, sweep: Sweep, vm_names: Sequence[str]) -> None:
        """Drop the combinations that a filter does not let through."""
        for number, text in enumerate(sweep.where):
            keys: Keys = ("sweep", "where", number)
            try:
                condition = Filter(text, vm_names)
            except Mistakes as error:
                self._note_sweep([mistake.under(*keys) for mistake in error.mistakes])
                continue
            axes = self._reaching(*condition.paths, *_CLOCK)
            weights = self._weights(axes)
            refused = np.zeros(weights.shape, dtype=bool)
            tree_at = self._trees(axes)
            for position in np.ndindex(*weights.shape):
                if not weights[position]:
                    continue
                try:
                    tree = tree_at(position)
                    refused[position] = not condition.keeps(tree, clock_of(tree.get("host")))
                except Mistakes as error:
                    if sweep.mistakes:
                        continue  # it may be for want of a path that is not right
                    self._note_sweep(
                        [mistake.under(*keys) for mistake in error.mistakes], int(weights[position])
                    )
            self._drop({f"where {text}": int(weights[refused].sum())}, self._spread(axes, refused))

    def _drop(self, reasons: Mapping[str, int], refused: Any) -> None:
        """Drop combinations, and count them by reason."""
        for reason, count in reasons.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        if self._is_kept is None:
            self._is_kept = np.ones(self.shape, dtype=bool)
        self._is_kept &= ~refused

    def _finish_dropping(self) -> None:
        if self._is_kept is None:
            return
        self._kept = np.flatnonzero(self._is_kept)
        if not len(self._kept) and not self._found:
            found = Written(f"{self.n_combinations} combinations, all of them dropped")
            self._note("sweep", Mistake((), found, "a sweep of which something is left"), None)

    def _weights(self, axes: Sequence[int]) -> Any:
        """Return how many configurations have each combination of the values of some axes."""
        shape = tuple(len(self.axes[number]) for number in axes)
        if self._is_kept is None:
            return np.full(shape, self.n_combinations // math.prod(shape))
        others = tuple(number for number in range(len(self.axes)) if number not in axes)
        return np.asarray(self._is_kept.sum(axis=others))

    def _trees(self, axes: Sequence[int]) -> Callable[[Sequence[int]], Any]:
        """Return a function that returns the study with the values at a position of some axes.

        It raises `Mistakes` if a path leads into something that another value has no place for.
        """
        columns = [(column, at) for at, number in enumerate(axes) for column in self.axes[number].columns]
        # Shorter paths first, whatever their order in the file.
        columns.sort(key=lambda each: len(each[0].keys))

        def tree_at(position: Sequence[int]) -> Any:
            tree: Any = self.tree
            for column, at in columns:
                try:
                    tree = substituted(tree, column.keys, column.values[position[at]])
                except Mistakes as error:
                    raise Mistakes(mistake.under(*column.keys) for mistake in error.mistakes) from None
            return tree

        return tree_at

    # Parts

    def _reaching(self, *places: Keys) -> tuple[int, ...]:
        """Return the axes that change something at, above or below the places."""
        return tuple(
            number
            for number, axis in enumerate(self.axes)
            if any(
                all(a == b for a, b in zip(column.keys, place, strict=False))
                for column in axis.columns
                for place in places
            )
        )

    def _make_parts(self, groups: int) -> None:
        chosen: Keys = ("policy", "preset")
        self.parts["study"] = Part(("study",), self._reaching(("study",), *_CLOCK), self._build_study)
        self.parts["host"] = Part(("host",), self._reaching(("host",), chosen), self._build_host)
        families = [("policy", family) for family in _POLICY_FAMILIES]
        frame = tuple(
            number
            for number in self._reaching(("policy",))
            if any(c.keys[0] == "policy" and c.keys[:2] not in families for c in self.axes[number].columns)
        )
        self.parts["policy"] = Part(("policy",), frame, self._build_policy_frame)
        for family in _POLICY_FAMILIES:
            axes = self._reaching(("policy", family), chosen, *_CLOCK)
            self.parts[family] = Part(("policy", family), axes, partial(self._build_policy, family=family))
        for index in range(groups):
            lock: tuple[Keys, ...] = (chosen,) if self._lock_may_be_the_presets(index) else ()
            axes = self._reaching(("vm", index), *lock, *_CLOCK)
            self.parts[index] = Part(("vm", index), axes, partial(self._build_vm, index=index))
        for part in self.parts.values():
            lengths = [len(self.axes[number]) for number in part.axes]
            part.strides = tuple(math.prod(lengths[i + 1 :]) for i in range(len(lengths)))

    def _lock_may_be_the_presets(self, index: int) -> bool:
        table = self.tree["vm"][index]
        lock = table.get("lock") if isinstance(table, dict) else None
        own = isinstance(lock, dict) and "kind" in lock
        return not own or any(c.keys == ("vm", index, "lock") for axis in self.axes for c in axis.columns)

    def _build_variants(self, part: Part) -> None:
        weights = self._weights(part.axes)
        tree_at = self._trees(part.axes)
        for position, weight in zip(np.ndindex(*weights.shape), weights.ravel().tolist(), strict=True):
            if not weight:
                part.variants.append(None)
                part.facts.append(None)
                continue
            tree = None
            try:
                tree = tree_at(position)
                variant = part.build(tree)
                part.variants.append(variant)
                part.facts.append(_facts(variant))
            except Mistakes as error:
                part.variants.append(None)
                part.facts.append(self._guessed_facts(part, tree))
                for mistake in error.mistakes:
                    located, path = self._locate(part, position, mistake)
                    self._note(path, located, weight)

    def _locate(self, part: Part, position: Sequence[int], mistake: Mistake) -> tuple[Mistake, str]:
        """Return a mistake and its path in the file: that of a swept value, if one is to blame."""
        keys = mistake.keys
        best = None
        for number, index in zip(part.axes, position, strict=True):
            for column in self.axes[number].columns:
                if mistake.unknown and column.keys[: len(keys)] == keys:
                    # The path itself names a key that does not exist, whatever the value.
                    return mistake._replace(found=str(keys[-1])), column.shown
                if keys[: len(column.keys)] == column.keys and (
                    best is None or len(column.keys) > len(best[0].keys)
                ):
                    best = (column, index)
        if best is None:
            return mistake, format_keys(keys)
        column, index = best
        if column.range is not None:
            # Once for the range, not for every point.
            return mistake._replace(found=Written(f"values from {column.range}")), column.shown
        rest = format_keys(keys[len(column.keys) :])
        dot = "." if rest and not rest.startswith("[") else ""
        return mistake, f"{column.shown}[{index}]{dot}{rest}"

    # Building the parts from a tree in which swept values have been put

    def _context(self, tree: Mapping[str, Any]) -> Context:
        return Context(clock_of(tree.get("host")), self.folder, self.files, self._tables)

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
        form = _under(("vm", index), lambda: checked(VmForm, table, self._context(tree)))
        return form.build(self._known)

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

    def _combinations(self, *columns: Facts) -> Iterator[tuple[list[Any], int, Any]]:
        """Yield the distinct combinations of facts, in how many configurations each occurs, and where.

        Parameters
        ----------
        *columns : tuple of Part and sequence
            A part, and for each of its variants the fact that matters; None where it is not known.

        Yields
        ------
        combination : list
            One fact of each column.
        count : int
            Configurations that have it.
        where : ndarray of int64
            Positions in an array over the axes that reach one of the parts.
        """
        axes = self._axes_of(*(part for part, facts in columns))
        shape = tuple(len(self.axes[number]) for number in axes)
        values: list[list[Any]] = []
        code: Any = np.zeros(shape, dtype=np.int64)
        known: Any = np.ones(shape, dtype=bool)
        for part, facts in columns:
            found: dict[Any, int] = {}
            codes = [-1 if fact is None else found.setdefault(fact, len(found)) for fact in facts]
            array = self._laid_out(part, codes, axes)
            code = code * max(len(found), 1) + array
            known = known & (array >= 0)
            values.append(list(found))
        weights = self._weights(axes).ravel()
        candidates = np.flatnonzero(known.ravel() & (weights > 0))
        order = candidates[np.argsort(code.ravel()[candidates], kind="stable")]
        different, first = np.unique(code.ravel()[order], return_index=True)
        ends = [*first[1:], len(order)]
        for combined, start, end in zip(different, first, ends, strict=False):
            where = order[start:end]
            rest, combination = int(combined), []
            for choices in reversed(values):
                rest, index = divmod(rest, len(choices))
                combination.append(choices[index])
            yield combination[::-1], int(weights[where].sum()), where

    def _axes_of(self, *parts: Part) -> tuple[int, ...]:
        return tuple(sorted({number for part in parts for number in part.axes}))

    def _laid_out(self, part: Part, numbers: Sequence[int], axes: Sequence[int]) -> Any:
        """Return one number per variant as an array over some axes, those of the part among them."""
        shape = [len(self.axes[number]) if number in part.axes else 1 for number in axes]
        return np.array(numbers, dtype=np.int64).reshape(shape)

    def _spread(self, axes: Sequence[int], array: Any) -> Any:
        """Return an array over some axes as one with a dimension for every axis."""
        return array.reshape([n if number in axes else 1 for number, n in enumerate(self.shape)])

    def _refuse(
        self, columns: Sequence[Facts], mistakes: Callable[..., Iterable[tuple[str, Mistake]]]
    ) -> None:
        """Note what is wrong with combinations of facts, or drop them.

        Parameters
        ----------
        columns : sequence of tuple of Part and sequence
            As of `_combinations`.
        mistakes : callable
            Gets one fact of each column; yields paths and mistakes.
        """
        axes = self._axes_of(*(part for part, facts in columns))
        refused = np.zeros([len(self.axes[number]) for number in axes], dtype=bool)
        reasons: dict[str, int] = {}
        for combination, count, where in self._combinations(*columns):
            for path, mistake in mistakes(*combination):
                if self._drop_impossible:
                    reason = f"{path}: {mistake.reason or f'{show(mistake.found)}, {mistake.accepted}'}"
                    reasons[reason] = reasons.get(reason, 0) + count
                    refused.flat[where] = True
                    break
                self._note(path, mistake, count)
        if reasons:
            self._drop(reasons, self._spread(axes, refused))

    def _check_together(self, groups: int) -> None:
        scheduler, host, response = self.parts["scheduler"], self.parts["host"], self.parts["response"]

        def unfit_host(parameters: Any, pcpus: int) -> Iterator[tuple[str, Mistake]]:
            for mistake in parameters.host_mistakes(pcpus):
                yield format_keys(("policy", "scheduler", *mistake.keys)), mistake

        self._refuse([(scheduler, scheduler.variants), (host, host.facts)], unfit_host)
        families: list[tuple[str, str, Facts]] = [
            (family, f"policy.{family}.kind", (self.parts[family], self.parts[family].facts))
            for family in ("guard", "response")
        ]
        for index in range(groups):
            part = self.parts[index]
            locks = part, [facts and facts[2] for facts in part.facts]
            families.append(("lock", f"vm.{index}.lock.kind", locks))
            self._check_pair("response", response, "lock", f"vm.{index}.lock.kind", locks)
            self._check_lock(index, part)
            self._check_width(index, part)
        for family, path, others in families:
            self._check_pair("scheduler", scheduler, family, path, others)
        self._check_totals(groups)

    def _check_pair(self, refusing: str, part: Part, family: str, path: str, others: Facts) -> None:
        """Check that policies of two families go together."""

        def unfit(other: str, kind: str) -> Iterator[tuple[str, Mistake]]:
            for conflict in conflicts({refusing: other, family: kind}):
                accepted = f"not this {family} with the {refusing} {other}: {conflict.reason}"
                yield path, Mistake((), kind, accepted)

        self._refuse([(part, part.facts), others], unfit)

    def _check_lock(self, index: int, part: Part) -> None:
        """Check that a group's lock can work with the scheduler's parameters."""
        scheduler = self.parts["scheduler"]
        locks = [group and group.model.lock for group in part.variants]

        def unfit(lock: Any, parameters: Any) -> Iterator[tuple[str, Mistake]]:
            for mistake in lock.scheduler_mistakes(parameters):
                yield format_keys(("vm", index, "lock", *mistake.keys)), mistake

        self._refuse([(part, locks), (scheduler, scheduler.variants)], unfit)

    def _check_width(self, index: int, part: Part) -> None:
        """Check that the VMs of a group fit into a slot of `gang`."""
        scheduler, host = self.parts["scheduler"], self.parts["host"]
        widths = [facts and facts[0] for facts in part.facts]

        def unfit(kind: str, pcpus: int, vcpus: int) -> Iterator[tuple[str, Mistake]]:
            if kind == "gang" and vcpus > pcpus:
                accepted = f"at most host.pcpus = {pcpus} with the scheduler gang: {WIDTH_UNDER_GANG}"
                yield f"vm.{index}.vcpus", Mistake((), vcpus, accepted, reason=WIDTH_UNDER_GANG)

        self._refuse([(scheduler, scheduler.facts), (host, host.facts), (part, widths)], unfit)

    def _check_totals(self, groups: int) -> None:
        """Check the numbers of vCPUs and locks of each configuration."""
        if not groups:
            return
        too_many = f"at most {MAX_VCPUS} vCPUs of all VMs together"
        none = "at least one VM (the counts of all groups are 0)"
        too_many_locks = f"at most {MAX_LOCKS} locks of all VMs together"
        for what, fact, low, high, accepted in (
            ("vCPUs", 0, 0, MAX_VCPUS, too_many),
            ("vCPUs", 0, 1, np.inf, none),
            ("locks", 3, 0, MAX_LOCKS, too_many_locks),
        ):
            total, known, axes = self._total(groups, fact)
            weights = self._weights(axes)
            wrong = known & ((total < low) | (total > high)) & (weights > 0)
            if not wrong.any():
                continue
            count = int(weights[wrong].sum())
            if self._drop_impossible:
                self._drop({f"vm: {accepted}": count}, self._spread(axes, wrong))
            else:
                found = Written(f"{int(total[wrong].max())} {what}")
                self._note("vm", Mistake((), found, accepted), count)

    def _total(self, groups: int, fact: int) -> tuple[Any, Any, tuple[int, ...]]:
        """Return the sum over all VMs of a number among the facts of their groups, and where it is known."""
        parts = [self.parts[index] for index in range(groups)]
        axes = self._axes_of(*parts)
        total: Any = np.zeros([len(self.axes[number]) for number in axes], dtype=np.int64)
        known: Any = np.ones(total.shape, dtype=bool)
        for part in parts:
            sizes = [
                -1 if facts is None or None in (facts[fact], facts[1]) else facts[fact] * facts[1]
                for facts in part.facts
            ]
            array = self._laid_out(part, sizes, axes)
            known = known & (array >= 0)
            total = total + array
        return total, known, axes

    # Using a plan without problems

    def _variant(self, name: str | int, position: Sequence[int]) -> Any:
        part = self.parts[name]
        flat = 0
        for number, stride in zip(part.axes, part.strides, strict=True):
            flat += position[number] * stride
        return part.variants[flat]

    @cached_property
    def _groups(self) -> list[int]:
        """The parts that are groups of VMs."""
        return [name for name in self.parts if isinstance(name, int)]

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        """Lengths of the axes, the last first."""
        return self.shape[::-1]

    def of_part(self, name: str | int, value: Callable[[Any], float]) -> Any:
        """Return a number that a part decides, shape (configuration,); asked for once for each of its variants."""
        part = self.parts[name]
        values = np.array([0 if variant is None else value(variant) for variant in part.variants])
        return values[self._flat(part, self._combinations_of(np.arange(self.n_configurations)))]

    def _combinations_of(self, indices: Any) -> Any:
        """Return which of all combinations some configurations are, those that are dropped counted."""
        return indices if self._kept is None else self._kept[indices]

    def _flat(self, part: Part, combinations: Any) -> Any:
        """Return which variant of a part combinations have."""
        flat = np.zeros(len(combinations), dtype=np.int64)
        for number, stride in zip(part.axes, part.strides, strict=True):
            below = math.prod(self.shape[number + 1 :])
            flat += combinations // below % self.shape[number] * stride
        return flat

    def configurations_by_parts(self, indices: Any) -> Parts:
        """Return some configurations as what they are put together from."""
        combinations = self._combinations_of(indices)

        def chosen(name: str | int) -> Choice[Any]:
            part = self.parts[name]
            different, which = np.unique(self._flat(part, combinations), return_inverse=True)
            return Choice([part.variants[flat] for flat in different.tolist()], which)

        window = chosen("study")
        return Parts(
            np.array([form.duration for form in window.variants])[window.which],
            np.array([form.warmup or 0 for form in window.variants])[window.which],
            np.array([form.warmup is None for form in window.variants])[window.which],
            chosen("host"),
            chosen("scheduler"),
            chosen("guard"),
            chosen("response"),
            tuple(map(chosen, self._groups)),
        )

    def of_vms(self, value: Callable[[VmGroup], float]) -> list[Any]:
        """Return numbers that the groups of VMs decide, for each group of shape (configuration,)."""
        return [self.of_part(name, value) for name in self._groups]

    def _position(self, index: int) -> list[int]:
        combination = index if self._kept is None else int(self._kept[index])
        position = []
        for length in self._lengths:
            combination, own = divmod(combination, length)
            position.append(own)
        return position[::-1]

    def coordinates(self) -> dict[str, list[Label]]:
        """Return for each swept path the label of every configuration."""
        combinations = np.arange(self.n_configurations) if self._kept is None else self._kept
        positions = np.unravel_index(combinations, self.shape) if self.axes else ()
        return {
            column.path: [column.labels[i] for i in position.tolist()]
            for axis, position in zip(self.axes, positions, strict=True)
            for column in axis.columns
        }

    def window(self, index: int) -> StudyForm:
        """Return the ``[study]`` table of a configuration."""
        form: StudyForm = self._variant("study", self._position(index))
        return form

    def configuration(self, index: int) -> Configuration:
        """Return a configuration."""
        position = self._position(index)
        window: StudyForm = self._variant("study", position)
        groups: list[VmGroup] = [self._variant(name, position) for name in self._groups]
        return Configuration(
            index=index,
            labels={
                c.path: c.labels[i] for axis, i in zip(self.axes, position, strict=True) for c in axis.columns
            },
            duration_ns=window.duration,
            warmup_ns=window.warmup or 0,
            host=self._variant("host", position),
            scheduler=self._variant("scheduler", position),
            guard=self._variant("guard", position),
            response=self._variant("response", position),
            vms=groups[0].vms if len(groups) == 1 else tuple(vm for group in groups for vm in group.vms),
            has_auto_warmup=window.warmup is None,
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
        windows = [form and form.duration for form in study.variants]
        slices = [getattr(parameters, "slice", None) for parameters in scheduler.variants]
        columns = (study, windows), (scheduler, [each and each.mean_ns for each in slices])
        for (duration_ns, slice_ns), count, _ in self._combinations(*columns):
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
