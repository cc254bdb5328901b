"""The raw counters of a replication: one definition for the engine that fills them and the metrics.

All counters are int64 and belong to the measured window; times are in ns. Light: the standard library and
NumPy only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "BINS_PER_OCTAVE",
    "HISTOGRAMS",
    "HOLDER_OFF",
    "HOST_COUNTERS",
    "HOST_INDEX",
    "MAXIMA",
    "N_BINS",
    "VM_COUNTERS",
    "VM_INDEX",
    "WAIT",
    "ConfigurationResult",
    "EARLY_COUNTERS",
    "Status",
    "bin_edges_ns",
    "bin_of",
    "join",
    "whole_window",
]

VM_COUNTERS: tuple[str, ...] = (
    "acquisitions",
    "contended_acquisitions",
    "wait_ns",
    "wait_max_ns",
    "lhp_events",
    "lhp_acquisitions",
    "lwp_events",
    "lwp_grants",
    "preemptions",
    "context_switches",
    "yields",
    "guard_yields",
    "informed_yields",
    "directed_yields_holder",
    "directed_yields_waiter",
    "directed_yields_other",
    "directed_yields_none",
    "halts",
    "guest_halts",
    "kicks",
    "extensions",
    "extensions_expired",
    "user_ns",
    "kernel_ns",
    "hold_ns",
    "spin_ns",
    "spin_lhp_ns",
    "spin_lwp_ns",
    "switch_ns",
    "exit_ns",
    "ready_ns",
    "costop_ns",
    "halted_ns",
    "priority_inversion_ns",
    "holder_off_ns",
    "holder_off_spells",
    "holder_off_max_ns",
)
"""Counters kept for every VM. Those of the host are their sums over the VMs, but for `MAXIMA`."""

HOST_COUNTERS: tuple[str, ...] = ("idle_ns", "fragmentation_ns", "events")
"""Counters that have no VM; ``events`` includes the warm-up."""

MAXIMA: frozenset[str] = frozenset({"wait_max_ns", "holder_off_max_ns"})
"""Counters that are a longest spell: over VMs they combine by the maximum, all the others by the sum."""

EARLY_COUNTERS: tuple[str, ...] = ("acquisitions", "lhp_acquisitions", "spin_ns")
"""Counters of the host that are also kept of the first half of the window, to find transients."""

VM_INDEX: dict[str, int] = {name: i for i, name in enumerate(VM_COUNTERS)}
HOST_INDEX: dict[str, int] = {name: i for i, name in enumerate(HOST_COUNTERS)}

BINS_PER_OCTAVE = 16
N_BINS = 704
WAIT = 0
HOLDER_OFF = 1
HISTOGRAMS: dict[str, int] = {"wait": WAIT, "holder_off": HOLDER_OFF}
"""Histograms of a configuration by name: contended lock waits, and off-CPU spells of preempted holders."""


class Status(IntEnum):
    """What became of a configuration."""

    OK = 0
    FAILED = 1
    NOT_RUN = 2


def bin_edges_ns() -> npt.NDArray[np.float64]:
    """Return the edges of the histogram bins.

    Returns
    -------
    ndarray of float64, shape (N_BINS + 1,)
        In ns: bin ``b`` holds the times in ``[edges[b], edges[b + 1])``. Bin 0 also holds times of 0 ns, and
        the last bin everything above its lower edge.
    """
    octave, part = np.divmod(np.arange(N_BINS + 1), BINS_PER_OCTAVE)
    return np.asarray(np.ldexp(1.0 + part / BINS_PER_OCTAVE, octave), dtype=np.float64)


def bin_of(time_ns: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the histogram bin of times in ns.

    Parameters
    ----------
    time_ns : array_like of int
        Times in ns; >= 0.

    Returns
    -------
    ndarray of int64
        Bins in 0..N_BINS - 1, of the shape of `time_ns`.
    """
    x = np.maximum(np.asarray(time_ns, dtype=np.int64), 1)
    # The conversion to float64 can round a long time up into the next octave.
    octave = np.frexp(x.astype(np.float64))[1].astype(np.int64) - 1
    octave -= (np.int64(1) << octave) > x
    # (x << 4) >> octave without the overflow of x << 4 at long times.
    shift = octave - 4
    part = np.where(shift >= 0, x >> np.maximum(shift, 0), x << np.maximum(-shift, 0)) & 15
    return np.asarray(np.minimum(BINS_PER_OCTAVE * octave + part, N_BINS - 1), dtype=np.int64)


