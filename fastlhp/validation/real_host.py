"""Measurements on a real host: 30 configurations of threads, cores and spinlocks under Linux.

The data and how they were measured: ``data/real_host/README.md``. Nothing is fitted: times and costs of the studies are
those that are stated there.

Under ticket locks that only spin, the *phase* decides: for how long both cores run the same VM, which for fixed slices
depends on the initial order of the run queues and on the offset between the slice ends alone. With 40 epochs a
configuration the phases that happened to be measured are not what a simulation draws. So replications are sorted by
phase and weighted as the phases occur among the measured epochs (post-stratification).
"""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.data_files import data_path
from fastlhp.policies import kinds
from fastlhp.validation.checks import Case, Check, check, not_compared

if TYPE_CHECKING:
    from fastlhp.results.results import Results

__all__ = ["ALLOWED", "TITLE", "Measured", "cases", "measurements"]

TITLE = "measurements on a real host"
ALLOWED = 3

TICK_MS = 4
CORES = 2
EPOCH = "450ms"
SWITCH, YIELD, KICK, IDLE_WAKEUP = "700ns", "400ns", "2500ns", "23us"
"""Measured: a yield without switch, what a switch adds, waking a sleeper, and how long one on an idle core takes."""

SAME_SHARE = 0.10
SAME_LHP = 0.15
INTERRUPTS = 0.006
"""Share of the time that ticks take; no share of time can be predicted better by a model without them."""

_LOCKS = {"ticket": "ticket", "tas": "test_and_set"}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One configuration of the measurements.

    Attributes
    ----------
    number : int
        Its number in the data.
    row : mapping
        What is the same for all of its epochs.
    columns : mapping of str to ndarray, shape (epoch,)
        What was measured.
    """

    number: int
    row: Mapping[str, str]
    columns: Mapping[str, Floats]

    @property
    def ticks(self) -> int:
        """Length of a slice in ticks; 0 under the fair scheduler."""
        return int(self.row["slice_ms"]) // TICK_MS

    @property
    def vms(self) -> int:
        """Number of VMs."""
        return int(self.row["vms"])

    @property
    def vcpus(self) -> int:
        """Threads of a VM."""
        return int(self.row["vcpus_per_vm"])

    @property
    def queue(self) -> int:
        """Threads on each core."""
        return self.vms * self.vcpus // CORES

    @property
    def is_overcommitted(self) -> bool:
        """Whether threads share a core."""
        return self.queue > 1

    @property
    def by_phase(self) -> bool:
        """Whether the phase stays for the whole epoch and decides."""
        return self.row["sched"] == "RR" and self.row["policy"] == "spin" and self.row["lock"] == "ticket"

    @property
    def name(self) -> str:
        """The configuration in a few words."""
        row = self.row
        scheduler = f"{row['slice_ms']} ms" if row["sched"] == "RR" else "fair"
        return (
            f"{self.number}: {row['lock']} {row['policy']}, {scheduler}, {self.vms} x {self.vcpus} threads, "
            f"hold {row['hold_mean_us']} us, think {row['think_mean_us']} us"
        )


def measurements() -> list[Measured]:
    """Return the configurations in the order of their numbers."""
    epochs: dict[int, list[dict[str, str]]] = {}
    with data_path("real_host", "epochs.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            epochs.setdefault(int(row["config"]), []).append(row)
    measured = ("wall_s", "acq", "spin_frac", "think_frac", "hold_frac", "lhp", "corun_frac")
    return [
        Measured(number, rows[0], {name: np.array([float(row[name]) for row in rows]) for name in measured})
        for number, rows in sorted(epochs.items())
    ]


def cases(quick: bool) -> Iterator[Case]:
    """Yield one case for each configuration."""
    for measured in measurements():
        if measured.row["sched"] != "RR" and "fair" not in kinds("scheduler"):
            reason = "there is no scheduler `fair`"
            yield Case(measured.name, _explain(reason))
            continue
        # Where waiters only spin, replications differ by their phases: the more of them, the better.
        replications = (24 if quick else 192) * (3 if measured.row["policy"] == "spin" else 1)
        yield Case(measured.name, _judge(measured), [_study(measured, replications)])


def _explain(reason: str) -> Callable[[], Iterable[Check]]:
    return lambda: [not_compared("all", reason)]


def _study(measured: Measured, replications: int) -> dict[str, Any]:
    """Return the study that repeats a configuration's epochs."""
    row = measured.row
    threshold = f"{row['spin_before_us']}us"
    response = {
        "spin": {"kind": "none"},
        "yield": {"kind": "yield", "spin_threshold": threshold},
        "futex": {"kind": "halt", "spin_threshold": threshold, "wakeup": IDLE_WAKEUP},
    }[row["policy"]]
    scheduler: dict[str, Any]
    if row["sched"] == "RR":
        scheduler = {
            "kind": "round_robin",
            "slice": f"{row['slice_ms']}ms",
            "placement": "aligned",
            "slice_after_yield": "rest",
        }
        sweep = {"policy.scheduler.phase": _phases(measured.ticks)}
    else:
        # Base slice of EEVDF on two CPUs: 0.7 ms * (1 + log2(2)); it is looked at at a tick only. EEVDF has no
        # wake-up granularity: a sleeper that has waited for its share preempts.
        scheduler = {
            "kind": "fair",
            "latency": "2.8ms",
            "granularity": "1.4ms",
            "wakeup_granularity": "0ns",
            "tick": f"{TICK_MS}ms",
        }
        sweep = {}
    return {
        "study": {
            "name": f"real host {measured.number}",
            "seed": measured.number,
            "duration": EPOCH,
            "replications": replications,
        },
        "host": {
            "pcpus": CORES,
            "frequency": "1GHz",
            "context_switch": SWITCH,
            "vm_exit": KICK if row["policy"] == "futex" else YIELD,
        },
        "policy": {"scheduler": scheduler, "response": response},
        "vm": [
            {
                "name": "vm",
                "count": measured.vms,
                "vcpus": measured.vcpus,
                "lock": {"kind": _LOCKS[row["lock"]]},
                "user": {"exponential": f"{row['think_mean_us']}us"},
                "hold": {"exponential": f"{row['hold_mean_us']}us"},
            }
        ],
        "sweep": sweep,
    }


