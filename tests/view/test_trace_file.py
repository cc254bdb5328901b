"""Trace files: valid Trace Event JSON, with the same times as the trace."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import FIRST_LOCK_CASE, FIRST_RELAXED, FIRST_WEIGHTED, random_study

from fastlhp.data_files import data_path
from fastlhp.errors import FastlhpError
from fastlhp.run.record import record
from fastlhp.run.trace import Role, State, Trace
from fastlhp.view.trace_file import _us, trace_events, write_trace

REQUIRED = {
    "M": {"name", "pid", "tid", "args"},
    "X": {"name", "cat", "ts", "dur", "pid", "tid", "args"},
    "C": {"name", "cat", "ts", "pid", "tid", "args"},
    "i": {"name", "cat", "s", "ts", "pid", "tid", "args"},
}
"""Keys of each kind of event beside ``ph``; the format lets a process's name do without ``tid``."""


def traces() -> list[Trace]:
    numbers = (0, 13, FIRST_LOCK_CASE + 3, FIRST_WEIGHTED + 4, FIRST_RELAXED + 2)
    return [record(random_study(number)) for number in numbers] + [
        record(data_path("timelines", "lock_holder_preemption.toml"))
    ]


@pytest.fixture(scope="module", params=range(6))
def trace(request: pytest.FixtureRequest) -> Trace:
    return traces()[request.param]


def ns(us: float) -> int:
    """A time as Perfetto reads it, which cuts off decimals; it was a whole number of ns."""
    assert int(1000.0 * us) == pytest.approx(1000 * us, abs=1e-3)
    return int(1000.0 * us)


