"""Sampled designs: ``[study] design`` and the ranges of a sweep.

The points come from `scipy.stats.qmc`, which is imported only where there is a range. What a point means is computed
in decimal arithmetic, whose logarithm and exponential are correctly rounded, so that every machine simulates the same
configurations.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from fastlhp.model.units import Clock, UnitError, parse_duration, parse_frequency, round_ns
from fastlhp.model.validation import (
    NOTHING,
    Accepts,
    Form,
    Mistake,
    Mistakes,
    Seed,
    one_of,
    refused,
    show,
    unknown_key,
)

__all__ = ["RANGE_KEYS", "SCALES", "Design", "Range", "range_from", "sample"]

RANGE_KEYS = ("from", "to", "scale")
SCALES = ("linear", "log")
_MAX_POINTS = 2**17
_LARGEST = 2**53
_DIGITS = 6
_END_HELP = 'a number, or a duration or frequency with a unit, such as "30us"'
_POINTS_HELP = f"a whole number of at least 1 and at most {_MAX_POINTS}"
_PREFIXES = {"ns": (("s", 9), ("ms", 6), ("us", 3)), "Hz": (("GHz", 9), ("MHz", 6), ("kHz", 3))}


def _points(points: int, info: ValidationInfo) -> int:
    if info.data.get("kind") == "sobol" and points & (points - 1):
        above = 1 << points.bit_length()
        raise refused(
            points, f"a power of 2, such as {above // 2} or {above}: only then is the sequence balanced"
        )
    return points


class Design(Form):
    """``[study] design`` as written: which points of the ranges are simulated.

    Attributes
    ----------
    kind : {"latin_hypercube", "sobol"}
        How points are chosen.
    points : int
        How many; a power of 2 for `sobol`.
    seed : int
        The design's own seed.
    """

    kind: Literal["latin_hypercube", "sobol"]
    points: Annotated[int, Field(ge=1, le=_MAX_POINTS), AfterValidator(_points), Accepts(_POINTS_HELP)]
    seed: Seed = 1


@dataclass(frozen=True)
class Range:
    """What a swept path takes its values from.

    Attributes
    ----------
    low, high : Decimal
        Both ends, in `unit`; they are values too.
    unit : str
        ``ns`` or ``Hz``, ``cycles``, ``pauses``; empty for numbers.
    whole : bool
        Values are whole multiples of the unit.
    log : bool
        Equal ratios, not equal differences, are equally likely.
    """

    low: Decimal
    high: Decimal
    unit: str
    whole: bool
    log: bool

    def __str__(self) -> str:
        """Return the range in words."""
        return f"{self._written(self.low)} to {self._written(self.high)}, {SCALES[self.log]}"

    @property
    def ends(self) -> list[object]:
        """Both ends as a study would write them."""
        return [self._written(self.low), self._written(self.high)]

    def values(self, positions: Sequence[float]) -> list[object]:
        """Return the values at positions from 0 to 1, as a study would write them."""
        with localcontext(prec=34):
            # Each whole number stands for the interval up to the next one.
            top = self.high + 1 if self.whole else self.high
            start = self.low.ln() if self.log else self.low
            length = (top / self.low).ln() if self.log else top - self.low
            found = []
            for position in positions:
                value = start + Decimal(position) * length
                value = value.exp() if self.log else value
                value = (
                    value.to_integral_value(ROUND_FLOOR) if self.whole else Decimal(f"{value:.{_DIGITS}g}")
                )
                found.append(self._written(min(max(value, self.low), self.high)))
        return found

    def _written(self, value: Decimal) -> object:
        if not self.unit:
            return int(value) if self.whole else float(value)
        for unit, power in _PREFIXES.get(self.unit, ()):
            if value >= 10**power:
                return f"{value.scaleb(-power).normalize():f}{unit}"
        return f"{value.to_integral_value():f}{self.unit}"


def range_from(raw: Mapping[str, object]) -> Range:
    """Return a range as written: ``{ from = ..., to = ..., scale = ... }``.

    Raises
    ------
    Mistakes
        With every mistake in the table.
    """
    mistakes = [unknown_key((key,), raw[key], RANGE_KEYS) for key in raw if key not in RANGE_KEYS]
    scale = raw.get("scale", "linear")
    if scale not in SCALES:
        mistakes.append(Mistake(("scale",), scale, one_of(SCALES, scale)))
    ends = []
    for key in ("from", "to"):
        try:
            ends.append(_end(raw.get(key, NOTHING)))
        except Mistakes as error:
            mistakes += [mistake.under(key) for mistake in error.mistakes]
    if len(ends) == 2:
        (low, unit, low_is_whole), (high, other, high_is_whole) = ends
        whole = low_is_whole and high_is_whole
        if unit != other:
            accepted = "an end of the same kind as from: both without a unit, or both in ns to s, cycles, pauses or Hz"
            mistakes.append(Mistake(("to",), raw["to"], accepted))
        elif not low < high:
            mistakes.append(Mistake(("to",), raw["to"], f"more than from, which is {show(raw['from'])}"))
        if scale == "log" and low <= 0:
            mistakes.append(Mistake(("from",), raw["from"], "more than 0 on a logarithmic scale"))
    if mistakes:
        raise Mistakes(mistakes)
    return Range(low, high, unit, whole, scale == "log")


def _end(value: object) -> tuple[Decimal, str, bool]:
    """Return an end of a range, its unit, and whether it is whole."""
    if isinstance(value, str):
        # At 1 GHz a cycle is 1 ns, so a duration in ns is one in cycles.
        for unit, read in (
            ("ns", parse_duration),
            ("Hz", parse_frequency),
            ("cycles", lambda text: parse_duration(text, Clock(frequency_hz=Fraction(10**9)))),
            ("pauses", lambda text: parse_duration(text, Clock(pause_ns=Fraction(1)))),
        ):
            try:
                amount = round_ns(read(value))
            except UnitError:
                continue
            if amount <= _LARGEST:
                return Decimal(amount), unit, True
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return Decimal(value), "", True
    elif isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value)), "", False
    raise Mistakes([Mistake((), value, _END_HELP)])


def sample(design: Design, ranges: Sequence[Range]) -> list[tuple[object, ...]]:
    """Return the points of a design, one value for each range; points that rounding made equal only once.

    Parameters
    ----------
    design : Design
        Which points, and how many.
    ranges : sequence of Range
        The dimensions.
    """
    import numpy as np
    from scipy.stats import qmc

    generator = np.random.default_rng(design.seed)
    if design.kind == "sobol":
        positions = qmc.Sobol(len(ranges), rng=generator).random_base2(design.points.bit_length() - 1)
    else:
        positions = qmc.LatinHypercube(len(ranges), rng=generator).random(design.points)
    columns = [each.values(column.tolist()) for each, column in zip(ranges, positions.T, strict=True)]
    return list(dict.fromkeys(zip(*columns, strict=True)))
