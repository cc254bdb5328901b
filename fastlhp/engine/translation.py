"""From LLVM code to machine code: the slow half of compiling, which for a part of a kernel another process does.

``python -m fastlhp.engine.translation SYMBOL`` reads the LLVM code of a module and writes an object file, of which only
that function can be called from outside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastlhp.engine.machine_code import target_machine

INLINING_THRESHOLD = 250
"""With 120 the kernel takes half a second less to compile, and its scalar half is up to 6 % slower. Measured."""

_PACKAGES = Path(__file__).resolve().parents[2]


def optimise(module: Any, entries: set[str]) -> None:
    """Optimise a module of which only the entries are called from outside.

    LLVM may inline everything else wherever that pays, and forget it then. Loops are not vectorised, for what is to be
    vectors is written so (`vectors.py`). Numba would first take everything through a shorter way, for the sake of
    reference counts and of loops.
    """
    from llvmlite.binding import create_pass_builder, create_pipeline_tuning_options

    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name in entries else "internal"
    options = create_pipeline_tuning_options(speed_level=3)
    options.inlining_threshold = INLINING_THRESHOLD
    options.loop_vectorization = options.slp_vectorization = False
    builder = create_pass_builder(target_machine(), options)
    builder.getModulePassManager().run(module, builder)
    module.verify()


def _object_file(code: str, entry: str) -> bytes:
    from llvmlite.binding import parse_assembly

    module = parse_assembly(code)
    optimise(module, {entry})
    return bytes(target_machine().emit_object(module))


class Translation:
    """A module that is being translated while Python goes on.

    Parameters
    ----------
    code : str
        LLVM code of the module.
    entry : str
        The function that is called from outside.
    """

    def __init__(self, code: str, entry: str) -> None:
        self.code = code
        self.entry = entry
        self._made = b""
        self._process: subprocess.Popen[bytes] | None = None
        if getattr(sys, "frozen", False):
            return  # the executable is no interpreter
        try:
            # A file, because a pipe would have to be served from both ends.
            with tempfile.TemporaryFile() as source:
                source.write(code.encode())
                source.seek(0)
                self._process = _start([sys.executable, "-m", __name__, entry], source)
        except OSError:
            pass  # no room for files, no more processes, no interpreter: `result` does it

    def result(self) -> bytes:
        """The object file, once it is there."""
        if self._process is not None:
            made, _ = self._process.communicate()
            self._made = made if self._process.returncode == 0 else b""
            self._process = None
        self._made = self._made or _object_file(self.code, self.entry)
        return self._made


def _start(command: list[str], source: Any) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(_object_file(sys.stdin.buffer.read().decode(), sys.argv[1]))
