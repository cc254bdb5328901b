"""From pydantic's errors to problems that name the path, the value found and what is accepted.

What a field accepts is derived from its annotation, once; a field whose type says too little carries
`Accepts`.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from fastlhp.model.units import Clock

__all__ = [
    "DISTRIBUTION_SCHEMA",
    "DURATION_SCHEMA",
    "FREQUENCY_SCHEMA",
    "NOTHING",
    "Accepts",
    "Context",
    "Form",
    "Mistake",
    "Mistakes",
    "ReplicationCount",
    "Seed",
    "Written",
    "checked",
    "closest",
    "one_of",
    "refused",
    "show",
    "unknown_key",
    "wrapped",
    "written",
]

T = TypeVar("T")
Keys = tuple[str | int, ...]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]
# Formats that `fastlhp.model.schema` defines.
DISTRIBUTION_SCHEMA, DURATION_SCHEMA, FREQUENCY_SCHEMA = (
    WithJsonSchema({"format": name}) for name in ("distribution", "duration", "frequency")
)
ReplicationCount = Annotated[int, Field(ge=1, le=10**6)]


class _Nothing:
    """The value of a key that is missing."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


class Written(str):
    """What was found, in words: shown without quotes."""


class Mistake(NamedTuple):
    """A mistake below some table, before it is known where the table stands.

    ``unknown`` tells a key that does not exist from a key whose value is wrong; ``reason`` says what is accepted
    without the numbers of a configuration, where there are any.
    """

    keys: Keys
    found: object
    accepted: str
    unknown: bool = False
    reason: str = ""

    def under(self, *keys: str | int) -> "Mistake":
        """Return the same mistake, seen from further up."""
        return self._replace(keys=(*keys, *self.keys))


class Mistakes(Exception):
    """One or more mistakes; never leaves the model layer."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__(self.mistakes)


@dataclass(frozen=True)
class Accepts:
    """Annotation of a field: what it accepts, in words."""

    text: str


_MOST_REMEMBERED = 1024


@dataclass
class Context:
    """What a value needs besides itself: the host's clock, and the folder that file names are relative to.

    Attributes
    ----------
    clock : Clock
        The host's.
    folder : Path or None
        Where files are.
    files : dict
        What has been read from them.
    tables : dict
        What has been made of tables: the variants of a part share all tables that the sweep does not change.
    """

    clock: Clock = field(default_factory=Clock)
    folder: Path | None = None
    files: dict[tuple[str, str], tuple[float, ...] | Mistakes] = field(default_factory=dict)
    tables: dict[tuple[object, int, Clock], tuple[object, Any]] = field(default_factory=dict)

    def once(self, read: "Callable[[Any, Context], T]", table: object) -> "T":
        """Return what a function makes of a table, which must not be changed later, and of this context."""
        key = read, id(table), self.clock
        known = self.tables.get(key)
        if known is None:
            if len(self.tables) == _MOST_REMEMBERED:
                self.tables.clear()
            # With the table itself, lest another take its place in memory.
            known = self.tables[key] = table, read(table, self)
        return known[1]


class Form(BaseModel):
    """Base of every table of a study: no unknown keys, no conversions, immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
    )


def written(text: str) -> Any:
    """Return the default of a field, as a study would write it."""
    return Field(default=text)


def refused(found: object, accepted: str, keys: Keys = ()) -> PydanticCustomError:
    """Return the error by which a validator refuses a value."""
    return _wrapped([Mistake(keys, found, accepted)])


def _wrapped(mistakes: Sequence[Mistake]) -> PydanticCustomError:
    text = "; ".join(f"found {show(mistake.found)}, accepted: {mistake.accepted}" for mistake in mistakes)
    return PydanticCustomError("fastlhp", "{text}", {"text": text, "mistakes": tuple(mistakes)})


def wrapped(error: Mistakes) -> PydanticCustomError:
    """Return mistakes as an error that pydantic carries along with the path."""
    return _wrapped(error.mistakes)


FormT = TypeVar("FormT", bound=BaseModel)


