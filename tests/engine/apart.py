"""Code that is made for tests, apart from what is kept for runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastlhp.engine.block import advance


@contextmanager
def nothing_tailored(folder: Path) -> Iterator[None]:
    """The kernel as it is, and no code that takes facts for granted but what is made from now on, in a folder."""
    advance._ready()
    path = advance._path
    assert path is not None
    for file in (path, path.with_suffix(".llvm")):
        shutil.copy(file, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advance, "_path", folder / path.name)
        patch.setattr(advance, "_tailored", {})
        yield
