"""A replication depends on its configuration, the seed and its number, and on nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cases import FIRST_LOCK_CASE, FIRST_RELAXED, FIRST_WEIGHTED, random_case, random_study
from numpy.typing import NDArray

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.errors import StudyError
from fastlhp.model.configuration import Configuration
from fastlhp.model.study import load
from fastlhp.results.counters import HOST_INDEX, VM_INDEX

REPLICATIONS = 20
PCPU_TIMES = ("user_ns", "kernel_ns", "hold_ns", "spin_ns", "switch_ns", "exit_ns")
OFF_TIMES = ("ready_ns", "costop_ns", "halted_ns")

Result = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def assert_same(a: Result, b: Result) -> None:
    """Same bits: counters of VMs and hosts, histograms."""
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def assert_exact_accounts(configuration: Configuration, result: Result) -> None:
    """All pCPU time and all vCPU time of the window is booked, each ns once."""
    vm, host, _ = result
    on_pcpu = sum(vm[:, :, VM_INDEX[name]] for name in PCPU_TIMES)
    off_pcpu = sum(vm[:, :, VM_INDEX[name]] for name in OFF_TIMES)
    window = configuration.duration_ns
    total = on_pcpu.sum(axis=1) + host[:, HOST_INDEX["idle_ns"]]
    assert (total == configuration.host.pcpus * window).all()
    # Being switched in is `switch` for the pCPU and `ready` for the vCPU.
    vcpus = np.array([spec.vcpus for spec in configuration.vms])
    running = on_pcpu - vm[:, :, VM_INDEX["switch_ns"]]
    assert (running + off_pcpu == vcpus * window).all()


@pytest.mark.parametrize(
    ("series", "number"),
    [
        *(("case", i) for i in range(1000, 1040)),
        *(("case", i) for i in range(FIRST_LOCK_CASE, FIRST_LOCK_CASE + 10)),
        *(("case", i) for i in range(FIRST_WEIGHTED + 1000, FIRST_WEIGHTED + 1008)),
        *(("case", i) for i in range(FIRST_RELAXED + 1000, FIRST_RELAXED + 1008)),
        *(("guard", i) for i in range(1000, 1061, 3)),
    ],
)
def test_results_do_not_depend_on_the_block(series: str, number: int) -> None:
    """Block size, neighbours in the block, pieces of the range and scalar code change nothing."""
    study = random_study(number, series)
    configuration = study.configurations[0]
    encoded = Encoded(configuration)
    whole = block.simulate(encoded, study.seed, range(REPLICATIONS))
    assert_exact_accounts(configuration, whole)
    for lanes in (1, 3):
        assert_same(whole, block.simulate(encoded, study.seed, range(REPLICATIONS), lanes=lanes))
    assert_same(whole, block.simulate(encoded, study.seed, range(REPLICATIONS), scalar_only=True))
    bounds = (0, 1, 7, REPLICATIONS)
    pieces = [
        block.simulate(encoded, study.seed, range(a, b)) for a, b in zip(bounds, bounds[1:], strict=False)
    ]
    joined = (
        np.concatenate([vm for vm, _, _ in pieces]),
        np.concatenate([host for _, host, _ in pieces]),
        np.sum([histogram for _, _, histogram in pieces], axis=0),
    )
    assert_same(whole, joined)


NULL_GUARDS = [
    {"kind": "delay", "cap": "0ns"},
    {"kind": "extra_slice", "length": "0ns"},
    {"kind": "monitor", "cap": "0ns"},
    {"kind": "monitor_halt", "window": "0ns"},
    {"kind": "driver", "cap": "0ns"},
]


@pytest.mark.parametrize("guard", NULL_GUARDS, ids=lambda guard: guard["kind"])
@pytest.mark.parametrize("number", range(0, 18, 4))
def test_a_guard_that_grants_no_time_is_none(guard: dict[str, Any], number: int) -> None:
    """Every guard with its time at zero is `none`."""
    case = random_case(number)
    outcomes = []
    for table in ({"kind": "none"}, guard):
        case["policy"]["guard"] = table
        study = load(case)
        outcomes.append(block.simulate(Encoded(study.configurations[0]), study.seed, range(3)))
    assert_same(*outcomes)


def test_a_notification_that_is_never_sent_is_none() -> None:
    """A threshold beyond the replication makes `notify` the response `none`."""
    case = random_case(0)
    outcomes = []
    for table in ({"kind": "none"}, {"kind": "notify", "spin_threshold": "1s"}):
        case["policy"]["response"] = table
        study = load(case)
        outcomes.append(block.simulate(Encoded(study.configurations[0]), study.seed, range(3)))
    assert_same(*outcomes)


def test_more_replications_than_lanes() -> None:
    """A lane that takes a new replication when it is done gives the same results."""
    study = random_study(1003)
    encoded = Encoded(study.configurations[0])
    full = block.simulate(encoded, study.seed, range(150))
    assert_same(full, block.simulate(encoded, study.seed, range(150), lanes=7))
    assert_same(full, block.simulate(encoded, study.seed, range(150), scalar_only=True))


def test_seeds_and_replications_differ() -> None:
    """Otherwise the comparisons above would prove nothing."""
    study = random_study(1001)
    encoded = Encoded(study.configurations[0])
    vm, _, _ = block.simulate(encoded, 1, range(2))
    other, _, _ = block.simulate(encoded, 2, range(2))
    assert (vm[0] != vm[1]).any()
    assert (vm != other).any()


def large_study(vms: list[dict[str, Any]], scheduler: str, response: str) -> dict[str, Any]:
    policy = {
        "scheduler": {"kind": scheduler, "slice": "50us"},
        "guard": {"kind": "none"},
        "response": {"kind": response},
    }
    if response != "none":
        policy["response"]["spin_threshold"] = "5us"
    return {
        "study": {"name": "large", "seed": 5, "duration": "300us", "warmup": "20us", "replications": 2},
        "host": {"pcpus": 128, "frequency": "2GHz", "context_switch": "1us", "vm_exit": "500ns"},
        "policy": policy,
        "vm": vms,
    }


def large_vm(name: str, count: int, vcpus: int, locks: int, lock: str) -> dict[str, Any]:
    return {
        "name": name,
        "count": count,
        "vcpus": vcpus,
        "lock": {"kind": lock, "count": locks},
        "user": {"exponential": "4us"},
        "hold": {"exponential": "1us"},
    }


LARGE = {
    "512 vCPUs": [large_vm("locks", 1, 4, 64, "ticket"), large_vm("vm", 127, 4, 1, "test_and_set")],
    "64 vCPUs": [large_vm("wide", 1, 64, 1, "ticket"), large_vm("vm", 40, 4, 1, "queue")],
    "64 unfair vCPUs": [large_vm("wide", 2, 64, 2, "test_and_set"), large_vm("vm", 40, 4, 1, "ticket")],
}


@pytest.mark.parametrize("response", ["none", "yield"])
@pytest.mark.parametrize("scheduler", ["round_robin", "global", "gang"])
@pytest.mark.parametrize("name", LARGE)
def test_large_hosts(name: str, scheduler: str, response: str) -> None:
    """The largest hosts, VMs and numbers of locks run with exact accounts, the same on both paths."""
    study = load(large_study(LARGE[name], scheduler, response))
    configuration = study.configurations[0]
    encoded = Encoded(configuration)
    result = block.simulate(encoded, study.seed, range(2))
    assert_exact_accounts(configuration, result)
    assert (result[0][:, :, VM_INDEX["acquisitions"]].sum(axis=1) > 500).all()
    assert_same(result, block.simulate(encoded, study.seed, range(2), scalar_only=True, lanes=2))


@pytest.mark.parametrize("pcpus", [11, 16, 18, 30])
@pytest.mark.parametrize("lock", ["ticket", "test_and_set"])
def test_hosts_in_between(pcpus: int, lock: str) -> None:
    """However many pCPUs there are, and whole tiles of them or not, the passes and scalar code agree."""
    study = large_study([large_vm("vm", 10, 4, 1, lock)], "global", "yield")
    study["host"]["pcpus"] = pcpus
    study = load(study)
    encoded = Encoded(study.configurations[0])
    result = block.simulate(encoded, study.seed, range(4))
    assert (result[0][:, :, VM_INDEX["acquisitions"]].sum(axis=1) > 100).all()
    assert_same(result, block.simulate(encoded, study.seed, range(4), scalar_only=True, lanes=4))


def divisible_study(scheduler: str, lock: str, details: str) -> dict[str, Any]:
    """A host whose tiles have nothing to do with each other between two interventions."""
    vms = [large_vm(f"vm{n}", 24 // n, n, 1, lock) for n in (4, 2, 1)]
    study = large_study(vms, "round_robin", "none")
    study["host"]["pcpus"] = 24
    if scheduler != "round_robin":
        study["policy"]["scheduler"]["kind"] = scheduler
    for vm in vms:
        if details == "choices":
            vm["kernel"] = {"exponential": "500ns"}
            vm["lock"]["count"] = 2
        elif details == "ties":
            # Several events at an instant end the course of a tile before that of the others.
            vm["user"], vm["hold"] = {"exponential": "60ns"}, {"exponential": "15ns"}
        elif details == "delay":
            study["policy"]["guard"] = {"kind": "delay", "cap": "3us"}
        elif details == "weights":
            vm["weight"] = vm["vcpus"]
        elif details == "long":
            # Times are counted anew in the middle of it.
            vm["user"], vm["hold"] = {"exponential": "3ms"}, {"exponential": "700us"}
    if details == "long":
        study["study"]["duration"] = "1s"
        study["policy"]["scheduler"]["slice"] = "20ms"
    return study


@pytest.mark.parametrize(
    ("scheduler", "details"),
    [
        *itertools.product(
            ["round_robin", "relaxed_coscheduling"], ["plain", "choices", "ties", "delay", "long"]
        ),
        *itertools.product(["gang"], ["plain", "choices", "ties"]),
        ("round_robin", "weights"),
    ],
)
@pytest.mark.parametrize("lock", ["ticket", "test_and_set"])
def test_divided_courses(scheduler: str, lock: str, details: str) -> None:
    """Tiles that follow their courses each for itself come to the same results as scalar code."""
    study = load(divisible_study(scheduler, lock, details))
    configuration = study.configurations[0]
    encoded = Encoded(configuration)
    result = block.simulate(encoded, study.seed, range(20))
    assert_exact_accounts(configuration, result)
    assert_same(result, block.simulate(encoded, study.seed, range(20), scalar_only=True, lanes=4))
    assert_same(result, block.simulate(encoded, study.seed, range(20), lanes=3))
    in_parts = block.simulate_parts(encoded, study.seed, range(4), 5)
    assert_same(in_parts, block.simulate_parts(encoded, study.seed, range(4), 5, scalar_only=True))


def free_switches(numbers: range, series: str) -> list[dict[str, Any]]:
    """Those of the random cases in which vCPUs may change places at once, if only switches took no time: and so here."""
    cases = [random_case(number, series) for number in numbers]
    for case in cases:
        case["host"]["context_switch"] = "0ns"
    return [case for case in cases if case["policy"]["scheduler"]["kind"] in ("round_robin", "global")]


@pytest.mark.parametrize(
    "case",
    [
        *free_switches(range(2000, 2080), "case"),
        *free_switches(range(FIRST_LOCK_CASE + 500, FIRST_LOCK_CASE + 520), "case"),
        *free_switches(range(FIRST_WEIGHTED + 2000, FIRST_WEIGHTED + 2040), "case"),
        *free_switches(range(2000, 2060), "guard"),
    ],
    ids=lambda case: case["study"]["name"],
)
def test_exchanges_are_a_short_cut(case: dict[str, Any]) -> None:
    """That two vCPUs change places at once is the same as one leaving and the other being dispatched."""
    study = load(case)
    encoded = Encoded(study.configurations[0])
    at_once = block.simulate(encoded, study.seed, range(6))
    records = encoded._encoding._records
    assert records["exchanges"].all()
    records["exchanges"] = 0
    assert_same(at_once, block.simulate(encoded, study.seed, range(6)))


@pytest.mark.parametrize(("vcpus", "divided"), [(4, True), (3, False)])
def test_courses_are_divided(vcpus: int, divided: bool) -> None:
    """Courses are divided where no VM has pCPUs in two tiles, and nowhere else."""
    study = large_study([large_vm("vm", 24, vcpus, 1, "ticket")], "round_robin", "none")
    study["host"]["pcpus"] = 24
    encoded = Encoded(load(study).configurations[0])
    n = 4
    results = (
        np.zeros((n, 1, encoded.n_vm, block.N_VM_COUNTERS), np.int64),
        np.zeros((n, 1, block.N_HOST_COUNTERS), np.int64),
        np.zeros((2, block.N_BINS), np.int64),
    )
    it = block.Block(5, **encoded.room, lanes=n)
    it.append(block.make_items(encoded, range(n), *results))
    seen = set()
    while it.advance(1):
        seen.add(int(it.n_divided))
    assert max(seen) == (n if divided else 0)


LOCKS: dict[str, dict[str, Any]] = {
    "test_and_set": {},
    "ticket": {},
    "queue": {},
    "preemptable_ticket": {"timeout": "50ns"},
    "pv_ticket": {"spin_threshold": "200ns", "wakeup": "60ns"},
    "pv_queue": {"spin_threshold": "200ns", "wakeup": "60ns"},
    "hybrid_queue": {"spin_threshold": "200ns", "wakeup": "60ns"},
    "informed": {"reserve": "100ns"},
}
RESPONSES: dict[str, dict[str, Any]] = {
    "none": {},
    "yield": {"spin_threshold": "100ns"},
    "directed_yield": {"spin_threshold": "100ns"},
    "halt": {"spin_threshold": "150ns", "wakeup": "50ns"},
    "notify": {"spin_threshold": "120ns"},
}


def hasty_study(scheduler: str, lock: str, response: str, guard: str, details: bool) -> dict[str, Any]:
    """All times are so short that often several things happen at one instant."""
    vm: dict[str, Any] = {
        "name": "vm",
        "count": 2,
        "vcpus": 4,
        "lock": {"kind": lock, **LOCKS[lock]},
        "user": {"exponential": "60ns"},
        "hold": {"exponential": "15ns"},
    }
    if details:
        vm["kernel"] = {"exponential": "20ns"}
        vm["halt"] = {"probability": 0.05, "time": {"exponential": "200ns"}}
        vm["lock"]["count"] = 2
    slices: dict[str, Any] = {"slice": {"exponential": "3us"}}
    if scheduler == "fair":
        slices = {"latency": "4us", "granularity": "1us", "wakeup_granularity": "1us"}
    return {
        "study": {"name": "hasty", "seed": 3, "duration": "60us", "warmup": "5us", "replications": 1},
        "host": {"pcpus": 4, "frequency": "1GHz", "context_switch": "10ns", "vm_exit": "5ns"},
        "policy": {
            "scheduler": {"kind": scheduler, **slices},
            "guard": {"kind": guard, **({} if guard == "none" else {"cap": "40ns"})},
            "response": {"kind": response, **RESPONSES[response]},
        },
        "vm": [vm],
    }


@pytest.mark.parametrize("scheduler", ["round_robin", "fair"])
@pytest.mark.parametrize("lock", LOCKS)
def test_many_things_at_one_instant(scheduler: str, lock: str) -> None:
    """The order of events at one instant is the same on both paths."""
    n_compared = 0
    for response, guard, details in itertools.product(RESPONSES, ("none", "delay", "monitor"), (False, True)):
        try:
            study = load(hasty_study(scheduler, lock, response, guard, details))
        except StudyError:
            continue  # these do not go together
        encoded = Encoded(study.configurations[0])
        result = block.simulate(encoded, study.seed, range(10))
        assert_same(result, block.simulate(encoded, study.seed, range(10), scalar_only=True))
        n_compared += 1
    assert n_compared > 0 or (scheduler, lock) == ("fair", "informed")


def test_grants_by_lot_at_one_instant() -> None:
    """A draw that decides who gets an unfair lock is neither lost nor made twice if the winner holds it for no time."""
    study = hasty_study("round_robin", "test_and_set", "none", "none", False)
    study["study"]["duration"], study["vm"][0]["count"] = "300us", 1
    study["policy"]["scheduler"]["slice"] = "900ms"
    loaded = load(study)
    encoded = Encoded(loaded.configurations[0])
    result = block.simulate(encoded, loaded.seed, range(150))
    assert_same(result, block.simulate(encoded, loaded.seed, range(150), scalar_only=True))
