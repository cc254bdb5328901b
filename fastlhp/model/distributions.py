"""Distributions of durations: what a study may write, and the frozen objects the engine reads.

Every duration of a study is a distribution. A duration written as a text is constant; the others are tables
with one key. All values are in ns. A distribution without spread (``cv = 0``, equal bounds, equal samples)
becomes `Constant`.
"""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from fastlhp.model.units import DURATION_HELP, Clock, UnitError, format_duration, parse_duration, round_ns
from fastlhp.model.validation import (
    DISTRIBUTION_SCHEMA,
    DURATION_SCHEMA,
    NOTHING,
    Accepts,
    Context,
    Form,
    Mistake,
    Mistakes,
    Written,
    checked,
    closest,
    refused,
    unknown_key,
    wrapped,
)

__all__ = [
    "LIMIT_NS",
    "Constant",
    "Distribution",
    "Duration",
    "Empirical",
    "Exponential",
    "FixedDuration",
    "Gamma",
    "Hyperexponential",
    "Lognormal",
    "Pareto",
    "PositiveDuration",
    "PositiveFixedDuration",
    "TABLE_FORMS",
    "Uniform",
    "Weibull",
    "distribution_from",
    "fixed_duration",
]

LIMIT_NS = 2**30
"""Longest duration of a phase or slice, in ns: the engine's ticks are 32-bit. Tails beyond it are cut."""

_MAX_SAMPLES = 1_000_000
_Array = np.ndarray[Any, np.dtype[np.float64]]
_LIMIT_HELP = "at most 1.073741824s (2^30 ns)"


