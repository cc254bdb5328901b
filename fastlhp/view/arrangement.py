"""What of a sweep goes where in a figure: along an axis, into lines, into panels, or into an average."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.sensitivity import equal_bins, sensitivity
from fastlhp.analysis.sweep import AnalysisError, groups, is_policy, numbers, paths_of, short_names
from fastlhp.results.counters import Status
from fastlhp.results.metrics import CONFIGURATION_METRICS, METRICS
from fastlhp.results.results import Results
from fastlhp.results.table import format_with_error, label_text
from fastlhp.view.style import shortened

__all__ = [
    "FEW_LEVELS",
    "Arrangement",
    "Groups",
    "Parameter",
    "arranged",
    "by_influence",
    "chosen",
    "parameters",
    "require_results",
]

Array = npt.NDArray[Any]

FEW_LEVELS = 12
"""A parameter with more values is not shown value by value."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """A swept parameter with at least two values, its levels.

    Attributes
    ----------
    path, name : str
        Its path, and the shortest unique end of that.
    code : ndarray of int64, shape (configuration,)
        The level of each configuration.
    labels : list of str
        What the levels are called.
    values : ndarray of float64, shape (level,), or None
        The levels as ascending numbers, if they are numbers or durations.
    units : str
        "s" if they are durations, else "1".
    """

    path: str
    name: str
    code: Array
    labels: list[str]
    values: Array | None
    units: str

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.labels)

    @property
    def is_kind(self) -> bool:
        """Whether it is a kind of policy, which is not a number."""
        return is_policy(self.path) and self.values is None

    def binned(self, most: int) -> "Parameter":
        """Put the levels of a number into bins of about equally many configurations."""
        if self.values is None or len(self) <= most:
            return self
        code, means = equal_bins(self.values[self.code], most)
        labels = [format_with_error(mean, np.nan, self.units).replace("us", "µs") for mean in means]
        return replace(self, code=code, labels=labels, values=means)


def parameters(results: Results) -> dict[str, Parameter]:
    """Return the swept parameters that have more than one value, by path."""
    columns = results.configurations
    short = short_names(list(columns))
    found = {}
    for path, column in columns.items():
        code, first = groups([column], len(results))
        if len(first) < 2:
            continue
        levels = column[first]
        try:
            values, units = numbers(path, levels)
        except AnalysisError:
            labels = _without_parameters([label_text(level) for level in levels])
            found[path] = Parameter(path, short[path], code, labels, None, "1")
            continue
        # "1ms" and "1000us" are the same.
        values, first, rank = np.unique(values, return_index=True, return_inverse=True)
        if len(values) > 1:
            labels = [label_text(levels[i]) for i in first]
            found[path] = Parameter(path, short[path], rank[code], labels, values, units)
    return found


def _without_parameters(labels: Sequence[str]) -> list[str]:
    """Return labels such as ``delay(cap=1ms)`` without what is in brackets, if they then still differ."""
    kinds = [label.partition("(")[0] for label in labels]
    return [shortened(label) for label in (kinds if len(set(kinds)) == len(kinds) else labels)]


@dataclass(frozen=True, eq=False)
class Groups:
    """Configurations with the same levels of some parameters.

    Attributes
    ----------
    parameters : tuple of Parameter
        Which; none for a single group.
    code : ndarray of int64, shape (configuration,)
        Group of each configuration; -1 for those of groups that are not shown.
    names : list of str
        What the groups are called; a single group without parameters has no name.
    """

    parameters: tuple[Parameter, ...]
    code: Array
    names: list[str]

    @classmethod
    def of(
        cls,
        parameters: Iterable[Parameter],
        n: int,
        *,
        brief: bool = False,
        beside: Sequence[Parameter] = (),
    ) -> "Groups":
        """Group `n` configurations, in the order of the levels.

        Names are brief where it is said elsewhere which parameters they are of: then those of parameters are
        left out that nobody would miss, also `beside` others in the same figure.
        """
        parameters = tuple(parameters)
        if not parameters:
            return cls((), np.zeros(n, dtype=np.int64), [""])
        shape = [len(parameter) for parameter in parameters]
        levels, code = np.unique(
            np.ravel_multi_index([parameter.code for parameter in parameters], shape), return_inverse=True
        )
        words = [_words(parameter, parameters, brief, beside) for parameter in parameters]
        rows = zip(*(row.tolist() for row in np.unravel_index(levels, shape)), strict=True)
        names = [", ".join(texts[level] for texts, level in zip(words, row, strict=True)) for row in rows]
        return cls(parameters, code, names)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.names)

    @property
    def title(self) -> str:
        """The parameters."""
        names = [parameter.name for parameter in self.parameters]
        return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))

    def some(self, keep: Array) -> "Groups":
        """Keep the groups of these numbers."""
        number = np.full(len(self), -1, dtype=np.int64)
        number[keep] = np.arange(len(keep))
        return replace(self, code=number[self.code], names=[self.names[i] for i in keep])


def _words(
    parameter: Parameter, among: Sequence[Parameter], brief: bool, beside: Sequence[Parameter]
) -> list[str]:
    """Return what the levels of a parameter are called in a name."""
    others = {label for it in (*among, *beside) if it is not parameter for label in it.labels}
    alone = len(among) == 1
    return [
        label
        if brief and (alone or (parameter.values is None and label not in others))
        else f"{parameter.name}={label}"
        for label in parameter.labels
    ]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Which configurations are shown where.

    Attributes
    ----------
    lines, panels : Groups
        Lines of a panel, and panels.
    sampled : bool
        Whether what is averaged over is not the same everywhere.
    notes : list of str
        What people have to know of it.
    """

    lines: Groups
    panels: Groups
    sampled: bool
    notes: list[str]

    @property
    def cell(self) -> Array:
        """Number of each configuration's line among the lines of all panels; -1 if it is not shown."""
        shown = (self.lines.code >= 0) & (self.panels.code >= 0)
        return np.where(shown, self.panels.code * len(self.lines) + self.lines.code, -1)

    def at(self, *axes: Parameter) -> tuple[Array, tuple[int, ...]]:
        """Return each configuration's cell of an array of shape (panel, line, levels of the axes...)."""
        code, shape = self.cell, [len(self.panels), len(self.lines)]
        for axis in axes:
            code = np.where(code >= 0, code * len(axis) + axis.code, -1)
            shape.append(len(axis))
        return code, tuple(shape)


