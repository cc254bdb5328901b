"""Cases whose answer is a formula.

In each, theory is exact for the simulated model, so that the only allowance is the standard error of the simulation.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlhp.validation.checks import Case, Check, check

if TYPE_CHECKING:
    from fastlhp.results.results import Results

__all__ = ["ALLOWED", "TITLE", "cases", "repairman_throughput", "stacking_probability"]

TITLE = "closed forms"
ALLOWED = 0


def repairman_throughput(customers: int, think: float, service: float) -> float:
    """Throughput of the machine-repairman queue M/M/1//N, customers per unit of time.

    Parameters
    ----------
    customers : int
        Number of customers N; vCPUs that share a lock.
    think, service : float
        Mean times outside and inside the critical section.

    Notes
    -----
    See L. Kleinrock, *Queueing Systems*, vol. 1, section 3.8.

    Examples
    --------
    >>> round(repairman_throughput(2, 25.0, 5.0), 6)
    0.064865
    """
    load = service / think
    total = math.fsum(math.perm(customers, k) * load**k for k in range(customers + 1))
    return (1 - 1 / total) / service


def stacking_probability(pcpus: int, siblings: int) -> float:
    """Probability that siblings that are placed at random do not all have a pCPU of their own.

    Examples
    --------
    >>> stacking_probability(4, 2)
    0.25
    """
    return 1 - math.perm(pcpus, siblings) / float(pcpus) ** siblings


def _study(
    pcpus: int,
    vms: list[Mapping[str, Any]],
    scheduler: Mapping[str, Any],
    duration: str,
    replications: int,
    *,
    warmup: str = "0s",
    sweep: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a study without costs of switches and exits."""
    return {
        "study": {
            "name": "closed form",
            "seed": 7,
            "duration": duration,
            "warmup": warmup,
            "replications": replications,
        },
        "host": {"pcpus": pcpus, "frequency": "1GHz"},
        "policy": {"scheduler": scheduler},
        "vm": vms,
        "sweep": sweep or {},
    }


def _vm(vcpus: int, user: str, hold: str, *, name: str = "vm", count: int = 1) -> dict[str, Any]:
    """Return VMs with exponential times."""
    return {
        "name": name,
        "count": count,
        "vcpus": vcpus,
        "lock": {"kind": "ticket"},
        "user": {"exponential": user},
        "hold": {"exponential": hold},
    }


def _estimate(results: "Results", metric: str, configuration: int = 0) -> tuple[float, float]:
    summary = results.summary(metric)
    return float(summary.mean[configuration]), float(summary.standard_error[configuration])


def _ratio(numerator: Any, denominator: Any) -> tuple[float, float]:
    """Return the ratio of two sums over replications, and its standard error."""
    a, b = np.asarray(numerator, float), np.asarray(denominator, float)
    value = a.sum() / b.sum()
    return float(value), float((a - value * b).std(ddof=1) / math.sqrt(len(a)) / b.mean())


def _none(results: "Results", metrics: Iterable[str], configuration: int = 0) -> Iterator[Check]:
    """Check that something never happens."""
    for metric in metrics:
        yield check(metric, (float(results[metric][configuration].sum()), 0.0), (0.0, 0.0))


