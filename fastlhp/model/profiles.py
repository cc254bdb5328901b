"""Profiles: what guests do with a published lock, as TOML files in ``data/profiles``.

A profile has a ``description``, a table ``[vm]`` with keys of a study's ``[[vm]]`` (``hold`` at least), and a table
``[measured]`` with the published figures. ``profile = "NAME"`` in a ``[[vm]]`` fills in the keys that it leaves out.
"""

from collections.abc import Mapping
from typing import Any

from fastlhp.data_files import toml_names, toml_text, toml_tree
from fastlhp.model.presets import merged
from fastlhp.model.validation import NOTHING

__all__ = ["filled_in", "profile", "profile_names", "profile_text"]

_FOLDER = "profiles"


def profile_names() -> tuple[str, ...]:
    """Return the names of all profiles, in alphabetical order."""
    return toml_names(_FOLDER)


def profile_text(name: str) -> str:
    """Return the file of a profile; raises `KeyError` for an unknown name."""
    return toml_text(_FOLDER, name)


def profile(name: str) -> dict[str, object]:
    """Return a profile as a tree; raises `KeyError` for an unknown name."""
    return toml_tree(_FOLDER, name)


def filled_in(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``[[vm]]`` table with what its profile adds; an unknown profile adds nothing."""
    name = table.get("profile")
    if not isinstance(name, str) or name not in profile_names():
        return dict(table)
    given = profile(name)["vm"]
    assert isinstance(given, dict)
    lock = merged(table.get("lock", NOTHING), given.get("lock", NOTHING))
    return {**given, **table, **({} if lock is NOTHING else {"lock": lock})}
