"""Traces: what is recorded is the replication that is simulated, and all of it."""

import numpy as np
import pytest
from cases import (
    FIRST_LOCK_CASE,
    FIRST_RELAXED,
    FIRST_WEIGHTED,
    GUARD_POLICIES,
    POLICIES,
    RELAXED_GUARD_POLICIES,
    RELAXED_POLICIES,
    WEIGHTED_GUARD_POLICIES,
    WEIGHTED_POLICIES,
    random_study,
)
from traces import TRACES

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.errors import FastlhpError
from fastlhp.model.study import Study, load
from fastlhp.results.counters import HOST_INDEX, VM_INDEX
from fastlhp.run import record as recording
from fastlhp.run.record import record
from fastlhp.run.trace import Role, State, Trace

RUNNING = (State.USER, State.KERNEL, State.HOLDING, State.SPINNING, State.SPINNING_LHP, State.SPINNING_LWP)
ON_PCPU = (*RUNNING, State.SWITCH, State.EXIT)


def record_all(study: Study, configuration: int, replication: int) -> Trace:
    """The whole measured window, however long."""
    chosen = study.configurations[configuration]
    window = (chosen.warmup_ns, chosen.warmup_ns + chosen.duration_ns)
    return record(study, configuration=configuration, replication=replication, window=window)


def differing_totals(study: Study, configuration: int, replication: int) -> list[str]:
    """Totals of the trace that are not the counters of the replication, as simulated by the vector passes."""
    encoded = Encoded(study.configurations[configuration])
    vm, host, _ = block.simulate(encoded, study.seed, range(replication, replication + 1))
    trace = record_all(study, configuration, replication)
    return [
        name
        for name, total in trace.totals().items()
        if not np.array_equal(
            total, vm[0][:, VM_INDEX[name]] if name in VM_INDEX else host[0][HOST_INDEX[name]]
        )
    ]


def check_tracks(trace: Trace) -> None:
    """At each instant at most one vCPU has a pCPU, and one owns a lock; tracks have no gaps and do not overlap."""
    on_pcpu = np.isin(trace.state, ON_PCPU)
    assert (on_pcpu == (trace.pcpu >= 0)).all()
    assert ((trace.role == Role.NONE) == (trace.lock < 0)).all()
    assert (trace.role[trace.state == State.HALTED] == Role.NONE).all()
    assert (trace.role[trace.state == State.BLOCKED] >= Role.WAITS).all()
    for p in range(trace.configuration.host.pcpus):
        assert ((trace.pcpu == p).sum(axis=1) <= 1).all()
    for g in range(len(trace.lock_names)):
        assert (((trace.lock == g) & (trace.role >= Role.GRANTED)).sum(axis=1) <= 1).all()
    tracks = [
        *map(trace.pcpu_spans, range(trace.configuration.host.pcpus)),
        *map(trace.vcpu_spans, range(trace.configuration.n_vcpu)),
        *map(trace.lock_spans, range(len(trace.lock_names))),
    ]
    for spans in tracks:
        assert spans["begin_ns"][0] == trace.begin_ns and spans["end_ns"][-1] == trace.end_ns
        assert (spans["begin_ns"][1:] == spans["end_ns"][:-1]).all()
        assert (spans["begin_ns"] < spans["end_ns"]).all()


@pytest.mark.parametrize(
    ("series", "numbers"),
    [
        pytest.param("case", range(len(POLICIES)), id="first"),
        pytest.param("case", range(FIRST_LOCK_CASE, FIRST_LOCK_CASE + 40), id="locks"),
        pytest.param("case", range(FIRST_WEIGHTED, FIRST_WEIGHTED + len(WEIGHTED_POLICIES)), id="weighted"),
        pytest.param("case", range(FIRST_RELAXED, FIRST_RELAXED + len(RELAXED_POLICIES)), id="relaxed"),
        pytest.param("guard", range(len(GUARD_POLICIES)), id="guards"),
        pytest.param(
            "guard",
            range(FIRST_WEIGHTED, FIRST_WEIGHTED + len(WEIGHTED_GUARD_POLICIES), 3),
            id="weighted guards",
        ),
        pytest.param(
            "guard",
            range(FIRST_RELAXED, FIRST_RELAXED + len(RELAXED_GUARD_POLICIES), 3),
            id="relaxed guards",
        ),
    ],
)
def test_totals_are_the_counters(series: str, numbers: range) -> None:
    """Random studies of every scheduler, guard, response and lock: to the last ns."""
    failures = {}
    for number in numbers:
        study = random_study(number, series)
        found = differing_totals(study, study.n_configurations - 1, study.replications - 1)
        if found:
            failures[number] = found
    assert not failures