def require_results(results: Results) -> Array:
    """Return which configurations have results.

    Raises
    ------
    AnalysisError
        If none has.
    """
    ok: Array = results.status == Status.OK
    if not ok.any():
        raise AnalysisError("no configuration has results")
    return ok


def chosen(results: Results, known: Mapping[str, Parameter], name: str) -> Parameter:
    """Return the swept parameter of a name, which is a path or its end.

    Raises
    ------
    AnalysisError
        If there is none, or it has one value only.
    """
    paths = paths_of(results, name)
    found = [known[path] for path in paths if path in known]
    if len(found) != 1:
        what = "has one value only" if not found else "means several swept paths"
        raise AnalysisError(f"{name} {what}; choose from: {', '.join(known)}")
    return found[0]


def by_influence(results: Results, known: Iterable[Parameter], metric: str) -> list[Parameter]:
    """Return numbers before all else, and what decides a metric most before what decides it less."""
    index: dict[str, float] = {}
    if metric not in CONFIGURATION_METRICS:
        try:
            found = sensitivity(results, metric)
        except AnalysisError:
            pass
        else:
            share = found.total if found.design == "grid" else found.first
            index = dict(zip(found.paths, np.nan_to_num(share).tolist(), strict=True))
    return sorted(known, key=lambda it: (it.values is None, -index.get(it.path, 0.0)))


