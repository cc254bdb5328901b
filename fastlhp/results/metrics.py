"""The table of metrics: name, unit, meaning and formula of each, once.

The result file, the Results object, the commands and the documentation follow from this table. Every metric
has one value per replication, of the whole host and mostly also of each VM, but for those of the table's end,
which come from the pooled histograms and have one value per configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fastlhp.results.counters import (
    EARLY_COUNTERS,
    HISTOGRAMS,
    HOST_INDEX,
    MAXIMA,
    N_BINS,
    VM_COUNTERS,
    VM_INDEX,
    ConfigurationResult,
    Status,
    bin_edges_ns,
)

if TYPE_CHECKING:
    from fastlhp.model.configuration import Choice
    from fastlhp.model.vm import VmGroup

__all__ = [
    "CONFIGURATION_METRICS",
    "EARLY",
    "METRICS",
    "NS",
    "Block",
    "Context",
    "Level",
    "Metric",
    "VmTable",
    "histogram_quantile",
    "markdown_table",
    "missing_value",
    "ratio",
]

Array = npt.NDArray[Any]
Level = Literal["host", "vm"]

NS = 1e9
"""Nanoseconds in a second. Times are divided by it, so that each is the float64 nearest to the counted ns."""


@dataclass(frozen=True, eq=False)
class VmTable:
    """Tuples of VMs, one a row; the rows of shorter ones are filled up.

    Attributes
    ----------
    vcpus : ndarray of int64, shape (row, vm)
        vCPUs of each VM; -1 where there is none.
    weight : ndarray of float64, shape (row, vm)
        Weight of each VM; NaN where there is none.
    names : ndarray of object (str), shape (row, vm)
        Name of each VM; empty where there is none.
    """

    vcpus: Array
    weight: Array
    names: Array

    @classmethod
    def of(cls, rows: Sequence[Sequence[tuple[str, int, float]]]) -> VmTable:
        """Make a table of tuples of name, vCPUs and weight."""
        shape = len(rows), max(map(len, rows), default=0)
        names, vcpus, weight = np.full(shape, "", dtype=object), np.full(shape, -1), np.full(shape, np.nan)
        for i, row in enumerate(rows):
            for m, vm in enumerate(row):
                names[i, m], vcpus[i, m], weight[i, m] = vm
        return cls(vcpus, weight, names)

    @classmethod
    def of_groups(cls, groups: Sequence[Choice[VmGroup]]) -> VmTable:
        """Make a table of the VMs of configurations, given their groups."""

        def of(number: Callable[[VmGroup], float]) -> Array:
            return np.column_stack([np.array([*map(number, its.variants)])[its.which] for its in groups])

        count = of(lambda group: group.count)
        n, width = len(count), int(count.sum(axis=1).max())
        vcpus, weight, names = (
            np.full((n, width), -1),
            np.full((n, width), np.nan),
            np.full((n, width), "", object),
        )
        # Of each VM, which row and column it is in, and of which group.
        row, group = np.divmod(np.repeat(np.arange(count.size), count.ravel()), len(groups))
        column = np.arange(len(row)) - np.searchsorted(row, row)
        number = column - (np.cumsum(count, axis=1) - count)[row, group]
        vcpus[row, column] = of(lambda group: group.model.vcpus)[row, group]
        weight[row, column] = of(lambda group: group.model.weight)[row, group]
        for position, its in enumerate(groups):
            mine = group == position
            of_group = [its.variants[0].name_of(i) for i in range(int(count[:, position].max()))]
            names[row[mine], column[mine]] = np.array(of_group, object)[number[mine]]
        return cls(vcpus, weight, names)

    @classmethod
    def concatenate(cls, tables: Sequence[VmTable]) -> VmTable:
        """Return a table with the rows of several."""
        width = max(table.vcpus.shape[1] for table in tables)

        def joined(name: str, missing: Any) -> Array:
            arrays = [getattr(table, name) for table in tables]
            pads = [((0, 0), (0, width - array.shape[1])) for array in arrays]
            return np.concatenate(
                [np.pad(array, pad, constant_values=missing) for array, pad in zip(arrays, pads, strict=True)]
            )

        return cls(joined("vcpus", -1), joined("weight", np.nan), joined("names", ""))


@dataclass(frozen=True, eq=False)
class Context:
    """What the formulas need to know about the configurations themselves.

    Attributes
    ----------
    duration_s : ndarray of float64, shape (configuration,)
        Length of the measured window, in s.
    pcpus : ndarray of int64, shape (configuration,)
        pCPUs of the host.
    frequency_hz : ndarray of float64, shape (configuration,)
        Cycles per second of a pCPU.
    kinds : VmTable
        Tuples of VMs.
    kind : ndarray of int64, shape (configuration,)
        Which of them each configuration has: sweeps repeat the same few.
    """

    duration_s: Array
    pcpus: Array
    frequency_hz: Array
    kinds: VmTable
    kind: Array

    @classmethod
    def of(cls, configurations: Iterable[Any], n_configurations: int) -> Context:
        """Collect the context of a study's configurations, in one pass and without keeping them."""
        if hasattr(configurations, "of_part"):
            return cls._of_study(configurations)
        duration_s, frequency_hz = np.empty(n_configurations), np.empty(n_configurations)
        pcpus = np.empty(n_configurations, dtype=np.int64)
        kind = np.empty(n_configurations, dtype=np.int64)
        kinds: dict[tuple[tuple[str, int, float], ...], int] = {}
        for i, configuration in enumerate(configurations):
            duration_s[i] = configuration.duration_ns / NS
            pcpus[i] = configuration.host.pcpus
            frequency_hz[i] = configuration.host.frequency_hz
            vms = tuple((vm.name, vm.vcpus, vm.weight) for vm in configuration.vms)
            kind[i] = kinds.setdefault(vms, len(kinds))
        return cls(duration_s, pcpus, frequency_hz, VmTable.of(list(kinds)), kind)

    @classmethod
    def _of_study(cls, configurations: Any) -> Context:
        """Collect it without making the configurations."""
        kind: Array = np.zeros(len(configurations), dtype=np.int64)
        one: Array = kind[:1]
        for group in configurations.of_vms(_Numbered(lambda it: (it.model.vcpus, it.model.weight, it.count))):
            _, one, kind = np.unique(kind * (group.max() + 1) + group, return_index=True, return_inverse=True)
        return cls(
            configurations.of_part("study", lambda window: window.duration) / NS,
            configurations.of_part("host", lambda host: host.pcpus),
            configurations.of_part("host", lambda host: host.frequency_hz),
            VmTable.of_groups(configurations.parts(one).groups),
            kind,
        )

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self.pcpus)

    @property
    def n_vms(self) -> int:
        """The largest number of VMs of a configuration."""
        return int(self.kinds.vcpus.shape[1])

    @property
    def vcpus(self) -> Array:
        """The vCPUs of each VM, int64, shape (configuration, vm); -1 where the configuration has fewer VMs."""
        return np.asarray(self.kinds.vcpus[self.kind])

    @property
    def weight(self) -> Array:
        """Weight of each VM, float64, shape (configuration, vm); NaN where the configuration has fewer VMs."""
        return np.asarray(self.kinds.weight[self.kind])

    @property
    def names(self) -> Array:
        """Name of each VM, object (str), shape (configuration, vm); empty where the configuration has fewer VMs."""
        return np.asarray(self.kinds.names[self.kind])

    @classmethod
    def concatenate(cls, parts: Sequence[Context]) -> Context:
        """Return the context of the configurations of several, one after the other."""
        starts = np.cumsum([0, *(len(part.kinds.vcpus) for part in parts[:-1])])
        return cls(
            np.concatenate([part.duration_s for part in parts]),
            np.concatenate([part.pcpus for part in parts]),
            np.concatenate([part.frequency_hz for part in parts]),
            VmTable.concatenate([part.kinds for part in parts]),
            np.concatenate([part.kind + start for part, start in zip(parts, starts, strict=True)]),
        )

    def part(self, rows: slice) -> Context:
        """Return the context of some configurations."""
        return Context(
            self.duration_s[rows], self.pcpus[rows], self.frequency_hz[rows], self.kinds, self.kind[rows]
        )


