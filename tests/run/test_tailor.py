"""A long run goes over to code made for what it simulates; its results are the same, and it never depends on that."""

import importlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from apart import nothing_tailored
from test_execute import STUDY

import fastlhp
from fastlhp.engine.block import Block, advance
from fastlhp.engine.machine_code import MachineCode
from fastlhp.engine.tailoring import Facts
from fastlhp.results.counters import ConfigurationResult
from fastlhp.run.chunks import execute_chunks
from fastlhp.run.execute import execute, execute_parts
from fastlhp.run.executors import Pool
from fastlhp.run.tailor import tailor_for
from fastlhp.run.work import Work

tailor = importlib.import_module("fastlhp.run.tailor")

ALONE = {key: value for key, value in STUDY.items() if key != "sweep"}
TIMES = {**STUDY, "sweep": {"vm.guest.user": ["10us", "20us", {"exponential": "10us"}]}}
"""Configurations of which the same is known."""
POLICIES = {
    **STUDY,
    "sweep": {
        "policy.scheduler": [
            {"kind": "round_robin", "slice": "1ms"},
            {"kind": "global", "slice": "1ms"},
            {"kind": "fair"},
        ],
        "policy.guard": [{"kind": "none"}, {"kind": "delay", "cap": "100us"}],
    },
}


class Joined(threading.Thread):
    """A thread whose work is done when the one that starts it goes on."""

    def start(self) -> None:
        super().start()
        self.join()


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Nothing has been made yet, nothing has been tried, and what is made does not depend on how fast it goes."""
    monkeypatch.setattr(tailor, "_spent", {})
    monkeypatch.setattr(tailor, "_tried", set())
    monkeypatch.setattr(tailor, "threading", SimpleNamespace(Thread=Joined))
    with nothing_tailored(tmp_path):
        yield


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is long enough, and has many turns."""
    monkeypatch.setattr(importlib.import_module("fastlhp.run.execute"), "TURN_S", 1e-9)
    monkeypatch.setattr(tailor, "AFTER_S", -1.0)
    monkeypatch.setattr(tailor, "LEAST_S", -1.0)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[Facts]:
    """What code is wanted for; none is made."""
    wanted: list[Facts] = []
    monkeypatch.setattr(advance, "tailor", wanted.append)
    return wanted


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[MachineCode | None]:
    """Code that blocks go on with, turn by turn."""
    used: list[MachineCode | None] = []
    use = Block.use

    def note(self: Block, code: MachineCode | None) -> None:
        used.append(code)
        use(self, code)

    monkeypatch.setattr(Block, "use", note)
    return used


def results_of(study: dict[str, Any], threads: int = 1) -> dict[int, ConfigurationResult]:
    found: dict[int, ConfigurationResult] = {}
    execute(fastlhp.load(study), threads=threads, sink=lambda it: found.__setitem__(it.index, it))
    return found


def expected_of(study: dict[str, Any]) -> dict[int, ConfigurationResult]:
    """Results of a run that makes no code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tailor, "LEAST_S", float("inf"))
        return results_of(study)


def assert_same(one: dict[int, ConfigurationResult], other: dict[int, ConfigurationResult]) -> None:
    assert one.keys() == other.keys()
    for index, result in one.items():
        for name in ("vm", "host", "histogram", "early"):
            np.testing.assert_array_equal(getattr(result, name), getattr(other[index], name))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_goes_over_to_code_made_for_it(
    at_once: None, used: list[MachineCode | None], threads: int
) -> None:
    """In its midst, and the results are those of a run that does not."""
    expected = expected_of(ALONE)
    assert set(used) == {None}
    used.clear()
    assert_same(results_of(ALONE, threads), expected)
    assert used[0] is None and used[-1] is not None
    assert set(used) == {None, *advance._tailored.values()}
    used.clear()
    assert_same(results_of(ALONE, threads), expected)
    assert None not in used


def test_several_kinds_in_a_block(
    at_once: None, used: list[MachineCode | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs among the configurations of a block is not taken for granted."""
    expected = expected_of(POLICIES)
    made = itertools.count()
    make = advance.tailor
    monkeypatch.setattr(advance, "tailor", lambda facts: make(facts) if next(made) < 3 else None)
    used.clear()
    assert_same(results_of(POLICIES), expected)
    known = [dict(facts) for facts, code in advance._tailored.items() if code in used]
    assert {"config.scheduler" in facts for facts in known} == {False, True}


