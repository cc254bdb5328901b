"""Results as text: an aligned table for people, CSV and JSON for programs."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlhp.results.counters import Status
from fastlhp.results.results import Results, Summary

if TYPE_CHECKING:
    from fastlhp.analysis.statistics import Method

__all__ = [
    "MAIN_METRICS",
    "Column",
    "as_csv",
    "as_json",
    "as_table",
    "format_estimate",
    "format_value",
    "format_with_error",
    "label_text",
    "laid_out",
    "plain",
    "warnings_of",
]

MAIN_METRICS: tuple[str, ...] = (
    "lhp_probability",
    "wasted_fraction",
    "wasted_cycles",
    "throughput",
    "efficiency",
    "wait_mean",
)
"""What is shown unless other metrics are asked for."""

_GAP = "  "
_MIN_LABEL = 10
_STATUS = {Status.OK: "ok", Status.FAILED: "failed", Status.NOT_RUN: "not run"}
_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
)
_METHODS: "dict[Method, str]" = {"student": "Student's t", "bca": "BCa bootstrap"}
# What a number with a prefix is followed by.
_SUFFIX = {"s": "s", "s-1": "/s", "cycles": ""}


def as_table(
    results: Results,
    metrics: Sequence[str | Summary] = MAIN_METRICS,
    *,
    confidence: float = 0.95,
    method: "Method" = "student",
    width: int = 120,
    max_rows: int | None = None,
    ascii_only: bool = False,
) -> str:
    """Return a table with one row per configuration.

    Parameters
    ----------
    results : Results
        What to show.
    metrics : sequence of str or Summary, optional
        Which metrics; what is no metric of the results comes as its estimates.
    confidence : float, optional
        Of the intervals; in (0, 1).
    method : {"student", "bca"}, optional
        How the intervals are made.
    width : int, optional
        Columns of the screen. Labels are shortened to a half of it, and metrics that do not fit beside each
        other go into further tables below.
    max_rows : int, optional
        Show no more configurations than that.
    ascii_only : bool, optional
        Write ``+-`` for the plus-minus sign and ``~`` for an ellipsis.

    Returns
    -------
    str
        Lines, each ended by a newline; the last ones explain the intervals.

    Raises
    ------
    UnknownMetricError
        If there is no such metric.
    """
    summaries = _columns(results, metrics, confidence, method)
    rows = range(len(results) if max_rows is None else min(len(results), max_rows))
    status = results.status
    pm = "+-" if ascii_only else "±"

    left = [Column("#", [str(i) for i in rows], right=True)]
    for path, values in results.configurations.items():
        left.append(Column.of_labels(path, values[: len(rows)]))
    if np.any(status != Status.OK):
        left.append(Column("status", [_STATUS[Status(status[i])] for i in rows]))

    bounded = False
    right = []
    for summary in summaries:
        cells = []
        for i in rows:
            bounded |= _none_seen(summary, i)
            cells.append(format_estimate(summary, i, pm))
        right.append(Column.of_metric(summary.metric, summary.units, cells))

    footer = ["", *_footer(results, summaries, confidence, method, pm, bounded)]
    return laid_out(left, right, width, ascii_only) + "".join(line + "\n" for line in footer)


def laid_out(left: "list[Column]", right: "list[Column]", width: int, ascii_only: bool) -> str:
    """Return columns as lines of text that fit on a screen.

    Parameters
    ----------
    left : list of Column
        Labels; shortened to a half of the width.
    right : list of Column
        What stands beside them; what does not fit goes into further tables below, each with the labels.
    width : int
        Columns of the screen.
    ascii_only : bool
        Write ``~`` for an ellipsis.
    """
    _shrink(left, width // 2, "~" if ascii_only else "…")
    lines: list[str] = []
    for panel in _panels(left, right, width):
        if lines:
            lines.append("")
        lines += _aligned([*left, *panel])
    return "".join(line.rstrip() + "\n" for line in lines)


class Column:
    """A column of text: its head, which may be broken at dots, and its cells."""

    def __init__(self, head: str, cells: list[str], *, right: bool = False, shrinks: bool = False) -> None:
        self.head, self.cells, self.right, self.shrinks = head, cells, right, shrinks

    @classmethod
    def of_labels(cls, path: str, labels: Any) -> "Column":
        """Return the column of a swept parameter."""
        return cls(
            path, [label_text(label) for label in labels], right=labels.dtype.kind != "O", shrinks=True
        )

    @classmethod
    def of_metric(cls, name: str, units: str, cells: list[str]) -> "Column":
        """Return the column of a metric."""
        return cls(f"{name}{_unit_of_header(units)}", cells, right=True)

    @property
    def width(self) -> int:
        """Width of the widest text."""
        return max(len(text) for text in (self.head, *self.cells))

    def fit(self, width: int, dots: str) -> None:
        """Shorten what is wider: cells at their end, the head at its start, where the least is said."""
        self.cells = [cell if len(cell) <= width else cell[: width - 1] + dots for cell in self.cells]
        if len(self.head) > width:
            self.head = dots + self.head[len(self.head) - width + 1 :]


def _shrink(columns: list[Column], budget: int, dots: str) -> None:
    """Shorten the widest labels until the columns fit."""
    while sum(column.width + len(_GAP) for column in columns) > budget:
        widest = max(
            (column for column in columns if column.shrinks), key=lambda column: column.width, default=None
        )
        if widest is None or widest.width <= _MIN_LABEL:
            return
        widest.fit(widest.width - 1, dots)


def _panels(left: list[Column], right: list[Column], width: int) -> list[list[Column]]:
    """Distribute the metrics over tables that are not wider than `width`; at least one in each."""
    used = sum(column.width + len(_GAP) for column in left)
    panels: list[list[Column]] = []
    room = 0
    for column in right:
        need = column.width + len(_GAP)
        if not panels or need > room:
            panels.append([])
            room = width - used + len(_GAP)
        panels[-1].append(column)
        room -= need
    return panels or [[]]


def _aligned(columns: list[Column]) -> list[str]:
    widths = [column.width for column in columns]
    texts = [[column.head, *column.cells] for column in columns]
    lines = []
    for row in zip(*texts, strict=True):
        cells = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append(_GAP.join(cells))
    return lines


def _footer(
    results: Results, summaries: list[Summary], confidence: float, method: "Method", pm: str, bounded: bool
) -> list[str]:
    run = results["replications"][results.status == Status.OK]
    n = results.n_replications
    least = int(run.min(initial=n))
    replications = f"{n}" if least == n else f"{least} to {n}"
    if not any(np.any(summary.n) for summary in summaries):
        return ["There is nothing to estimate from."]
    percent = f"{100 * confidence:g} %"
    lines = [
        f"{pm} half width of the {percent} confidence interval from {replications} replications "
        f"({_METHODS[method]}, exact for fewer than 30 events; ratios are pooled, sum over sum)"
    ]
    if n == 1:
        lines = ["One replication: no confidence intervals (ratios are pooled, sum over sum)"]
    lines += warnings_of(results)
    if bounded:
        lines.append(f"< upper end of the {percent} confidence interval where none was seen")
    return lines


def warnings_of(results: Results) -> list[str]:
    """Return what should be known before the estimates are believed, as far as replications tell."""
    if not results.keeps_replications:
        return []
    from fastlhp.analysis.disorder import frozen_disorder_warning
    from fastlhp.analysis.transients import transient_warning

    return [warning for find in (frozen_disorder_warning, transient_warning) if (warning := find(results))]


def label_text(value: Any) -> str:
    """Return the label of a swept parameter as it is shown."""
    return value if isinstance(value, str) else f"{value:.10g}"


def _unit_of_header(units: str) -> str:
    return " [cycles]" if units == "cycles" else ""


def _none_seen(summary: Summary, i: int) -> bool:
    return bool(summary.mean[i] == 0 and summary.standard_error[i] == 0 and summary.high[i] > 0)


def format_estimate(summary: Summary, i: int, pm: str = "±") -> str:
    """Return an estimate with its half width: ``12.31 ± 0.24 us``; ``-`` if there is none."""
    mean, half = float(summary.mean[i]), float(summary.half_width[i])
    if math.isnan(mean):
        return "-"
    if _none_seen(summary, i):
        number, scale = _format(float(summary.high[i]), math.nan, summary.units, pm, digits=2)
        return f"< {number}{scale}"
    return format_with_error(mean, half, summary.units, pm)


def format_with_error(value: float, half: float, units: str, pm: str = "±") -> str:
    """Return a number with its half width, if that is not NaN; ``-`` if there is none."""
    return "-" if math.isnan(value) else "".join(_format(value, half, units, pm))


def format_value(value: float, units: str) -> str:
    """Return a number that has no error, with its unit: ``12.31 us``; ``-`` if there is none."""
    return "-" if math.isnan(value) else "".join(_format(float(value), math.nan, units, "", digits=6))


def _format(mean: float, half: float, units: str, pm: str, digits: int = 4) -> tuple[str, str]:
    """Return a number with its error and what follows both, a unit or a power of ten."""
    largest = max(abs(mean), 0.0 if math.isnan(half) else half)
    if units in _SUFFIX:
        # 999.95 of a unit would be printed as 1000 of it.
        factor, prefix = next(((f, p) for f, p in _PREFIXES if largest >= 0.99995 * f), _PREFIXES[-1])
        if largest == 0:
            factor, prefix = 1.0, ""
        tail = f" {prefix}{_SUFFIX[units]}".rstrip()
        power = False
    else:
        power = largest != 0 and not 1e-3 <= largest < 1e7
        exponent = _magnitude(largest) if power else 0
        factor, tail = 10.0**exponent, f"e{exponent:+03d}" if power else ""
    mean, half = mean / factor, half / factor
    decimals = _decimals(mean, half, digits)
    if math.isnan(half):
        return f"{mean:.{decimals}f}", tail
    both = f"{mean:.{decimals}f} {pm} {half:.{decimals}f}"
    return (f"({both})", tail) if power else (both, tail)


def _decimals(mean: float, half: float, digits: int) -> int:
    """Return how many decimals show two digits of the error, but not more than six of the value."""
    largest = max(abs(mean), 0.0 if math.isnan(half) else half)
    if largest == 0:
        return 0
    magnitude = _magnitude(largest)
    if math.isnan(half):
        wanted = digits - 1 - magnitude
        return 0 if float(mean).is_integer() and digits > 2 else max(wanted, 0)
    if half == 0:
        return 0 if float(mean).is_integer() else max(digits - 1 - magnitude, 0)
    return max(min(1 - _magnitude(half), 5 - magnitude), 0)


def _magnitude(value: float) -> int:
    """Return the power of ten of a number's first digit; 1e-6 / 1e-3 counts as 1e-3."""
    return math.floor(math.log10(value) + 1e-9)


