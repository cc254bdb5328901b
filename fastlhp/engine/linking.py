"""Compile a kernel and its device functions as one piece.

Numba compiles each function called by a kernel to the end by itself: links it with all that it calls, optimises the
whole and makes machine code of it. With a hundred small functions, each calling others, that is quadratic: this
package's kernel took three minutes. Here a device function stays plain LLVM code until the kernel is linked; then
everything is linked once, optimised once, and translated once. That takes seconds. A part of a kernel (`jit.part`) is a
module of its own, which another process translates while Numba goes on with the rest.

This uses parts of Numba that are not documented, so the project's dependency names the versions that have them.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastlhp.engine.machine_code import target_machine
from fastlhp.engine.translation import Translation, optimise

never_fails: set[str] = set()
"""Names of compiled functions that raise no exceptions: their outcome is 0 wherever they return."""


def _always_succeeds(function: Any) -> bool:
    """Whether Numba's outcome of a function, in llvmlite's form, is always 0."""
    ends = [block.terminator for block in function.blocks]
    outcomes = [end.return_value for end in ends if end.opname == "ret"]
    return bool(outcomes) and all(getattr(outcome, "constant", None) == 0 for outcome in outcomes)


def _renumbered(code: str, first: int) -> str:
    """LLVM code whose metadata gets numbers from `first` on, for it was written with numbers from 0 on."""
    return re.sub(r"!(\d+)", lambda number: f"!{int(number[1]) + first}", code) if first else code


def _classes() -> tuple[Any, Any]:
    """Library classes of device functions and of kernels; made late, because Numba is imported late."""
    from llvmlite.binding import parse_assembly
    from llvmlite.ir import Function
    from numba.core.cgutils import normalize_ir_text
    from numba.core.codegen import JITCodeLibrary

    class DeviceLibrary(JITCodeLibrary):  # type: ignore[misc]
        """The LLVM code of one function as text, as it came from the front end."""

        def __init__(self, codegen: Any, name: str) -> None:
            super().__init__(codegen, name)
            self.declared: dict[str, str] = {}
            self.defined: dict[str, str] = {}
            self.metadata: list[str] = []
            self.translation: Translation | None = None

        def translate(self, entry: str) -> None:
            """Make this function a part of the kernel, and let another process begin to translate it."""
            module = _linked(self._codegen, _closure([self]))
            self.translation = Translation(str(module), entry)

        def add_ir_module(self, module: Any) -> None:
            first = len(self.metadata)
            self.metadata += [_renumbered(str(node), first) for node in module.metadata]
            for name, value in module.globals.items():
                if isinstance(value, Function):
                    is_defined = not value.is_declaration
                    if is_defined and _always_succeeds(value):
                        never_fails.add(name)
                    if is_defined and not value.linkage:
                        value.linkage = "linkonce_odr"
                else:
                    is_defined = value.initializer is not None
                (self.defined if is_defined else self.declared)[name] = _renumbered(str(value), first)

        def finalize(self) -> None:
            self._raise_if_finalized()
            self._finalized = True

        def get_pointer_to_function(self, name: str) -> int:
            return 0  # there is no machine code; only kernels call a device function

        def _get_module_for_linking(self) -> Any:
            """With all that it calls, for a library that is not one of these."""
            return _linked(self._codegen, _closure([self]))

    class KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
        """A kernel: linked with everything it calls, directly or not."""

        machine_code: list[bytes]
        modules: list[tuple[str, str]]
        """The LLVM code that was translated, and what is called from outside."""

        def finalize(self) -> None:
            self._raise_if_finalized()
            entries = {f.name for f in self._final_module.functions if not f.is_declaration}
            libraries = _closure(self._linking_libraries)
            translations = [
                library.translation
                for library in libraries
                if isinstance(library, DeviceLibrary) and library.translation
            ]
            rest = [library for library in libraries if getattr(library, "translation", None) is None]
            self._final_module.link_in(_linked(self._codegen, rest))
            (entry,) = entries
            self.modules = [(str(self._final_module), entry)]
            self.modules += [(translation.code, translation.entry) for translation in translations]
            optimise(self._final_module, entries)
            self._finalized = True
            own = target_machine().emit_object(self._final_module)
            self.machine_code = [own, *(translation.result() for translation in translations)]

        def get_pointer_to_function(self, name: str) -> int:
            self._ensure_finalized()
            return 0  # `machine_code.py` loads it

        def get_asm_str(self) -> str:
            return str(target_machine().emit_assembly(self._final_module))

    def _linked(codegen: Any, libraries: list[Any]) -> Any:
        """A module of these libraries."""
        declared: dict[str, str] = {}
        defined: dict[str, str] = {}
        originals: dict[str, str] = {}
        metadata: list[str] = []
        apart = []
        for library in libraries:
            if not isinstance(library, DeviceLibrary):
                apart.append(library._get_module_for_linking())
                continue
            if any(originals.get(name, text) != text for name, text in library.defined.items()):
                apart.append(_parsed(codegen, library.declared, library.defined, library.metadata))
                continue
            first = len(metadata)
            metadata += [_renumbered(node, first) for node in library.metadata]
            new = {name: text for name, text in library.defined.items() if name not in originals}
            originals |= new
            defined |= {name: _renumbered(text, first) for name, text in new.items()}
            declared |= library.declared
        module = _parsed(codegen, declared, defined, metadata)
        for other in apart:
            module.link_in(other, preserve=True)
        return module

    def _parsed(codegen: Any, declared: dict[str, str], defined: dict[str, str], metadata: list[str]) -> Any:
        empty = str(codegen._create_empty_module("device functions"))
        text = "\n".join([empty, *(declared | defined).values(), *metadata])
        module = parse_assembly(normalize_ir_text(text))
        module.verify()
        return module

    def _closure(libraries: list[Any]) -> list[Any]:
        """These libraries and all that they call, up to where another part of the kernel begins."""
        found: dict[Any, None] = {}
        pending = list(libraries)
        while pending:
            library = pending.pop()
            if library not in found:
                found[library] = None
                if isinstance(library, DeviceLibrary) and library.translation is None:
                    pending.extend(library._linking_libraries)
        return list(found)

    return DeviceLibrary, KernelLibrary


_made: tuple[Any, Any] | None = None


@contextmanager
def flat(kernel_name: str) -> Iterator[None]:
    """Compile everything inside the block in one piece with the kernel of that qualified name."""
    global _made
    from numba.core.registry import cpu_target

    if _made is None:
        _made = _classes()
    device, kernel = _made
    codegen = cpu_target.target_context.codegen()

    def create_library(name: str, **options: Any) -> Any:
        return (kernel if name == kernel_name else device)(codegen, name, **options)

    def set_env(name: str, environment: Any) -> None:
        # Numba notes each function's environment in a global variable; a device function has none yet. It is
        # needed for exceptions and prints only, and kernels have neither.
        address = (
            codegen._engine.get_global_value_address(name) if codegen._engine.is_symbol_defined(name) else 0
        )
        if address:
            (ctypes.c_void_p * 1).from_address(address)[0] = ctypes.c_void_p(id(environment))

    # Attributes of this one object hide the methods of its class until they are deleted again.
    codegen.create_library = create_library
    codegen.set_env = set_env
    try:
        yield
    finally:
        del codegen.create_library, codegen.set_env
