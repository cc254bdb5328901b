"""The exact solver: small cases worked out by hand, its symmetry, its errors, and its command."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from exact_cases import CASES, exponential, study, vm

import fastlhp
from fastlhp.cli.main import main
from fastlhp.errors import StudyError
from fastlhp.exact import chain
from fastlhp.exact.machine import Global, Machine, Pinned

US = 1e-6
USER, HOLD, SLICE, DURATION = 40 * US, 15 * US, 60 * US, 20e-3


def solve(*arguments: Any, **more: Any) -> fastlhp.ExactResults:
    return fastlhp.exact(study(*arguments, **more))


def rate(results: fastlhp.ExactResults, metric: str) -> float:
    """A count per second, or a share of the time."""
    return float(results[metric][0]) / DURATION


@pytest.mark.parametrize("lock", ["test_and_set", "ticket", "queue"])
def test_machine_repairman(lock: str) -> None:
    """Without overcommitment the lock is the queue M/M/1//8."""
    guests = [vm(8, lock, user=exponential("10us"), hold=exponential("1us"))]
    results = solve(8, guests, {"kind": "round_robin", "placement": "aligned"})
    assert results["throughput"][0] == pytest.approx(661_681.567, abs=5e-4)
    # Only how many wait counts, since pCPUs are alike.
    assert results.states.tolist() == [9]
    for metric in ("lhp_events", "lwp_events", "preemptions", "spin_lhp", "ready_time", "idle_time"):
        assert results[metric][0] == 0
    # Little's law, and all the time is in use.
    assert rate(results, "wait_time") == pytest.approx(results["throughput"][0] * results["wait_mean"][0])
    used = sum(rate(results, f"{name}_time") for name in ("user", "spin", "hold"))
    assert used == pytest.approx(8)


def test_one_vcpu_alone() -> None:
    """Two states: USER and HOLDING. A lone slice ends in nothing."""
    results = solve(1, [vm(1)])
    assert results.states.tolist() == [2]
    assert results["throughput"][0] == pytest.approx(1 / (USER + HOLD))
    assert rate(results, "hold_time") == pytest.approx(HOLD / (USER + HOLD))
    assert results["preemptions"][0] == results["context_switches"][0] == 0
    assert np.isnan(results["lhp_per_preemption"][0])


@pytest.mark.parametrize("scheduler", ["round_robin", "global"])
def test_two_siblings_with_pcpus_of_their_own(scheduler: str) -> None:
    """Three states: both in USER, one HOLDING, and one HOLDING while the other waits."""
    results = solve(2, [vm(2)], {"kind": scheduler})
    assert results.states.tolist() == [3]
    ratio = HOLD / USER
    weights = np.array([1, 2 * ratio, 2 * ratio**2])
    p = weights / weights.sum()
    assert results["throughput"][0] == pytest.approx((p[1] + p[2]) / HOLD)
    assert rate(results, "spin_contention") == rate(results, "wait_time") == pytest.approx(p[2])
    assert rate(results, "contended_acquisitions") == pytest.approx(p[2] / HOLD)


def test_one_vcpu_that_halts() -> None:
    """Each cycle is followed by HLT with probability 0.3; the pCPU idles, and changes to no other vCPU."""
    results = solve(1, [vm(1, halt={"probability": 0.3, "time": exponential("50us")})])
    cycle = USER + HOLD + 0.3 * 50 * US
    assert results["throughput"][0] == pytest.approx(1 / cycle)
    assert rate(results, "guest_halts") == pytest.approx(0.3 / cycle)
    assert rate(results, "halted_time") == pytest.approx(0.3 * 50 * US / cycle)
    assert rate(results, "idle_time") == pytest.approx(0.3 * 50 * US / cycle)
    assert results["context_switches"][0] == results["fragmentation"][0] == 0


@pytest.mark.parametrize("cap", [None, 20 * US])
def test_two_vms_take_turns(cap: float | None) -> None:
    """Two uncontended vCPUs on one pCPU: the one that runs does not see the other, only the ends of its slices."""
    guard = {"kind": "none"} if cap is None else {"kind": "delay", "cap": exponential("20us")}
    results = solve(1, [vm(1), vm(1)], None, guard)
    # Of the one that runs: USER, HOLDING, or HOLDING in an extension, and in each whether it was hit. Extended
    # time is left by the release (1/h) or the cap (1/d).
    holding = HOLD / (USER + HOLD)
    if cap is None:
        assert rate(results, "preemptions") == pytest.approx(1 / SLICE)
        assert rate(results, "lhp_events") == pytest.approx(holding / SLICE)
        assert results["lhp_probability"][0] == pytest.approx(HOLD / (HOLD + SLICE))
        assert rate(results, "holder_off_time") == pytest.approx(holding)
        assert rate(results, "throughput") == pytest.approx(1 / (USER + HOLD) / DURATION)
    else:
        # At an extension's end the other goes on where it was: the vCPU's own clock stands still.
        expires = HOLD / (HOLD + cap)
        assert results["extensions_expired"][0] == pytest.approx(results["extensions"][0] * expires)
        assert results["guard_yields"][0] == pytest.approx(results["extensions"][0] * (1 - expires))
        assert results["extensions_expired"][0] == pytest.approx(results["lhp_events"][0])
    assert rate(results, "ready_time") == pytest.approx(1)
    np.testing.assert_allclose(results.vm("throughput")[0], results["throughput"][0] / 2)


