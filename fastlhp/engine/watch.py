"""One replication, event by event, for those who look at what lies between two events.

Compiled code knows nothing of it: scalar code does everything, one event a call, and its memory is read in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import state
from fastlhp.engine.block import N_HOST_COUNTERS, N_VM_COUNTERS, Block, advance, make_items
from fastlhp.engine.encode import Encoded
from fastlhp.results.counters import N_BINS

LEAP = 2**16
"""Events that are passed over at once, as long as nobody looks."""
SHARED = ("rows", "free", "lanes", "variates", "newcomers")
"""Memory of a block that does not have a part for each lane."""


class Watch(Block):
    """A block that simulates one replication.

    Parameters
    ----------
    encoded : Encoded
        The configuration.
    seed, replication : int
        Which replication.

    Attributes
    ----------
    columns : dict of str to slice
        Which columns of a snapshot have what: fields of `state`, one column for each pCPU, vCPU or lock.
        ``next_key`` has two, the halves of an int64.
    """

    def __init__(self, encoded: Encoded, seed: int, replication: int) -> None:
        super().__init__(seed, **encoded.room, lanes=1, scalar_only=True)
        self._encoded = encoded
        self._results = (
            np.zeros((1, 1, encoded.n_vm, N_VM_COUNTERS), np.int64),
            np.zeros((1, 1, N_HOST_COUNTERS), np.int64),
            np.zeros((2, N_BINS), np.int64),
        )
        self.append(make_items(encoded, range(replication, replication + 1), *self._results))
        whole = self._memory["hosts"].base
        assert whole is not None
        self._words = whole.view(np.int32)
        self.columns: dict[str, slice] = {}
        self._places = self._lay_out()
        self.advance(0)  # starts the replication
        self._address = self._shared.ctypes.data

    def _lay_out(self) -> NDArray[np.intp]:
        """Where in the block's memory the words of a snapshot are."""
        memory = self._memory
        places: list[NDArray[np.intp]] = []

        def offset(dtype: np.dtype[Any], field: str) -> int:
            return int(dtype.fields[field][1])  # type: ignore[index]

        def add(name: str, address: int, step: int, count: int) -> None:
            first = sum(map(len, places))
            self.columns[name] = slice(first, first + count)
            places.append((address - self._words.ctypes.data + step * np.arange(count)) // 4)

        add("next_key", memory["hosts"].ctypes.data + offset(state.HOST, "next_key"), 4, 2)
        for name, field in (("phase", state.GUEST_PHASE), ("position", state.POSITION)):
            address = memory["present"].ctypes.data + 4 * field
            add(f"present.{name}", address, 4 * state.PRESENT_FIELDS, self._encoded.n_pcpu)
        for part, names, count in (
            ("pcpus", "mode vcpu extended", self._encoded.n_pcpu),
            ("vcpus", "state phase lock home preempted", self._encoded.n_vcpu),
            ("lock_records", "off_owner off_holding", self._encoded.n_lock),
        ):
            for name in names.split():
                address = memory[part].ctypes.data + offset(memory[part].dtype, name)
                add(f"{part}.{name}", address, memory[part].itemsize, count)
        return np.concatenate(places)

    def snapshots(self, n_events: int) -> NDArray[np.int32]:
        """Handle some events, and return the state after each; after the end of the replication nothing changes."""
        address, words, places = self._address, self._words, self._places
        rows = np.empty((n_events, len(places)), np.int32)
        for i in range(n_events):
            advance(address, 1)
            rows[i] = words[places]
        return rows

    def snapshot(self) -> NDArray[np.int32]:
        """Return the state now, as one row."""
        return self._words[self._places][np.newaxis]

    def skip_to(self, t: int) -> None:
        """Handle all events before t."""
        # How many these are is not known: go back and try fewer if they were too many.
        parts = [array if name in SHARED else array[:1] for name, array in self._memory.items()]
        parts += [self._shared, self._items, *self._results]
        n = LEAP
        while n > 0:
            saved = [part.copy() for part in parts]
            advance(self._address, n)
            if self._memory["hosts"][0]["done_until"] >= t:
                for part, copy in zip(parts, saved, strict=True):
                    part[...] = copy
                n //= 2
