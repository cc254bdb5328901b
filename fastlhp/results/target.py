"""Files that appear as a whole: made beside their place, and moved there when they are complete."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from os import PathLike
from types import TracebackType

from fastlhp.errors import FastlhpError

__all__ = ["ResultFileError", "Target", "cause", "check_target", "writing"]


class ResultFileError(FastlhpError, RuntimeError):
    """A result file cannot be written or read."""


def cause(error: BaseException) -> str:
    """Return what went wrong, without the depths of HDF5."""
    inner = re.search(r"error message = '([^']*)'", str(error))
    if inner:
        return inner[1]
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn errors into a `ResultFileError` that names the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, FastlhpError):
            raise
        raise ResultFileError(f"cannot write {path}: {cause(error)}") from error


def check_target(path: str | PathLike[str], force: bool) -> None:
    """Raise a `ResultFileError` if no file can be written there."""
    path = os.fspath(path)
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    if os.path.isdir(target):
        raise ResultFileError(f"cannot write {path}: it is a directory; give the name of a file")
    if not os.path.isdir(directory):
        raise ResultFileError(f"cannot write {path}: there is no directory {directory}")
    if not os.path.exists(target):
        return
    if not os.path.isfile(target):
        raise ResultFileError(f"cannot write {path}: it exists and is not a regular file")
    if not force:
        raise ResultFileError(
            f"{path} exists; give another name, or use --force (force=True) to overwrite it"
        )


class Target:
    """A file that is made under another name; as a context manager it removes that unless `publish` was reached.

    Parameters
    ----------
    path : path-like
        The file.
    force : bool
        Overwrite an existing file. It stays as it is until the new one is complete.
    folder : path-like, optional
        Where the file is made, on the same file system; by default where it will be.

    Attributes
    ----------
    path : str
        The file, as given.
    temporary : str
        Where it is made.

    Raises
    ------
    ResultFileError
        If the file exists and `force` is not given, or nothing can be written there.
    """

    def __init__(
        self, path: str | PathLike[str], *, force: bool, folder: str | PathLike[str] | None = None
    ) -> None:
        self.path = os.fspath(path)
        # A link stays a link: what it points to is replaced.
        self._target = os.path.realpath(self.path)
        self._force = force
        check_target(self.path, force)
        self.temporary = os.path.join(
            os.path.dirname(self._target) if folder is None else os.fspath(folder),
            f".{os.path.basename(self._target)}.{os.getpid()}-{secrets.token_hex(4)}.tmp",
        )
        with writing(self.path):
            # Created by hand, so that the permissions are the user's usual ones.
            os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def __enter__(self) -> "Target":
        """Return the target."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not published."""
        self.remove()

    def publish(self) -> None:
        """Flush the file to disk and move it to its place.

        Raises
        ------
        ResultFileError
            If that fails, or another file has taken its place meanwhile.
        """
        with writing(self.path):
            _sync(self.temporary)
            if self._force:
                os.replace(self.temporary, self._target)
            elif not _move_exclusively(self.temporary, self._target):
                # The results may have taken days: they are not thrown away because somebody took the name
                # meanwhile.
                stem, suffix = os.path.splitext(self._target)
                number = 1
                while not _move_exclusively(self.temporary, f"{stem}-{number}{suffix}"):
                    number += 1
                raise ResultFileError(
                    f"{self.path} was made by somebody else meanwhile; what was to be there is in "
                    f"{stem}-{number}{suffix}"
                )
            _sync(os.path.dirname(self._target))

    def remove(self) -> None:
        """Remove what was written; nothing happens after `publish`."""
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some file systems cannot sync a directory; the file itself was synced before its move.
        if not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)


def _move_exclusively(source: str, target: str) -> bool:
    """Move a file unless there is one of that name; say whether it was moved."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:
        # No hard links here: take the name first, then replace it.
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            return False
        os.replace(source, target)
        return True
    os.unlink(source)
    return True
