"""The policies: one file each, in one folder per family.

A file defines one parameter class with a ``KIND``; that is its registration. Nothing else in the package
lists the policies: studies, labels, errors and documentation all ask `kinds`.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastlhp.model.policy import PolicyParameters

__all__ = ["FAMILIES", "kinds"]

FAMILIES = {"scheduler": "schedulers", "guard": "guards", "response": "responses", "lock": "locks"}
"""The families of policies, and the folder of each."""


@cache
def kinds(family: str) -> "Mapping[str, type[PolicyParameters]]":
    """Return the parameter classes of a family by kind, in alphabetical order.

    Parameters
    ----------
    family : str
        ``scheduler``, ``guard``, ``response`` or ``lock``.

    Returns
    -------
    mapping of str to class
        Read-only.

    Examples
    --------
    >>> sorted(kinds("scheduler"))
    ['gang', 'global', 'round_robin']
    """
    from fastlhp.model.policy import PolicyParameters

    package = importlib.import_module(f"{__name__}.{FAMILIES[family]}")
    found: dict[str, type[PolicyParameters]] = {}
    for module_info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(module_info.name)
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, PolicyParameters) and member.__module__ == module.__name__ and member.KIND:
                if member.FAMILY != family or member.KIND in found:
                    raise TypeError(
                        f"{module.__name__}: {member.FAMILY} {member.KIND!r} is misplaced or defined twice"
                    )
                found[member.KIND] = member
    return MappingProxyType(dict(sorted(found.items())))
