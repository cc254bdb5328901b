"""Tables of the report and of notebooks, as markup."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.results.counters import Status
from fastlhp.results.results import Results
from fastlhp.results.table import format_estimate, label_text
from fastlhp.view.markup import Cell, Content, Head, Markup, element, fragment, table
from fastlhp.view.words import different, few_words

__all__ = ["configurations_table", "lines", "number", "sweep_table"]

Array = npt.NDArray[Any]


def number(value: float, text: Content) -> Cell:
    """Return the cell of a number, which may be missing."""
    return Cell(text, None if math.isnan(value) else float(value))


def lines(texts: Sequence[Content]) -> Markup:
    """Return texts below each other."""
    first, *others = texts
    return fragment(first, *(fragment(element("br"), text) for text in others))


def sweep_table(columns: Mapping[str, Sequence[Any]]) -> Markup:
    """Return the swept parameters and their values."""
    rows = [
        (element("code", path), Cell(len(values), len(values)), lines(few_words(values)))
        for path, values in different(columns).items()
    ]
    return table("What is swept", [Head("parameter"), Head("values", numeric=True), Head("which")], rows)


def configurations_table(
    results: Results, rows: Array, metrics: Sequence[str], caption: Content, confidence: float = 0.95
) -> Markup:
    """Return the estimates of some configurations, one row for each."""
    heads, columns = [Head("#", numeric=True)], [[Cell(i, i) for i in rows.tolist()]]
    for path, labels in results.configurations.items():
        heads.append(Head(element("code", path), labels.dtype.kind != "O"))
        columns.append(_labels(path, labels[rows]))
    status = results.status
    if np.any(status != Status.OK):
        heads.append(Head("status"))
        columns.append([Cell(Status(s).name.lower().replace("_", " ")) for s in status[rows]])
    for metric in metrics:
        it = results.summary(metric, confidence)
        unit = " [cycles]" if it.units == "cycles" else ""
        heads.append(Head(element("code", metric + unit, title=results.long_name(metric)), numeric=True))
        columns.append([number(it.mean[i], format_estimate(it, i)) for i in rows])
    return table(caption, heads, zip(*columns, strict=True))


def _labels(path: str, labels: Array) -> list[Cell]:
    """Return the cells of a swept parameter; durations are sorted by their length."""
    from fastlhp.analysis.sweep import AnalysisError, numbers

    try:
        values, _ = numbers(path, labels)
    except AnalysisError:
        return [Cell(label_text(label)) for label in labels]
    return [number(value, label_text(label)) for value, label in zip(values, labels, strict=True)]