@pytest.mark.parametrize(("study", "replication"), [pytest.param(t[1], t[3], id=t[0]) for t in TRACES])
def test_hand_traces(study: dict[str, object], replication: int) -> None:
    """The small cases that were worked out by hand have well-formed tracks, and their totals."""
    loaded = load(study).with_(replications=replication + 1)
    for index in range(loaded.n_configurations):
        assert differing_totals(loaded, index, replication) == []
        check_tracks(record_all(loaded, index, replication))


def test_hand_traces_have_every_state_and_role() -> None:
    """Otherwise the checks above would not be about them."""
    found: set[tuple[str, int]] = set()
    for _, study, _, replication in (trace[:4] for trace in TRACES):
        trace = record_all(load(study).with_(replications=replication + 1), 0, replication)
        found |= {("state", int(state)) for state in np.unique(trace.state)}
        found |= {("role", int(role)) for role in np.unique(trace.role)}
    states = {("state", int(state)) for state in State if state != State.IDLE}  # vCPUs do not idle
    assert found == states | {("role", int(role)) for role in Role}


def assert_same_tracks(part: Trace, whole: Trace) -> None:
    """`part` is what `whole` has from its begin to its end."""
    middle = (part.times[:-1] + part.times[1:]) // 2
    for at in (part.times[:-1], middle):
        row = np.searchsorted(whole.times, at, side="right") - 1
        for name in ("state", "role", "pcpu", "lock", "home", "extended"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[row])
    for name in ("preemptions", "acquisitions"):
        events = getattr(whole, name)
        within = (events["at_ns"] >= part.begin_ns) & (events["at_ns"] < part.end_ns)
        np.testing.assert_array_equal(getattr(part, name), events[within])


@pytest.mark.parametrize("number", [1, 7, FIRST_WEIGHTED + 20, FIRST_RELAXED + 5])
def test_a_window_is_cut_out_of_the_whole(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it begins and ends, and in however many pieces it is recorded."""
    study = random_study(number)
    end = study.warmup_ns + study.duration_ns
    whole = record(study, window=(0, end))
    monkeypatch.setattr(recording, "CHUNK", 500)
    event = int(whole.times[len(whole.times) // 3])
    for window in ((0, end), (event, event + 1), (event - 1, end - 5), (end - 1, end), (0, event)):
        part = record(study, window=window)
        assert (part.begin_ns, part.end_ns) == window
        assert_same_tracks(part, whole)


def test_by_default_the_measured_window() -> None:
    study = random_study(3)
    trace = record(study)
    assert (trace.begin_ns, trace.end_ns) == (study.warmup_ns, study.warmup_ns + study.duration_ns)


def test_no_more_than_100_ms_by_default() -> None:
    study = {
        "study": {"name": "long", "duration": "1s", "warmup": "30ms", "replications": 1},
        "host": {"pcpus": 1, "frequency": "1GHz"},
        "policy": {"scheduler": {"kind": "round_robin"}},
        "vm": [{"name": "a", "vcpus": 1, "lock": {"kind": "ticket"}, "user": "5ms", "hold": "1ms"}],
    }
    trace = record(study)
    assert (trace.begin_ns, trace.end_ns) == (30_000_000, 130_000_000)
    assert (
        trace.totals()["hold_ns"].sum() == 16_000_000
    )  # in cycles of 6 ms, the first of which begins at 30 ms


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"configuration": 1}, "case 0 has configurations 0 to 0, found 1"),
        ({"configuration": -1}, "configurations 0 to 0, found -1"),
        ({"replication": 2}, "case 0 has replications 0 to 1, found 2"),
        ({"window": (0, 10**12)}, r"within 0ns:\d+us .*found 0ns:1000s"),
        ({"window": (500, 500)}, "begins before it ends"),
        ({"window": (-1, 500)}, "begins before it ends"),
    ],
)
def test_what_is_not_there(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(FastlhpError, match=message):
        record(random_study(0), **arguments)


def test_too_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    study = random_study(0)
    whole = record(study)
    monkeypatch.setattr(recording, "MAX_EVENTS", 20)
    monkeypatch.setattr(recording, "CHUNK", 500)
    with pytest.raises(
        FastlhpError, match="more than 20 events in the window, .* end it at .* at the latest"
    ):
        record(study)
    assert_same_tracks(record(study, window=(whole.begin_ns, int(whole.times[10]))), whole)