def tracks_of(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Events by the name of their thread."""
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    tracks = defaultdict(list)
    for event in events:
        if event["ph"] != "M":
            tracks[names[event["pid"], event["tid"]]].append(event)
    return tracks


def total_ns(events: list[dict[str, Any]], *names: str) -> int:
    return sum(ns(e["dur"]) for e in events if e["ph"] == "X" and e["name"].startswith(names))


def test_well_formed(trace: Trace) -> None:
    events = trace_events(trace)
    for event in events:
        keys = set(event) - {"ph"}
        assert keys == REQUIRED[event["ph"]] or (event["ph"], event["name"][:7]) == ("M", "process")
    timed = [event for event in events if event["ph"] != "M"]
    assert events[-len(timed) :] == timed
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)
    assert all(trace.begin_ns <= ns(event["ts"]) < trace.end_ns for event in timed)
    threads = {(event["pid"], event["tid"]) for event in timed}
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert threads <= named
    assert len({tid for _, tid in named}) == len(named)  # also of different processes
    processes = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert list(processes.values())[0] == "pCPUs" and list(processes.values())[-1] == "locks"
    assert len(processes) == len(trace.configuration.vms) + 2
    assert {pid for pid, _ in named} == set(processes) and not {tid for _, tid in named} & set(processes)


def test_slices_are_nested(trace: Trace) -> None:
    """Viewers draw slices of a thread inside one another: they must not overlap in any other way."""
    for track in tracks_of(trace_events(trace)).values():
        open_until: list[int] = []
        for event in (event for event in track if event["ph"] == "X"):
            begin, end = ns(event["ts"]), ns(event["ts"]) + ns(event["dur"])
            while open_until and open_until[-1] <= begin:
                open_until.pop()
            assert begin < end and (not open_until or end <= open_until[-1])
            open_until.append(end)
            assert len(open_until) <= 2


def test_durations_are_those_of_the_trace(trace: Trace) -> None:
    tracks = tracks_of(trace_events(trace))
    dt = np.diff(trace.times)
    window = trace.end_ns - trace.begin_ns
    for v, name in enumerate(trace.vcpu_names):
        assert total_ns(tracks[name], "") == window
        for state, word in (
            (State.USER, "user"),
            (State.HOLDING, "holding"),
            (State.SPINNING_LHP, "spinning, holder off CPU"),
            (State.SPINNING_LWP, "spinning, next in line"),
            (State.READY, "ready"),
            (State.HALTED, "halted"),
        ):
            assert total_ns(tracks[name], word) == dt @ (trace.state[:, v] == state)
    for p in range(trace.configuration.host.pcpus):
        slices = tracks[f"pCPU {p}"]
        for category in ("vcpu", "state"):
            of_category = [event for event in slices if event["cat"] == category]
            assert total_ns(of_category, "") == dt @ (trace.vcpu_on[:, p] >= 0)
    for g, name in enumerate(trace.lock_names):
        owned = (trace.role >= Role.GRANTED) & (trace.lock == g)
        assert total_ns(tracks[name], "") == dt @ owned.any(axis=1)
        off_cpu = [event for event in tracks[name] if event["name"].endswith(", off CPU")]
        runs = np.isin(trace.state, (State.HOLDING, State.SPINNING, State.KERNEL))
        assert total_ns(off_cpu, "") == dt @ (owned & ~runs).any(axis=1)


def test_counters_of_waiters(trace: Trace) -> None:
    """The number of waiters at the middle of every row is what the counter said last."""
    tracks = tracks_of(trace_events(trace))
    middle = (trace.times[:-1] + trace.times[1:]) / 2
    for g, name in enumerate(trace.lock_names):
        counts = [event for event in tracks[name] if event["ph"] == "C"]
        assert {event["name"] for event in counts} == {name}
        last = np.searchsorted([ns(event["ts"]) for event in counts], middle) - 1
        said = np.array([event["args"]["waiters"] for event in counts])[last]
        waits = (trace.role == Role.WAITS) & (trace.lock == g)
        np.testing.assert_array_equal(said, waits.sum(axis=1))


def test_preemptions(trace: Trace) -> None:
    events = [event for event in trace_events(trace) if event["ph"] == "i"]
    totals = trace.totals()
    said = [event["name"] for event in events]
    assert len(said) == totals["preemptions"].sum()
    assert said.count("lock holder preempted") == totals["lhp_events"].sum()
    assert said.count("lock waiter preempted") == totals["lwp_events"].sum()


def test_what_perfetto_takes(trace: Trace, tmp_path: Path) -> None:
    """The rules of its importer of JSON: types of fields, scopes, counters by process and name, one dictionary an event."""
    path = tmp_path / "trace.json"
    write_trace(trace, path)
    content = json.loads(path.read_text(encoding="ascii"), parse_constant=pytest.fail)
    assert list(content)[-1] == "traceEvents" and isinstance(content["otherData"], dict)
    counters: dict[tuple[int, str], set[int]] = defaultdict(set)
    names: dict[str, dict[Any, str]] = {"process_name": {}, "thread_name": {}}
    for event in content["traceEvents"]:
        # Numbers, since strings are taken for names; tid alone tells threads apart.
        assert all(
            isinstance(event[key], int) and 0 < event[key] < 2**32 for key in ("pid", "tid") if key in event
        )
        assert isinstance(event["name"], str) and event["name"] and isinstance(event["args"], dict)
        if event["ph"] == "M":
            if event["name"] in names:
                key = event["pid"] if event["name"] == "process_name" else event["tid"]
                assert key not in names[event["name"]] and event["args"]["name"]
                names[event["name"]][key] = event["args"]["name"]
            continue
        assert (
            event["ts"] >= 0
            and event["tid"] in names["thread_name"]
            and event["pid"] in names["process_name"]
        )
        if event["ph"] == "C":
            (value,) = event["args"].values()
            assert isinstance(value, int) and value >= 0
            counters[event["pid"], event["name"]].add(event["tid"])
        elif event["ph"] == "i":
            assert event["s"] == "t"
        else:
            assert event["ph"] == "X" and event["dur"] > 0
    assert len(counters) == len(trace.lock_names) and all(len(threads) == 1 for threads in counters.values())


@pytest.mark.parametrize("first", [0, 10**6, 10**9, 10**12])
def test_no_nanosecond_is_lost(first: int) -> None:
    times = np.random.default_rng(1).integers(first, 2 * first + 10**6, 20_000).tolist()
    assert [int(_us(ns) * 1000.0) for ns in times] == times
    assert [round(_us(ns), 3) for ns in times] == [ns / 1000 for ns in times]
    assert any(int(ns / 1000 * 1000.0) != ns for ns in times)


def test_the_file(tmp_path: Path) -> None:
    trace = record(data_path("timelines", "preemption_delay.toml"))
    path = tmp_path / "trace.json"
    write_trace(trace, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["traceEvents"] == trace_events(trace)
    assert content["displayTimeUnit"] in ("ms", "ns")
    assert content["otherData"]["study"] == "preemption delay" and content["otherData"]["seed"] == 19
    extended = [event for event in content["traceEvents"] if event.get("args", {}).get("slice") == "extended"]
    assert extended and all(event["cat"] == "state" for event in extended)
    with pytest.raises(FastlhpError, match="exists"):
        write_trace(trace, path)
    before = path.read_bytes()
    write_trace(trace, path, force=True)
    assert path.read_bytes() == before
