"""Presets: real systems, as TOML files in ``data/presets``.

A preset has a ``description`` and may have ``[host]`` (defaults of its costs), ``[policy.scheduler]``,
``[policy.guard]``, ``[policy.response]`` and ``[lock]``. A study overrides any of them: a table with a
``kind`` replaces the preset's, one without changes single parameters.
"""

import tomllib
from functools import cache

from fastlhp.data_files import data_path
from fastlhp.model.validation import NOTHING

__all__ = ["merged", "preset", "preset_names", "preset_text"]


@cache
def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, in alphabetical order."""
    return tuple(sorted(path.stem for path in data_path("presets").glob("*.toml")))


def preset_text(name: str) -> str:
    """Return the file of a preset; raises `KeyError` for an unknown name."""
    if name not in preset_names():
        raise KeyError(name)
    return data_path("presets", f"{name}.toml").read_text(encoding="utf-8")


@cache
def preset(name: str) -> dict[str, object]:
    """Return a preset as a tree; raises `KeyError` for an unknown name."""
    return tomllib.loads(preset_text(name))


def merged(own: object, given: object) -> object:
    """Return a study's table over that of its preset.

    Parameters
    ----------
    own : object
        The table of the study, or `NOTHING`.
    given : object
        The table of the preset, or `NOTHING`.
    """
    if own is NOTHING:
        return given
    if isinstance(own, dict) and isinstance(given, dict) and "kind" not in own:
        return {**given, **own}
    return own
