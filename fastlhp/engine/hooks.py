"""Where the machine asks its policies.

A hook is a device function whose first argument is the number of the kind (its place in the alphabetical order of
the family). It is composed from the functions of that name in the policy files when a kernel is compiled, so that
nothing but the policy's own file has to know the policy.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from fastlhp.engine.jit import DeviceFunction, compile_device, inlined
from fastlhp.policies import kinds


class Hook(DeviceFunction):
    """A question to all policies of a family; ``default`` answers for those that do not define it."""

    def __init__(self, family: str, name: str, default: DeviceFunction | None = None) -> None:
        def ask(kind: int, *arguments: Any) -> Any:
            raise TypeError("hooks exist in compiled code only")

        super().__init__(ask)
        self.family = family
        self.name = name
        self.default = default

    def implementations(self) -> list[DeviceFunction]:
        """The function of each kind, in the order of their numbers."""
        functions = []
        for kind, parameters in kinds(self.family).items():
            function = getattr(sys.modules[parameters.__module__], self.name, self.default)
            if not isinstance(function, DeviceFunction):
                raise TypeError(f"{self.family} {kind!r} must define the device function {self.name!r}")
            functions.append(function)
        return functions

    def dispatcher(self) -> Any:
        """The compiled question: ``if kind == 0: ... elif kind == 1: ...``."""
        if self._dispatcher is None:
            choice = _choice_of(self.implementations())
            inlined.add(choice)
            self._dispatcher = compile_device(choice)
        return self._dispatcher


def _choice_of(functions: list[DeviceFunction]) -> Any:
    """One function that calls the one of a kind.

    Written out, because Numba takes as long for each function it compiles as for a dozen lines: one function a hook,
    and one branch for all kinds that have the same answer.
    """
    kinds_of: dict[DeviceFunction, list[int]] = {}
    for kind, function in enumerate(functions):
        kinds_of.setdefault(function, []).append(kind)
    ordered = sorted(kinds_of, key=lambda function: len(kinds_of[function]))
    arguments = ", ".join(inspect.signature(functions[0].function).parameters)
    lines = [f"def ask(kind_, {arguments}):"]
    for number, function in enumerate(ordered[:-1]):
        condition = " or ".join(f"kind_ == {kind}" for kind in kinds_of[function])
        lines.append(f"    if {condition}: return function_{number}({arguments})")
    lines.append(f"    return function_{len(ordered) - 1}({arguments})")
    namespace: dict[str, Any] = {f"function_{number}": function for number, function in enumerate(ordered)}
    exec("\n".join(lines), namespace)
    return namespace["ask"]
