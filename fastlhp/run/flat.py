"""Results of many configurations as a few arrays: in shards, and on their way from a worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.results.counters import (
    EARLY_COUNTERS,
    HISTOGRAMS,
    HOST_COUNTERS,
    N_BINS,
    VM_COUNTERS,
    ConfigurationResult,
    Status,
)

__all__ = ["COLUMNS", "Flat", "Narrow", "Parcel"]

COLUMNS = 7
"""Of the table: configuration, first replication, replications, VMs, status, length of the message, warm-up in ns."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Flat:
    """Results, one after the other.

    Attributes
    ----------
    table : ndarray of int64, shape (result, COLUMNS)
        What each result is of.
    messages : ndarray of uint8
        In UTF-8.
    vm : ndarray of int64, shape (replication and VM, len(VM_COUNTERS))
        Counters of the VMs.
    host : ndarray of int64, shape (replication, len(HOST_COUNTERS))
        Counters of the host.
    early : ndarray of int64, shape (replication, len(EARLY_COUNTERS))
        Counters of the host in the first half of the window.
    histogram : ndarray of int64, shape (result, len(HISTOGRAMS), N_BINS)
        Histograms.
    """

    table: Array
    messages: Array
    vm: Array
    host: Array
    early: Array
    histogram: Array

    @classmethod
    def of(cls, parts: Iterable[ConfigurationResult]) -> Flat:
        """Return results, one or more, by configuration and replication; neighbours become one, as by `join`.

        Counters are copied once, from where the engine has left them, however many parts there are of a configuration.
        """
        ordered = sorted(parts, key=lambda part: (part.index, part.first))
        runs: list[list[ConfigurationResult]] = []
        for part in ordered:
            if runs and (last := runs[-1][-1]).index == part.index and last.stop == part.first:
                runs[-1].append(part)
            else:
                runs.append([part])
        table, messages = [], []
        for run in runs:
            first = run[0]
            failed = next((part for part in run if part.status != Status.OK), first)
            message = failed.message.encode()
            n, n_vm = run[-1].stop - first.first, first.vm.shape[1]
            table.append((first.index, first.first, n, n_vm, failed.status, len(message), first.warmup_ns))
            messages.append(message)
        return cls(
            np.array(table, np.int64),
            np.frombuffer(b"".join(messages), np.uint8),
            np.concatenate([part.vm.reshape(-1, len(VM_COUNTERS)) for part in ordered]),
            np.concatenate([part.host for part in ordered]),
            np.concatenate([part.early for part in ordered]),
            np.stack([np.sum([part.histogram for part in run], axis=0) for run in runs]),
        )

    def parts(self) -> Iterator[ConfigurationResult]:
        """Yield the results, as views.

        Raises
        ------
        ValueError
            If arrays are shorter than the table says.
        """
        messages = self.messages.tobytes()
        at = at_vm = at_message = 0
        for row, (index, first, n, n_vm, status, length, warmup_ns) in enumerate(self.table.tolist()):
            yield ConfigurationResult(
                index,
                self.vm[at_vm : at_vm + n * n_vm].reshape(n, n_vm, len(VM_COUNTERS)),
                self.host[at : at + n].reshape(n, len(HOST_COUNTERS)),
                self.histogram[row],
                status,
                messages[at_message : at_message + length].decode(),
                first,
                self.early[at : at + n].reshape(n, len(EARLY_COUNTERS)),
                warmup_ns,
            )
            at, at_vm, at_message = at + n, at_vm + n * n_vm, at_message + length


class Narrow:
    """Integers without the bytes that they do not need: each column is of the narrowest type that holds its values.

    Most counters are small in short replications, which are those that are so many that their bytes count, and many
    are 0 throughout: the mechanism that they are of is not in use. Times of long replications stay as wide as they are.

    Parameters
    ----------
    values : ndarray of int64, shape (row, column)
        The integers.
    """

    def __init__(self, values: Array) -> None:
        self._shape = values.shape
        lowest, highest = values.min(axis=0, initial=0), values.max(axis=0, initial=0)
        self._columns = [
            # One 0 stands for all, if there is nothing else.
            values[: 1 if low == high == 0 else None, column].astype(_narrowest(low, high))
            for column, (low, high) in enumerate(zip(lowest.tolist(), highest.tolist(), strict=True))
        ]

    def wide(self) -> Array:
        """Return the values as they were."""
        values = np.empty(self._shape, np.int64)
        for number, column in enumerate(self._columns):
            values[:, number] = column
        return values


def _narrowest(low: int, high: int) -> type[np.signedinteger[Any]]:
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.int64


class Parcel:
    """Results on their way from a worker: few bytes in few objects, since one process receives those of all workers.

    Parameters
    ----------
    parts : iterable of ConfigurationResult
        One or more.
    """

    def __init__(self, parts: Iterable[ConfigurationResult]) -> None:
        flat = Flat.of(parts)
        self._table, self._messages = flat.table, flat.messages
        self._counters = [Narrow(values) for values in (flat.vm, flat.host, flat.early)]
        self._bins = Narrow(flat.histogram.reshape(-1, 1))

    def parts(self) -> Iterator[ConfigurationResult]:
        """Yield the results."""
        vm, host, early = (counters.wide() for counters in self._counters)
        histogram = self._bins.wide().reshape(-1, len(HISTOGRAMS), N_BINS)
        return Flat(self._table, self._messages, vm, host, early, histogram).parts()