def _columns(
    results: Results, metrics: Sequence[str | Summary], confidence: float, method: "Method"
) -> list[Summary]:
    return [it if isinstance(it, Summary) else results.summary(it, confidence, method) for it in metrics]


def as_csv(
    results: Results,
    metrics: Sequence[str | Summary] = MAIN_METRICS,
    *,
    confidence: float = 0.95,
    method: "Method" = "student",
) -> str:
    """Return the estimates in full precision as CSV, in the metrics' own units.

    Columns are ``configuration``, the swept parameters, ``status``, and for each metric ``NAME`` (the mean),
    ``NAME_low``, ``NAME_high``, ``NAME_standard_error``. A missing value is an empty field.
    """
    summaries = _columns(results, metrics, confidence, method)
    configurations, status = results.configurations, results.status
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["configuration", *configurations, "status"]
    for s in summaries:
        head += [s.metric, f"{s.metric}_low", f"{s.metric}_high", f"{s.metric}_standard_error"]
    writer.writerow(head)
    for i in range(len(results)):
        row: list[Any] = [
            i,
            *(plain(values[i]) for values in configurations.values()),
            _STATUS[Status(status[i])],
        ]
        for s in summaries:
            row += [plain(values[i]) for values in (s.mean, s.low, s.high, s.standard_error)]
        writer.writerow(row)
    return out.getvalue()


