"""The swept parameters of results: which path is meant, and which configurations belong together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError
from fastlhp.model.units import UnitError, parse_duration
from fastlhp.results.metrics import NS
from fastlhp.results.results import Results
from fastlhp.results.table import label_text

__all__ = [
    "AnalysisError",
    "Layout",
    "arrange",
    "groups",
    "is_policy",
    "numbers",
    "paths_of",
    "row_names",
    "seconds",
    "short_names",
]

Array = npt.NDArray[Any]


class AnalysisError(FastlhpError, ValueError):
    """A question that these results cannot answer."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Configurations arranged as a table: a row for each setting, a column for each alternative.

    Attributes
    ----------
    settings : dict of str to ndarray, each of shape (setting,)
        The swept parameters that are not compared; empty if there are none.
    alternatives : dict of str to ndarray, each of shape (alternative,)
        The swept parameters that are compared.
    index : ndarray of int64, shape (setting, alternative)
        Configuration; -1 where there is none.
    """

    settings: dict[str, Array]
    alternatives: dict[str, Array]
    index: Array

    @property
    def cells(self) -> list[tuple[int, int, int]]:
        """Setting, alternative and index of every configuration."""
        rows, columns = np.nonzero(self.index >= 0)
        return list(zip(rows.tolist(), columns.tolist(), self.index[rows, columns].tolist(), strict=True))

    @property
    def names(self) -> list[str]:
        """Names of the alternatives."""
        return row_names(self.alternatives, self.index.shape[1], [*self.settings, *self.alternatives])


def row_names(columns: Mapping[str, Array], n: int, swept: Iterable[str], always: bool = False) -> list[str]:
    """Name combinations of labels.

    Parameters
    ----------
    columns : mapping of str to ndarray, each of shape (n,)
        Swept paths and their labels.
    n : int
        Number of combinations.
    swept : iterable of str
        All swept paths, from which these have to be told.
    always : bool, optional
        Write the path also if there is only one.
    """
    if len(columns) == 1 and not always:
        return [label_text(label) for label in next(iter(columns.values()))]
    short = short_names(list(swept))
    return [
        ", ".join(f"{short[path]}={label_text(labels[i])}" for path, labels in columns.items())
        for i in range(n)
    ]


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest unique end of each path.

    Examples
    --------
    >>> short_names(["policy.guard", "vm.guest.lock.kind", "vm.a.count", "vm.b.count"])
    {'policy.guard': 'guard', 'vm.guest.lock.kind': 'lock', 'vm.a.count': 'a.count', 'vm.b.count': 'b.count'}
    """
    # A lock's kind is called the lock.
    shown = {path: path.removesuffix(".kind") for path in paths}
    names = {}
    for path, text in shown.items():
        parts = text.split(".")
        ends = (".".join(parts[-k:]) for k in range(1, len(parts) + 1))
        others = [other for key, other in shown.items() if key != path]
        names[path] = next((end for end in ends if not any(_ends(other, end) for other in others)), path)
    return names


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f".{end}")


def paths_of(results: Results, name: str) -> tuple[str, ...]:
    """Return the swept paths that a name means.

    Parameters
    ----------
    results : Results
        What a study gave.
    name : str
        A swept path or its end, such as ``count``; or ``policy``, which means all swept paths below ``policy``
        and below the ``lock`` of a VM.

    Raises
    ------
    AnalysisError
        If nothing of that name is swept, or several paths end so.
    """
    swept = list(results.configurations)
    if not swept:
        raise AnalysisError("nothing is swept in this study: there is one configuration only")
    if name == "policy":
        found = [path for path in swept if is_policy(path)]
        if found:
            return tuple(found)
        raise AnalysisError(f"nothing below policy or lock is swept; choose from: {', '.join(swept)}")
    found = [path for path in swept if path == name] or [
        path for path in swept if _ends(path, name) or _ends(path.removesuffix(".kind"), name)
    ]
    if not found:
        raise AnalysisError(f"{name!r} is not swept; choose from: {', '.join(swept)}")
    if len(found) > 1:
        raise AnalysisError(f"{name!r} may be any of {', '.join(found)}; write more of the path")
    return tuple(found)


def is_policy(path: str) -> bool:
    """Say whether a path is part of the policy: below ``policy``, or below the ``lock`` of a VM."""
    parts = path.split(".")
    return parts[0] == "policy" or (parts[0] == "vm" and "lock" in parts[2:])


def groups(columns: Sequence[Array], n: int) -> tuple[Array, Array]:
    """Return which rows have the same labels.

    Returns
    -------
    codes : ndarray of int64, shape (n,)
        Number of each row's group; groups are numbered as they first occur.
    first : ndarray of int64, shape (group,)
        The first row of each group.
    """
    code, size = np.zeros(n, dtype=np.int64), 1
    for column in columns:
        own, count = _codes(column)
        # Numbered anew, so that products of sizes stay small.
        levels, code = np.unique(code * count + own, return_inverse=True)
        size = len(levels)
    first = np.full(size, n, dtype=np.int64)
    np.minimum.at(first, code, np.arange(n))
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[code], first[order][:n]


def _codes(column: Array) -> tuple[Array, int]:
    """Return a number for each label, the same for the same labels, and how many there are."""
    if column.dtype.kind != "O":
        levels, code = np.unique(column, return_inverse=True)
        return code, len(levels)
    # Sorting texts takes many times as long.
    number: dict[Any, int] = {}
    code = np.array([number.setdefault(label, len(number)) for label in column.tolist()], dtype=np.int64)
    return code, len(number)


def arrange(results: Results, by: Sequence[str]) -> Layout:
    """Arrange the configurations: those in a row differ only in the paths `by`.

    Raises
    ------
    AnalysisError
        If two configurations differ in nothing that is swept.
    """
    columns = results.configurations
    others = [path for path in columns if path not in by]
    n = len(results)
    setting, first_setting = groups([columns[path] for path in others], n)
    alternative, first_alternative = groups([columns[path] for path in by], n)
    index = np.full((len(first_setting), len(first_alternative)), -1, dtype=np.int64)
    index[setting, alternative] = np.arange(n)
    if np.count_nonzero(index >= 0) < n:
        twin = int(np.flatnonzero(index[setting, alternative] != np.arange(n))[0])
        other = int(index[setting[twin], alternative[twin]])
        raise AnalysisError(f"configurations {twin} and {other} have the same swept parameters")
    return Layout(
        {path: columns[path][first_setting] for path in others},
        {path: columns[path][first_alternative] for path in by},
        index,
    )


def seconds(text: str) -> float | None:
    """Return a duration in s; None if the text is none."""
    try:
        return float(parse_duration(text)) / NS
    except UnitError:
        return None


def numbers(path: str, labels: Array) -> tuple[Array, str]:
    """Return labels as numbers and their unit: "s" if they are durations, else "1".

    Raises
    ------
    AnalysisError
        If they are neither.
    """
    if labels.dtype.kind != "O":
        return labels.astype(np.float64), "1"
    known = {label: seconds(label) for label in dict.fromkeys(labels.tolist())}
    if None in known.values():
        other = next(label for label, duration in known.items() if duration is None)
        raise AnalysisError(f"the values of {path} are no numbers, such as {other}")
    return np.array([known[label] for label in labels.tolist()], dtype=np.float64), "s"
