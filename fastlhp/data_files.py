"""Where the files of the top-level ``data/`` folder are, in a source checkout and in an installed wheel."""

import tomllib
from functools import cache
from pathlib import Path

__all__ = ["data_path", "toml_names", "toml_text", "toml_tree"]


def data_path(*parts: str) -> Path:
    """Return the path of a data file.

    Parameters
    ----------
    *parts : str
        Path components below ``data/``, such as ``"presets", "baseline.toml"``.

    Returns
    -------
    pathlib.Path
        The path; that something exists there is not checked.
    """
    package = Path(__file__).resolve().parent
    # The wheel carries data/ inside the package; a checkout and an editable install have it beside the
    # package.
    shipped = package / "_data"
    root = shipped if shipped.is_dir() else package.parent / "data"
    return root.joinpath(*parts)


@cache
def toml_names(folder: str) -> tuple[str, ...]:
    """Return the names of the TOML files in a folder of ``data/``, without suffix, in alphabetical order."""
    return tuple(sorted(path.stem for path in data_path(folder).glob("*.toml")))


def toml_text(folder: str, name: str) -> str:
    """Return one of these files; raises `KeyError` for an unknown name."""
    if name not in toml_names(folder):
        raise KeyError(name)
    return data_path(folder, f"{name}.toml").read_text(encoding="utf-8")


@cache
def toml_tree(folder: str, name: str) -> dict[str, object]:
    """Return one of these files as a tree; raises `KeyError` for an unknown name."""
    return tomllib.loads(toml_text(folder, name))