@dataclass(frozen=True)
class Distribution:
    """Base of all distributions of a duration.

    Attributes
    ----------
    kind : str
        The key by which a study asks for it; ``constant`` for a plain duration.
    mean_ns : float
        The mean in ns, before the tail is cut.
    """

    kind: ClassVar[str] = ""

    if TYPE_CHECKING:
        # A field in some classes and computed in others; a property here would become the field's default.
        @property
        def mean_ns(self) -> float:
            """The mean in ns."""

    @property
    def is_constant(self) -> bool:
        """Whether every draw has the same value."""
        return False

    @property
    def is_zero(self) -> bool:
        """Whether every draw is 0."""
        return False

    def cut_share(self, limit_ns: float = LIMIT_NS) -> float:
        """Return the share of the mean that lies beyond a limit: E[max(X - limit, 0)] / E[X].

        Parameters
        ----------
        limit_ns : float, optional
            The limit in ns; by default the longest duration the engine draws.

        Returns
        -------
        float
            The share, in [0, 1].
        """
        mean_ns = self.mean_ns
        return min(max(self._excess_ns(limit_ns) / mean_ns, 0.0), 1.0) if mean_ns > 0 else 0.0

    def _excess_ns(self, limit_ns: float) -> float:
        raise NotImplementedError

    def describe(self) -> str:
        """Return the distribution in words, such as ``exponential(10us)``."""
        raise NotImplementedError

    def to_input(self) -> object:
        """Return what a study would write to get this distribution."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Distribution):
    """Always the same duration, an integer number of ticks."""

    value_ns: int
    kind: ClassVar[str] = "constant"

    @property
    def mean_ns(self) -> float:
        """The value."""
        return float(self.value_ns)

    @property
    def is_constant(self) -> bool:
        """True."""
        return True

    @property
    def is_zero(self) -> bool:
        """Whether the value is 0."""
        return self.value_ns == 0

    def _excess_ns(self, limit_ns: float) -> float:
        return max(self.value_ns - limit_ns, 0.0)

    def describe(self) -> str:
        """Return the duration with its unit."""
        return format_duration(self.value_ns)

    def to_input(self) -> object:
        """Return the duration as a text."""
        return f"{self.value_ns}ns"


@dataclass(frozen=True)
class Exponential(Distribution):
    """Memoryless."""

    mean_ns: float
    kind: ClassVar[str] = "exponential"

    def _excess_ns(self, limit_ns: float) -> float:
        return self.mean_ns * math.exp(-limit_ns / self.mean_ns)

    def describe(self) -> str:
        """Return kind and mean."""
        return f"exponential({format_duration(self.mean_ns)})"

    def to_input(self) -> object:
        """Return the table."""
        return {"exponential": _exact(self.mean_ns)}


@dataclass(frozen=True)
class Uniform(Distribution):
    """Equally likely anywhere between two bounds."""

    low_ns: float
    high_ns: float
    kind: ClassVar[str] = "uniform"

    @property
    def mean_ns(self) -> float:
        """The middle."""
        return (self.low_ns + self.high_ns) / 2

    def _excess_ns(self, limit_ns: float) -> float:
        if limit_ns <= self.low_ns:
            return self.mean_ns - limit_ns
        return max(self.high_ns - limit_ns, 0.0) ** 2 / (2 * (self.high_ns - self.low_ns))

    def describe(self) -> str:
        """Return kind and bounds."""
        return f"uniform({format_duration(self.low_ns)}, {format_duration(self.high_ns)})"

    def to_input(self) -> object:
        """Return the table."""
        return {"uniform": [_exact(self.low_ns), _exact(self.high_ns)]}


@dataclass(frozen=True)
class Lognormal(Distribution):
    """Lognormal with given mean and coefficient of variation (standard deviation / mean)."""

    mean_ns: float
    cv: float
    kind: ClassVar[str] = "lognormal"

    def _excess_ns(self, limit_ns: float) -> float:
        # With log X normal(mu, s): E[X; X > L] = mean * Phi((mu + s^2 - log L)/s).
        s = math.sqrt(math.log1p(self.cv**2))
        if s == 0:
            return max(self.mean_ns - limit_ns, 0.0)
        centre = (math.log(self.mean_ns) - s * s / 2 - math.log(limit_ns)) / s
        phi = NormalDist().cdf
        return self.mean_ns * phi(centre + s) - limit_ns * phi(centre)

    def describe(self) -> str:
        """Return kind and parameters."""
        return f"lognormal(mean={format_duration(self.mean_ns)}, cv={self.cv:g})"

    def to_input(self) -> object:
        """Return the table."""
        return {"lognormal": {"mean": _exact(self.mean_ns), "cv": self.cv}}


@dataclass(frozen=True)
class Gamma(Distribution):
    """Gamma with given mean and coefficient of variation; Erlang of k stages where cv = 1/sqrt(k)."""

    mean_ns: float
    cv: float
    kind: ClassVar[str] = "gamma"

    def _excess_ns(self, limit_ns: float) -> float:
        shape = self.cv**-2
        scale = self.mean_ns / shape
        if limit_ns / scale - shape > 40 * (math.sqrt(shape) + 1) + 700:
            return 0.0
        log_norm = math.lgamma(shape)

        def density_excess(x: _Array) -> _Array:
            u = x / scale
            return (x - limit_ns) * np.exp((shape - 1) * np.log(u) - u - log_norm) / scale

        return _integral_above(
            density_excess, limit_ns, limit_ns + scale * (60 + 12 * math.sqrt(shape) + shape)
        )

    def describe(self) -> str:
        """Return kind and parameters."""
        return f"gamma(mean={format_duration(self.mean_ns)}, cv={self.cv:g})"

    def to_input(self) -> object:
        """Return the table."""
        return {"gamma": {"mean": _exact(self.mean_ns), "cv": self.cv}}


@dataclass(frozen=True)
class Weibull(Distribution):
    """Weibull with given mean and shape; shape 1 is exponential, below 1 is heavy tailed."""

    mean_ns: float
    shape: float
    kind: ClassVar[str] = "weibull"

    def _excess_ns(self, limit_ns: float) -> float:
        scale = self.mean_ns / math.gamma(1 + 1 / self.shape)
        if math.log(limit_ns / scale) * self.shape > math.log(745):
            return 0.0

        def survival(x: _Array) -> _Array:
            return np.exp(-((x / scale) ** self.shape))

        end_ns = scale * ((limit_ns / scale) ** self.shape + 60 + 10 / self.shape) ** (1 / self.shape)
        return _integral_above(survival, limit_ns, end_ns)

    def describe(self) -> str:
        """Return kind and parameters."""
        return f"weibull(mean={format_duration(self.mean_ns)}, shape={self.shape:g})"

    def to_input(self) -> object:
        """Return the table."""
        return {"weibull": {"mean": _exact(self.mean_ns), "shape": self.shape}}


@dataclass(frozen=True)
class Pareto(Distribution):
    """Pareto of index alpha, truncated: density proportional to x^-(alpha+1) between minimum and maximum."""

    minimum_ns: float
    alpha: float
    maximum_ns: float
    kind: ClassVar[str] = "pareto"

    def _integral_ns(self, low_ns: float) -> float:
        """Return the integral of the survival function from ``low_ns`` >= minimum to the maximum."""
        low, high = low_ns / self.minimum_ns, self.maximum_ns / self.minimum_ns
        if high - 1 < 1e-7:
            # Nearly one point: the terms below would cancel, and the density is flat.
            return self.minimum_ns * (high - low) ** 2 / (2 * (high - 1)) if high > low else 0.0
        beyond: float = high**-self.alpha
        exponent = 1 - self.alpha
        # (high^e - low^e)/e, also near e = 0, where it is log(high/low).
        log_ratio = math.log(high / low)
        power: float = low**exponent * (
            math.expm1(exponent * log_ratio) / exponent if exponent else log_ratio
        )
        return self.minimum_ns * (power - beyond * (high - low)) / (1 - beyond)

    @property
    def mean_ns(self) -> float:
        """The mean of the truncated distribution."""
        return self.minimum_ns + self._integral_ns(self.minimum_ns)

    def _excess_ns(self, limit_ns: float) -> float:
        if limit_ns >= self.maximum_ns:
            return 0.0
        if limit_ns <= self.minimum_ns:
            return self.mean_ns - limit_ns
        return self._integral_ns(limit_ns)

    def describe(self) -> str:
        """Return kind and parameters."""
        return (
            f"pareto(minimum={format_duration(self.minimum_ns)}, alpha={self.alpha:g}, "
            f"maximum={format_duration(self.maximum_ns)})"
        )

    def to_input(self) -> object:
        """Return the table."""
        return {
            "pareto": {
                "minimum": _exact(self.minimum_ns),
                "alpha": self.alpha,
                "maximum": _exact(self.maximum_ns),
            }
        }


@dataclass(frozen=True)
class Hyperexponential(Distribution):
    """A mixture: exponential of mean ``means_ns[i]`` with probability ``probabilities[i]``."""

    probabilities: tuple[float, ...]
    means_ns: tuple[float, ...]
    kind: ClassVar[str] = "hyperexponential"

    @property
    def mean_ns(self) -> float:
        """The mean of the mixture."""
        return math.fsum(p * m for p, m in zip(self.probabilities, self.means_ns, strict=True))

    def _excess_ns(self, limit_ns: float) -> float:
        branches = zip(self.probabilities, self.means_ns, strict=True)
        return math.fsum(p * m * math.exp(-limit_ns / m) for p, m in branches)

    def describe(self) -> str:
        """Return kind, probabilities and means."""
        branches = zip(self.probabilities, self.means_ns, strict=True)
        return f"hyperexponential({', '.join(f'{p:g}: {format_duration(m)}' for p, m in branches)})"

    def to_input(self) -> object:
        """Return the table."""
        means = [_exact(mean) for mean in self.means_ns]
        return {"hyperexponential": {"probabilities": list(self.probabilities), "means": means}}


@dataclass(frozen=True, repr=False)
class Empirical(Distribution):
    """Measured samples, sorted; a draw is one of their quantiles."""

    samples_ns: tuple[float, ...]
    source: str = ""
    kind: ClassVar[str] = "empirical"

    @property
    def mean_ns(self) -> float:
        """The mean of the samples."""
        return math.fsum(self.samples_ns) / len(self.samples_ns)

    def _excess_ns(self, limit_ns: float) -> float:
        return math.fsum(max(x - limit_ns, 0.0) for x in self.samples_ns) / len(self.samples_ns)

    def describe(self) -> str:
        """Return kind, source and number of samples."""
        source = f"{self.source}, " if self.source else ""
        return f"empirical({source}{len(self.samples_ns)} samples, mean={format_duration(self.mean_ns)})"

    def __repr__(self) -> str:
        return self.describe()

    def to_input(self) -> object:
        """Return the table, with the samples themselves."""
        return {"empirical": {"samples": [_exact(sample) for sample in self.samples_ns]}}


def _exact(duration_ns: float) -> str:
    """Return a duration that parses back to the same float."""
    return (
        f"{Fraction(repr(duration_ns)).numerator}ns"
        if float(duration_ns).is_integer()
        else f"{duration_ns!r}ns"
    )


def _integral_above(function: Callable[[_Array], _Array], start: float, end: float) -> float:
    """Return the integral of a smooth, decaying function: Simpson's rule, denser at the start."""
    if not end > start:
        return 0.0
    t = np.linspace(0.0, 1.0, 4001)
    with np.errstate(over="ignore", under="ignore"):
        values = function(start + (end - start) * t * t) * 2 * t * (end - start)
    weights = np.ones(4001)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    return float(values @ weights / 12000.0)


