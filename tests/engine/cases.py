"""Random studies of one configuration, and the comparison of the engine with the reference twin.

The policies are gone through one after the other, so that every scheduler meets every guard and every response; all
the rest of a case is drawn from its number. Times are short and of the same order, for many coincidences.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import naive
import numpy as np
from numpy.typing import NDArray

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.engine.quantiles import segments
from fastlhp.model.configuration import Configuration
from fastlhp.model.study import Study, load
from fastlhp.results.counters import HOLDER_OFF, HOST_COUNTERS, VM_COUNTERS, WAIT

LOCKS = ("test_and_set", "ticket", "queue")
PV_LOCKS = ("pv_ticket", "pv_queue", "hybrid_queue")
LATER_LOCKS = (*PV_LOCKS, "preemptable_ticket", "informed")
FIRST_LOCK_CASE = 2_000_000
"""From this number on, cases are about `LATER_LOCKS`."""
TARGETS = ("holder", "random", "waiter", "round_robin")
RESPONSES = ("none", "yield", "halt", "holder", "random", "waiter")
POLICIES = (
    *product(("round_robin", "global"), ("none", "delay", "extra_slice"), RESPONSES),
    *product(("gang",), ("none",), ("none", "yield", "halt")),
)
"""Scheduler, guard and response; a directed yield by its target."""
WEIGHTED_POLICIES = tuple(product(("fair", "credit"), ("none", "delay", "extra_slice"), RESPONSES))
"""As `POLICIES`, of schedulers that know weights: those of the cases from ``FIRST_WEIGHTED`` on."""
RELAXED_POLICIES = tuple(product(("relaxed_coscheduling",), ("none", "delay", "extra_slice"), RESPONSES))
"""The same of the cases from ``FIRST_RELAXED`` on."""
FIRST_WEIGHTED, FIRST_RELAXED = 100_000, 300_000
ALL_RESPONSES = (*RESPONSES, "round_robin", "notify")
GUARD_POLICIES = (
    *product(("round_robin", "global"), ("monitor", "monitor_halt", "driver"), ALL_RESPONSES),
    *product(("round_robin", "global"), ("none", "delay", "extra_slice"), ("round_robin", "notify")),
    *product(("gang",), ("none",), ("notify",)),
)
"""Those with the guards and responses that came later, so that the numbers of the first ones keep their meaning."""
ALL_GUARDS = ("none", "delay", "extra_slice", "monitor", "monitor_halt", "driver")
WEIGHTED_GUARD_POLICIES = tuple(
    policy
    for policy in product(("fair", "credit"), ALL_GUARDS, ALL_RESPONSES)
    if policy not in WEIGHTED_POLICIES
)
RELAXED_GUARD_POLICIES = tuple(
    policy
    for policy in product(("relaxed_coscheduling",), ALL_GUARDS, ALL_RESPONSES)
    if policy not in RELAXED_POLICIES
)
SERIES = {
    "case": (POLICIES, WEIGHTED_POLICIES, RELAXED_POLICIES),
    "guard": (GUARD_POLICIES, WEIGHTED_GUARD_POLICIES, RELAXED_GUARD_POLICIES),
}
"""Policies of a series' first cases, of those from ``FIRST_WEIGHTED`` on and of those from ``FIRST_RELAXED`` on."""