def arranged(
    results: Results,
    known: Mapping[str, Parameter],
    axes: Sequence[Parameter],
    *,
    most_lines: int,
    most_panels: int,
    metric: str = "wasted_fraction",
) -> Arrangement:
    """Decide what to do with the swept parameters that are not on an axis.

    Kinds of policies become lines (without them the first parameter with few values), as many as can be told
    apart, the others panels; what is too much for those is averaged over, parameters with many values first.

    Parameters
    ----------
    results : Results
        What a study gave.
    known : mapping of str to Parameter
        The swept parameters.
    axes : sequence of Parameter
        Those on the axes.
    most_lines, most_panels : int
        No more of these. With one line, policies become panels.
    metric : str, optional
        By which the best are chosen where there are too many.
    """
    n = len(results)
    ok = require_results(results)
    others = [it for it in known.values() if it not in axes]
    twins = [it for it in others if any(_advance_together(it, axis) for axis in axes)]
    rest = [it for it in others if it not in twins]
    lines = [it for it in rest if it.is_kind]
    if not lines and most_lines > 1:
        lines = [it for it in rest if len(it) <= most_lines][:1]
    panels = [it for it in rest if it not in lines]
    while lines and len(Groups.of(lines, n)) > most_lines and (len(lines) > 1 or most_lines == 1):
        fewest = min(lines, key=len)
        lines.remove(fewest)
        panels.insert(0, fewest)
    averaged: list[Parameter] = []
    while panels and len(Groups.of(panels, n)) > most_panels and not (len(panels) == 1 and panels[0].is_kind):
        most = max(reversed(panels), key=lambda it: (not it.is_kind, len(it)))
        panels.remove(most)
        averaged.append(most)

    notes = [f"{it.name} changes along" for it in twins]
    line_groups, panel_groups = Groups.of(lines, n, brief=True, beside=axes), Groups.of(panels, n)
    line_groups, note = _best(results, metric, line_groups, most_lines)
    panel_groups, other = _best(results, metric, panel_groups, most_panels)
    shown = np.where(ok, line_groups.code, -1)
    sampled = False
    if averaged:
        over = Groups.of(averaged, n)
        cells = Groups.of([*axes, *lines], n).code
        keep = _complete(over.code, cells, panel_groups.code, shown >= 0)
        sampled = keep is None
        if keep is not None:
            shown = np.where(keep, shown, -1)
        count = len(np.unique(over.code[shown >= 0]))
        notes.append(
            f"averaged over {count} {'different ' if sampled else ''}"
            f"setting{'' if count == 1 else 's'} of {over.title}"
        )
    return Arrangement(
        replace(line_groups, code=shown),
        panel_groups,
        sampled,
        [text for text in (*notes, note, other) if text],
    )


def _advance_together(a: Parameter, b: Parameter) -> bool:
    """Say whether each of the few values of one goes with one value of the other."""
    pairs = len(groups([a.code, b.code], len(a.code))[1])
    return pairs == len(a) == len(b) <= FEW_LEVELS


def _best(results: Results, metric: str, all_of: Groups, most: int) -> tuple[Groups, str]:
    """Keep the first group, which is what others are compared with, and the best of the others."""
    if len(all_of) <= most:
        return all_of, ""
    estimate = results.summary(metric).mean
    there = np.isfinite(estimate)
    sums = np.bincount(all_of.code[there], estimate[there], len(all_of))
    score = sums / np.maximum(np.bincount(all_of.code[there], minlength=len(all_of)), 1)
    if metric in METRICS and METRICS[metric].higher_is_better:
        score = -score
    order = np.argsort(score, kind="stable")
    keep = np.sort([0, *[i for i in order if i][: most - 1]])
    what = f"the {most - 1} of {len(all_of)} with the best {metric}, and the first"
    return all_of.some(keep), f"shown of {all_of.title}: {what}"


def _complete(setting: Array, cell: Array, panel: Array, shown: Array) -> Array | None:
    """Return the configurations of settings that have all cells of a panel; None if a panel has no such setting."""
    keep = np.zeros(len(setting), dtype=np.bool_)
    for p in np.unique(panel[shown]):
        here = np.flatnonzero(shown & (panel == p))
        cells = len(np.unique(cell[here]))
        settings, code, count = np.unique(setting[here], return_inverse=True, return_counts=True)
        # Each setting has a configuration in a cell once.
        complete = count[code] == cells
        if not complete.any():
            return None
        keep[here[complete]] = True
    return keep