def checked(form: type[FormT], raw: object, context: Context | None) -> FormT:
    """Return the table as an object of class ``form``.

    Raises
    ------
    Mistakes
        With every mistake in the table.
    """
    if isinstance(raw, form):
        return raw
    if not isinstance(raw, Mapping):
        raise Mistakes([Mistake((), raw, f"a table with the keys {', '.join(form.model_fields)}")])
    try:
        return form.model_validate(raw, context=context)
    except ValidationError as error:
        raise Mistakes(_mistakes_of(error, form)) from None


def _mistakes_of(error: ValidationError, form: type[BaseModel]) -> list[Mistake]:
    mistakes = []
    for details in error.errors(include_url=False):
        keys: Keys = tuple(details["loc"])
        nested: Sequence[Mistake] | None = details.get("ctx", {}).get("mistakes")
        if nested is not None:
            mistakes += [mistake.under(*keys) for mistake in nested]
        elif details["type"] == "extra_forbidden":
            mistakes.append(unknown_key(keys, details["input"], form.model_fields))
        else:
            info = form.model_fields.get(str(keys[0])) if keys else None
            accepted = accepted_by(info) if info is not None else details["msg"]
            found = NOTHING if details["type"] == "missing" else details["input"]
            mistakes.append(Mistake(keys, found, accepted))
    return mistakes


def unknown_key(keys: Keys, found: object, known: Iterable[str]) -> Mistake:
    """Return the mistake of a key that does not exist, with the nearest one that does."""
    names = list(known)
    if not names:
        return Mistake(keys, found, "no parameters here", unknown=True)
    return Mistake(
        keys,
        found,
        f"no such key{closest(str(keys[-1]), names)}; the keys are {', '.join(names)}",
        unknown=True,
    )


def closest(word: str, words: Iterable[str]) -> str:
    """Return `` (did you mean "..."?)`` if some word is near, else nothing."""
    near = difflib.get_close_matches(word[:80], list(words), n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def one_of(choices: Iterable[str], found: object = None) -> str:
    """Return the list of choices in words, with the nearest one to what was found."""
    names = list(choices)
    near = closest(found, names) if isinstance(found, str) else ""
    return f"one of {', '.join(json_string(name) for name in names)}{near}"


def accepted_by(info: FieldInfo) -> str:
    """Return in words what a field accepts, from its annotation."""
    for item in info.metadata:
        if isinstance(item, Accepts):
            return item.text
    annotation = info.annotation
    if get_origin(annotation) is Literal:
        return one_of(get_args(annotation))
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return "a text"
    bounds = []
    for item in info.metadata:
        if isinstance(item, annotated_types.Ge):
            bounds.append(f"at least {item.ge}")
        elif isinstance(item, annotated_types.Gt):
            bounds.append(f"above {item.gt}")
        elif isinstance(item, annotated_types.Le):
            bounds.append(f"at most {item.le}")
        elif isinstance(item, annotated_types.Lt):
            bounds.append(f"below {item.lt}")
    kind = "a whole number" if annotation is int else "a number"
    return f"{kind} {' and '.join(bounds)}".strip()


def json_string(text: str) -> str:
    """Return a text in double quotes, control characters escaped, as TOML's basic strings have it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"'
        + "".join(
            escapes.get(c)
            or (f"\\u{ord(c):04x}" if ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 else c)
            for c in text
        )
        + '"'
    )


def show(value: object, limit: int = 80) -> str:
    """Return a value as it would be written in a study, shortened if it is long."""
    text = _show(value, 0)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _show(value: object, depth: int) -> str:
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, str):
        return json_string(value[:200])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to print integers of thousands of digits.
        return str(value) if value.bit_length() < 512 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if depth > 6:
        return "..."
    if isinstance(value, Mapping):
        parts = [f"{_bare(str(key))} = {_show(item, depth + 1)}" for key, item in list(value.items())[:12]]
        return "{ " + ", ".join(parts) + " }" if parts else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_show(item, depth + 1) for item in value[:20]) + "]"
    if value is NOTHING:
        return "nothing"
    return f"a Python object of type {type(value).__name__}"


def _bare(key: str) -> str:
    return (
        key
        if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
        else json_string(key[:200])
    )
