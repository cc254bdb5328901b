"""Files that are written as a whole or not at all."""

from os import PathLike

from fastlhp.results.target import Target, writing

__all__ = ["write"]


def write(content: str | bytes, path: str | PathLike[str], force: bool = False) -> None:
    """Write a file.

    Parameters
    ----------
    content : str or bytes
        What is to be in it.
    path : path-like
        The file.
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    ResultFileError
        If the file exists and `force` is not given, or it cannot be written.
    """
    with Target(path, force=force) as target:
        with writing(target.path), open(target.temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        target.publish()