class _Numbered:
    """Numbers values by their first occurrence."""

    def __init__(self, value: Callable[[Any], Any]) -> None:
        self._value = value
        self._numbers: dict[Any, int] = {}

    def __call__(self, it: Any) -> int:
        return self._numbers.setdefault(self._value(it), len(self._numbers))


class Totals:
    """Counters of some configurations at one level, as the formulas see them.

    ``totals["spin_ns"]`` is an int64 array of shape (configuration, replication) for the host and
    (configuration, replication, vm) for the VMs; the context's arrays broadcast against it.
    """

    def __init__(self, level: Level, context: Context, vm: Array, host: Array) -> None:
        self.level = level
        self._vm, self._host = vm, host
        self._sums: dict[str, Array] = {}
        wide = (slice(None), None) if level == "host" else (slice(None), None, None)
        self.duration_s = context.duration_s[wide]
        self.frequency_hz = context.frequency_hz[wide]
        self.weight = context.weight[:, None, :]
        if level == "host":
            self.capacity_s = context.pcpus[wide] * self.duration_s
        else:
            self.capacity_s = context.vcpus[:, None, :] * self.duration_s

    def __getitem__(self, counter: str) -> Array:
        if counter in HOST_INDEX:
            return np.asarray(self._host[HOST_INDEX[counter]])
        per_vm = self.per_vm(counter)
        if self.level == "vm":
            return per_vm
        if counter not in self._sums:
            combine = np.max if counter in MAXIMA else np.sum
            self._sums[counter] = combine(per_vm, axis=2)
        return self._sums[counter]

    def per_vm(self, counter: str) -> Array:
        """Return the counter of each VM, also at the level of the host."""
        return np.asarray(self._vm[VM_INDEX[counter]])


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide; NaN where the denominator is zero or either is NaN."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


