"""Presets: real systems, as TOML files in ``data/presets``.

A preset has a ``description`` and may have ``[host]`` (defaults of its costs), ``[policy.scheduler]``,
``[policy.guard]``, ``[policy.response]`` and ``[lock]``. A study overrides any of them: a table with a
``kind`` replaces the preset's, one without changes single parameters.
"""

from fastlhp.data_files import toml_names, toml_text, toml_tree
from fastlhp.model.validation import NOTHING

__all__ = ["merged", "preset", "preset_names", "preset_text"]

_FOLDER = "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, in alphabetical order."""
    return toml_names(_FOLDER)


def preset_text(name: str) -> str:
    """Return the file of a preset; raises `KeyError` for an unknown name."""
    return toml_text(_FOLDER, name)


def preset(name: str) -> dict[str, object]:
    """Return a preset as a tree; raises `KeyError` for an unknown name."""
    return toml_tree(_FOLDER, name)


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