def _phases(ticks: int) -> list[list[float]]:
    """Return the ends of the two cores' first slices, as fractions of a slice: whole ticks apart.

    An epoch begins anywhere between two ticks; on average in the middle.
    """
    first = 2 * ticks - 1
    return [[first / (2 * ticks), (first + 2 * k) % (2 * ticks) / (2 * ticks)] for k in range(ticks)]


def _phase_of_epochs(measured: Measured, ticks_of_turn: int) -> npt.NDArray[np.int64]:
    """Return the phase of each measured epoch: for how many ticks of a turn both cores run the same VM."""
    return np.rint(measured.columns["corun_frac"] * ticks_of_turn).astype(np.int64)


def _phase_of_replications(measured: Measured, n: int) -> npt.NDArray[np.int64]:
    """Return the same for each replication of each configuration of the study, flat.

    The turn of a core, once through its run queue, is known from its initial order and its first slice end.
    """
    ticks = measured.ticks
    turn = measured.queue * ticks
    starts = [[round(fraction * ticks - 0.5) for fraction in phase] for phase in _phases(ticks)]
    phases = np.empty((len(starts), n), np.int64)
    for replication in range(n):
        # The VM of each tick of a turn, first slices whole.
        turns = [np.repeat(queue, ticks) for queue in _run_queues(measured, replication)]
        for k, ends in enumerate(starts):
            # The first slice lacks what its end is early by.
            running = [np.roll(of_core, end - (ticks - 1)) for of_core, end in zip(turns, ends, strict=True)]
            phases[k, replication] = np.count_nonzero(running[0] == running[1])
    assert phases.max(initial=0) <= turn
    return phases.ravel()


def _run_queues(measured: Measured, replication: int) -> list[list[int]]:
    """Return the VMs in the initial run queue of each core."""
    from fastlhp.engine.queues import shuffle
    from fastlhp.engine.state import HOST_OWNER, ORDER

    host = SimpleNamespace(replication=replication, seed_low=measured.number, seed_high=0)
    queues = []
    for core in range(CORES):
        queue = [
            vm for vm in range(measured.vms) for thread in range(measured.vcpus) if thread % CORES == core
        ]
        shuffle(host, queue, len(queue), ORDER, HOST_OWNER, core)
        queues.append(queue)
    return queues