@pytest.mark.parametrize(("after_s", "least_s"), [(-1.0, 1e9), (1e9, -1.0), (None, None)])
def test_a_short_run_makes_nothing(
    wanted: list[Facts], monkeypatch: pytest.MonkeyPatch, after_s: float | None, least_s: float | None
) -> None:
    """Neither one that has gone on for long and will not, nor one that will and has not yet."""
    if after_s is not None:
        monkeypatch.setattr(tailor, "AFTER_S", after_s)
        monkeypatch.setattr(tailor, "LEAST_S", least_s)
    results_of(ALONE)
    assert not wanted


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [None, RuntimeError("LLVM does not like it"), MemoryError()])
def test_a_run_does_without(
    at_once: None,
    used: list[MachineCode | None],
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    error: Exception | None,
) -> None:
    """If no code can be made it goes on, and does not try again."""
    tried: list[Facts] = []

    def fail(facts: Facts) -> None:
        tried.append(facts)
        if error is not None:
            raise error

    expected = expected_of(ALONE)
    used.clear()
    monkeypatch.setattr(advance, "tailor", fail)
    monkeypatch.setattr(advance, "tailored", lambda facts: None)
    assert_same(results_of(ALONE, threads), expected)
    assert len(tried) == 1 < len(used)


@pytest.mark.parametrize(("left_s", "is_long"), [(0.0, False), (1e9, True)])
def test_a_part_of_a_long_run(
    wanted: list[Facts], monkeypatch: pytest.MonkeyPatch, left_s: float, is_long: bool
) -> None:
    """A chunk is short, but the run may be long of which it is a part."""
    monkeypatch.setattr(tailor, "AFTER_S", -1.0)
    monkeypatch.setattr(tailor, "LEAST_S", 1e8)
    study = fastlhp.load(ALONE)
    execute_parts(study, Work(16, [0]), threads=1, sink=lambda part: None, left_s=left_s)
    assert len(wanted) == is_long


class Here(Executor):
    """Workers that are this process."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def test_workers_know_how_long_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The less is left, the shorter."""
    chunks = importlib.import_module("fastlhp.run.chunks")
    monkeypatch.setattr(chunks, "SHORTEST_S", 1e-6)
    monkeypatch.setattr(chunks, "LONGEST_S", 1e-6)
    monkeypatch.setattr(chunks._Chunks, "learn", lambda self, sent, seconds: None)
    told: list[float] = []
    module = importlib.import_module("fastlhp.run.execute")

    def note(*arguments: Any, left_s: float, **options: Any) -> Any:
        told.append(left_s)
        return execute_parts(*arguments, left_s=left_s, **options)

    monkeypatch.setattr(module, "execute_parts", note)
    study = fastlhp.load(STUDY)
    pool = Pool(Here(), lambda: 2, (), None)
    found: dict[int, int] = {}

    def count(part: ConfigurationResult) -> None:
        found[part.index] = found.get(part.index, 0) + len(part.host)

    execute_chunks(study, Work(study.replications, range(12)), pool, sink=count)
    assert found == dict.fromkeys(range(12), 40)
    assert len(told) > 6
    assert told == sorted(told, reverse=True)
    assert told[-1] > 0 and told[0] > 5 * told[-1]


def test_what_is_made_beforehand_is_what_a_run_uses(
    wanted: list[Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of configurations that have all in common that is known of them."""
    assert tailor_for(fastlhp.load(TIMES), least_s=0.0) == (0, 1)
    (made,) = wanted
    asked: list[Facts] = []
    monkeypatch.setattr(advance, "tailored", asked.append)
    results_of(TIMES)
    assert set(asked) == {made}


def test_what_takes_longest_first(wanted: list[Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is not room for all, code is made for what takes longest; and never for what does not take long."""
    monkeypatch.setattr(tailor, "MOST_KEPT", 2)
    study = fastlhp.load(
        {
            **POLICIES,
            "sweep": {
                "vm.guest.count": [1, 2, 3],
                "vm.guest.weight": [1, 2],
                "where": "vm.guest.count == 2 or vm.guest.weight < 2",
            },
        }
    )
    reports: list[tuple[int, int]] = []
    n_made, n = tailor_for(study, least_s=0.0, report=lambda done, n: reports.append((done, n)))
    assert (n_made, n) == (0, 3)
    assert reports == [(0, 2), (1, 2)]
    assert dict(wanted[0])["config.n_vm"] == 2  # has twice as many configurations
    assert tailor_for(study, least_s=1e9) == (0, 3)
    assert len(wanted) == 2


def test_switched_off(wanted: list[Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    """Then code is neither made nor looked for."""
    monkeypatch.setenv("FASTLHP_TAILOR", "0")
    monkeypatch.setattr(tailor, "AFTER_S", -1.0)
    monkeypatch.setattr(tailor, "LEAST_S", -1.0)
    asked: list[Facts] = []
    monkeypatch.setattr(advance, "tailored", asked.append)
    results_of(TIMES)
    assert tailor_for(fastlhp.load(TIMES), least_s=0.0) == (0, 1)
    assert not asked and not wanted