def _exact_ns(value: object, info: ValidationInfo) -> Fraction:
    """Return a duration inside a distribution's table, exactly."""
    context = info.context if isinstance(info.context, Context) else None
    try:
        return _duration_ns(value, context.clock if context else None)
    except Mistakes as error:
        raise wrapped(error) from None


def _duration_ns(value: object, clock: Clock | None) -> Fraction:
    if isinstance(value, str):
        try:
            return parse_duration(value, clock)
        except UnitError as error:
            raise Mistakes([Mistake((), value, error.accepted)]) from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Mistakes([Mistake((), value, f"a bare number has no unit; give {DURATION_HELP}")])
    raise Mistakes([Mistake((), value, DURATION_HELP)])


def _mean_ns(value: object, info: ValidationInfo) -> Fraction:
    duration_ns = _exact_ns(value, info)
    if not float(duration_ns) > 0:
        raise refused(value, f'above 0 (a time that is always zero is written "0ns"); {DURATION_HELP}')
    return duration_ns


_Bound = Annotated[Fraction, PlainValidator(_exact_ns), Accepts(DURATION_HELP), DURATION_SCHEMA]
_Mean = Annotated[Fraction, PlainValidator(_mean_ns), Accepts(DURATION_HELP), DURATION_SCHEMA]


