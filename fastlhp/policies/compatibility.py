"""What does not go with what, and why: one table, used by validation and shown to users.

Everything that is not in the table goes together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["TABLE", "WIDTH_UNDER_GANG", "Conflict", "Incompatibility", "conflicts", "rows"]


@dataclass(frozen=True)
class Incompatibility:
    """A scheduler refuses some kinds of another family.

    Attributes
    ----------
    scheduler : str
        Kind of the scheduler.
    family : str
        ``guard``, ``response`` or ``lock``.
    kinds : tuple of str
        The kinds refused; empty: all but ``none``.
    reason : str
        Why.
    """

    scheduler: str
    family: str
    kinds: tuple[str, ...]
    reason: str

    def refuses(self, kind: str) -> bool:
        """Return whether the kind is refused."""
        return kind in self.kinds if self.kinds else kind != "none"


TABLE: tuple[Incompatibility, ...] = (
    Incompatibility(
        "gang",
        "guard",
        (),
        "a slot ends for all siblings at once, so that one vCPU's extension would break co-scheduling",
    ),
    Incompatibility(
        "gang",
        "response",
        ("directed_yield",),
        "a yield gives nothing up: every sibling has its own column in the slot",
    ),
)
"""All pairs that are refused."""

WIDTH_UNDER_GANG = "all vCPUs of a VM must fit into one slot"
"""Why `gang` refuses a VM with more vCPUs than the host has pCPUs."""


@dataclass(frozen=True)
class Conflict:
    """A pair of policies that a configuration combines although the table refuses it."""

    family: str
    kind: str
    scheduler: str
    reason: str


def conflicts(scheduler: str, others: dict[str, str]) -> Iterator[Conflict]:
    """Yield the pairs that are refused.

    Parameters
    ----------
    scheduler : str
        Kind of the scheduler.
    others : dict of str to str
        Kinds by family: ``guard``, ``response``, ``lock``.
    """
    for entry in TABLE:
        kind = others.get(entry.family)
        if kind is not None and entry.scheduler == scheduler and entry.refuses(kind):
            yield Conflict(entry.family, kind, scheduler, entry.reason)


def rows() -> list[tuple[str, str, str]]:
    """Return the table for people: scheduler, what it refuses, why."""
    table = [
        (entry.scheduler, f"{entry.family}: {', '.join(entry.kinds) or 'any but none'}", entry.reason)
        for entry in TABLE
    ]
    return [*table, ("gang", "VMs with more vCPUs than the host has pCPUs", WIDTH_UNDER_GANG)]
