"""Cases whose answer is known as a formula.

Every statistical check compares an estimate with its theory by `assert_agrees`. All of them together fail by chance
with a probability of at most `FAMILY_ERROR`: each may use that divided by `N_CHECKS` (Bonferroni). The relative standard
error must be at most 0.3 %, so agreement means something, and the same check must reject a theory that is 5 % off.
Seeds are fixed: the probability is that of meeting a failure once when the engine's draws change, not at each run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.model.study import load
from fastlhp.results.counters import HOST_INDEX, VM_INDEX

FAMILY_ERROR = 0.01
N_CHECKS = 20
"""At least the number of statistical checks in this file."""
LARGEST_RELATIVE_ERROR = 0.003
WRONG = 1.05

LIMIT = float(stats.norm.isf(FAMILY_ERROR / N_CHECKS / 2))


def agrees(estimate: float, error: float, theory: float) -> bool:
    """Whether an estimate with this standard error is compatible with the theory."""
    return abs(estimate - theory) <= LIMIT * error


def assert_agrees(estimate: float, error: float, theory: float) -> None:
    """The estimate is precise, agrees with the theory, and with none that is 5 % off."""
    assert error <= LARGEST_RELATIVE_ERROR * theory
    assert agrees(estimate, error, theory), f"{estimate} +- {error}, theory {theory}"
    assert not agrees(estimate, error, theory * WRONG)
    assert not agrees(estimate, error, theory / WRONG)


def ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> tuple[float, float]:
    """Ratio of the sums over replications, and its standard error from their independence."""
    value = numerator.sum() / denominator.sum()
    rest = numerator - value * denominator
    return float(value), float(rest.std(ddof=1) / math.sqrt(rest.size) / denominator.mean())


def exponential(mean_ns: float) -> dict[str, str]:
    return {"exponential": f"{mean_ns}ns"}


def vm(
    vcpus: int,
    user: Any,
    hold: Any,
    *,
    name: str = "vm",
    count: int = 1,
    lock: str = "ticket",
    **of_lock: str,
) -> Any:
    return {
        "name": name,
        "count": count,
        "vcpus": vcpus,
        "lock": {"kind": lock, **of_lock},
        "user": user,
        "hold": hold,
    }


class Outcome:
    """Counters of a study without switching and exit costs, one number for each replication."""

    def __init__(
        self,
        pcpus: int,
        vms: list[Any],
        scheduler: dict[str, Any],
        duration_us: float,
        replications: int,
        guard: dict[str, Any] | None = None,
        warmup_us: float = 0,
    ) -> None:
        study = load(
            {
                "study": {
                    "name": "closed form",
                    "seed": 20,
                    "duration": f"{duration_us}us",
                    "warmup": f"{warmup_us}us",
                    "replications": replications,
                },
                "host": {"pcpus": pcpus, "frequency": "1GHz", "context_switch": "0ns", "vm_exit": "0ns"},
                "policy": {
                    "scheduler": scheduler,
                    "guard": guard or {"kind": "none"},
                    "response": {"kind": "none"},
                },
                "vm": vms,
            }
        )
        self.pcpu_ns = pcpus * study.duration_ns
        self._vm, self._host, _ = block.simulate(
            Encoded(study.configurations[0]), study.seed, range(replications)
        )

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        if name in HOST_INDEX:
            return self._host[:, HOST_INDEX[name]]
        return self._vm[:, :, VM_INDEX[name]].sum(axis=1)


def test_checks_reject_what_is_wrong() -> None:
    """A theory 5 % off is rejected by the same check, at the largest error that it admits."""
    error = LARGEST_RELATIVE_ERROR
    assert_agrees(1.0, error, 1.0)
    assert_agrees(1.0 + 3 * error, error, 1.0)
    for theory in (WRONG, 1 / WRONG, 1.02):
        with pytest.raises(AssertionError):
            assert_agrees(1.0, error, theory)
    with pytest.raises(AssertionError):
        assert_agrees(1.0, 2 * error, 1.0)


def repairman(n: int, think: float, service: float) -> float:
    """Throughput of the queue M/M/1//n."""
    weights = [math.factorial(n) / math.factorial(n - k) * (service / think) ** k for k in range(n + 1)]
    return (1 - weights[0] / sum(weights)) / service


@pytest.mark.parametrize("lock", ["test_and_set", "ticket", "queue"])
def test_machine_repairman(lock: str) -> None:
    """Without overcommitment: no LHP at all, and the throughput of the machine-repairman queue."""
    theory = repairman(8, 10.0, 1.0)
    assert theory == pytest.approx(0.661681567, abs=5e-10)
    guests = [vm(8, exponential(10_000), exponential(1_000), lock=lock)]
    scheduler = {"kind": "round_robin", "slice": "50us", "placement": "aligned"}
    outcome = Outcome(8, guests, scheduler, duration_us=8_000, replications=128, warmup_us=500)
    for name in ("lhp_events", "lhp_acquisitions", "lwp_events", "lwp_grants", "preemptions", "spin_lhp_ns"):
        assert (outcome[name] == 0).all(), name
    assert_agrees(*ratio(outcome["acquisitions"], np.full(128, 8_000)), theory)


