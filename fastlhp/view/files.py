"""Files that are written as a whole or not at all."""

import os
import secrets
from contextlib import suppress
from os import PathLike

from fastlhp.errors import FastlhpError
from fastlhp.results.file import check_target

__all__ = ["write_text"]


def write_text(text: str, path: str | PathLike[str], force: bool = False) -> None:
    """Write a text file.

    Parameters
    ----------
    text : str
        What is to be in it.
    path : path-like
        The file.
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    FastlhpError
        If the file exists and `force` is not given, or it cannot be written.
    """
    check_target(path, force)
    # A link stays a link: what it points to is replaced.
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(temporary, target)
    except OSError as error:
        raise FastlhpError(f"cannot write {os.fspath(path)}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