def as_json(
    results: Results,
    metrics: Sequence[str | Summary] = MAIN_METRICS,
    *,
    confidence: float = 0.95,
    method: "Method" = "student",
) -> str:
    """Return the estimates in full precision as a JSON object, in the metrics' own units.

    Its ``configurations`` is a list of objects with ``configuration``, ``status``, ``parameters`` and
    ``metrics``; of each metric ``mean``, ``low``, ``high``, ``standard_error`` and ``n``. A missing value is
    null. ``warnings`` is a list of texts.
    """
    summaries = _columns(results, metrics, confidence, method)
    columns, status, messages = results.configurations, results.status, results.messages
    configurations = []
    for i in range(len(results)):
        estimates = {
            s.metric: {
                "mean": plain(s.mean[i]),
                "low": plain(s.low[i]),
                "high": plain(s.high[i]),
                "standard_error": plain(s.standard_error[i]),
                "n": int(s.n[i]),
            }
            for s in summaries
        }
        row: dict[str, Any] = {
            "configuration": i,
            "status": _STATUS[Status(status[i])],
            "parameters": {path: plain(values[i]) for path, values in columns.items()},
            "metrics": estimates,
        }
        if i in messages:
            row["message"] = messages[i]
        configurations.append(row)
    document = {
        "study": results.attributes.title,
        "seed": results.attributes.seed,
        "fastlhp_version": results.attributes.fastlhp_version,
        "replications": results.n_replications,
        "confidence": confidence,
        "interval": method,
        "units": {s.metric: s.units for s in summaries},
        "warnings": warnings_of(results),
        "configurations": configurations,
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """Return a Python value; None for NaN and infinities."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
