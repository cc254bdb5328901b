"""The sweep of a study: ``[sweep]``, paths and the values they take.

Every path with a list is one axis, every table ``[sweep.zip]`` is one axis on which several paths advance together, and
all ranges together are one axis of sampled points. The study is the Cartesian product of the axes, the first slowest.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fastlhp.model.design import RANGE_KEYS, Design, Range, range_from, sample
from fastlhp.model.validation import Keys, Mistake, Mistakes, Written, closest, json_string, show
from fastlhp.policies import FAMILIES

__all__ = [
    "MAX_CONFIGURATIONS",
    "Axis",
    "Column",
    "Label",
    "Sweep",
    "format_keys",
    "format_sweep_keys",
    "keys_of",
    "label_of",
    "substituted",
]

MAX_CONFIGURATIONS = 10_000_000
Label = str | int | float

_ROOTS = ("study", "host", "policy", "vm")
_STUDY_KEYS = ("duration", "warmup")
_OWN_KEYS = ("zip", "where", "drop_impossible")
_MAX_LABEL = 200
# An array of NumPy has at most 64 dimensions.
_MAX_AXES = 60


@dataclass(frozen=True)
class Column:
    """One swept path.

    Attributes
    ----------
    path : str
        The path as written.
    keys : tuple of str or int
        Where it leads in the study; VMs by index.
    values : tuple
        What stands there in turn.
    labels : tuple of str, int or float
        How the values are named.
    table : tuple of str or int
        The table that it is written in.
    range : Range or None
        What the values are sampled from.
    """

    path: str
    keys: Keys
    values: tuple[object, ...]
    labels: tuple[Label, ...]
    table: Keys = ("sweep",)
    range: Range | None = None

    @property
    def shown(self) -> str:
        """Where the column stands in the file."""
        return format_sweep_keys((*self.table, self.path))

    def cut(self, length: int) -> "Column":
        """Return the column with its first values only."""
        return replace(self, values=self.values[:length], labels=self.labels[:length])


@dataclass(frozen=True)
class Axis:
    """Swept paths that advance together.

    Attributes
    ----------
    columns : tuple of Column
        The paths, all with equally many values.
    """

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        """Return the number of values of each path."""
        return len(self.columns[0].values)

    def cut(self, length: int) -> "Axis":
        """Return the axis with its first values only."""
        return Axis(tuple(column.cut(length) for column in self.columns))


@dataclass
class Sweep:
    """The ``[sweep]`` table, read as far as it can be told without the values' meaning.

    Parameters
    ----------
    raw : object
        The table.
    vm_names : sequence of str
        Names of the ``[[vm]]`` groups, in order.
    design : Design or None
        ``[study] design``.

    Attributes
    ----------
    axes : list of Axis
        In the order of the file; all ranges where the first of them stands.
    where : list
        Filters, as written.
    drop_impossible : bool
        Whether combinations that the model refuses are left out.
    mistakes : list of Mistake
        What is wrong.
    """

    raw: object
    vm_names: Sequence[str]
    design: Design | None = None
    axes: list[Axis] = field(default_factory=list)
    where: list[object] = field(default_factory=list)
    drop_impossible: bool = False
    mistakes: list[Mistake] = field(default_factory=list)
    _seen: dict[Keys, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.raw, Mapping):
            accepted = 'a table of paths and lists of values, such as "host.pcpus" = [2, 4]'
            self.mistakes.append(Mistake(("sweep",), self.raw, accepted))
            return
        own = {key: self.raw[key] for key in _OWN_KEYS if key in self.raw}
        self._read_grid({key: value for key, value in self.raw.items() if key not in own})
        if "zip" in own:
            self._read_zips(own["zip"])
        where = own.get("where", [])
        self.where = where if isinstance(where, list) else [where]
        drop = own.get("drop_impossible", False)
        if not isinstance(drop, bool):
            self.mistakes.append(Mistake(("sweep", "drop_impossible"), drop, "true or false"))
        self.drop_impossible = drop is True
        self._check_size()

    def _read_grid(self, table: Mapping[str, object]) -> None:
        sampled: list[Column] = []
        place = 0
        for path, values in _flat(table, ""):
            column = self._column(path, values, ("sweep",))
            if column is not None and column.range is not None:
                place = place if sampled else len(self.axes)
                sampled.append(column)
            elif column is not None:
                self.axes.append(Axis((column,)))
        if sampled:
            self.axes.insert(place, self._sampled(sampled))

    def _read_zips(self, raw: object) -> None:
        tables: dict[Keys, object] = {("sweep", "zip"): raw}
        if isinstance(raw, list):
            tables = {("sweep", "zip", number): table for number, table in enumerate(raw)}
        for where, table in tables.items():
            if not isinstance(table, Mapping) or not table:
                self.mistakes.append(Mistake(where, table, "a table of paths and lists of the same length"))
                continue
            found = [self._column(path, values, where) for path, values in _flat(table, "")]
            columns = [column for column in found if column is not None]
            if not columns:
                continue
            lengths = sorted({len(column.values) for column in columns})
            axis = Axis(tuple(column.cut(lengths[0]) for column in columns))
            if len(lengths) > 1:
                lists = Written(f"lists of {' and '.join(map(str, lengths))} values")
                self.mistakes.append(Mistake(where, lists, "lists of the same length: they advance together"))
            elif len(columns) == len(found):
                self._check_rows(axis, where)
            self.axes.append(axis)

    def _check_rows(self, axis: Axis, where: Keys) -> None:
        first: dict[tuple[Label, ...], int] = {}
        for index, row in enumerate(zip(*(column.labels for column in axis.columns), strict=True)):
            if first.setdefault(row, index) != index:
                # Equal labels would be one coordinate for two configurations.
                found = Written(f"the same values at [{index}] as at [{first[row]}]")
                accepted = 'lists of which one at least differs; tables may say label = "..."'
                self.mistakes.append(Mistake(where, found, accepted))

    def _column(self, path: str, raw: object, table: Keys) -> Column | None:
        # Path and values are looked at independently, so that mistakes in both are reported.
        mistakes: list[Mistake] = []
        keys: Keys = ()
        try:
            keys = keys_of(path.split("."), self.vm_names)
            twin = self._seen.setdefault(keys, path)
            if twin is not path:
                same = Written(f"the same path as {json_string(twin)}")
                mistakes.append(Mistake((), same, "every path once"))
        except Mistakes as error:
            mistakes += error.mistakes
        span = None
        values: list[object] = []
        labels: list[Label] = []
        if table == ("sweep",) and isinstance(raw, Mapping) and raw:
            try:
                span = range_from(raw)
                # Where no points can be sampled, both ends still show what else is wrong.
                values, labels = _values(span.ends, mistakes, may_repeat=True)
            except Mistakes as error:
                mistakes += error.mistakes
        else:
            values, labels = _values(raw, mistakes, may_repeat=table != ("sweep",))
        if mistakes:
            self.mistakes += [mistake.under(*table, path) for mistake in mistakes]
            return None
        return Column(path, keys, tuple(values), tuple(labels), table, span)

    def _sampled(self, columns: Sequence[Column]) -> Axis:
        """Return the axis of all ranges."""
        if self.design is None:
            return Axis(tuple(columns))
        points = sample(self.design, [column.range for column in columns if column.range is not None])
        return Axis(
            tuple(
                replace(column, values=values, labels=tuple(map(label_of, values)))
                for column, values in zip(columns, zip(*points, strict=True), strict=True)
            )
        )

    def _check_size(self) -> None:
        # Before anything of that size is made.
        count = math.prod(len(axis) for axis in self.axes)
        if count > MAX_CONFIGURATIONS:
            found = Written(f"{count} configurations")
            accepted = f"at most {MAX_CONFIGURATIONS} configurations, dropped ones included"
        elif len(self.axes) > _MAX_AXES:
            found = Written(f"{len(self.axes)} paths")
            accepted = f"at most {_MAX_AXES} paths with lists of their own"
        else:
            return
        self.mistakes.append(Mistake(("sweep",), found, accepted))
        # The first values alone still show what else is wrong.
        self.axes = [axis.cut(1) for axis in self.axes[:_MAX_AXES]]


def format_keys(keys: Sequence[str | int]) -> str:
    """Return a path as text.

    Examples
    --------
    >>> format_keys(("vm", 0, "hold", "uniform", 1))
    'vm.0.hold.uniform[1]'
    """
    text = ""
    for position, key in enumerate(keys):
        if isinstance(key, int):
            text += f".{key}" if position == 1 and keys[0] == "vm" else f"[{key}]"
        else:
            simple = key and all(character.isalnum() or character in "_-" for character in key)
            text += ("." if text else "") + (key if simple else show(key))
    return text


def format_sweep_keys(keys: Keys) -> str:
    """Return a place in the sweep as text; the swept path in quotes.

    Examples
    --------
    >>> format_sweep_keys(("sweep", "zip", "host.pcpus", 2)), format_sweep_keys(("sweep", "where", 0))
    ('sweep.zip."host.pcpus"[2]', 'sweep.where[0]')
    """
    text = "sweep"
    bare = False
    for key in keys[1:]:
        if isinstance(key, int):
            text += f"[{key}]"
        elif bare or key in _OWN_KEYS:
            text += f".{key}"
        else:
            # What follows a swept path is a key of its value.
            text += f".{show(key, 200)}"
            bare = True
    return text


def label_of(value: object) -> Label:
    """Return the automatic label of a swept value.

    A number stays a number and a text a text; a table is named by its kind and parameters.

    Examples
    --------
    >>> label_of({"kind": "delay", "cap": "1ms"}), label_of({"lognormal": {"mean": "2us", "cv": 2.0}})
    ('delay(cap=1ms)', 'lognormal(mean=2us, cv=2.0)')
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return _words(value)


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        parameters = {key: item for key, item in value.items() if key != "kind"}
        inner = ", ".join(f"{key}={_words(item)}" for key, item in parameters.items())
        if isinstance(value.get("kind"), str):
            return f"{value['kind']}({inner})" if inner else str(value["kind"])
        if len(parameters) == 1:
            ((key, item),) = parameters.items()
            return f"{key}({_items(item)})"
        return inner
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_words(item) for item in value) + "]"
    return show(value)


