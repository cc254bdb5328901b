"""Exceptions of fastlhp.

Every error that a user can cause derives from `FastlhpError`. A study that cannot be read raises one
`StudyError` that carries *all* of its mistakes, so that they can be mended in one pass.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

__all__ = ["FastlhpError", "Problem", "StudyError", "first_few"]


class FastlhpError(Exception):
    """Base class of the errors that fastlhp raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a study.

    Attributes
    ----------
    path : str
        Where it stands, as a dotted path in the study file: ``host.pcpus``, ``vm.0.hold.exponential`` or, for
        a swept value, ``sweep."host.pcpus"[1]``.
    found : str
        What stands there, as it would be written in TOML; ``nothing`` for a missing key.
    accepted : str
        What is accepted there, with its unit.
    configurations, of : int or None
        In how many configurations of a sweep the mistake occurs, and how many there are; None where that says
        nothing, because it occurs in all of them.
    """

    path: str
    found: str
    accepted: str
    configurations: int | None = None
    of: int | None = None

    def __str__(self) -> str:
        """Return the problem as one line."""
        where = f" (in {self.configurations} of {self.of} configurations)" if self.configurations else ""
        return f"{self.path}: found {self.found}; accepted: {self.accepted}{where}"


class StudyError(FastlhpError, ValueError):
    """A study is not valid.

    Parameters
    ----------
    problems : sequence of Problem
        All mistakes that were found; at least one.
    source : str, optional
        The file they were found in.
    """

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        self.problems: list[Problem] = list(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        """Return a heading and one line per problem."""
        count = len(self.problems)
        heading = f"{count} problem{'' if count == 1 else 's'}" + (
            f" in {self.source}" if self.source else ""
        )
        return "\n".join([heading + ":", *(f"  {problem}" for problem in self.problems)])


def first_few(numbers: Collection[object], at_most: int = 8) -> str:
    """Return the first of a collection as a list in words.

    Examples
    --------
    >>> first_few(range(10)), first_few([3])
    ('0, 1, 2, 3, 4, 5, 6, 7, ...', '3')
    """
    shown = ", ".join(map(str, islice(numbers, at_most)))
    return f"{shown}, ..." if len(numbers) > at_most else shown
