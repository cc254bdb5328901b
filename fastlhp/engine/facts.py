"""What is known of configurations before they are simulated: sizes, policies, options. For code made for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine.tailoring import Facts

IN_CONFIG = (
    *"n_pcpu n_vcpu n_vm n_lock scheduler guard response weighted loses_patience gives_way".split(),
    *"has_line divisible own_queues exchanges".split(),
)
IN_VMS = (
    "n_vcpu n_lock lock_kind lock_word has_kernel has_handover handover_grows has_halt has_choice".split()
)
"""Fields that decide what the kernel does. Others are numbers with which it does the same, or addresses."""
IF_NONE_IN_CONFIG = "context_switch vm_exit threshold threshold_max".split()
IF_NONE_IN_VMS = ["patience"]
"""Fields of which it matters whether they are 0."""
IN_HOST = "n_pcpu n_vcpu n_vm n_lock".split()
"""Fields of a configuration of which each lane has a copy."""
VARIES = -1


class Known:
    """Things, and what is known of each.

    Parameters
    ----------
    facts : sequence of Facts
        All that there may be.
    which : ndarray of int64, shape (thing,)
        Which of them hold for each thing.
    """

    def __init__(self, facts: Sequence[Facts], which: NDArray[np.int64]) -> None:
        self.facts = facts
        self.which = which

    @classmethod
    def each(cls, facts: Sequence[Facts], chosen: NDArray[np.int64]) -> Known:
        """Return what is known of things, each of which is one of a few, given the facts of these."""
        numbers: dict[Facts, int] = {}
        number = np.array([numbers.setdefault(each, len(numbers)) for each in facts])
        return cls(list(numbers), number[chosen])

    @classmethod
    def of(cls, n: int, columns: Mapping[str, NDArray[np.int64]], *others: Known) -> Known:
        """Return what is known of things.

        Parameters
        ----------
        n : int
            How many things.
        columns : mapping of str to ndarray of int64, shape (thing,)
            Values of fields, `VARIES` where there is more than one.
        *others : Known
            The same things.
        """
        first, which = distinct(n, *columns.values(), *(other.which for other in others))
        facts = []
        for thing in first.tolist():
            own = ((name, int(column[thing])) for name, column in columns.items())
            found = frozenset(fact for fact in own if fact[1] != VARIES)
            facts.append(found.union(*(other.facts[other.which[thing]] for other in others)))
        return cls(facts, which)

    def __getitem__(self, things: NDArray[np.int64]) -> Known:
        """Return what is known of some of the things."""
        return Known(self.facts, self.which[things])


def distinct(n: int, *numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each combination of numbers, of which n things have one each, occurs first; and which each has."""
    code = np.zeros(n, np.int64)
    one = np.zeros(1, np.int64)
    for each in numbers:
        least, most = each.min(), each.max()
        if least < most:  # of most groups there is one variant only
            _, one, code = np.unique(
                code * (most - least + 1) + each - least, return_index=True, return_inverse=True
            )
    return one, code


def of_configurations(records: NDArray[np.void], *others: Known) -> Known:
    """Return what is known of configurations, given their `state.CONFIG`, and what is known of their parts."""
    columns = {f"config.{name}": records[name] for name in IN_CONFIG}
    columns |= {f"host.{name}": records[name] for name in IN_HOST}
    for name in IF_NONE_IN_CONFIG:
        columns[f"config.{name}"] = _none_or_varies(records[name])
    return Known.of(len(records), columns, *others)


def of_vms(records: NDArray[np.void], begin: NDArray[np.int64]) -> Known:
    """Return what is known of groups of VMs, given the `state.VM_CONFIG` of all and where each group begins."""
    columns = {}
    for name in (*IN_VMS, *IF_NONE_IN_VMS):
        values = records[name] if name in IN_VMS else _none_or_varies(records[name])
        least, most = np.minimum.reduceat(values, begin), np.maximum.reduceat(values, begin)
        columns[f"vm_config.{name}"] = np.where(least == most, least, VARIES)
    return Known.of(len(begin), columns)


def _none_or_varies(addresses: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(addresses == 0, 0, VARIES)