def test_lhp_probability() -> None:
    """Uncontended with a fixed slice Q >> hold: an acquisition meets a slice end with probability E[hold]/Q."""
    user, hold, slice_ = 10_000, 10_000, 100_000
    guests = [vm(1, exponential(user), exponential(hold), count=2)]
    scheduler = {"kind": "round_robin", "slice": f"{slice_}ns"}
    outcome = Outcome(1, guests, scheduler, duration_us=150_000, replications=256, warmup_us=1_000)
    assert (outcome["contended_acquisitions"] == 0).all()
    assert_agrees(*ratio(outcome["lhp_acquisitions"], outcome["acquisitions"]), hold / slice_)
    assert_agrees(*ratio(outcome["lhp_events"], outcome["preemptions"]), hold / (user + hold))


@pytest.mark.parametrize(
    ("kind", "caps"),
    [("delay", 0.0), ("delay", 0.5), ("delay", 1.0), ("delay", 2.0), ("monitor", 1.0), ("driver", 1.0)],
)
def test_guards_leave_exponential_share(kind: str, caps: float) -> None:
    """A cap of d leaves exp(-d/h) of the LHP events of a slice end; h is the mean hold time.

    Without contention and kernel phases that is true of every guard that waits for the release.
    """
    user, hold = 2_000, 10_000
    guests = [vm(1, exponential(user), exponential(hold), count=2)]
    guard = {"kind": kind, "cap": f"{caps * hold:.0f}ns"} if caps else None
    # Long enough for the guest to forget where its slice began: exp(-30/2 - 30/10) of that is left.
    scheduler = {"kind": "round_robin", "slice": "30us"}
    outcome = Outcome(1, guests, scheduler, duration_us=200_000, replications=192, guard=guard)
    # Every slice end, after whatever extension, changes to the other vCPU.
    theory = hold / (user + hold) * math.exp(-caps)
    assert_agrees(*ratio(outcome["lhp_events"], outcome["context_switches"]), theory)


@pytest.mark.parametrize(
    ("vcpus", "slots", "filled"), [((3, 2, 2), 2, 7), ((3, 3, 2), 3, 8), ((4, 1), 2, 5), ((3, 2, 1), 2, 6)]
)
def test_strict_gang(vcpus: tuple[int, ...], slots: int, filled: int) -> None:
    """No sibling spins on a holder that is off CPU, LHP or not; the matrix's holes are idle, to the ns."""
    guests = [vm(n, exponential(3_000), exponential(2_000), name=f"vm{i}") for i, n in enumerate(vcpus)]
    scheduler = {"kind": "gang", "slice": "40us", "fill": False}
    # Whole turns of the matrix, so that the idle fraction is exact for any phase.
    outcome = Outcome(4, guests, scheduler, duration_us=40 * slots * 30, replications=32)
    assert (outcome["lhp_events"] > 0).all()
    assert (outcome["lwp_events"].sum() > 0) and (outcome["contended_acquisitions"] > 0).all()
    assert (outcome["spin_lhp_ns"] == 0).all()
    assert (outcome["spin_lwp_ns"] == 0).all()
    assert (outcome["idle_ns"] * 4 * slots == outcome.pcpu_ns * (4 * slots - filled)).all()


def stacked(pcpus: int, vcpus: int, placement: str, replications: int) -> NDArray[np.int64]:
    """Whether in a replication two siblings share a pCPU: then one of them waits for it at once."""
    guests = [vm(vcpus, "1ms", "1ms")]
    scheduler = {"kind": "round_robin", "slice": "1ms", "placement": placement}
    outcome = Outcome(pcpus, guests, scheduler, duration_us=1, replications=replications)
    return (outcome["ready_ns"] > 0).astype(np.int64)


@pytest.mark.parametrize(("pcpus", "vcpus"), [(4, 3), (4, 4), (8, 4)])
def test_random_placement_stacks_siblings(pcpus: int, vcpus: int) -> None:
    """k siblings on P pCPUs: 1 - P!/((P-k)! P^k), the birthday problem."""
    replications = 90_000
    theory = 1 - math.perm(pcpus, vcpus) / pcpus**vcpus
    found = stacked(pcpus, vcpus, "random", replications)
    assert_agrees(*ratio(found, np.ones(replications, np.int64)), theory)


@pytest.mark.parametrize("placement", ["balance", "spread", "aligned"])
def test_other_placements_stack_none(placement: str) -> None:
    """Never with any other placement, as long as there are pCPUs enough."""
    assert stacked(8, 8, placement, 500).sum() == 0


@pytest.mark.parametrize("vcpus", [1, 4])
def test_informed_lock(vcpus: int) -> None:
    """Without contention nobody is preempted while HOLDING if the reserve covers it; with contention hardly anybody."""
    uniform = {"uniform": ["1us", "5us"]}
    outcomes = []
    for of_lock in ({"lock": "ticket"}, {"lock": "informed", "reserve": "5us"}):
        vms = [vm(vcpus, exponential(8000 * vcpus), uniform, count=2, **of_lock)]
        outcomes.append(Outcome(vcpus, vms, {"kind": "round_robin", "slice": "100us"}, 10_000, 64))
    ticket, informed = outcomes
    assert ticket["lhp_events"].sum() > 1000
    assert informed["informed_yields"].sum() > 1000
    if vcpus == 1:
        assert informed["lhp_events"].sum() == 0
    else:
        assert 0 < informed["lhp_events"].sum() < ticket["lhp_events"].sum() / 2