def cases(quick: bool) -> Iterator[Case]:
    """Yield the cases."""
    share = 8 if quick else 1
    yield _repairman(128 // share)
    yield _slice_ends(256 // share)
    yield _delay(192 // share)
    for vcpus in ((3, 2, 2), (4, 1)):
        yield _gang(vcpus, 32 // min(share, 4))
    for pcpus, siblings in ((4, 2), (4, 4), (8, 4), (16, 4)):
        yield _stacking(pcpus, siblings, 4_000 // share)


def _repairman(replications: int) -> Case:
    vcpus, user_us, hold_us = 8, 10.0, 1.0
    kinds = ["test_and_set", "ticket", "queue"]

    def judge(results: "Results") -> Iterator[Check]:
        theory = repairman_throughput(vcpus, user_us * 1e-6, hold_us * 1e-6)
        for i, kind in enumerate(kinds):
            yield check(f"throughput with {kind} [1/s]", _estimate(results, "throughput", i), (theory, 0.0))
            yield from _none(results, ["lhp_events", "lwp_events", "preemptions"], i)

    study = _study(
        vcpus,
        [_vm(vcpus, f"{user_us}us", f"{hold_us}us")],
        {"kind": "round_robin", "slice": "50us", "placement": "aligned"},
        "8ms",
        replications,
        warmup="500us",
        sweep={"vm.vm.lock.kind": kinds},
    )
    return Case(f"no overcommitment: machine repairman with {vcpus} vCPUs", judge, [study])


def _slice_ends(replications: int) -> Case:
    user_us, hold_us, slice_us = 10.0, 10.0, 100.0

    def judge(results: "Results") -> Iterator[Check]:
        for quantity, metric, theory in (
            ("LHP per acquisition: hold / slice", "lhp_probability", hold_us / slice_us),
            ("LHP per preemption: hold / cycle", "lhp_per_preemption", hold_us / (user_us + hold_us)),
        ):
            yield check(quantity, _estimate(results, metric), (theory, 0.0))

    study = _study(
        1,
        [_vm(1, f"{user_us}us", f"{hold_us}us", count=2)],
        {"kind": "round_robin", "slice": f"{slice_us}us"},
        "150ms",
        replications,
        warmup="1ms",
    )
    return Case("fixed slice, lock without contention", judge, [study])


def _delay(replications: int) -> Case:
    user_us, hold_us = 2.0, 10.0
    caps = [0.5, 1.0, 2.0]

    def judge(results: "Results") -> Iterator[Check]:
        for i, cap in enumerate(caps):
            # Every slice end, after whatever extension, changes to the other vCPU.
            found = _ratio(results["lhp_events"][i], results["context_switches"][i])
            theory = hold_us / (user_us + hold_us) * math.exp(-cap)
            yield check(f"LHP per switch, cap of {cap:g} mean holds", found, (theory, 0.0))

    study = _study(
        1,
        [_vm(1, f"{user_us}us", f"{hold_us}us", count=2)],
        # Long enough for the guest to forget where its slice began.
        {"kind": "round_robin", "slice": "30us"},
        "200ms",
        replications,
        sweep={
            "policy.guard": [{"kind": "delay", "cap": f"{cap * hold_us}us", "repay": False} for cap in caps]
        },
    )
    return Case("delayed preemption leaves exp(-cap / hold)", judge, [study])


def _gang(vcpus: tuple[int, ...], replications: int) -> Case:
    pcpus, slots = 4, 2

    def judge(results: "Results") -> Iterator[Check]:
        yield from _none(results, ["spin_lhp", "spin_lwp"])
        yield Check(
            "lhp_events, at least one", float(results["lhp_events"].sum()), 0.0, math.nan, 0.0, 1.0, math.inf
        )
        idle = 1 - sum(vcpus) / (slots * pcpus)
        found = float(results["idle_time"].sum()) / (replications * pcpus * 0.0024)
        yield check("idle fraction", (found, 0.0), (idle, 0.0), absolute=1e-12)

    study = _study(
        pcpus,
        [_vm(n, "3us", "2us", name=f"vm{i}") for i, n in enumerate(vcpus)],
        {"kind": "gang", "slice": "40us", "fill": False},
        # Whole turns of the matrix, so that the idle fraction is exact for any phase.
        "2400us",
        replications,
    )
    return Case(f"gang, VMs of {', '.join(map(str, vcpus))} vCPUs on {pcpus} pCPUs", judge, [study])


def _stacking(pcpus: int, siblings: int, replications: int) -> Case:
    placements = ["random", "balance"]

    def judge(results: "Results") -> Iterator[Check]:
        # A vCPU that has to share its pCPU is ready, not running, from the start on.
        stacked = np.asarray(results["ready_time"]) > 0
        theory = stacking_probability(pcpus, siblings)
        error = math.sqrt(theory * (1 - theory) / replications)
        yield check("stacked, placement random", (float(stacked[0].mean()), error), (theory, 0.0))
        yield check("stacked, placement balance", (float(stacked[1].mean()), 0.0), (0.0, 0.0))

    study = _study(
        pcpus,
        [_vm(siblings, "1ms", "1ms")],
        {"kind": "round_robin", "slice": "1ms"},
        "1us",
        replications,
        sweep={"policy.scheduler.placement": placements},
    )
    return Case(f"{siblings} siblings on {pcpus} pCPUs", judge, [study])