def _empty(*shape: int) -> Any:
    return field(default_factory=lambda: np.zeros(shape, dtype=np.int64))


@dataclass(eq=False, slots=True)
class ConfigurationResult:
    """What the engine hands over: the counters of a configuration, or of some of its replications.

    Attributes
    ----------
    index : int
        The configuration's number in the study.
    vm : ndarray of int64, shape (replication, vm, len(VM_COUNTERS))
        Counters of each VM instance; unused if the configuration failed.
    host : ndarray of int64, shape (replication, len(HOST_COUNTERS))
        Counters of the host; unused if the configuration failed.
    histogram : ndarray of int64, shape (2, N_BINS)
        Contended waits (`WAIT`) and holder off-CPU spells (`HOLDER_OFF`), pooled over VMs and replications.
    status : int
        A `Status`.
    message : str
        Why it failed.
    first : int
        Number of the first replication.
    early : ndarray of int64, shape (replication, len(EARLY_COUNTERS))
        Counters of the host in the first half of the window; -1 if not known.
    warmup_ns : int
        Length of the warm-up.
    """

    index: int
    vm: npt.NDArray[np.int64] = _empty(0, 0, len(VM_COUNTERS))
    host: npt.NDArray[np.int64] = _empty(0, len(HOST_COUNTERS))
    histogram: npt.NDArray[np.int64] = _empty(2, N_BINS)
    status: int = Status.OK
    message: str = ""
    first: int = 0
    early: npt.NDArray[np.int64] = _empty(0, len(EARLY_COUNTERS))
    warmup_ns: int = 0

    def __post_init__(self) -> None:
        if len(self.early) != len(self.host):
            self.early = np.full((len(self.host), len(EARLY_COUNTERS)), -1, dtype=np.int64)

    @property
    def stop(self) -> int:
        """Number of the replication after the last."""
        return self.first + len(self.host)


def whole_window(vm: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the VMs' counters of a window from those of its parts.

    Parameters
    ----------
    vm : ndarray of int64, shape (replication, part, vm, len(VM_COUNTERS))

    Returns
    -------
    ndarray of int64, shape (replication, vm, len(VM_COUNTERS))
    """
    whole: npt.NDArray[np.int64] = vm.sum(axis=1)
    for name in MAXIMA:
        vm[..., VM_INDEX[name]].max(axis=1, out=whole[..., VM_INDEX[name]])
    return whole


def join(parts: Iterable[ConfigurationResult]) -> ConfigurationResult:
    """Return the result of neighbouring replications of a configuration, from the results of some each.

    Parameters
    ----------
    parts : iterable of ConfigurationResult
        One or more, in any order; of those that failed the first gives the message.
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    parts.sort(key=lambda part: part.first)
    if any(part.stop != after.first for part, after in zip(parts, parts[1:], strict=False)):
        raise ValueError(f"replications of configuration {parts[0].index} are missing or there twice")
    failed = next((part for part in parts if part.status != Status.OK), parts[0])
    return ConfigurationResult(
        parts[0].index,
        np.concatenate([part.vm for part in parts]),
        np.concatenate([part.host for part in parts]),
        np.sum([part.histogram for part in parts], axis=0),
        failed.status,
        failed.message,
        parts[0].first,
        np.concatenate([part.early for part in parts]),
        parts[0].warmup_ns,
    )