def random_duration(rng: random.Random, low: int, high: int) -> Any:
    """Mostly constant or exponential, with a mean of the order of ``low`` to ``high``."""
    mean = rng.choice([low, (low + high) // 2, high])
    kinds = {
        "constant": f"{mean}ns",
        "exponential": {"exponential": f"{mean}ns"},
        "uniform": {"uniform": [f"{mean // 2}ns", f"{mean + mean // 2}ns"]},
        "lognormal": {"lognormal": {"mean": f"{mean}ns", "cv": 1.5}},
        "hyperexponential": {
            "hyperexponential": {"probabilities": [0.3, 0.7], "means": [f"{mean}ns", f"{3 * mean}ns"]}
        },
    }
    return kinds[rng.choices(list(kinds), [35, 35, 10, 10, 10])[0]]


def random_vm(rng: random.Random, number: int, most_vcpus: int) -> dict[str, Any]:
    """A group of VMs; seldom with more locks than the passes look through one by one."""
    locks = rng.choice([1, 1, 1, 2, 3, 20])
    lock: dict[str, Any] = {"kind": rng.choice(LOCKS), "count": locks}
    if locks > 1 and rng.random() < 0.5:
        lock["weights"] = [rng.choice([1, 2, 5]) for _ in range(locks)]
    vm: dict[str, Any] = {
        "name": f"v{number}",
        "count": rng.choice([1, 1, 2]),
        "vcpus": rng.randint(1, most_vcpus),
        "weight": rng.choice([1, 1, 2, 3.5]),
        "lock": lock,
        "user": random_duration(rng, 300, 3000),
        "hold": random_duration(rng, 100, 1500),
    }
    if rng.random() < 0.4:
        vm["kernel"] = random_duration(rng, 100, 1000)
    if rng.random() < 0.35:
        vm["handover"] = random_duration(rng, 20, 200)
    if rng.random() < 0.4:
        vm["halt"] = {"probability": rng.choice([0.05, 0.3, 1.0]), "time": random_duration(rng, 500, 20000)}
    return vm


def random_scheduler(rng: random.Random, kind: str, pcpus: int) -> dict[str, Any]:
    """Parameters of a scheduler; its phases may be drawn, aligned or given."""
    if kind == "fair":
        return {
            "kind": kind,
            "latency": random_duration(rng, 4000, 60000),
            "granularity": random_duration(rng, 1000, 8000),
            "wakeup_granularity": f"{rng.choice([0, 300, 3000, 10000])}ns",
            "tick": f"{rng.choice([0, 0, 700, 4000])}ns",
        }
    if kind == "credit":
        return {
            "kind": kind,
            "slice": random_duration(rng, 3000, 30000),
            "tick": f"{rng.choice([500, 2000, 5000])}ns",
            "ratelimit": f"{rng.choice([0, 200, 3000])}ns",
        }
    if kind == "relaxed_coscheduling":
        base = random_scheduler(rng, rng.choice(["round_robin", "credit"]), pcpus)
        scheduler = {
            **base,
            "kind": kind,
            "base": base["kind"],
            "variant": rng.choice(["esx3", "esx4"]),
            "skew_threshold": f"{rng.choice([300, 2000, 8000])}ns",
        }
        if rng.random() < 0.5:
            scheduler["skew_resume"] = f"{rng.choice([1, 100, 300])}ns"
        return scheduler
    scheduler: dict[str, Any] = {"kind": kind, "slice": random_duration(rng, 2000, 30000)}
    if kind == "gang":
        scheduler["fill"] = rng.random() < 0.6
    else:
        scheduler["order"] = rng.choice(["random", "vm"])
        scheduler["slice_after_yield"] = rng.choice(["full", "rest"])
    if kind == "round_robin":
        scheduler["placement"] = rng.choice(["spread", "aligned", "random", "balance"])
    given = [rng.choice([0.1, 0.35, 0.5, 1.0]) for _ in range(1 if kind == "gang" else pcpus)]
    scheduler["phase"] = rng.choice(["random", "random", "aligned", given])
    return scheduler


def random_guard(rng: random.Random, kind: str) -> dict[str, Any]:
    """Parameters of a guard."""
    if kind == "delay":
        cap = rng.choice(["0ns", random_duration(rng, 300, 3000)])
        return {"kind": kind, "cap": cap, "repay": rng.random() < 0.5}
    if kind == "extra_slice":
        return {"kind": kind, "length": random_duration(rng, 300, 3000)}
    if kind in ("monitor", "driver"):
        guard = {
            "kind": kind,
            "cap": rng.choice(["0ns", *[random_duration(rng, 300, 3000) for _ in range(5)]]),
        }
        if kind == "driver":
            guard["latency"] = rng.choice(
                ["0ns", random_duration(rng, 50, 500), random_duration(rng, 50, 500)]
            )
        return guard
    if kind == "monitor_halt":
        return {
            "kind": kind,
            "window": rng.choice(["0ns", *[random_duration(rng, 300, 3000) for _ in range(5)]]),
        }
    return {"kind": kind}


def random_response(rng: random.Random, name: str, may_grow: bool = False) -> dict[str, Any]:
    """Parameters of a response, a directed yield by its target; its window may grow."""
    if name == "none":
        return {"kind": name}
    response: dict[str, Any] = {"kind": name, "spin_threshold": random_duration(rng, 200, 3000)}
    if name in TARGETS:
        response["kind"] = "directed_yield"
        response["target"] = name
        response["migrate"] = rng.random() < 0.5
        response["boost_slice"] = rng.choice(["rest", "full"])
        if may_grow and rng.random() < 0.5:
            response["window_grow"] = rng.choice([True, 2, 3])
            response["window_max"] = rng.choice(["500ns", "4us", "1s"])
    if name == "halt":
        response["wakeup"] = rng.choice(["0ns", random_duration(rng, 200, 2000)])
    return response


def random_lock(rng: random.Random, kind: str) -> dict[str, Any]:
    """Parameters of a lock that has more than its number and weights."""
    lock: dict[str, Any] = {"kind": kind}
    if kind in PV_LOCKS:
        lock["spin_threshold"] = random_duration(rng, 200, 5000)
        lock["wakeup"] = rng.choice(["0ns", random_duration(rng, 200, 2000)])
    if kind in ("pv_queue", "hybrid_queue"):
        lock["check"] = random_duration(rng, 50, 1000)
    elif kind == "preemptable_ticket":
        lock["timeout"] = random_duration(rng, 20, 1000)
    elif kind == "informed":
        lock["reserve"] = rng.choice(["0ns", random_duration(rng, 100, 700)])
    return lock


def lock_case(number: int) -> dict[str, Any]:
    """The case of this number, with locks of a later kind in most of its VMs, and more contention."""
    case = random_case(number - FIRST_LOCK_CASE)
    rng = random.Random(f"locks {number}")
    policy = case["policy"]
    under_gang = policy["scheduler"]["kind"] == "gang"
    main = LATER_LOCKS[number % len(LATER_LOCKS)]
    for vm in case["vm"]:
        kind = main if rng.random() < 0.8 else rng.choice(LOCKS + LATER_LOCKS)
        if kind == "informed" and policy["scheduler"]["kind"] not in ("round_robin", "global"):
            kind = "preemptable_ticket"
        if kind in PV_LOCKS and policy["response"]["kind"] == "halt":
            policy["response"] = random_response(rng, rng.choice(["none", "yield"]))
        if kind not in LOCKS:
            vm["lock"] = {**vm["lock"], **random_lock(rng, kind)}
        if rng.random() < 0.6:
            vm["lock"] = {key: value for key, value in vm["lock"].items() if key not in ("count", "weights")}
            vm["hold"] = random_duration(rng, 300, 4000)
            vm["vcpus"] = max(vm["vcpus"], min(3, case["host"]["pcpus"]) if under_gang else 3)
    return case


def random_case(number: int, series: str = "case") -> dict[str, Any]:
    """The study of this number in a series (`SERIES`); from 1 to 9 pCPUs, so up to three tiles of rows."""
    if number >= FIRST_LOCK_CASE:
        return lock_case(number)
    rng = random.Random(f"{series} {number}")
    policies = SERIES[series][(number >= FIRST_WEIGHTED) + (number >= FIRST_RELAXED)]
    scheduler, guard, response = policies[number % len(policies)]
    pcpus = rng.choice([1, 2, 2, 2, 3, 4, 5, 9])
    most_vcpus = min(pcpus, 4) if scheduler == "gang" else 4
    case = {
        "study": {
            "name": f"{series} {number}",
            "seed": rng.choice([1, 77, 2**63 + 5]),
            "duration": rng.choice(["60us", "150us", "300us"]),
            "warmup": rng.choice(["0ns", "40us"]),
            "replications": 2,
        },
        "host": {
            "pcpus": pcpus,
            "frequency": "1GHz",
            "context_switch": rng.choice(["0ns", random_duration(rng, 50, 400)]),
            "vm_exit": rng.choice(["0ns", random_duration(rng, 50, 300)]),
        },
        "policy": {
            "scheduler": random_scheduler(rng, scheduler, pcpus),
            "guard": random_guard(rng, guard),
            "response": random_response(rng, response, may_grow=series != "case"),
        },
        "vm": [random_vm(rng, i, most_vcpus) for i in range(rng.choice([1, 2, 2, 3]))],
    }
    if series == "guard" and rng.random() < 0.6:
        make_busy(rng, case)
    return case


def make_busy(rng: random.Random, case: dict[str, Any]) -> None:
    """Let extensions last long enough for much to happen in them, at FIFO locks that the vector passes know."""
    policy = case["policy"]
    for name in ("cap", "window"):
        if name in policy["guard"]:
            policy["guard"][name] = random_duration(rng, 3000, 30000)
    response = policy["response"]
    if "spin_threshold" in response:
        response["spin_threshold"] = f"{rng.choice([500, 2000, 5000])}ns"
        response.pop("window_grow", None)
    for vm in case["vm"]:
        vm["vcpus"] = rng.randint(2, 4) if policy["scheduler"]["kind"] != "gang" else vm["vcpus"]
        vm["lock"] = {"kind": rng.choice(["ticket", "ticket", "queue"])}
        vm["user"] = random_duration(rng, 100, 900)
        vm["hold"] = random_duration(rng, 100, 900)
        vm.pop("handover", None)


def random_study(number: int, series: str = "case") -> Study:
    """The case of this number in a series, loaded."""
    return load(random_case(number, series))


def tables(distribution: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quantile table as the twin wants it: the one input that it takes from the engine."""
    table = segments(distribution)
    return table[:, 0], table[:, 1]


def differences(configuration: Configuration, seed: int, replications: int) -> list[str]:
    """Every counter and histogram in which the engine, on either path, differs from the twin."""
    twins = [naive.simulate(configuration, seed, r, tables) for r in range(replications)]
    expected: list[dict[int, int]] = [{}, {}]
    for twin in twins:
        for total, part in (
            (expected[WAIT], twin.wait_histogram),
            (expected[HOLDER_OFF], twin.holder_off_histogram),
        ):
            for bin_, count in part.items():
                total[bin_] = total.get(bin_, 0) + count
    found = []
    encoded = Encoded(configuration)
    for scalar_only in (False, True):
        path = "scalar" if scalar_only else "vector"
        vm, host, histogram = block.simulate(encoded, seed, range(replications), scalar_only=scalar_only)
        for r, twin in enumerate(twins):
            for i, name in enumerate(VM_COUNTERS):
                if vm[r, :, i].tolist() != list(twin.vm[name]):
                    found.append(f"{path} {r} {name}: {vm[r, :, i].tolist()}, twin {twin.vm[name]}")
            for i, name in enumerate(HOST_COUNTERS):
                if host[r, i] != twin.host[name]:
                    found.append(f"{path} {r} {name}: {host[r, i]}, twin {twin.host[name]}")
        for which, name in ((WAIT, "wait"), (HOLDER_OFF, "holder_off")):
            filled = {int(b): int(histogram[which, b]) for b in np.flatnonzero(histogram[which])}
            if filled != {b: n for b, n in expected[which].items() if n}:
                found.append(f"{path} histogram {name}: {filled}, twin {expected[which]}")
    return found
