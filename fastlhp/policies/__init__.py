"""The policies: one file each, in one folder per family.

A file defines one parameter class with a ``KIND``; that is its registration. Nothing else in the package
lists the policies: studies, labels, errors and documentation all ask `kinds`. A user's own policy is such a file
anywhere (`own_policy`); `docs/policies.md` tells how to write one.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastlhp.model.policy import PolicyParameters

__all__ = ["FAMILIES", "kinds", "own_files", "own_policy"]

FAMILIES = {"scheduler": "schedulers", "guard": "guards", "response": "responses", "lock": "locks"}
"""The families of policies, and the folder of each."""

_own: "dict[tuple[str, str], type[PolicyParameters]]" = {}
"""The user's own policies by family and kind, in the order in which studies named them."""


def kinds(family: str) -> "Mapping[str, type[PolicyParameters]]":
    """Return the parameter classes of a family by kind: in alphabetical order, the user's own ones last.

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
    >>> "round_robin" in kinds("scheduler")
    True
    """
    own = {kind: cls for (of, kind), cls in _own.items() if of == family}
    return MappingProxyType({**_built_in(family), **own}) if own else _built_in(family)


@cache
def _built_in(family: str) -> "Mapping[str, type[PolicyParameters]]":
    package = importlib.import_module(f"{__name__}.{FAMILIES[family]}")
    found: dict[str, type[PolicyParameters]] = {}
    for module_info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(module_info.name)
        for member in _policies_of(module):
            if member.FAMILY != family or member.KIND in found:
                raise TypeError(
                    f"{module.__name__}: {member.FAMILY} {member.KIND!r} is misplaced or defined twice"
                )
            found[member.KIND] = member
    return MappingProxyType(dict(sorted(found.items())))


def _policies_of(module: ModuleType) -> "Iterator[type[PolicyParameters]]":
    """Yield the policies that a module defines."""
    from fastlhp.model.policy import PolicyParameters

    for _, member in inspect.getmembers(module, inspect.isclass):
        if issubclass(member, PolicyParameters) and member.__module__ == module.__name__ and member.KIND:
            yield member


def own_policy(family: str, path: Path) -> "type[PolicyParameters]":
    """Return the parameter class that a file of the user's own defines, and take the policy up.

    The file is run. If the same file has changed since, it is run again.

    Parameters
    ----------
    family : str
        What the study wants: ``scheduler``, ``guard``, ``response`` or ``lock``.
    path : Path
        The Python file.

    Raises
    ------
    ValueError
        If the file does not define exactly one policy of that family under a kind that is not taken; the message says
        what is wrong. Errors of the file's own code are part of it.
    """
    try:
        path = path.resolve(strict=True)
        source = path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror or error})") from None
    # By its content, wherever it lies: cached kernels know the module by this name.
    name = f"fastlhp_own_{path.stem}_{hashlib.sha256(source).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ValueError("it is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ValueError(f"running it failed: {type(error).__name__}: {error}") from None
    found = list(_policies_of(module))
    if len(found) != 1 or found[0].FAMILY != family:
        what = ", ".join(f"the {cls.FAMILY} {cls.KIND!r}" for cls in found) or "no policy"
        raise ValueError(f"it defines {what}; wanted is one {family}")
    (cls,) = found
    if cls.KIND in _built_in(family):
        raise ValueError(f"its KIND {cls.KIND!r} is a {family} of fastlhp's own; choose another")
    before = _own.get((family, cls.KIND))
    if before is not cls:
        if before is not None and _file_of(before) != path:
            raise ValueError(f"its KIND {cls.KIND!r} is taken by {_file_of(before)}")
        _own[family, cls.KIND] = cls
        if "fastlhp.engine.jit" in sys.modules:
            sys.modules["fastlhp.engine.jit"].forget_compiled()
    return cls


def _file_of(cls: "type[PolicyParameters]") -> Path:
    return Path(str(sys.modules[cls.__module__].__file__))


def own_files() -> list[Path]:
    """Return the files of the user's own policies, in the order of their numbers."""
    return [_file_of(cls) for cls in _own.values()]
