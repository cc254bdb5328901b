"""Machine code on disk: object files that a process loads and calls without Numba.

A file has one line of JSON, with the name of the function, the sizes of the object files and the hash of the rest, and
then the object files as LLVM made them.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any


def _cpu() -> tuple[str, str]:
    """Name and features of the CPU to compile for: this one, or what Numba's variables say."""
    from llvmlite import binding

    name = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = binding.get_host_cpu_features().flatten() if name is None else ""
    return name or binding.get_host_cpu_name(), features


def surroundings_hash() -> str:
    """Hash of what machine code depends on beside the sources: the CPU and the versions of the compiler."""
    from llvmlite import binding

    parts = version("numba"), version("llvmlite"), binding.get_process_triple(), *_cpu()
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def target_machine() -> Any:
    """What LLVM makes code for.

    Numba lets a function be anywhere in memory, so that each call first loads an address of eight bytes. A kernel's
    functions lie beside each other.
    """
    name, features = _cpu()
    return _target().create_target_machine(name, features, opt=3, reloc="pic", codemodel="default")


@cache
def _target() -> Any:
    """LLVM's support of this kind of CPU."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple()


class MachineCode:
    """A function at an address, compiled by Numba from one that takes int64.

    Parameters
    ----------
    address : int
        Where it starts.
    n_arguments : int
        How many int64 it takes.
    owner : object
        What the memory belongs to.
    """

    def __init__(self, address: int, n_arguments: int, owner: Any) -> None:
        # Numba's convention: the outcome is returned, the result stored, and arguments follow as in C.
        convention = ctypes.CFUNCTYPE(
            ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * n_arguments
        )
        self._call = convention(address)
        self._owner = owner

    def __call__(self, *arguments: int) -> int:
        """Call it, without the GIL."""
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        outcome = self._call(ctypes.byref(result), ctypes.byref(error), *arguments)
        if outcome != 0:
            raise RuntimeError(f"compiled code failed with {outcome}")
        return result.value

    @classmethod
    def read(cls, path: Path, n_arguments: int) -> MachineCode | None:
        """Load what `write_code` has written; None if there is nothing, or not the whole of it."""
        try:
            head, _, code = path.read_bytes().partition(b"\n")
            about = json.loads(head)
            if about["sha256"] != hashlib.sha256(code).hexdigest():
                return None
            starts = [0, *accumulate(about["sizes"])]
            return cls.load([code[a:b] for a, b in pairwise(starts)], about["symbol"], n_arguments)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def load(cls, code: Iterable[bytes], symbol: str, n_arguments: int) -> MachineCode:
        """Load object files, which may call each other's functions."""
        from llvmlite import binding

        machine = _target().create_target_machine(jit=True)
        # The engine's own memory manager keeps code and constants near each other, as `target_machine` promises.
        engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine, use_lmm=True)
        for part in code:
            engine.add_object_file(binding.ObjectFileRef.from_data(part))
        engine.finalize_object()
        address = engine.get_function_address(symbol)
        if address == 0:
            raise ValueError(f"there is no {symbol}")
        return cls(address, n_arguments, engine)


def write_code(path: Path, symbol: str, code: Sequence[bytes]) -> None:
    """Write object files for `MachineCode.read`."""
    whole, sizes = b"".join(code), [len(part) for part in code]
    about = json.dumps({"symbol": symbol, "sizes": sizes, "sha256": hashlib.sha256(whole).hexdigest()})
    write_whole(path, about.encode() + b"\n" + whole)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of which no other process ever sees a part; nothing, if there is no room."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
    except OSError:
        pass  # the disk is full, say: the next process compiles again