def _judge(measured: Measured) -> Callable[["Results"], Iterator[Check]]:
    def judge(results: "Results") -> Iterator[Check]:
        def of(metric: str) -> Floats:
            return np.asarray(results[metric], np.float64).ravel()

        columns = measured.columns
        if measured.by_phase:
            found = _phase_of_replications(measured, results.n_replications)
            phase = _phase_of_epochs(measured, measured.queue * measured.ticks)
            # A phase that was measured but not simulated counts as the nearest that was.
            known = np.unique(found)
            phase = known[np.abs(phase[:, None] - known).argmin(axis=1)]
        else:
            found, phase = (
                np.zeros(of("acquisitions").shape, np.int64),
                np.zeros(columns["acq"].shape, np.int64),
            )
        shares = {int(k): float(np.mean(phase == k)) for k in np.unique(phase)}

        seconds = np.full(found.shape, results.context.duration_s[0])
        running = of("spin_time") + of("user_time") + of("hold_time")
        measured_running = columns["spin_frac"] + columns["think_frac"] + columns["hold_frac"]
        yield check(
            "throughput [1/s]",
            weighted_ratio(of("acquisitions"), seconds, found, shares),
            pooled_ratio(columns["acq"], columns["wall_s"], phase),
            relative=SAME_SHARE,
            cause=_cause(measured, "throughput"),
        )
        yield check(
            "spinning share of running time",
            weighted_ratio(of("spin_time"), running, found, shares),
            pooled_ratio(columns["spin_frac"], measured_running, phase),
            relative=SAME_SHARE,
            absolute=INTERRUPTS,
            cause=_cause(measured, "spin"),
        )
        if measured.is_overcommitted:
            value, error = pooled_ratio(columns["lhp"], columns["acq"], phase)
            poisson = math.sqrt(columns["lhp"].sum()) / columns["acq"].sum()
            yield check(
                "LHP per acquisition",
                weighted_ratio(of("lhp_acquisitions"), of("acquisitions"), found, shares),
                (value, max(error, poisson)),
                relative=SAME_LHP,
                cause=_cause(measured, "lhp"),
            )

    return judge


def weighted_ratio(
    numerator: Floats, denominator: Floats, stratum: npt.NDArray[np.int64], shares: Mapping[int, float]
) -> tuple[float, float]:
    """Return the ratio of two means over replications, and its standard error.

    Parameters
    ----------
    numerator, denominator : ndarray, shape (replication,)
        Of each replication.
    stratum : ndarray of int, shape (replication,)
        Which stratum a replication belongs to.
    shares : mapping of int to float
        Weight of each stratum; they sum to 1.
    """
    means = {k: (numerator[stratum == k].mean(), denominator[stratum == k].mean()) for k in shares}
    top = math.fsum(share * means[k][0] for k, share in shares.items())
    bottom = math.fsum(share * means[k][1] for k, share in shares.items())
    ratio = top / bottom
    rest = numerator - ratio * denominator
    variance = 0.0
    for k, share in shares.items():
        inside = rest[stratum == k]
        # One replication says nothing about its stratum's variance: take that of all.
        spread = inside.var(ddof=1) if len(inside) > 1 else rest.var(ddof=1)
        variance += share**2 * float(spread) / len(inside)
    return ratio, math.sqrt(variance) / bottom


def pooled_ratio(
    numerator: Floats, denominator: Floats, stratum: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Return the ratio of two sums over epochs, and its standard error at fixed numbers in the strata."""
    ratio = float(numerator.sum() / denominator.sum())
    rest = numerator - ratio * denominator
    strata = np.unique(stratum)
    squares = math.fsum(
        float(((part := rest[stratum == k]) - part.mean()) @ (part - part.mean())) for k in strata
    )
    n = len(rest)
    variance = squares / max(n - len(strata), 1) / n
    return ratio, math.sqrt(variance) / float(denominator.mean())


def _cause(measured: Measured, quantity: str) -> str:
    """Return the likely cause of a miss."""
    row = measured.row
    if row["sched"] != "RR":
        return "two equal vCPUs alternate strictly under `fair`, so the phase stays; under EEVDF it drifts"
    if row["policy"] == "futex" and quantity == "lhp":
        return (
            "ticks, which reach both cores at the same moment: at the end of a slice the other thread of the core "
            "often still sleeps, until the thread that the same tick brings back elsewhere wakes it; so nobody is "
            "preempted there"
        )
    if row["policy"] == "futex":
        return "costs: a wake-up costs more, and takes longer, if the core is idle"
    if row["policy"] == "yield":
        return "costs of a yield, and ticks that charge a whole tick to the thread that they meet"
    return "interrupts and ticks, which also end spins and holds; few epochs of each phase"
