"""What does not go with what, and why: one table, used by validation and shown to users.

Everything that is not in the table goes together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["TABLE", "WIDTH_UNDER_GANG", "Conflict", "Incompatibility", "conflicts", "rows"]


@dataclass(frozen=True)
class Incompatibility:
    """A scheduler, or another policy, refuses some kinds of another family.

    Attributes
    ----------
    refusing : str
        Kind of the policy that refuses.
    family : str
        ``guard``, ``response`` or ``lock``.
    kinds : tuple of str
        The kinds refused; empty: all but ``none``.
    reason : str
        Why.
    refusing_family : str, optional
        Family of the policy that refuses.
    """

    refusing: str
    family: str
    kinds: tuple[str, ...]
    reason: str
    refusing_family: str = "scheduler"

    def refuses(self, kind: str) -> bool:
        """Return whether the kind is refused."""
        return kind in self.kinds if self.kinds else kind != "none"


_NO_KNOWN_SLICE_END = (
    "it has to know when the slice ends, and under this scheduler nobody knows that in advance"
)

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
    Incompatibility(
        "gang",
        "lock",
        ("informed",),
        "it would yield late in the slot, and a yield gives nothing up: every sibling has its own column",
    ),
    *(
        Incompatibility(scheduler, "lock", ("informed",), _NO_KNOWN_SLICE_END)
        for scheduler in ("credit", "fair", "relaxed_coscheduling")
    ),
    Incompatibility(
        "halt",
        "lock",
        ("hybrid_queue", "pv_queue", "pv_ticket"),
        "the waiters of this lock block by themselves, after its own spin_threshold",
        "response",
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
    refusing_family: str
    refusing: str
    reason: str


def conflicts(kinds: dict[str, str]) -> Iterator[Conflict]:
    """Yield the pairs that are refused.

    Parameters
    ----------
    kinds : dict of str to str
        Kinds by family: ``scheduler``, ``guard``, ``response``, ``lock``; two or more of them.
    """
    for entry in TABLE:
        kind = kinds.get(entry.family)
        if kind is not None and kinds.get(entry.refusing_family) == entry.refusing and entry.refuses(kind):
            yield Conflict(entry.family, kind, entry.refusing_family, entry.refusing, entry.reason)


def rows() -> list[tuple[str, str, str]]:
    """Return the table for people: who refuses (a scheduler unless it says so), what it refuses, why."""
    table = [
        (_name(entry), f"{entry.family}: {', '.join(entry.kinds) or 'any but none'}", entry.reason)
        for entry in TABLE
    ]
    return [*table, ("gang", "VMs with more vCPUs than the host has pCPUs", WIDTH_UNDER_GANG)]


def _name(entry: Incompatibility) -> str:
    family = entry.refusing_family
    return entry.refusing if family == "scheduler" else f"{family}: {entry.refusing}"