def test_gang_takes_turns() -> None:
    """Three of four pCPUs in one slot, two in the other: holes idle, and nobody spins on a preempted holder."""
    results = solve(4, [vm(3), vm(2)], {"kind": "gang"})
    assert rate(results, "idle_time") == pytest.approx((1 + 2) / 2)
    assert rate(results, "preemptions") == pytest.approx((3 + 2) / 2 / SLICE)
    # Columns 0 and 1 change at each slot end; column 2 comes back to the same vCPU.
    assert rate(results, "context_switches") == pytest.approx(2 / SLICE)
    assert results["spin_lhp"][0] == results["spin_lwp"][0] == 0 < results["lhp_events"][0]


def test_average_over_orders() -> None:
    """Three vCPUs on a pCPU have two cyclic orders, which last for ever; "random" is the average of both.

    Who comes after a VM matters only if slices depend on what the guests do, so there is a guard.
    """
    first, second, third = vm(2, hold=exponential("30us")), vm(2), vm(1)

    def solved(order: str, *guests: Any) -> fastlhp.ExactResults:
        scheduler = {"kind": "round_robin", "placement": "aligned", "order": order}
        return solve(2, list(guests), scheduler, {"kind": "delay", "cap": exponential("200us")})

    one, other = solved("vm", first, second, third), solved("vm", second, first, third)
    average = solved("random", first, second, third)
    assert average.states[0] == one.states[0] + other.states[0]
    assert one["spin_lhp"][0] != pytest.approx(other["spin_lhp"][0], rel=1e-4)
    assert average["spin_lhp"][0] == pytest.approx((one["spin_lhp"][0] + other["spin_lhp"][0]) / 2)


@pytest.mark.parametrize(
    "name",
    [
        "round_robin-ticket-none-none",
        "round_robin-test_and_set-delay-waiter",
        "global-ticket-none-none",
        "global-idle",
    ],
)
def test_symmetry_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without renaming there are more states, and the same values."""
    renamed = fastlhp.exact(CASES[name])
    monkeypatch.setattr(Pinned, "frozen", Machine.frozen)
    monkeypatch.setattr(Global, "frozen", Machine.frozen)
    plain = fastlhp.exact(CASES[name])
    assert plain.states[0] > renamed.states[0]
    for metric in renamed:
        np.testing.assert_allclose(plain[metric], renamed[metric], rtol=1e-9, atol=1e-12)


def test_iteration_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large systems are solved by iteration."""
    direct = fastlhp.exact(CASES["global-idle"])
    monkeypatch.setattr(chain, "_DIRECT", 10)
    iterated = fastlhp.exact(CASES["global-idle"])
    for metric in direct:
        np.testing.assert_allclose(iterated[metric], direct[metric], rtol=1e-8, atol=1e-12)


def test_every_mistake_is_told() -> None:
    """All that is not exponential or not modelled, each with its key, and in how many configurations."""
    bad = study(2, [vm(2, user="40us", handover="1us")], {"kind": "gang", "slice": "1ms"})
    bad["host"]["context_switch"] = "2us"
    bad["policy"]["response"] = {"kind": "halt"}
    bad["sweep"] = {"vm.vm0.hold": ["1us", exponential("1us"), {"uniform": ["1us", "2us"]}]}
    with pytest.raises(StudyError) as caught:
        fastlhp.exact(bad)
    problems = {problem.path: problem for problem in caught.value.problems if problem.path != "vm.vm0.hold"}
    assert sorted(problems) == [
        "host.context_switch",
        "policy.response.kind",
        "policy.scheduler.slice",
        "vm.vm0.handover",
        "vm.vm0.user",
    ]
    assert problems["policy.response.kind"].found == '"halt"'
    assert '"directed_yield"' in problems["policy.response.kind"].accepted
    assert problems["policy.scheduler.slice"].found == "1ms"
    assert "exponential" in problems["policy.scheduler.slice"].accepted
    assert problems["host.context_switch"].accepted.startswith('"0ns"')
    assert problems["vm.vm0.user"].configurations is None
    holds = [problem for problem in caught.value.problems if problem.path == "vm.vm0.hold"]
    assert [(problem.found, problem.configurations, problem.of) for problem in holds] == [
        ("1us", 1, 3),
        ("uniform(1us, 2us)", 1, 3),
    ]


