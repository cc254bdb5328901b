"""What is to be simulated: which replications of which configurations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError

__all__ = ["UNIT", "Shard", "Work", "in_units"]

UNIT = 16
"""Replications of a configuration that stay together: few enough that threads share small studies."""


@dataclass(frozen=True)
class Shard:
    """One of several shares of a study, each of which is run by itself.

    Attributes
    ----------
    number, of : int
        Which one, from 1, and how many there are.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise FastlhpError(f"a shard is I/N with 1 <= I <= N, found {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def indices(self, n_configurations: int) -> list[int]:
        """Return the configurations of this share.

        Shares are of equal size, and as if drawn by lot: neighbours of a sweep have a path in common, and with it
        what makes them cheap or dear.
        """
        # The mixing function of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).
        lot = (np.arange(n_configurations, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            lot = (lot ^ (lot >> np.uint64(shift))) * np.uint64(factor)
        order = np.argsort(lot)
        chosen: list[int] = np.sort(order[self.number - 1 :: self.of]).tolist()
        return chosen


@dataclass(frozen=True)
class Work:
    """Which replications of which configurations are to be simulated.

    Attributes
    ----------
    replications : int
        Of each configuration that is not begun.
    indices : sequence of int
        The configurations of which anything is left to do.
    gaps : mapping of int to sequence of range
        What is left of those that are begun.
    n_total : int
        Number of configurations, those that are finished included.
    n_earlier : int
        Number of replications that are finished.
    """

    replications: int
    indices: Sequence[int]
    gaps: Mapping[int, Sequence[range]] = field(default_factory=dict)
    n_total: int = 0
    n_earlier: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_total", max(self.n_total, len(self.indices)))

    def ranges(self, index: int) -> Sequence[range]:
        """Return the replications of a configuration that are left to do."""
        return self.gaps.get(index, (range(self.replications),))

    def n_left(self, index: int) -> int:
        """Return how many replications of a configuration are left to do."""
        return sum(map(len, self.gaps[index])) if index in self.gaps else self.replications

    def units(self, indices: Iterable[int]) -> npt.NDArray[np.int64]:
        """Return what is left to do of some configurations in pieces of `UNIT`.

        Returns
        -------
        ndarray of int64, shape (unit, 3)
            Position of the configuration in `indices`, the first replication, and how many there are.
        """
        whole = _pieces((range(self.replications),))
        pieces = [_pieces(self.gaps[i]) if i in self.gaps else whole for i in indices]
        positions = np.repeat(np.arange(len(pieces)), [len(each) for each in pieces])
        return np.column_stack((positions, np.concatenate(pieces)))

    @property
    def n_replications(self) -> int:
        """Number of replications that are left to do."""
        begun = sum(len(part) for parts in self.gaps.values() for part in parts)
        return begun + (len(self.indices) - len(self.gaps)) * self.replications


def _pieces(ranges: Iterable[range]) -> npt.NDArray[np.int64]:
    return np.array([(part.start, len(part)) for part in in_units(ranges)], np.int64).reshape(-1, 2)


def in_units(ranges: Iterable[range]) -> Iterator[range]:
    """Yield ranges of replications in pieces of `UNIT`."""
    for part in ranges:
        for first in range(part.start, part.stop, UNIT):
            yield range(first, min(first + UNIT, part.stop))
