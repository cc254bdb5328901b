"""What the parameter class of every policy has in common.

A policy is one file below `fastlhp.policies`; its parameters are one class derived from
`SchedulerParameters`, `GuardParameters`, `ResponseParameters` or `LockParameters`. Its fields, their defaults
and their bounds are all that reading, checking, labelling and printing it need.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from fastlhp.model.distributions import Distribution
from fastlhp.model.validation import (
    NOTHING,
    Accepts,
    Context,
    Form,
    Mistake,
    Mistakes,
    checked,
    one_of,
    refused,
)
from fastlhp.policies import own_policy

__all__ = [
    "GuardParameters",
    "LockParameters",
    "Phase",
    "PolicyParameters",
    "ResponseParameters",
    "SchedulerParameters",
    "parameters_from",
]


class PolicyParameters(Form):
    """Base of the parameters of every policy; immutable, and hashable by value."""

    FAMILY: ClassVar[str] = ""
    KIND: ClassVar[str] = ""

    @property
    def kind(self) -> str:
        """The name by which a study asks for the policy."""
        return self.KIND

    @classmethod
    def summary(cls) -> str:
        """Return what the policy does, in one line."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def describe(self) -> str:
        """Return kind and parameters in words, such as ``delay(cap=1ms, repay=false)``."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        parts = [f"{name}={_in_words(value)}" for name, value in values.items() if value is not None]
        return f"{self.KIND}({', '.join(parts)})" if parts else self.KIND

    def to_input(self) -> dict[str, object]:
        """Return the table that a study would write to get these parameters."""
        table: dict[str, object] = {"kind": self.KIND}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                is_table = isinstance(value, Distribution)
                table[name] = (
                    value.to_input() if is_table else list(value) if isinstance(value, tuple) else value
                )
        return table


def _in_words(value: object) -> str:
    if isinstance(value, Distribution):
        return value.describe()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{item:g}" for item in value) + "]"
    return str(value)


class SchedulerParameters(PolicyParameters):
    """Who runs, and for how long."""

    FAMILY: ClassVar[str] = "scheduler"

    def host_mistakes(self, pcpus: int) -> Iterator[Mistake]:
        """Yield what does not fit a host of that many pCPUs; paths are relative to the scheduler's table."""
        yield from ()

    def base_policy(self) -> PolicyParameters:
        """Return the scheduler whose functions this one builds on: their parameters; its own if there is none."""
        return self


class GuardParameters(PolicyParameters):
    """What happens at a slice end or another involuntary preemption."""

    FAMILY: ClassVar[str] = "guard"


class ResponseParameters(PolicyParameters):
    """What a spinning vCPU does."""

    FAMILY: ClassVar[str] = "response"


_MAX_LOCKS = 64


def _weights(value: object, info: ValidationInfo) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list | tuple) and 1 <= len(value) <= _MAX_LOCKS else ()
    if not numbers or not all(_is_number(number) and 0 < number <= 1e9 for number in numbers):
        raise refused(value, "a list of numbers above 0 and at most 1e9, one for each of the VM's locks")
    count = info.data.get("count", len(numbers))
    if len(numbers) != count:
        raise refused(value, f"one weight for each of the {count} lock{'' if count == 1 else 's'} (count)")
    return tuple(float(number) for number in numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class LockParameters(PolicyParameters):
    """How a VM's spinlocks are handed over; every lock of a VM is of one kind."""

    FAMILY: ClassVar[str] = "lock"

    count: Annotated[int, Field(ge=1, le=_MAX_LOCKS)] = 1
    weights: Annotated[
        tuple[float, ...] | None,
        PlainValidator(_weights),
        Accepts("a list of numbers above 0, one for each of the VM's locks"),
        WithJsonSchema({"type": "array", "items": {"type": "number"}}),
    ] = None

    def scheduler_mistakes(self, scheduler: SchedulerParameters) -> Iterator[Mistake]:
        """Yield what does not fit the scheduler; paths are relative to the lock's table."""
        yield from ()


def _phase(value: object) -> str | tuple[float, ...]:
    if value in ("random", "aligned") and isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value and all(_is_number(x) and 0 < x <= 1 for x in value):
        return tuple(float(x) for x in value)
    raise refused(value, _PHASE_HELP)


_PHASE_HELP = '"random", "aligned" or a list of fractions of the slice, above 0 and at most 1'
Phase = Annotated[
    Literal["random", "aligned"] | tuple[float, ...],
    PlainValidator(_phase),
    Accepts(_PHASE_HELP),
    WithJsonSchema(
        {"anyOf": [{"enum": ["random", "aligned"]}, {"type": "array", "items": {"type": "number"}}]}
    ),
]
"""Field of a scheduler: when the first slices end."""


def phase_mistakes(phase: str | tuple[float, ...], count: int, what: str) -> Iterator[Mistake]:
    """Yield the mistake of a list of phases that has not ``count`` entries."""
    if isinstance(phase, tuple) and len(phase) != count:
        accepted = f"a list of {count} fraction{'' if count == 1 else 's'}, {what}, not {len(phase)}"
        yield Mistake(("phase",), list(phase), accepted)


def parameters_from(
    family: str, raw: object, kinds: Mapping[str, type[PolicyParameters]], context: Context | None
) -> PolicyParameters:
    """Return the policy that a table ``{ kind = "...", parameters }`` describes.

    Parameters
    ----------
    family : str
        ``scheduler``, ``guard``, ``response`` or ``lock``; for the error.
    raw : object
        The table as read.
    kinds : mapping
        The parameter classes of the family by kind.
    context : Context or None
        What durations need.

    Raises
    ------
    Mistakes
        With every mistake in the table.
    """
    if isinstance(raw, PolicyParameters) and raw.FAMILY == family:
        return raw
    if not isinstance(raw, Mapping):
        raise Mistakes([Mistake((), raw, f'a table {{ kind = "...", parameters }}; kind is {one_of(kinds)}')])
    kind = raw.get("kind", NOTHING)
    if isinstance(kind, str) and kind.endswith(".py"):
        folder = context.folder if context is not None else None
        try:
            cls = own_policy(family, (folder or Path()) / kind)
        except ValueError as error:
            accepted = f"a Python file that defines a {family}: {error}"
            raise Mistakes([Mistake(("kind",), kind, accepted)]) from None
    elif isinstance(kind, str) and kind in kinds:
        cls = kinds[kind]
    else:
        accepted = f"a {family}: {one_of(kinds, kind)}, or a Python file of your own"
        raise Mistakes([Mistake(("kind",), kind, accepted)])
    return checked(cls, {key: value for key, value in raw.items() if key != "kind"}, context)