def _cv(value: object, largest: float) -> float:
    # A gamma of tiny cv has an astronomical shape; below 0.001 the spread is lost in the ticks anyway.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (value == 0 or 0.001 <= value <= largest):  # type: ignore[operator]
        raise refused(value, f"0, or a number from 0.001 to {largest:g} (standard deviation / mean)")
    return float(value)  # type: ignore[arg-type]


class LognormalForm(Form):
    """``{ lognormal = { mean = "1us", cv = 3.0 } }``.

    Attributes
    ----------
    mean : Fraction
        Mean.
    cv : float
        Standard deviation over mean.
    """

    mean: _Mean
    cv: Annotated[
        float,
        PlainValidator(lambda value: _cv(value, 1000.0)),
        Accepts("a number from 0 to 1000"),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1000}),
    ]

    def build(self) -> Distribution:
        """Return the distribution."""
        return Lognormal(float(self.mean), self.cv) if self.cv else Constant(round_ns(self.mean))


class GammaForm(Form):
    """``{ gamma = { mean = "1us", cv = 0.5 } }``.

    Attributes
    ----------
    mean : Fraction
        Mean.
    cv : float
        Standard deviation over mean.
    """

    mean: _Mean
    cv: Annotated[
        float,
        PlainValidator(lambda value: _cv(value, 30.0)),
        Accepts("a number from 0 to 30"),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": 30}),
    ]

    def build(self) -> Distribution:
        """Return the distribution."""
        return Gamma(float(self.mean), self.cv) if self.cv else Constant(round_ns(self.mean))


class WeibullForm(Form):
    """``{ weibull = { mean = "1us", shape = 0.5 } }``.

    Attributes
    ----------
    mean : Fraction
        Mean.
    shape : float
        Below 1: a heavier tail than that of an exponential.
    """

    mean: _Mean
    shape: Annotated[float, Field(ge=0.1, le=100)]

    def build(self) -> Distribution:
        """Return the distribution."""
        return Weibull(float(self.mean), self.shape)


