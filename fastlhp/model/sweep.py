"""The sweep of a study: ``[sweep]``, paths and the values they take.

Every path is one axis; the study is the Cartesian product of the axes, the first path slowest.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastlhp.model.validation import Keys, Mistake, Mistakes, Written, closest, json_string, show
from fastlhp.policies import FAMILIES

__all__ = ["MAX_CONFIGURATIONS", "Axis", "Label", "axes_from", "format_keys", "label_of", "substituted"]

MAX_CONFIGURATIONS = 10_000_000
Label = str | int | float

_ROOTS = ("study", "host", "policy", "vm")
_STUDY_KEYS = ("duration", "warmup")
_MAX_LABEL = 200


@dataclass(frozen=True)
class Axis:
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
    """

    path: str
    keys: Keys
    values: tuple[object, ...]
    labels: tuple[Label, ...]

    @property
    def shown(self) -> str:
        """Where the axis stands in the file."""
        return f"sweep.{json_string(self.path)}"


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


def axes_from(raw: object, vm_names: Sequence[str]) -> tuple[list[Axis], list[Mistake]]:
    """Return the axes of a sweep, and the mistakes that can be told without the values' meaning.

    Parameters
    ----------
    raw : object
        The ``[sweep]`` table.
    vm_names : sequence of str
        Names of the ``[[vm]]`` groups, in order.
    """
    axes: list[Axis] = []
    mistakes: list[Mistake] = []
    if not isinstance(raw, Mapping):
        return axes, [
            Mistake(("sweep",), raw, 'a table of paths and lists of values, such as "host.pcpus" = [2, 4]')
        ]
    for path, values in _flat(raw, ""):
        try:
            axis = _axis(path, values, vm_names)
            twin = next((other for other in axes if other.keys == axis.keys), None)
            if twin is not None:
                raise Mistakes(
                    [Mistake((), Written(f"the same path as {json_string(twin.path)}"), "every path once")]
                )
            axes.append(axis)
        except Mistakes as error:
            mistakes += [mistake.under("sweep", path) for mistake in error.mistakes]
    # Before anything of that size is made.
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_CONFIGURATIONS:
        mistakes.append(
            Mistake(
                ("sweep",), Written(f"{count} configurations"), f"at most {MAX_CONFIGURATIONS} configurations"
            )
        )
    return axes, mistakes


def _flat(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    """Yield path and values; a path written without quotes is read by TOML as tables in tables."""
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _axis(path: str, raw_values: object, vm_names: Sequence[str]) -> Axis:
    # Path and values are looked at independently, so that mistakes in both are reported.
    mistakes: list[Mistake] = []
    keys: Keys = ()
    try:
        keys = _keys(path, vm_names)
    except Mistakes as error:
        mistakes += error.mistakes
    values, labels = _values(raw_values, mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    return Axis(path, keys, tuple(values), tuple(labels))


def _keys(path: str, vm_names: Sequence[str]) -> Keys:
    def bad(found: object, accepted: str) -> Mistakes:
        return Mistakes([Mistake((), found, accepted)])

    parts = path.split(".")
    root = parts[0]
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


def _values(raw: object, mistakes: list[Mistake]) -> tuple[list[object], list[Label]]:
    values: list[object] = []
    labels: list[Label] = []
    seen: set[object] = set()
    if not isinstance(raw, list) or not raw:
        mistakes.append(Mistake((), raw, "a list of at least one value"))
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
            label = "".join(c if c.isprintable() else "?" for c in label)
            label = label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 12]}... (#{index})"
        elif isinstance(label, float) and not math.isfinite(label):
            mistakes.append(Mistake((index,), value, "a finite number"))
            label = f"#{index}"
        if label in seen:
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
