"""How precise results must be: ``[study] precision``."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from fastlhp.model.units import UnitError, parse_duration
from fastlhp.model.validation import (
    Accepts,
    Form,
    Keys,
    Mistake,
    Mistakes,
    ReplicationCount,
    checked,
    closest,
    refused,
)

__all__ = ["TARGETS_HELP", "StopRule", "Target", "stop_rule", "targets_from"]

_METRIC_HELP = "a metric with a value per replication, as results.md lists them"
_ABSOLUTE_HELP = 'above 0, in the unit of the metric: a duration such as "5us" for a time, else a number'
_LEAST_HELP = "a whole number at least 2 and at most 1000000"
TARGETS_HELP = (
    'a table such as { metric = "lhp_probability", relative = 0.05, max_replications = 1000 }, or a list'
)


def _metric(name: object) -> str:
    # The table of metrics is light, and the one place where they are defined.
    from fastlhp.results.metrics import METRICS

    if not isinstance(name, str) or name not in METRICS:
        near = closest(name, METRICS) if isinstance(name, str) else ""
        raise refused(name, f"{_METRIC_HELP}{near}")
    return name


def _absolute(value: object, info: ValidationInfo) -> float | None:
    from fastlhp.results.metrics import METRICS

    if value is None:
        return None
    metric = METRICS.get(info.data.get("metric", ""))
    number = math.nan
    if isinstance(value, str) and (metric is None or metric.units == "s"):
        try:
            number = float(parse_duration(value)) / 1e9
        except UnitError:
            pass
    elif (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (metric is None or metric.units != "s")
    ):
        number = float(value) if abs(value) < 1e300 else math.inf
    if not 0 < number < math.inf:
        raise refused(value, _ABSOLUTE_HELP)
    return number


def _at_most(count: int, info: ValidationInfo) -> int:
    least = info.data.get("min_replications") or 0
    if count < least:
        raise refused(count, f"at least min_replications = {least}")
    return count


class Target(Form):
    """How precisely one metric is to be known.

    Attributes
    ----------
    metric : str
        Its name.
    relative : float or None
        Half the confidence interval is at most this share of the estimate.
    absolute : float or None
        Half the interval is at most this, in the metric's unit; if both are given, either will do.
    confidence : float
        Of the interval.
    min_replications : int or None
        Before the first look; the study's ``replications`` by default.
    batch : int
        Replications between two looks, or an eighth of those there are in whole batches, if that is more.
    max_replications : int
        After these nothing more is done, precise or not.
    """

    metric: Annotated[str, PlainValidator(_metric), Accepts(_METRIC_HELP), WithJsonSchema({"type": "string"})]
    relative: Annotated[float | None, Field(gt=0, lt=1)] = None
    absolute: Annotated[
        float | None,
        PlainValidator(_absolute),
        Accepts(_ABSOLUTE_HELP),
        WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"format": "duration"}]}),
    ] = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    min_replications: Annotated[int | None, Field(ge=2, le=10**6), Accepts(_LEAST_HELP)] = None
    batch: ReplicationCount = 16
    max_replications: Annotated[ReplicationCount, AfterValidator(_at_most)]

    def describe(self) -> str:
        """Return the target in words.

        Examples
        --------
        >>> Target(metric="wait_mean", relative=0.05, absolute="1us", max_replications=100).describe()
        'wait_mean within 5 % or 1e-06 s, 95 % confidence'
        """
        from fastlhp.results.metrics import METRICS

        halves = [] if self.relative is None else [f"{100 * self.relative:g} %"]
        if self.absolute is not None:
            halves.append(f"{self.absolute:g} {METRICS[self.metric].units.removeprefix('1')}".rstrip())
        return f"{self.metric} within {' or '.join(halves)}, {100 * self.confidence:g} % confidence"


@dataclass(frozen=True)
class StopRule:
    """When a configuration has been replicated often enough.

    Parameters
    ----------
    targets : tuple of Target
        All of them must be met.
    minimum, batch, maximum : int
        Replications before the first look, between two looks (more of them where there are many), and at most.
    """

    targets: tuple[Target, ...]
    minimum: int
    batch: int
    maximum: int

    def looks(self) -> Iterator[int]:
        """Yield the numbers of replications after which is decided whether there are to be more."""
        n = self.minimum
        while n < self.maximum:
            yield n
            # Where there are many already, looking after every batch would keep lanes waiting for the last of it.
            n += self.batch * max(1, n // (8 * self.batch))
        yield self.maximum


def targets_from(raw: object) -> tuple[Target, ...]:
    """Return ``[study] precision`` as written: a table or a list of tables.

    Raises
    ------
    Mistakes
        With everything that is wrong in it.
    """
    tables: Sequence[tuple[Keys, Any]] = [((), raw)]
    if isinstance(raw, list):
        tables = [((number,), table) for number, table in enumerate(raw)]
    targets, mistakes = [], []
    for keys, table in tables:
        if not isinstance(table, dict):
            mistakes.append(Mistake(keys, table, TARGETS_HELP))
            continue
        try:
            targets.append(checked(Target, table, None))
        except Mistakes as error:
            mistakes += [mistake.under(*keys) for mistake in error.mistakes]
        if "relative" not in table and "absolute" not in table:
            mistakes.append(Mistake(keys, table, "one of the keys relative and absolute, or both"))
    if not tables:
        mistakes.append(Mistake((), raw, TARGETS_HELP))
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(targets)


def stop_rule(targets: Sequence[Target], replications: int) -> StopRule | None:
    """Return the rule of a study; None without targets.

    Of different numbers of replications the largest counts.

    Parameters
    ----------
    targets : sequence of Target
        As written.
    replications : int
        ``[study] replications``, which is where the looks begin unless a target says so.
    """
    if not targets:
        return None
    # One replication has no interval.
    minimum = max(target.min_replications or max(replications, 2) for target in targets)
    maximum = max(target.max_replications for target in targets)
    return StopRule(tuple(targets), min(minimum, maximum), max(target.batch for target in targets), maximum)