def _maximum(value: object, info: ValidationInfo) -> Fraction:
    maximum_ns = _mean_ns(value, info)
    minimum_ns = info.data.get("minimum")
    if minimum_ns is not None and float(minimum_ns) >= float(maximum_ns):
        raise refused(value, f"a duration above the minimum, {format_duration(float(minimum_ns))}")
    return maximum_ns


class ParetoForm(Form):
    """``{ pareto = { minimum = "1us", alpha = 1.5, maximum = "10ms" } }``.

    Attributes
    ----------
    minimum : Fraction
        Smallest value.
    alpha : float
        Exponent of the tail.
    maximum : Fraction
        Where the tail is cut.
    """

    minimum: _Mean
    alpha: Annotated[float, Field(ge=0.01, le=100)]
    maximum: Annotated[Fraction, PlainValidator(_maximum), Accepts(DURATION_HELP), DURATION_SCHEMA]

    def build(self) -> Distribution:
        """Return the distribution."""
        return Pareto(float(self.minimum), self.alpha, float(self.maximum))


def _sum_to_one(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    total = math.fsum(probabilities)
    if abs(total - 1) > 1e-9:
        raise refused(list(probabilities), f"probabilities that sum to 1, not to {total:.10g}")
    return tuple(probability / total for probability in probabilities)


def _one_for_each(means: tuple[Fraction, ...], info: ValidationInfo) -> tuple[Fraction, ...]:
    probabilities = info.data.get("probabilities")
    if probabilities is not None and len(means) != len(probabilities):
        accepted = f"as many means as probabilities: {len(probabilities)}, not {len(means)}"
        raise refused([format_duration(float(mean)) for mean in means], accepted)
    return means


class HyperexponentialForm(Form):
    """``{ hyperexponential = { probabilities = [0.9, 0.1], means = ["1us", "20us"] } }``.

    Attributes
    ----------
    probabilities : tuple of float
        Of each of the exponentials.
    means : tuple of Fraction
        Of each of the exponentials.
    """

    probabilities: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(strict=False, min_length=1, max_length=64),
        AfterValidator(_sum_to_one),
        Accepts("a list of 1 to 64 probabilities above 0 that sum to 1"),
    ]
    means: Annotated[
        tuple[_Mean, ...],
        Field(strict=False, min_length=1, max_length=64),
        AfterValidator(_one_for_each),
        Accepts("a list of 1 to 64 durations, one for each probability"),
    ]

    def build(self) -> Distribution:
        """Return the distribution."""
        return Hyperexponential(self.probabilities, tuple(float(mean) for mean in self.means))


class EmpiricalForm(Form):
    """``{ empirical = { file = "holds.csv", column = "hold_ns" } }``, or the samples themselves.

    Attributes
    ----------
    file : str or None
        A CSV file, relative to the study.
    column : str or None
        Its column with the samples, in ns.
    samples : tuple of Fraction or None
        Samples instead of a file.
    """

    file: str | None = None
    column: str | None = None
    samples: Annotated[
        tuple[_Bound, ...] | None,
        Field(strict=False, min_length=1, max_length=_MAX_SAMPLES),
        Accepts("a list of durations with units"),
    ] = None

    def build(self, context: Context | None) -> Distribution:
        """Return the distribution; reads the file."""
        if self.samples is not None:
            if self.file is not None or self.column is not None:
                raise Mistakes(
                    [
                        Mistake(
                            ("samples",), Written("samples and a file"), "either samples, or file and column"
                        )
                    ]
                )
            return _empirical(tuple(sorted(float(sample) for sample in self.samples)), "")
        missing = [
            Mistake((key,), NOTHING, accepted)
            for key, value, accepted in (
                ("file", self.file, "the name of a CSV file, relative to the study file"),
                ("column", self.column, "the name of a column of the file, in ns"),
            )
            if value is None
        ]
        if missing:
            raise Mistakes(missing)
        assert self.file is not None and self.column is not None
        context = context or Context()
        key = (self.file, self.column)
        if key not in context.files:
            try:
                context.files[key] = _read_samples(self.file, self.column, context.folder)
            except Mistakes as error:
                context.files[key] = error
        samples_ns = context.files[key]
        if isinstance(samples_ns, Mistakes):
            raise samples_ns
        return _empirical(samples_ns, f"{self.file}:{self.column}")


