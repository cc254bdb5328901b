"""Each of the ready studies shows in its window what it is named after."""

import numpy as np
import pytest

from fastlhp.data_files import data_path, toml_names, toml_text
from fastlhp.model.study import load
from fastlhp.run.record import record
from fastlhp.run.trace import Role, State, Trace

NAMES = toml_names("timelines")
MS = 1_000_000


def trace_of(name: str) -> Trace:
    return record(data_path("timelines", f"{name}.toml"))


def held_off_cpu(trace: Trace) -> np.ndarray:
    """Whether each vCPU holds a lock while it does not run."""
    return (trace.role == Role.HOLDS) & (trace.state != State.HOLDING)


def test_there_are_six() -> None:
    assert NAMES == (
        "coscheduling",
        "cpu_fragmentation",
        "lock_holder_preemption",
        "overcommitment",
        "preemption_delay",
        "priority_inversion",
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_to_look_at_stands_on_top(name: str) -> None:
    """And the window is all of it, at least a few slices and at most 100 ms."""
    lines = toml_text("timelines", name).splitlines()
    assert lines[0].startswith("# ") and lines[0].endswith(".") and ": " in lines[0]
    assert lines[2].startswith("# Look at")
    study, trace = load(data_path("timelines", f"{name}.toml")), trace_of(name)
    assert study.n_configurations == study.replications == 1
    assert 50 * MS <= trace.end_ns - trace.begin_ns == study.duration_ns <= 100 * MS


def test_overcommitment() -> None:
    """Every vCPU has a third of a pCPU, and is ready or switched in whenever it does not run."""
    trace = trace_of("overcommitment")
    assert trace.configuration.overcommit_ratio == 3
    assert trace.totals()["idle_ns"] == 0
    assert np.isin(trace.state, (State.USER, State.READY, State.SWITCH)).all()
    running = np.diff(trace.times) @ (trace.state == State.USER) / (trace.end_ns - trace.begin_ns)
    assert (abs(running - 1 / 3) < 0.06).all()


def test_lock_holder_preemption() -> None:
    """Holders are preempted, and siblings spin for a time of the order of slices meanwhile."""
    trace = trace_of("lock_holder_preemption")
    totals = trace.totals()
    assert totals["lhp_events"].sum() >= 4
    assert totals["spin_lhp_ns"].sum() > 20 * MS
    rows, vcpus = np.nonzero(trace.state == State.SPINNING_LHP)
    owners = trace.owner_of[rows, trace.lock[rows, vcpus]]
    assert held_off_cpu(trace)[rows, owners].all()
    assert (trace.vm_of[owners] == trace.vm_of[vcpus]).all()


def test_coscheduling() -> None:
    """The vCPUs of a VM have pCPUs together or not at all, so nobody spins on a holder that is off CPU."""
    trace, without = trace_of("coscheduling"), trace_of("lock_holder_preemption")
    assert trace.configuration.vms == without.configuration.vms
    has_pcpu = (trace.pcpu >= 0).reshape(len(trace.state), 2, 2)
    assert (has_pcpu[:, :, 0] == has_pcpu[:, :, 1]).all()
    assert held_off_cpu(trace).any()
    assert not np.isin(trace.state, (State.SPINNING_LHP, State.SPINNING_LWP)).any()
    assert trace.totals()["acquisitions"].sum() > without.totals()["acquisitions"].sum()


def test_cpu_fragmentation() -> None:
    """While either VM waits pCPUs idle, but fewer than it needs; one pCPU is never of use."""
    trace = trace_of("cpu_fragmentation")
    totals = trace.totals()
    assert totals["fragmentation_ns"] == totals["idle_ns"] > 100 * MS
    idle = (trace.vcpu_on < 0).sum(axis=1)
    for vm, needed in ((0, 3), (1, 2)):
        waits = (trace.state[:, trace.vm_of == vm] == State.READY).all(axis=1)
        assert waits.any() and (idle[waits] > 0).all() and (idle[waits] < needed).all()
    assert (trace.vcpu_on[:, 3] < 0).all()


def test_priority_inversion() -> None:
    """The heavy vCPU is ready while its column has one of the light VM, also after it has slept."""
    trace = trace_of("priority_inversion")
    urgent = trace.configuration.n_vcpu - 1
    inverted = trace.inverted[:, urgent]
    assert np.diff(trace.times) @ inverted > 20 * MS
    assert (trace.state[inverted, urgent] == State.READY).all()
    occupants = trace.vcpu_on[inverted, trace.home[inverted, urgent]]
    weights = [vm.weight for vm in trace.configuration.vms]
    assert (trace.vm_of[occupants] == 0).all() and weights == [1, 8]
    spans = trace.vcpu_spans(urgent)
    woken = (spans["state"][:-1] == State.HALTED) & (spans["state"][1:] == State.READY)
    assert woken.sum() >= 2


def test_preemption_delay() -> None:
    """Slices are extended while a lock is held, by less than the cap; no holder is preempted any more."""
    trace, without = trace_of("preemption_delay"), trace_of("lock_holder_preemption")
    assert trace.configuration.vms == without.configuration.vms
    assert not held_off_cpu(trace).any() and len(without.preemptions) > 0
    assert trace.totals()["lhp_events"].sum() == 0 and trace.totals()["spin_lhp_ns"].sum() == 0
    n_extended = 0
    for p in range(2):
        spans = trace.pcpu_spans(p)
        extended = np.flatnonzero(spans["extended"] == 1)
        n_extended += np.count_nonzero(spans["role"][extended] == Role.HOLDS)
        assert np.isin(spans["state"][extended], (State.HOLDING, State.EXIT)).all()
        assert (spans["end_ns"] - spans["begin_ns"])[extended].max() < 2 * MS
    assert n_extended >= 4
