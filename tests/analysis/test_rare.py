"""Expected lock-holder preemptions: without bias, and with less variance than counted ones.

Comparisons with counts are paired, replication by replication, and use fixed seeds. With `LIMIT` standard errors each
of them would fail by chance with a probability of 6e-5, all of them together with less than 1e-3. The same comparison
rejects a theory that is 5 % off.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.analysis import rare_lhp
from fastlhp.analysis.rare import law_of
from fastlhp.cli.main import main

LIMIT = 4.0
NONE = {"kind": "none"}
YIELD = {"kind": "yield", "spin_threshold": "25us"}
COSTS = {"context_switch": "2us", "vm_exit": "1us"}


def exponential(mean: str) -> dict[str, str]:
    return {"exponential": mean}


def study(
    scheduler: dict[str, Any],
    guard: dict[str, Any] = NONE,
    response: dict[str, Any] = NONE,
    *,
    pcpus: int = 4,
    host: dict[str, str] | None = None,
    window: tuple[str, str] = ("0ms", "50ms"),
    replications: int = 1024,
    **vm: Any,
) -> dict[str, Any]:
    lock = vm.pop("lock", "ticket")
    return {
        "study": {"seed": 5, "warmup": window[0], "duration": window[1], "replications": replications},
        "host": {"pcpus": pcpus, "frequency": "1GHz", **(host or {})},
        "policy": {"scheduler": scheduler, "guard": guard, "response": response},
        "vm": [
            {
                "count": 2,
                "vcpus": 4,
                "user": exponential("10us"),
                "hold": exponential("1us"),
                **vm,
                "lock": lock if isinstance(lock, dict) else {"kind": lock},
            }
        ],
    }


def memoryless(mean: str, kind: str = "round_robin", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "slice": exponential(mean), "phase": "aligned", **more}


SHORT = {"kind": "round_robin", "slice": "100us"}
DIRECTED = {"kind": "directed_yield", "target": "holder", "spin_threshold": "25us"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "pinned": ("hold_time", study(memoryless("300us"))),
    "pinned, test_and_set, yield, costs": (
        "hold_time",
        study(memoryless("200us"), NONE, YIELD, lock="test_and_set", host=COSTS),
    ),
    "global, three VMs": ("hold_time", study(memoryless("200us", "global"), NONE, YIELD, count=3)),
    "directed yield, random phase": (
        "hold_time",
        study({"kind": "round_robin", "slice": exponential("300us")}, NONE, DIRECTED, host=COSTS, window=("3ms", "50ms")),
    ),
    "delay": ("extensions", study(SHORT, {"kind": "delay", "cap": "500ns"}, lock="test_and_set")),
    "delay, global, yield": (
        "extensions",
        study({"kind": "global", "slice": "100us"}, {"kind": "delay", "cap": "500ns"}, YIELD, lock="test_and_set"),
    ),
    "delay, blocking waiters": (
        "extensions",
        study(
            SHORT,
            {"kind": "delay", "cap": "500ns"},
            lock={"kind": "pv_ticket", "spin_threshold": "20us", "wakeup": "5us"},
            host=COSTS,
        ),
    ),
    "gang": ("running_time", study({"kind": "gang", "slice": "300us"})),
    "single vCPUs": ("running_time", study({"kind": "round_robin", "slice": "300us"}, vcpus=1, count=8, host=COSTS)),
}  # fmt: skip


def distance(expected: np.ndarray, counted: np.ndarray) -> float:
    """Mean difference of pairs, in standard errors."""
    difference = expected - counted
    return float(difference.mean() / (difference.std(ddof=1) / np.sqrt(difference.size)))


@pytest.mark.parametrize("name", CASES)
def test_expected_events_have_the_mean_of_counted_ones(name: str) -> None:
    law, case = CASES[name]
    results = fastlhp.run(case, threads=1)
    counted, found = results["lhp_events"][0], rare_lhp(results)
    assert found.laws == [law] and found.reasons == [""]
    counted = results["lhp_events"][0]
    assert abs(distance(found.events[0], counted)) < LIMIT
    assert abs(distance(1.05 * found.events[0], counted)) > LIMIT
    assert found.gain.mean[0] > 1


@pytest.mark.parametrize(
    ("law", "scheduler", "lock"),
    [
        ("hold_time", memoryless("60us"), "ticket"),
        ("hold_time", memoryless("60us"), "test_and_set"),
        ("hold_time", memoryless("60us", "global"), "ticket"),
        ("running_time", {"kind": "gang", "slice": exponential("60us")}, "queue"),
    ],
)
def test_laws_hold_exactly_in_chains(law: str, scheduler: dict[str, Any], lock: str) -> None:
    case = study(scheduler, pcpus=2, vcpus=2, lock=lock)
    assert law_of(fastlhp.load(case).configurations[0])[0] == law
    theory = fastlhp.exact(case)
    if law == "hold_time":
        expected = theory["hold_time"] / 60e-6
    else:
        running = sum(theory[name] for name in ("user_time", "hold_time", "spin_time"))
        expected = theory["preemptions"] * theory["hold_time"] / running
    np.testing.assert_allclose(theory["lhp_events"], expected, rtol=1e-9)


def test_extensions_of_an_exponential_cap_run_out_as_they_should_in_a_chain() -> None:
    """The chain has no constant caps; the memory that hold times lack is the same."""
    case = study(memoryless("60us"), {"kind": "delay", "cap": exponential("3us")}, pcpus=2, vcpus=2)
    theory = fastlhp.exact(case)
    np.testing.assert_allclose(theory["lhp_events"], theory["extensions"] * 1 / (1 + 3), rtol=1e-9)


RARE = {
    # A hold of 100 ns against a slice of 100 ms: 1e-6, known exactly.
    "hold_time": study(
        memoryless("100ms"), lock="test_and_set", hold=exponential("100ns"), window=("0ms", "400ms"), replications=512
    ),
    # A hold of 1 us against a slice of 1 ms, of which exp(-7) outlast the cap.
    "extensions": study(
        {"kind": "round_robin", "slice": "1ms"}, {"kind": "delay", "cap": "7us"}, lock="test_and_set",
        window=("0ms", "400ms"), replications=512,
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", RARE)
def test_a_rare_event_needs_ten_times_fewer_events(law: str) -> None:
    found = rare_lhp(fastlhp.run(RARE[law], threads=1))
    assert found.laws == [law]
    assert found.expected.mean[0] == pytest.approx(1e-6, rel=0.15)
    assert found.counted.mean[0] > 0
    # Fewer events for the same standard error: as many times as the variance is smaller.
    assert found.gain.mean[0] > 10
    assert found.expected.standard_error[0] < 0.02 * found.expected.mean[0]


def test_what_was_never_seen_has_an_estimate() -> None:
    case = study(
        {"kind": "round_robin", "slice": "1ms"},
        {"kind": "delay", "cap": "15us"},
        replications=64,
        lock="test_and_set",
    )
    found = rare_lhp(fastlhp.run(case, threads=1))
    assert found.counted.mean[0] == 0
    assert 1e-10 < found.expected.low[0] < found.expected.mean[0] < found.counted.high[0]
    assert np.isnan(found.gain.mean[0])


PINNED = {"kind": "round_robin", "slice": "1ms"}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (study(PINNED), "preempted separately"),
        (study(memoryless("1ms", placement="random")), "placement random"),
        (study(memoryless("1ms"), vcpus=3), "pCPU to itself"),
        (study(memoryless("1ms"), lock="informed"), "lock informed"),
        (study(memoryless("1ms"), lock="pv_queue"), "block"),
        (study(memoryless("1ms"), halt={"probability": 0.1, "time": "1ms"}), "halt"),
        (study(memoryless("1ms"), NONE, {"kind": "notify", "spin_threshold": "9us"}), "notify"),
        (study({"kind": "round_robin", "slice": exponential("1ms")}), "warm-up"),
        (study({"kind": "credit"}), "credit"),
        (study(PINNED, {"kind": "monitor", "cap": "1ms"}), "guard monitor"),
        (study(PINNED, {"kind": "delay", "cap": exponential("1ms")}), "cap"),
        (study(PINNED, {"kind": "delay", "cap": "1ms"}, hold="1us"), "not exponential"),
        (study({"kind": "fair"}, {"kind": "delay", "cap": "1ms"}), "fair"),
        (study({"kind": "global"}, {"kind": "delay", "cap": "1ms"}, vcpus=2), "has a pCPU"),
        (study({"kind": "gang"}, user="10us", hold="1us"), "keep step"),
        (study({"kind": "gang", "fill": True}), "fill"),
        (study({"kind": "gang"}, host=COSTS), "one after another"),
        (study({"kind": "gang"}, NONE, YIELD), "response yield"),
    ],
)
def test_refusals(case: dict[str, Any], reason: str) -> None:
    law, why = law_of(fastlhp.load(case).configurations[0])
    assert law == ""
    assert reason in why


def test_constant_slices_and_shared_locks_are_refused_for_a_reason() -> None:
    """Two siblings on one pCPU fall into step: what holders run says nothing about slice ends."""
    case = study(
        {"kind": "round_robin", "slice": "100us"},
        pcpus=1,
        count=1,
        vcpus=2,
        window=("20ms", "100ms"),
        replications=256,
    )
    results = fastlhp.run(case, threads=1)
    running = results["user_time"][0] + results["hold_time"][0] + results["spin_time"][0]
    expected = results["preemptions"][0] * results["hold_time"][0] / running
    assert results["lhp_events"][0].sum() < 0.05 * expected.sum()


def test_command(tmp_path: Any) -> None:
    case = {**study(PINNED, window=("0ms", "5ms"), replications=8), "sweep": {"policy.guard": [NONE, {"kind": "delay", "cap": "1us"}]}}  # fmt: skip
    path = tmp_path / "out.h5"
    fastlhp.run(case, threads=1, output=path)
    done = CliRunner().invoke(main, ["show", str(path), "--rare", "--json"])
    assert done.exit_code == 0, done.output
    assert "no expected value for #0: slices are not exponential" in done.stderr
    document = json.loads(done.stdout)
    assert set(document["units"]) == {"lhp_per_acquisition", "expected_lhp_per_acquisition", "gain"}
    expected = [c["metrics"]["expected_lhp_per_acquisition"]["mean"] for c in document["configurations"]]
    assert expected == [None, rare_lhp(fastlhp.open(path)).expected.mean[1]]
    table = CliRunner().invoke(main, ["show", str(path), "--rare", "--metric", "throughput"])
    assert table.exit_code == 0
    assert "throughput" in table.stdout and "gain" in table.stdout