def _empirical(samples_ns: tuple[float, ...], source: str) -> Distribution:
    if samples_ns[0] == samples_ns[-1]:
        return Constant(round_ns(Fraction(samples_ns[0])))
    return Empirical(samples_ns, source)


def _read_samples(file: str, column: str, folder: Path | None) -> tuple[float, ...]:
    """Return one column of a CSV file, in ns, sorted."""

    def bad(key: str, found: object, accepted: str) -> Mistakes:
        return Mistakes([Mistake((key,), found, accepted)])

    try:
        path = (folder or Path()) / file
        # Reading a device or a pipe might never end.
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not there"
            raise bad("file", file, f"a CSV file that exists, relative to the study file (this is {what})")
        samples, cells = [], []
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = [name.strip() for name in next(rows, [])]
            if column not in header:
                names = ", ".join(header[:20]) or "none"
                raise bad("column", column, f"a column of {file}: {names}{closest(column, header)}")
            position = header.index(column)
            for row in rows:
                if not row:
                    continue
                cell = row[position].strip() if position < len(row) else ""
                try:
                    value = float(cell)
                except ValueError:
                    value = math.nan
                if not 0 <= value < math.inf:
                    cells.append((rows.line_num, cell))
                samples.append(value)
                if len(samples) > _MAX_SAMPLES:
                    raise bad("file", file, f"at most {_MAX_SAMPLES} rows")
    except (OSError, ValueError, csv.Error) as error:
        raise bad("file", file, f"a readable CSV file in UTF-8 ({error})") from None
    if cells:
        shown = ", ".join(f"line {line}: {cell[:30]!r}" for line, cell in cells[:3])
        more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
        raise bad("column", Written(f"{shown}{more}"), f"numbers of ns, not negative, in every row of {file}")
    if not samples:
        raise bad("file", file, "a CSV file with at least one row below its header")
    return tuple(sorted(samples))


TABLE_FORMS: dict[str, type[Form]] = {
    "lognormal": LognormalForm,
    "gamma": GammaForm,
    "weibull": WeibullForm,
    "pareto": ParetoForm,
    "hyperexponential": HyperexponentialForm,
    "empirical": EmpiricalForm,
}
_KINDS = ("exponential", "uniform", *TABLE_FORMS)
DISTRIBUTION_HELP = f"{DURATION_HELP}, or a table with one of the keys {', '.join(_KINDS)}"


def _above_limit(duration_ns: float) -> bool:
    return not duration_ns <= LIMIT_NS


def distribution_from(
    value: object, context: Context | None = None, *, positive: bool = False
) -> Distribution:
    """Return the distribution that a study's value describes.

    Parameters
    ----------
    value : str, mapping or Distribution
        A duration with a unit, or a table with one key.
    context : Context, optional
        The host's clock and the folder of the study.
    positive : bool, optional
        Refuse a duration that is always zero.

    Returns
    -------
    Distribution

    Raises
    ------
    Mistakes
        With every mistake in the value.
    """
    context = context or Context()
    # A text is soon read, and texts are equal more often than they are the same.
    distribution = (
        _constant(value, context.clock) if isinstance(value, str) else context.once(_distribution, value)
    )
    # How the value is named in an error: the resolved duration too, where it is not plain from the text.
    if _above_limit(distribution.mean_ns):
        mean = "" if distribution.is_constant else "a mean of "
        found = format_duration(distribution.mean_ns)
        accepted = f"{mean}{_LIMIT_HELP} for a phase, slice or threshold, not {found}"
        raise Mistakes([Mistake((), value, accepted)])
    if positive and distribution.is_zero:
        raise Mistakes([Mistake((), value, "a duration that is not zero (at least 1ns)")])
    return distribution


