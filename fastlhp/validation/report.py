"""Validation as text: a table for people, CSV and JSON for programs."""

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from fastlhp.validation.checks import Check, Part

__all__ = ["as_csv", "as_json", "as_table"]

_INDENT, _NOTE_WIDTH = "    ", 110
_HEAD = ("quantity", "fastlhp", "reference", "accepted", "verdict")


def as_table(part: Part, *, ascii_only: bool = False) -> str:
    """Return a part as lines of text: each case, and below it prediction, reference and verdict side by side.

    Parameters
    ----------
    part : Part
        The outcome of a part.
    ascii_only : bool, optional
        Write ``+-`` for the plus-minus sign.
    """
    pm = "+-" if ascii_only else "±"
    rows = [(name, [_cells(made, pm) for made in checks], checks) for name, checks in part.outcomes]
    columns = zip(*(cells for _, table, _ in rows for cells in table), strict=True)
    widths = [max(len(head), *map(len, column)) for head, column in zip(_HEAD, columns, strict=True)]
    lines = [f"{part.letter}. {part.title}", "", _line(_HEAD, widths)]
    for name, table, checks in rows:
        lines.append(name)
        for cells, made in zip(table, checks, strict=True):
            lines.append(_line(cells, widths))
            if made.note:
                note = f"{'likely cause: ' if made.is_compared else ''}{made.note}"
                lines += textwrap.wrap(note, _NOTE_WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return "\n".join([*lines, "", summary(part), ""])


def summary(part: Part) -> str:
    """Return what came out of a part as one sentence."""
    compared = [name for name, checks in part.outcomes if any(made.is_compared for made in checks)]
    left_out = len(part.outcomes) - len(compared)
    text = f"{len(compared) - len(part.missed)} of {len(compared)} cases agree"
    if left_out:
        text += f", {left_out} not compared"
    if part.allowed:
        text += f"; {part.allowed} may miss"
    return f"{text}: {'passed' if part.passes else 'FAILED'}"


def as_csv(parts: Iterable[Part]) -> str:
    """Return all checks in full precision, one a line; a missing value is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for name in Check.__dataclass_fields__ if name != "note"]
    writer.writerow(["part", "case", *names, "verdict", "note"])
    for part in parts:
        for case, checks in part.outcomes:
            for made in checks:
                values = [
                    "" if _missing(value) else value for value in (getattr(made, name) for name in names)
                ]
                writer.writerow([part.letter, case, *values, made.verdict, made.note])
    return out.getvalue()


def as_json(parts: Iterable[Part]) -> str:
    """Return all checks in full precision as a JSON object; a missing or infinite value is null."""
    document = {
        "parts": [
            {
                "part": part.letter,
                "title": part.title,
                "allowed_misses": part.allowed,
                "missed": part.missed,
                "passes": part.passes,
                "cases": [
                    {
                        "case": name,
                        "checks": [
                            {
                                **{k: None if _missing(v) else v for k, v in asdict(made).items()},
                                "verdict": made.verdict,
                            }
                            for made in checks
                        ],
                    }
                    for name, checks in part.outcomes
                ],
            }
            for part in parts
        ]
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _missing(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _cells(made: Check, pm: str) -> tuple[str, ...]:
    accepted = ""
    if _number(made.low) == _number(made.high):
        accepted = _number(made.low) if made.is_compared else ""
    elif math.isinf(made.high):
        accepted = f">= {_number(made.low)}"
    elif math.isinf(made.low):
        accepted = f"<= {_number(made.high)}"
    elif made.is_compared:
        accepted = f"{_number(made.low)} .. {_number(made.high)}"
    return (
        made.quantity,
        _estimate(made.predicted, made.predicted_error, pm),
        _estimate(made.reference, made.reference_error, pm),
        accepted,
        made.verdict,
    )


def _estimate(value: float, error: float, pm: str) -> str:
    """Return a value with its standard error, which is given with two digits."""
    if math.isnan(value):
        return "-"
    if not error:
        return _number(value)
    largest = max(abs(value), error)
    power = 0 if 1e-3 <= largest < 1e7 else math.floor(math.log10(largest))
    value, error = value / 10.0**power, error / 10.0**power
    decimals = max(1 - math.floor(math.log10(error)), 0)
    both = f"{value:.{decimals}f} {pm} {error:.{decimals}f}"
    return f"({both})e{power:+03d}" if power else both


def _number(value: float) -> str:
    """Return a number with four digits, without an exponent where it is short without."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return ("  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))).rstrip()
