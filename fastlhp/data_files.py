"""Where the files of the top-level ``data/`` folder are, in a source checkout and in an installed wheel."""

from pathlib import Path

__all__ = ["data_path"]


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