def test_repay_is_refused() -> None:
    guard = {"kind": "delay", "cap": exponential("1us"), "repay": True}
    with pytest.raises(StudyError, match=r"policy\.guard\.repay: found true; accepted: false"):
        solve(1, [vm(2)], None, guard)


def test_too_many_states() -> None:
    case = CASES["three-pcpus"]
    n = int(fastlhp.exact(case).states[0])
    assert fastlhp.exact(case, max_states=n).states.tolist() == [n]
    with pytest.raises(
        StudyError, match=rf"configuration 0: found more than {n - 1} states; accepted: at most {n - 1}"
    ):
        fastlhp.exact(case, max_states=n - 1)
    # So many orders at the start that they are not even listed.
    with pytest.raises(StudyError, match="more than 1000 states"):
        fastlhp.exact(study(2, [vm(1) for _ in range(24)]), max_states=1000)


SWEPT = """
[study]
name = "small"
duration = "1s"
[host]
pcpus = 1
frequency = "2GHz"
[policy]
scheduler = { kind = "round_robin", slice = { exponential = "60us" } }
guard = { kind = "none" }
response = { kind = "none" }
[[vm]]
name = "guest"
count = 2
vcpus = 1
lock = { kind = "ticket" }
user = { exponential = "40us" }
hold = { exponential = "15us" }
[sweep]
"host.pcpus" = [1, 2]
"""


@pytest.fixture
def swept(tmp_path: Any) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SWEPT)
    return str(path)


def run(*arguments: str, width: int = 200) -> Any:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["exact", *arguments])


def test_command(swept: str) -> None:
    done = run(swept)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["#", "host.pcpus", "states", "lhp_probability"]
    assert "0.200000" in lines[1] and "18.1818 k/s" in lines[1] and "36.3636 k/s" in lines[2]
    rows = list(csv.DictReader(io.StringIO(run(swept, "--csv", "--metric", "acquisitions").stdout)))
    assert [row["host.pcpus"] for row in rows] == ["1", "2"]
    document = json.loads(
        run(swept, "--json", "--metric", "acquisitions", "--metric", "lhp_per_preemption").stdout
    )
    assert document["units"] == {"acquisitions": "1", "lhp_per_preemption": "1"}
    for row, item in zip(rows, document["configurations"], strict=True):
        assert float(row["acquisitions"]) == item["metrics"]["acquisitions"]
        assert int(row["states"]) == item["states"]
    assert document["configurations"][0]["metrics"]["acquisitions"] == pytest.approx(1 / 55e-6)
    assert document["configurations"][1]["metrics"]["lhp_per_preemption"] is None


def test_command_refuses(swept: str, tmp_path: Any) -> None:
    few = run(swept, "--max-states", "3")
    assert few.exit_code == 2 and few.stdout == ""
    assert "configuration 0 (host.pcpus = 1): found more than 3 states" in few.stderr
    unknown = run(swept, "--metric", "wait_max")
    assert unknown.exit_code == 2 and "no exact value of 'wait_max'" in unknown.stderr
    constant = tmp_path / "constant.toml"
    constant.write_text(SWEPT.replace('hold = { exponential = "15us" }', 'hold = "15us"'))
    refused = run(str(constant))
    assert refused.exit_code == 2 and refused.stdout == ""
    assert (
        'vm.guest.hold: found 15us; accepted: an exponential time such as { exponential = "10us" }'
        in refused.stderr
    )


def test_nothing_heavy_is_imported() -> None:
    """SciPy only when it is needed, and never the compiler."""
    program = (
        "import sys, fastlhp.cli.exact; print([m for m in ('numba', 'scipy', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_know_what_they_are() -> None:
    results = fastlhp.exact(study(1, [vm(1), vm(2)]))
    assert len(results) == 1 and "1 configurations" in repr(results)
    assert "throughput" in results and "wait_max" not in results and "fairness" not in results
    assert results["wait_time"].units == "s"
    assert results.vm("user_time").shape == (1, 2)
    with pytest.raises(KeyError, match="no exact value"):
        results["wait_q50"]
    with pytest.raises(KeyError, match="no exact value"):
        results.vm("idle_time")
