"""Compile a kernel and its device functions as one piece.

Numba compiles each function called by a kernel to the end by itself: links it with all that it calls, optimises the
whole and makes machine code of it. With a hundred small functions, each calling others, that is quadratic: this
package's kernel took three minutes. Here a device function stays plain LLVM code until the kernel is linked; then
everything is linked once, optimised once, and translated once. That takes seconds.

This uses parts of Numba that are not documented. Should they ever change, compilation falls back on Numba's way,
which is slow but gives the same code (see `available`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

never_fails: set[str] = set()
"""Names of compiled functions that raise no exceptions: their outcome is 0 wherever they return."""


def _always_succeeds(function: Any) -> bool:
    """Whether Numba's outcome of a function, in llvmlite's form, is always 0."""
    ends = [block.terminator for block in function.blocks]
    outcomes = [end.return_value for end in ends if end.opname == "ret"]
    return bool(outcomes) and all(getattr(outcome, "constant", None) == 0 for outcome in outcomes)


def available() -> bool:
    """Whether this version of Numba has the parts that `flat` relies on."""
    try:
        from numba.core import codegen
    except ImportError:
        return False
    library = codegen.JITCodeLibrary
    names = (
        "add_ir_module",
        "add_llvm_module",
        "finalize",
        "get_pointer_to_function",
        "_get_module_for_linking",
        "add_linking_library",
    )
    return hasattr(codegen.JITCPUCodegen, "create_library") and all(hasattr(library, name) for name in names)


def _classes() -> tuple[Any, Any]:
    """Library classes of device functions and of kernels; made late, because Numba is imported late."""
    from numba.core.codegen import JITCodeLibrary

    class DeviceLibrary(JITCodeLibrary):  # type: ignore[misc]
        """The LLVM code of one function, as it came from the front end."""

        own_module: Any = None
        """This function's code alone, in a form that may be linked several times."""

        def add_ir_module(self, module: Any) -> None:
            for function in module.functions:
                if not function.is_declaration:
                    if _always_succeeds(function):
                        never_fails.add(function.name)
                    if not function.linkage:
                        function.linkage = "linkonce_odr"
            super().add_ir_module(module)

        def add_llvm_module(self, module: Any) -> None:
            module.data_layout = self._codegen._data_layout
            if self.own_module is None:
                self.own_module = module
            else:
                self.own_module.link_in(module)

        def finalize(self) -> None:
            self._raise_if_finalized()
            self._finalized = True

        def get_pointer_to_function(self, name: str) -> int:
            return 0  # there is no machine code; only kernels call a device function

        def _get_module_for_linking(self) -> Any:
            """With all that it calls, for a library that is not one of these."""
            module = self.own_module.clone()
            for library in _closure(self):
                module.link_in(_module(library), preserve=True)
            return module

    class KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
        """A kernel: linked with everything it calls, directly or not."""

        def finalize(self) -> None:
            for library in _closure(self):
                if hasattr(library, "_reload_init"):  # since Numba 0.63
                    self._reload_init.update(library._reload_init)
                self._final_module.link_in(_module(library), preserve=True)
            self._linking_libraries = []
            super().finalize()

    def _module(library: Any) -> Any:
        return library.own_module if isinstance(library, DeviceLibrary) else library._get_module_for_linking()

    def _closure(library: Any) -> list[Any]:
        found: dict[Any, None] = {}
        pending = list(library._linking_libraries)
        while pending:
            other = pending.pop()
            if other not in found:
                found[other] = None
                if isinstance(other, DeviceLibrary):
                    pending.extend(other._linking_libraries)
        return list(found)

    return DeviceLibrary, KernelLibrary


_made: tuple[Any, Any] | None = None


@contextmanager
def flat(kernel_name: str) -> Iterator[None]:
    """Compile everything inside the block in one piece with the kernel of that qualified name."""
    global _made
    if not available():
        yield
        return
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
