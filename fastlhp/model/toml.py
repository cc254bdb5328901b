"""Studies as text: reading TOML safely, and writing a dictionary as TOML.

Whatever a file or a dictionary holds, the result is a tree of plain dictionaries, lists, texts, numbers and
booleans, or mistakes; nothing further down has to expect anything else.
"""

import datetime
import functools
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastlhp.errors import Problem, StudyError
from fastlhp.model.distributions import Distribution
from fastlhp.model.policy import PolicyParameters
from fastlhp.model.validation import Keys, Mistake, Written, json_string, show

__all__ = ["parse_toml", "plain", "read_toml", "to_toml"]

_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 16


def read_toml(path: str | os.PathLike[str]) -> tuple[str, dict[str, object]]:
    """Return the text of a TOML file, and what it says.

    Raises
    ------
    StudyError
        If there is no such file, or it is not UTF-8 or not TOML.
    """
    name = os.fsdecode(os.fspath(path))

    bad = functools.partial(_bad, name)
    try:
        file = Path(name)
        if not file.is_file():
            what = "a folder" if file.is_dir() else "something else" if file.exists() else "no such file"
            raise bad(what, "a study file in TOML")
        if file.stat().st_size > _MAX_BYTES:
            raise bad(f"{file.stat().st_size} bytes", f"at most {_MAX_BYTES} bytes")
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise bad(f"a file that cannot be read ({error})", "a readable study file in TOML") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(f"byte 0x{content[error.start]:02x} at position {error.start}", "text in UTF-8") from None
    return text, parse_toml(text, name)


def parse_toml(text: str, name: str) -> dict[str, object]:
    """Return what the text of a TOML file says.

    Raises
    ------
    StudyError
        If it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        found, accepted = "values nested too deeply", f"valid TOML, at most {_MAX_DEPTH} levels deep"
    except ValueError as error:
        # Besides TOMLDecodeError: integers of thousands of digits and impossible dates.
        found, accepted = str(error), "valid TOML"
    raise _bad(name, found, accepted)


def _bad(name: str, found: str, accepted: str) -> StudyError:
    shown = show(name, 200).strip('"')
    return StudyError([Problem(shown, found, accepted)], shown)


def plain(value: object, keys: Keys = ()) -> tuple[object, list[Mistake]]:
    """Return a value as plain tables, lists, texts, numbers and booleans, and what could not be made so.

    NumPy arrays and numbers, tuples, and fastlhp's own distributions and policies become what a study file
    would say.
    """
    mistakes: list[Mistake] = []
    return _plain(value, keys, mistakes, ()), mistakes


def _plain(value: object, keys: Keys, mistakes: list[Mistake], above: tuple[int, ...]) -> object:
    if type(value) is str and value.isascii():
        return value  # as nearly everything is that is long
    if isinstance(value, Distribution | PolicyParameters):
        value = value.to_input()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        # An undecodable file name or a lone surrogate cannot be stored as text.
        if any(0xD800 <= ord(character) < 0xE000 for character in value):
            mistakes.append(Mistake(keys, value, "text in Unicode"))
        return str(value)
    if len(keys) > _MAX_DEPTH or id(value) in above:
        mistakes.append(
            Mistake(
                keys[:_MAX_DEPTH], Written("more tables"), f"at most {_MAX_DEPTH} levels of tables and lists"
            )
        )
        return None
    above = (*above, id(value))
    if isinstance(value, Mapping):
        table: dict[str, object] = {}
        for key, item in value.items():
            if not isinstance(key, str) or any(0xD800 <= ord(character) < 0xE000 for character in key):
                mistakes.append(Mistake(keys, Written(f"the key {key!r}"[:80]), "keys that are texts"))
            else:
                table[key] = _plain(item, (*keys, key), mistakes, above)
        return table
    if isinstance(value, list | tuple | range):
        return [_plain(item, (*keys, index), mistakes, above) for index, item in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        mistakes.append(
            Mistake(keys, Written(f"the date or time {value}"), "a text, number, true, false, list or table")
        )
    else:
        mistakes.append(Mistake(keys, value, "a text, number, true, false, list or table"))
    return None


def to_toml(tree: Mapping[str, object]) -> str:
    """Return a plain tree as TOML: one section per top-level table, ``[[...]]`` for lists of tables.

    Examples
    --------
    >>> print(to_toml({"host": {"pcpus": 4}, "vm": [{"name": "guest"}]}))
    [host]
    pcpus = 4
    <BLANKLINE>
    [[vm]]
    name = "guest"
    <BLANKLINE>
    """
    loose, sections = [], []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            sections.append([f"[{_key(key)}]", *_lines(value)])
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            sections += [[f"[[{_key(key)}]]", *_lines(item)] for item in value]
        else:
            loose.append(f"{_key(key)} = {_inline(value)}")
    blocks = ([loose] if loose else []) + sections
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _lines(table: Mapping[str, object]) -> list[str]:
    return [f"{_key(key)} = {_inline(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    bare = key and all(
        character.isascii() and (character.isalnum() or character in "_-") for character in key
    )
    return key if bare else json_string(key)


def _inline(value: object) -> str:
    if isinstance(value, str):
        return json_string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_lines(value)) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return str(value)