def _distribution(value: object, context: Context) -> Distribution:
    if isinstance(value, Distribution):
        return value
    if not isinstance(value, Mapping):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Mistakes([Mistake((), value, DISTRIBUTION_HELP)])
        return Constant(round_ns(_duration_ns(value, context.clock)))
    unknown = [unknown_key((key,), value[key], _KINDS) for key in value if key not in _KINDS]
    if unknown:
        raise Mistakes(unknown)
    if len(value) != 1:
        raise Mistakes([Mistake((), value, f"a table with exactly one of the keys {', '.join(_KINDS)}")])
    ((kind, parameters),) = value.items()
    try:
        if kind == "exponential":
            return Exponential(_positive_mean(parameters, context.clock))
        if kind == "uniform":
            return _uniform(parameters, context.clock)
        form = checked(TABLE_FORMS[kind], parameters, context)
        return form.build(context) if isinstance(form, EmpiricalForm) else form.build()  # type: ignore[attr-defined]
    except Mistakes as error:
        raise Mistakes(mistake.under(kind) for mistake in error.mistakes) from None


@lru_cache(maxsize=1024)
def _constant(text: str, clock: Clock) -> Constant:
    return Constant(round_ns(_duration_ns(text, clock)))


def _positive_mean(value: object, clock: Clock) -> float:
    mean_ns = float(_duration_ns(value, clock))
    if not mean_ns > 0:
        accepted = f'above 0 (a time that is always zero is written "0ns"); {DURATION_HELP}'
        raise Mistakes([Mistake((), value, accepted)])
    return mean_ns


def _uniform(value: object, clock: Clock) -> Distribution:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Mistakes([Mistake((), value, f"a list of two durations, low and high; {DURATION_HELP}")])
    bounds, mistakes = [], []
    for index, item in enumerate(value):
        try:
            bounds.append(_duration_ns(item, clock))
        except Mistakes as error:
            mistakes += [mistake.under(index) for mistake in error.mistakes]
    if mistakes:
        raise Mistakes(mistakes)
    low_ns, high_ns = bounds
    if low_ns > high_ns:
        raise Mistakes([Mistake((), value, "low at most as large as high")])
    return Constant(round_ns(low_ns)) if low_ns == high_ns else Uniform(float(low_ns), float(high_ns))


def _any_duration(value: object, info: ValidationInfo) -> Distribution:
    try:
        return distribution_from(value, info.context)
    except Mistakes as error:
        raise wrapped(error) from None


def _positive_duration(value: object, info: ValidationInfo) -> Distribution:
    try:
        return distribution_from(value, info.context, positive=True)
    except Mistakes as error:
        raise wrapped(error) from None


def fixed_duration(value: object, info: ValidationInfo) -> Distribution:
    """Return the constant that a study's value describes; `FixedDuration` for fields with rules of their own."""
    return _fixed(value, _any_duration(value, info))


def _positive_fixed_duration(value: object, info: ValidationInfo) -> Distribution:
    return _fixed(value, _positive_duration(value, info))


def _fixed(value: object, distribution: Distribution) -> Distribution:
    if not distribution.is_constant:
        raise refused(value, f"a fixed time, not a distribution: {DURATION_HELP}")
    return distribution


Duration = Annotated[
    Distribution, PlainValidator(_any_duration), Accepts(DISTRIBUTION_HELP), DISTRIBUTION_SCHEMA
]
"""Field of a table: any distribution of a duration, zero included."""
PositiveDuration = Annotated[
    Distribution, PlainValidator(_positive_duration), Accepts(DISTRIBUTION_HELP), DISTRIBUTION_SCHEMA
]
"""Field of a table: a distribution that is not always zero."""
FixedDuration = Annotated[
    Distribution,
    PlainValidator(fixed_duration),
    Accepts(DURATION_HELP),
    DURATION_SCHEMA,
]
"""Field of a table: one duration, zero included, and no distribution of them."""
PositiveFixedDuration = Annotated[
    Distribution,
    PlainValidator(_positive_fixed_duration),
    Accepts(DURATION_HELP),
    DURATION_SCHEMA,
]
"""Field of a table: one duration that is not zero."""
