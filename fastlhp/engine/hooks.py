"""Where the machine asks its policies.

A hook is a device function whose first argument is the number of the kind (its place in the alphabetical order of
the family). It is composed from the functions of that name in the policy files when a kernel is compiled, so that
nothing but the policy's own file has to know the policy.
"""

from __future__ import annotations

import sys
from typing import Any

from fastlhp.engine.jit import DeviceFunction, compile_device
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
        """The compiled chain ``if kind == 0: ... elif kind == 1: ...``."""
        if self._dispatcher is None:
            self._dispatcher = _chain([function.dispatcher() for function in self.implementations()])
        return self._dispatcher


def _chain(functions: list[Any]) -> Any:
    first = functions[0]
    if len(set(functions)) == 1:

        def only(kind: int, *arguments: Any) -> Any:
            return first(*arguments)

        return compile_device(only)
    others = _chain(functions[1:])

    def ask(kind: int, *arguments: Any) -> Any:
        if kind == 0:
            return first(*arguments)
        return others(kind - 1, *arguments)

    return compile_device(ask)