def _items(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(item) for item in value)
    return _words(value)


def _flat(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    """Yield path and values; a path written without quotes is read by TOML as tables in tables."""
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and not any(word in value for word in RANGE_KEYS):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def keys_of(parts: Sequence[str], vm_names: Sequence[str]) -> Keys:
    """Return where a path leads in the study; VMs by index.

    Raises
    ------
    Mistakes
        If it cannot lead to anything that may be swept.
    """
    path, root = ".".join(parts), parts[0]

    def bad(found: object, accepted: str) -> Mistakes:
        return Mistakes([Mistake((), found, accepted)])

    if root not in _ROOTS or not all(parts) or len(parts) > 12:
        accepted = f"a dotted path that begins with host, policy, vm or study{closest(root, _ROOTS)}"
        raise bad(path, accepted)
    # An index may lead into a list, such as hyperexponential.means.1; a key of digits does not exist
    # anywhere.
    keys: Keys = tuple(
        int(part) if part.isascii() and part.isdigit() and len(part) < 6 else part for part in parts
    )
    if root == "study" and (len(keys) != 2 or keys[1] not in _STUDY_KEYS):
        raise bad(path, f"of [study] only {' and '.join(_STUDY_KEYS)} can be swept")
    if root == "policy" and len(keys) == 1:
        raise bad(path, f"policy.preset, or a path below {', '.join(FAMILIES)[:-6]}")
    if root != "vm":
        return keys
    choices = [f"vm.{index}." for index in range(len(vm_names))] + [f"vm.{name}." for name in vm_names]
    index = keys[1] if len(keys) > 1 else ""
    if index in vm_names:
        index = vm_names.index(str(index))
    if not isinstance(index, int) or index >= len(vm_names):
        raise bad(path, f"a path that begins with one of {', '.join(choices) or 'vm.0.'}")
    if len(keys) == 2 or keys[2] == "name":
        raise bad(path, "a key of the VM other than its name, such as vm.0.count")
    return ("vm", index, *keys[2:])


def _values(raw: object, mistakes: list[Mistake], may_repeat: bool) -> tuple[list[object], list[Label]]:
    values: list[object] = []
    labels: list[Label] = []
    seen: set[object] = set()
    if not isinstance(raw, list) or not raw:
        accepted = "" if may_repeat else ', or a range such as { from = "1us", to = "1ms", scale = "log" }'
        mistakes.append(Mistake((), raw, f"a list of at least one value{accepted}"))
        return values, labels
    for index, value in enumerate(raw):
        label: object = label_of(value)
        if isinstance(value, dict) and "label" in value:
            label = value["label"]
            value = {key: item for key, item in value.items() if key != "label"}
            printable = (
                isinstance(label, str) and label.strip() and label.isprintable() and len(label) <= _MAX_LABEL
            )
            if not printable:
                accepted = f"a text of 1 to {_MAX_LABEL} printable characters"
                mistakes.append(Mistake((index, "label"), label, accepted))
                label = f"#{index}"
        elif isinstance(label, str):
            if not label.isprintable():
                label = "".join(c if c.isprintable() else "?" for c in label)
            label = label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 12]}... (#{index})"
        elif isinstance(label, float) and not math.isfinite(label):
            mistakes.append(Mistake((index,), value, "a finite number"))
            label = f"#{index}"
        if label in seen and not may_repeat:
            # Equal labels would be one coordinate for two configurations.
            accepted = 'values that differ; tables may say label = "..."'
            mistakes.append(Mistake((index,), Written(f"{show(label)} a second time"), accepted))
        seen.add(label)
        values.append(value)
        labels.append(label)  # type: ignore[arg-type]
    return values, labels


def substituted(tree: object, keys: Keys, value: object, done: Keys = ()) -> object:
    """Return the tree with one value replaced; tables on the way are copied, missing ones made.

    Raises
    ------
    Mistakes
        If the path leads into something that is neither a table nor a list with that index.
    """
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(tree, dict) and isinstance(key, str):
        return {**tree, key: substituted(tree.get(key, {}), rest, value, (*done, key))}
    if isinstance(tree, list) and isinstance(key, int) and key < len(tree):
        return [*tree[:key], substituted(tree[key], rest, value, (*done, key)), *tree[key + 1 :]]
    where = format_keys(done)
    length = f" with {len(tree)} entries" if isinstance(tree, list) else ""
    accepted = f"a path into tables; {where} is {show(tree, 60)}{length}, which has no {show(key)}"
    raise Mistakes([Mistake((), format_keys((*done, *keys)), accepted)])
