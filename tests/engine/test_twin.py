"""The engine equals the reference twin bit for bit: every counter and both histograms, on both of its paths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from cases import (
    FIRST_LOCK_CASE,
    FIRST_RELAXED,
    FIRST_WEIGHTED,
    LATER_LOCKS,
    POLICIES,
    RELAXED_GUARD_POLICIES,
    RELAXED_POLICIES,
    SERIES,
    WEIGHTED_GUARD_POLICIES,
    WEIGHTED_POLICIES,
    differences,
    random_study,
)
from traces import TRACES

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.model.study import load
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS

N_CASES = 200
N_LOCK_CASES = 200
N_GUARD_CASES = 200
N_NIGHTLY = 2000
CHUNK = 20
FOUND = (10_879, 100_064, 100_129, 300_017)
"""Cases outside the first ones that once failed."""


def check_cases(numbers: Iterable[int], series: str = "case") -> None:
    """Compare the cases of these numbers of a series."""
    failures = []
    for number in numbers:
        study = random_study(number, series)
        for configuration in study.configurations:
            found = differences(configuration, study.seed, study.replications)
            if found:
                failures.append(f"{series} {number}: " + "; ".join(found[:4]))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(("study", "replication"), [pytest.param(t[1], t[3], id=t[0]) for t in TRACES])
def test_hand_traces(study: dict[str, Any], replication: int) -> None:
    """The traces that were worked out by hand, whose counters the twin is tested against."""
    loaded = load(study)
    for configuration in loaded.configurations:
        assert differences(configuration, loaded.seed, replication + 1) == []


@pytest.mark.parametrize("first", range(0, N_CASES, CHUNK))
def test_random_cases(first: int) -> None:
    """Random studies; each policy comes up five times."""
    check_cases(range(first, first + CHUNK))


@pytest.mark.parametrize("first", range(FIRST_LOCK_CASE, FIRST_LOCK_CASE + N_LOCK_CASES, CHUNK))
def test_random_cases_of_later_locks(first: int) -> None:
    """Random studies of the locks that have rules of their own."""
    check_cases(range(first, first + CHUNK))


@pytest.mark.parametrize("first", range(FIRST_WEIGHTED, FIRST_WEIGHTED + 5 * len(WEIGHTED_POLICIES), CHUNK))
def test_random_cases_of_weighted_schedulers(first: int) -> None:
    """The same for `credit` and `fair`."""
    check_cases(range(first, first + CHUNK))


@pytest.mark.parametrize("first", range(FIRST_RELAXED, FIRST_RELAXED + 8 * len(RELAXED_POLICIES), CHUNK))
def test_random_cases_of_relaxed_coscheduling(first: int) -> None:
    """The same for both variants over both bases."""
    check_cases(range(first, first + CHUNK))


@pytest.mark.parametrize("first", range(0, N_GUARD_CASES, CHUNK))
def test_random_guard_cases(first: int) -> None:
    """Random studies of the later guards and responses."""
    check_cases(range(first, first + CHUNK), "guard")


@pytest.mark.parametrize(
    ("first", "policies"),
    [(FIRST_WEIGHTED, WEIGHTED_GUARD_POLICIES), (FIRST_RELAXED, RELAXED_GUARD_POLICIES)],
)
def test_random_guard_cases_of_later_schedulers(first: int, policies: tuple[object, ...]) -> None:
    """The same under `credit`, `fair` and `relaxed_coscheduling`; each policy comes up once."""
    check_cases(range(first, first + len(policies)), "guard")


@pytest.mark.parametrize("user", ["1073741824ns", "600ms", "3ms"])
@pytest.mark.parametrize("hold", ["1073741824ns", "400ms", "1ns", "0ns"])
@pytest.mark.parametrize("lock", ["ticket", "test_and_set"])
def test_long_and_short_times(user: str, hold: str, lock: str) -> None:
    """Times that do not fit into the vectors, alone and in sums, and such that take no time."""
    study = load(
        {
            "study": {"name": "long", "seed": 3, "duration": "9s", "warmup": "1s", "replications": 2},
            "host": {"pcpus": 2, "frequency": "1GHz"},
            "policy": {"scheduler": {"kind": "round_robin", "slice": {"uniform": ["300ms", "900ms"]}}},
            "vm": [
                {"name": "a", "vcpus": 2, "lock": {"kind": lock}, "user": user, "kernel": user, "hold": hold},
                {
                    "name": "b",
                    "vcpus": 2,
                    "lock": {"kind": lock},
                    "user": {"exponential": "8ms"},
                    "hold": hold,
                },
            ],
        }
    )
    assert differences(study.configurations[0], study.seed, study.replications) == []


@pytest.mark.parametrize("response", [{"kind": "none"}, {"kind": "yield", "spin_threshold": "19us"}])
@pytest.mark.parametrize(
    ("spin_threshold", "hold", "shortest_slice"), [("3us", "1500ns", "20us"), ("23us", "9us", "100us")]
)
@pytest.mark.parametrize(
    ("lock", "check"),
    [("pv_queue", "11us"), ("hybrid_queue", "10us"), ("pv_ticket", None), ("test_and_set", None)],
)
def test_many_waiters(
    lock: str,
    check: str | None,
    spin_threshold: str,
    hold: str,
    shortest_slice: str,
    response: dict[str, str],
) -> None:
    """More running waiters than the hosts of the random studies have, and thresholds that are reached among them."""
    options: dict[str, str] = {"kind": lock}
    if lock != "test_and_set":
        options |= {"spin_threshold": spin_threshold, "wakeup": "2us"}
    if check is not None:
        options["check"] = check
    study = load(
        {
            "study": {"name": "many", "seed": 5, "duration": "900us", "warmup": "20us", "replications": 3},
            "host": {"pcpus": 6, "frequency": "1GHz", "context_switch": "300ns", "vm_exit": "200ns"},
            "policy": {
                "scheduler": {"kind": "round_robin", "slice": {"uniform": [shortest_slice, "180us"]}},
                "response": response,
            },
            "vm": [
                {
                    "name": "a",
                    "vcpus": 7,
                    "lock": options,
                    "user": {"exponential": "3us"},
                    "hold": {"exponential": hold},
                },
                {
                    "name": "b",
                    "vcpus": 2,
                    "lock": options,
                    "user": {"exponential": "9us"},
                    "hold": {"exponential": "1us"},
                },
            ],
        }
    )
    assert differences(study.configurations[0], study.seed, study.replications) == []


def test_cases_that_failed() -> None:
    """Random studies that found a mistake."""
    check_cases(FOUND)


@pytest.mark.nightly
@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("first", range(10_000, 10_000 + N_NIGHTLY, CHUNK))
def test_many_random_cases(first: int, series: str) -> None:
    """Ten times as many other ones."""
    check_cases(range(first, first + CHUNK), series)
    check_cases(range(FIRST_WEIGHTED + first, FIRST_WEIGHTED + first + CHUNK), series)
    check_cases(range(FIRST_RELAXED + first, FIRST_RELAXED + first + CHUNK), series)
    if series == "case":
        check_cases(range(FIRST_LOCK_CASE + first, FIRST_LOCK_CASE + first + CHUNK))


def test_cases_exercise_every_counter() -> None:
    """No counter agrees with the twin's only because it is 0 in all cases."""
    assert len(POLICIES) * 5 <= N_CASES
    assert len(POLICIES) * len(LATER_LOCKS) <= N_LOCK_CASES
    vm_sums = np.zeros(len(VM_COUNTERS), np.int64)
    host_sums = np.zeros(len(HOST_COUNTERS), np.int64)
    numbers = [
        *range(N_CASES),
        *range(FIRST_LOCK_CASE, FIRST_LOCK_CASE + N_LOCK_CASES),
        *range(FIRST_RELAXED, FIRST_RELAXED + 2 * len(RELAXED_POLICIES)),
    ]
    for number in numbers:
        study = random_study(number)
        for configuration in study.configurations:
            vm, host, _ = block.simulate(Encoded(configuration), study.seed, range(study.replications))
            vm_sums += vm.sum(axis=(0, 1))
            host_sums += host.sum(axis=0)
    idle = {name for name, total in zip(VM_COUNTERS, vm_sums, strict=True) if total == 0}
    assert not idle
    assert (host_sums > 0).all()
