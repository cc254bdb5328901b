"""Machine code for some configurations only: the kernel's, with what these have in common taken for granted.

A kernel asks at every decision which policies there are and what the VMs have. Where all configurations of a block
give the same answers, LLVM can know them beforehand: it leaves out what does not happen, and the rest gets a quarter
shorter. The results are the same to the bit. That is done with the LLVM code of the kernel as Numba made it, which is
kept beside the machine code: it takes two or three seconds, and no Numba.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from fastlhp.engine.machine_code import write_whole

Facts = frozenset[tuple[str, int]]
"""Fields of records, as "config.scheduler", and the values that they are known to have."""

MOST_KEPT = 64
"""Files of tailored code in one folder; the oldest make room for others."""
_ABANDONED_S = 120

_KIND = re.compile(r'^!(\d+) = !\{!"(\w[^"]*)", !\d+, i64 0\}$', re.MULTILINE)
_TAG = re.compile(r"^!(\d+) = !\{!(\d+), !\2, i64 0\}$", re.MULTILINE)
_LOAD = re.compile(r"^(\s*%\S+) = load i64, ptr %\S+, align \d+, !tbaa !(\d+).*$", re.MULTILINE)


def known(code: str, facts: Facts) -> str:
    """Return LLVM code that does not read the fields whose values are known.

    Every access to a field is marked with its name (see `compiling._Lower`), for LLVM to tell fields apart.
    """
    values = dict(facts)
    kinds = dict(_KIND.findall(code))
    tags = {tag: kinds.get(kind) for tag, kind in _TAG.findall(code)}

    def value(load: re.Match[str]) -> str:
        field = tags.get(load[2])
        return f"{load[1]} = add i64 0, {values[field]}" if field in values else load[0]

    return _LOAD.sub(value, code)


def translate(modules: Iterable[tuple[str, str]], facts: Facts) -> list[bytes]:
    """Return object files of modules, of each of which one function is called from outside; each in a process."""
    from fastlhp.engine.translation import Translation

    translations = [Translation(known(code, facts), entry) for code, entry in modules]
    return [translation.result() for translation in translations]


def write_modules(path: Path, modules: list[tuple[str, str]]) -> None:
    """Keep the LLVM code of a kernel."""
    write_whole(path, zlib.compress(json.dumps(modules).encode(), 1))


def read_modules(path: Path) -> list[tuple[str, str]]:
    """Return what `write_modules` has kept; nothing if there is nothing, or not the whole of it."""
    try:
        return [(code, entry) for code, entry in json.loads(zlib.decompress(path.read_bytes()))]
    except (OSError, ValueError, zlib.error):
        return []


def path_for(path: Path, facts: Facts) -> Path:
    """Return where code for some facts is kept, given where the kernel's is."""
    digest = hashlib.sha256(json.dumps(sorted(facts)).encode()).hexdigest()[:16]
    return path.with_name(f"{path.stem}-tailored-{digest}.o")


def make_room(path: Path) -> None:
    """Delete the oldest of the files of tailored code beside one, where there are too many."""
    kept = path.parent.glob("*-tailored-*.o")
    try:
        for old in sorted(kept, key=lambda file: file.stat().st_mtime)[:-MOST_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        pass  # another process makes room, too


class Claim:
    """The right to make a file: one of several processes has it. A context manager; true for the one that has it.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._mark = path.with_suffix(".making")
        self._is_ours = False

    def __enter__(self) -> bool:
        """Return whether nobody else makes the file."""
        try:
            if time.time() - self._mark.stat().st_mtime > _ABANDONED_S:
                self._mark.unlink(missing_ok=True)
        except OSError:
            pass  # nobody has claimed it
        try:
            os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL))
        except OSError:
            return False
        self._is_ours = True
        return True

    def __exit__(self, *exception: object) -> None:
        """Give the right back, if this one has it."""
        if self._is_ours:
            self._mark.unlink(missing_ok=True)