Formula = Callable[[Totals], Array]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name : str
        Its name in files and commands.
    units : str
        Its unit; "1" for counts and other pure numbers.
    long_name : str
        What it means, in a line.
    formula : callable
        Computes it from `Totals`.
    is_count : bool
        int64, missing values -1; otherwise float64, missing values NaN.
    levels : tuple of str
        Where it exists: "host", "vm".
    numerator, denominator : tuple of str
        Metrics; of a ratio, which is (sum of the numerator) / (sum of the denominator), in a replication as
        well as pooled over replications. Empty for a metric whose estimate is the mean over replications.
    trials : tuple of str
        Metrics whose totals bound the number of independent trials behind a probability; see
        `fastlhp.results.results.Results.summary`. Empty for what is no probability of rare events.
    largest : float
        No value can be above; intervals are cut there and at 0.
    vm_long_name : str
        What it means of a VM, if that is not the same of its part of the host.
    higher_is_better : bool
        Whether more of it is welcome; of most metrics less is.
    """

    name: str
    units: str
    long_name: str
    formula: Formula
    is_count: bool = False
    levels: tuple[Level, ...] = ("host", "vm")
    numerator: tuple[str, ...] = ()
    denominator: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()
    largest: float = float("inf")
    vm_long_name: str = ""
    higher_is_better: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""
        return np.dtype(np.int64 if self.is_count else np.float64)

    @property
    def estimate(self) -> str:
        """How replications are combined into one estimate, in words."""
        if not self.denominator:
            return "mean"
        return f"sum({' + '.join(self.numerator)}) / sum({' + '.join(self.denominator)})"


@dataclass(frozen=True)
class ConfigurationMetric:
    """One value per configuration, computed from a histogram pooled over VMs and replications.

    Attributes
    ----------
    name, units, long_name : str
        As of `Metric`.
    histogram : str
        Name of the histogram; empty for ``status``, ``replications`` and ``warmup_time``.
    quantile : float
        Which quantile; in (0, 1).
    """

    name: str
    units: str
    long_name: str
    histogram: str = ""
    quantile: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""
        return np.dtype(np.float64 if self.units == "s" else np.int64)


def missing_value(dtype: np.dtype[Any]) -> Any:
    """Return what stands for a missing value: -1 for counts, NaN for floats."""
    return -1 if dtype.kind == "i" else float("nan")


_ALL: tuple[Level, ...] = ("host", "vm")
_HOST: tuple[Level, ...] = ("host",)


def _count(name: str, long_name: str, levels: tuple[Level, ...] = _ALL, **more: Any) -> Metric:
    return Metric(name, "1", long_name, lambda c: c[name], is_count=True, levels=levels, **more)


def _time(name: str, counter: str, long_name: str, levels: tuple[Level, ...] = _ALL, **more: Any) -> Metric:
    return Metric(name, "s", long_name, lambda c: c[counter] / NS, levels=levels, **more)


def _ratio(
    name: str,
    units: str,
    long_name: str,
    formula: Formula,
    numerator: Sequence[str],
    denominator: Sequence[str],
    trials: Sequence[str] = (),
    **more: Any,
) -> Metric:
    return Metric(
        name,
        units,
        long_name,
        formula,
        numerator=tuple(numerator),
        denominator=tuple(denominator),
        trials=tuple(trials),
        **more,
    )


def _useful_ns(c: Totals) -> Array:
    return c["user_ns"] + c["kernel_ns"] + c["hold_ns"]


def _fairness(c: Totals) -> Array:
    """Jain's index (R. Jain et al., DEC-TR-301, 1984) of the VMs' running time per weight."""
    running = c.per_vm("user_ns") + c.per_vm("kernel_ns") + c.per_vm("hold_ns") + c.per_vm("spin_ns")
    share = np.where(np.isnan(c.weight), 0.0, running / c.weight)
    n_vms = np.count_nonzero(~np.isnan(c.weight), axis=2)
    return ratio(np.sum(share, axis=2) ** 2, n_vms * np.sum(share**2, axis=2))


_BUSY = ("user_time", "kernel_time", "hold_time", "spin_time", "switch_time", "exit_time")

_TABLE: tuple[Metric, ...] = (
    # Locks and preemption
    _count(
        "acquisitions", "Lock acquisitions, counted when the critical section begins", higher_is_better=True
    ),
    _count("contended_acquisitions", "Acquisitions that did not get the lock at their attempt"),
    _count(
        "lhp_events", "Lock-holder preemptions: a pCPU taken from a vCPU that holds a lock, against its will"
    ),
    _count("lhp_acquisitions", "Acquisitions that suffered at least one lock-holder preemption"),
    _count(
        "lwp_events",
        "Lock-waiter preemptions: a pCPU taken from a vCPU that waits for a lock, against its will",
    ),
    _count("lwp_grants", "Locks granted in FIFO order to a waiter that was off CPU"),
    _count("preemptions", "Preemptions: a pCPU taken from a vCPU against its will"),
    _ratio(
        "lhp_probability",
        "1",
        "Lock-holder preemption probability: share of acquisitions that suffered one or more",
        lambda c: ratio(c["lhp_acquisitions"], c["acquisitions"]),
        ["lhp_acquisitions"],
        ["acquisitions"],
        trials=["acquisitions", "preemptions"],
        largest=1.0,
    ),
    _ratio(
        "lhp_per_preemption",
        "1",
        "Share of preemptions that hit a lock holder",
        lambda c: ratio(c["lhp_events"], c["preemptions"]),
        ["lhp_events"],
        ["preemptions"],
        trials=["preemptions"],
        largest=1.0,
    ),
    # Spinning
    _time("spin_time", "spin_ns", "pCPU time spent spinning, a contended handover included"),
    Metric(
        "spin_contention",
        "s",
        "Part of spin_time while the holder of the lock runs",
        lambda c: (c["spin_ns"] - c["spin_lhp_ns"] - c["spin_lwp_ns"]) / NS,
    ),
    _time("spin_lhp", "spin_lhp_ns", "Part of spin_time while the holder of the lock is off CPU"),
    _time(
        "spin_lwp", "spin_lwp_ns", "Part of spin_time while the waiter that the lock is granted to is off CPU"
    ),
    Metric(
        "wasted_cycles",
        "cycles",
        "CPU cycles spent spinning: spin_time x frequency",
        lambda c: c["spin_ns"] / NS * c.frequency_hz,
    ),
    Metric(
        "wasted_fraction",
        "1",
        "Share of the host's pCPU time (pcpus x duration) spent spinning",
        lambda c: ratio(c["spin_ns"] / NS, c.capacity_s),
        largest=1.0,
        vm_long_name="Time the VM spent spinning per vCPU time (its vcpus x duration)",
    ),
    # Work done
    Metric(
        "throughput",
        "s-1",
        "Lock acquisitions per second of the measured window",
        lambda c: ratio(c["acquisitions"], c.duration_s),
        higher_is_better=True,
    ),
    _ratio(
        "efficiency",
        "1",
        "Share of the pCPU time in use (all but idle) that is user, kernel or hold time",
        lambda c: ratio(_useful_ns(c), _useful_ns(c) + c["spin_ns"] + c["switch_ns"] + c["exit_ns"]),
        ["user_time", "kernel_time", "hold_time"],
        _BUSY,
        largest=1.0,
        higher_is_better=True,
    ),
    # pCPU time, which sums to pcpus x duration
    _time("user_time", "user_ns", "pCPU time in user mode", higher_is_better=True),
    _time(
        "kernel_time",
        "kernel_ns",
        "pCPU time in kernel mode outside critical sections",
        higher_is_better=True,
    ),
    _time("hold_time", "hold_ns", "pCPU time in critical sections", higher_is_better=True),
    _time(
        "switch_time",
        "switch_ns",
        "pCPU time lost to context switches",
        vm_long_name="pCPU time lost to context switches, charged to the incoming vCPU's VM",
    ),
    _time(
        "exit_time",
        "exit_ns",
        "pCPU time lost to VM exits",
        vm_long_name="pCPU time lost to VM exits, charged to the leaving vCPU's VM",
    ),
    _time("idle_time", "idle_ns", "pCPU time in which nothing ran", levels=_HOST),
    # Lock waits and off-CPU holders
    _ratio(
        "wait_mean",
        "s",
        "Mean lock wait, from the attempt to the critical section, over all acquisitions (0 if uncontended)",
        lambda c: ratio(c["wait_ns"] / NS, c["acquisitions"]),
        ["wait_time"],
        ["acquisitions"],
    ),
    _ratio(
        "contended_wait_mean",
        "s",
        "Mean lock wait over contended acquisitions",
        lambda c: ratio(c["wait_ns"] / NS, c["contended_acquisitions"]),
        ["wait_time"],
        ["contended_acquisitions"],
    ),
    _time("wait_max", "wait_max_ns", "Longest lock wait"),
    _time("wait_time", "wait_ns", "Sum of all lock waits, in wall time"),
    _ratio(
        "holder_off_mean",
        "s",
        "Mean time that a preempted lock holder stayed off CPU",
        lambda c: ratio(c["holder_off_ns"] / NS, c["holder_off_spells"]),
        ["holder_off_time"],
        ["holder_off_spells"],
    ),
    _time("holder_off_max", "holder_off_max_ns", "Longest time that a preempted lock holder stayed off CPU"),
    _time("holder_off_time", "holder_off_ns", "Sum of the times that preempted lock holders stayed off CPU"),
    _count("holder_off_spells", "Off-CPU spells of preempted lock holders that ended in the window"),
    # vCPU time off CPU, and scheduling
    _time(
        "ready_time",
        "ready_ns",
        "vCPU time spent runnable but not running (steal), being switched in included",
    ),
    _time("costop_time", "costop_ns", "vCPU time spent co-stopped"),
    _time("halted_time", "halted_ns", "vCPU time spent halted, by the guest or waiting for a lock"),
    _time(
        "fragmentation",
        "fragmentation_ns",
        "CPU fragmentation: idle pCPU time while some vCPU was queued or co-stopped",
        levels=_HOST,
    ),
    _time(
        "priority_inversion",
        "priority_inversion_ns",
        "vCPU time spent queued or co-stopped while a lighter VM's vCPU occupied a pCPU that could be used",
        vm_long_name="vCPU time spent queued or co-stopped while a lighter VM occupied a pCPU it could use",
    ),
    Metric(
        "fairness",
        "1",
        "Jain's fairness index over VMs of running time (user, kernel, hold, spin) per weight",
        _fairness,
        levels=_HOST,
        largest=1.0,
        higher_is_better=True,
    ),
    # What the policy did
    _count("context_switches", "Context switches: a pCPU changed to another vCPU"),
    _count("yields", "Exits of spinners at their threshold that give up the pCPU or try to"),
    _count("guard_yields", "Yields by hypercall at the release that ended a guard's extension"),
    _count("informed_yields", "Yields before an attempt because the rest of the slice was too short"),
    _count("directed_yields_holder", "Directed yields whose target held a lock or was granted one"),
    _count("directed_yields_waiter", "Directed yields whose target waited for a lock"),
    _count("directed_yields_other", "Directed yields to another sibling"),
    _count("directed_yields_none", "Directed yields that found no target and acted as plain yields"),
    _count("halts", "Lock waiters that blocked"),
    _count("guest_halts", "HLT instructions of the guest"),
    _count("kicks", "Hypercalls that wake a blocked lock waiter"),
    _count("extensions", "Slice ends put off by a guard"),
    _count("extensions_expired", "Extensions that ran out: the vCPU was preempted all the same"),
    _count(
        "events", "Simulated events: ends of phases and context switches, the warm-up included", levels=_HOST
    ),
)

EARLY: tuple[str, ...] = ("acquisitions", "lhp_acquisitions", "spin_time")
"""Metrics of the host that are also kept of the first half of the window: those of `EARLY_COUNTERS`."""

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
"""Metrics with a value per replication, by name, in the order of the file."""


def _quantile(name: str, histogram: str, quantile: float, what: str) -> ConfigurationMetric:
    return ConfigurationMetric(name, "s", f"{100 * quantile:g} % quantile of {what}", histogram, quantile)


_WAITS = "contended lock waits, pooled over replications"
_SPELLS = "off-CPU spells of preempted lock holders, pooled over replications"

CONFIGURATION_METRICS: dict[str, ConfigurationMetric] = {
    metric.name: metric
    for metric in (
        ConfigurationMetric(
            "status",
            "1",
            "What became of the configuration: " + ", ".join(f"{s:d} {s.name.lower()}" for s in Status),
        ),
        ConfigurationMetric("replications", "1", "Replications of the configuration that were run"),
        ConfigurationMetric("warmup_time", "s", "Warm-up before the measured window"),
        _quantile("wait_q50", "wait", 0.5, _WAITS),
        _quantile("wait_q90", "wait", 0.9, _WAITS),
        _quantile("wait_q99", "wait", 0.99, _WAITS),
        _quantile("wait_q999", "wait", 0.999, _WAITS),
        _quantile("holder_off_q50", "holder_off", 0.5, _SPELLS),
        _quantile("holder_off_q99", "holder_off", 0.99, _SPELLS),
    )
}
"""Metrics with a value per configuration, by name."""


def histogram_quantile(counts: npt.ArrayLike, quantile: float) -> Array:
    """Estimate a quantile from a histogram.

    Parameters
    ----------
    counts : array_like of int, shape (..., N_BINS)
        Histograms; those that are empty or missing (-1) give NaN.
    quantile : float
        In [0, 1].

    Returns
    -------
    ndarray of float64, shape (...)
        In s. Inside a bin the logarithm is interpolated linearly, so an estimate is off by at most the width
        of a bin, 3 to 6 %.
    """
    counts = np.maximum(np.asarray(counts, dtype=np.int64), 0)
    edges = bin_edges_ns()
    below = np.cumsum(counts, axis=-1)
    total = below[..., -1]
    target = quantile * total
    # The first bin that reaches the target and is not empty (quantile 0 is reached by empty ones as well).
    reached = (below >= target[..., None]) & (counts > 0)
    index = np.argmax(reached, axis=-1)[..., None]
    inside = np.take_along_axis(counts, index, axis=-1)[..., 0]
    before = np.take_along_axis(below, index, axis=-1)[..., 0] - inside
    part = ratio(target - before, inside)
    low, high = edges[index[..., 0]], edges[index[..., 0] + 1]
    value = np.where(total > 0, low * (high / low) ** np.clip(part, 0.0, 1.0) / NS, np.nan)
    return np.asarray(value, dtype=np.float64)


class Block:
    """Neighbouring configurations, laid out so that each counter is contiguous.

    Parameters
    ----------
    context : Context
        Of the configurations of the block, also of those without a result.
    first : int
        Index of the first.
    results : iterable of ConfigurationResult
        Of any of them.
    n_replications, n_vms : int
        Replications, and VMs to pad to.

    Attributes
    ----------
    replications : ndarray of int64, shape (configuration,)
        How many each of them has; 0 without a result that did not fail. All others are missing values.
    """

    def __init__(
        self,
        context: Context,
        first: int,
        results: Iterable[ConfigurationResult],
        n_replications: int,
        n_vms: int,
    ) -> None:
        n = len(context)
        self.context, self.first = context, first
        self.replications = np.zeros(n, dtype=np.int64)
        self.histogram = np.full((n, len(HISTOGRAMS), N_BINS), -1, dtype=np.int64)
        vm = np.zeros((len(VM_COUNTERS), n, n_replications, n_vms), dtype=np.int64)
        host = np.zeros((len(HOST_INDEX), n, n_replications), dtype=np.int64)
        self._early = np.full((len(EARLY_COUNTERS), n, n_replications), -1, dtype=np.int64)
        n_own = np.count_nonzero(context.vcpus >= 0, axis=1)
        for result in results:
            i = result.index - first
            if result.status != Status.OK:
                continue
            vms, r = int(n_own[i]), min(len(result.host), n_replications)
            expected = ((r, vms, len(VM_COUNTERS)), (r, len(HOST_INDEX)))
            if (result.vm.shape, result.host.shape) != expected:
                raise ValueError(
                    f"counters of configuration {result.index} have shapes {result.vm.shape} and "
                    f"{result.host.shape}, expected {expected[0]} and {expected[1]}"
                )
            vm[:, i, :r, :vms] = result.vm.transpose(2, 0, 1)
            host[:, i, :r] = result.host.T
            self._early[:, i, : min(len(result.early), r)] = result.early[:r].T
            self.histogram[i] = result.histogram
            self.replications[i] = r
        self._totals: dict[Level, Totals] = {
            "host": Totals("host", context, vm, host),
            "vm": Totals("vm", context, vm, host),
        }

    def metric(self, metric: Metric, level: Level) -> Array:
        """Return a metric, shape (configuration, replication) or (configuration, replication, vm), padded."""
        values = np.asarray(metric.formula(self._totals[level]), dtype=metric.dtype)
        present = np.arange(values.shape[1]) < self.replications[:, None]
        if level == "vm":
            present = present[:, :, None] & (self.context.vcpus >= 0)[:, None, :]
        if present.all():
            return values
        return np.where(present, values, np.asarray(missing_value(metric.dtype), dtype=metric.dtype))

    def first_half(self, metric: Metric) -> Array:
        """Return a metric of `EARLY` in the first half of the window, shape (configuration, replication)."""
        values = self._early[EARLY.index(metric.name)]
        return values if metric.is_count else np.where(values < 0, np.nan, values / NS)

    def quantile(self, metric: ConfigurationMetric) -> Array:
        """Return a quantile, shape (configuration,)."""
        return histogram_quantile(self.histogram[:, HISTOGRAMS[metric.histogram]], metric.quantile)


def markdown_table() -> str:
    """Return the table of metrics as it stands in ``docs/results.md``."""
    lines = ["| metric | unit | per VM | estimate over replications | meaning |", "|---|---|---|---|---|"]
    for metric in METRICS.values():
        vm = "yes" if "vm" in metric.levels else "no"
        meaning = metric.long_name + (f". Of a VM: {metric.vm_long_name}" if metric.vm_long_name else "")
        lines.append(f"| `{metric.name}` | {metric.units} | {vm} | {metric.estimate} | {meaning} |")
    for single in CONFIGURATION_METRICS.values():
        lines.append(
            f"| `{single.name}` | {single.units} | no | one value per configuration | {single.long_name} |"
        )
    return "\n".join(lines) + "\n"
