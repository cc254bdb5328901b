"""Traces as files that Perfetto and chrome://tracing open: the JSON of the Trace Event Format [1]_.

References
----------
.. [1] N. Duca and D. Sinclair, "Trace Event Format", Google, 2016.
"""

import json
import math
from collections.abc import Iterator
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastlhp import __version__
from fastlhp.run.trace import Role, State, Trace
from fastlhp.view.files import write

__all__ = ["trace_events", "write_trace"]

Event = dict[str, Any]

_NAMES: dict[int, str] = {
    State.USER: "user",
    State.KERNEL: "kernel",
    State.HOLDING: "holding",
    State.SPINNING: "spinning, holder runs",
    State.SPINNING_LHP: "spinning, holder off CPU",
    State.SPINNING_LWP: "spinning, next in line off CPU",
    State.SWITCH: "context switch",
    State.EXIT: "VM exit",
    State.READY: "ready",
    State.COSTOPPED: "co-stopped",
    State.HALTED: "halted",
    State.BLOCKED: "blocked",
}
_OFF_CPU = frozenset({State.READY, State.COSTOPPED, State.BLOCKED, State.SWITCH, State.EXIT})
_ROLES: dict[int, str] = {Role.WAITS: "waits", Role.GRANTED: "next in line", Role.HOLDS: "holds"}


class _Span(NamedTuple):
    """A SPAN of the trace: a tuple is read much faster."""

    begin_ns: int
    end_ns: int
    state: int
    role: int
    vcpu: int
    pcpu: int
    lock: int
    waiters: int
    extended: int


def _each(spans: npt.NDArray[np.void]) -> Iterator[_Span]:
    return map(_Span._make, spans.tolist())


def trace_events(trace: Trace) -> list[Event]:
    """Return a trace as events of the Trace Event Format.

    Parameters
    ----------
    trace : Trace
        What to convert.

    Returns
    -------
    list of dict
        First the names of tracks, then all else in order of time. A track is a thread: of the process of the pCPUs, of
        that of a VM, or of that of the locks. Times are in us. The slices of a pCPU are its vCPUs, and within them
        their states; those of a vCPU its states; those of a lock its owners.
    """
    tracks = _Tracks(trace)
    events = [*_pcpu_events(trace, tracks), *_vcpu_events(trace, tracks), *_lock_events(trace, tracks)]
    # Of slices that begin together the longer one is around the other.
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    return [*tracks.names(), *events]


def write_trace(trace: Trace, path: str | PathLike[str], force: bool = False) -> None:
    """Write a trace to a JSON file.

    Parameters
    ----------
    trace : Trace
        What to write.
    path : path-like
        The file.
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    FastlhpError
        If the file exists and `force` is not given, or it cannot be written.
    """
    about = {
        "displayTimeUnit": "ns",
        "otherData": {
            "fastlhp": __version__,
            "study": trace.study,
            "configuration": trace.configuration.index,
            "labels": trace.configuration.labels,
            "replication": trace.replication,
            "seed": trace.seed,
        },
    }
    head = json.dumps(about)[:-1]
    lines = ",\n".join(json.dumps(event) for event in trace_events(trace))
    write(f'{head}, "traceEvents": [\n{lines}\n]}}\n', path, force)


class _Tracks:
    """Processes and threads of a trace, as the fields ``pid`` and ``tid``.

    All their numbers differ: viewers take the thread that has its process's number for something special.
    """

    def __init__(self, trace: Trace) -> None:
        vms = trace.configuration.vms
        self._processes = ["pCPUs", *(f"VM {vm.name}" for vm in vms), "locks"]
        locks = len(self._processes)
        pcpus = [(1, f"pCPU {p}") for p in range(trace.configuration.host.pcpus)]
        vcpus = [(2 + int(vm), name) for vm, name in zip(trace.vm_of, trace.vcpu_names, strict=True)]
        self._threads = [*pcpus, *vcpus, *((locks, name) for name in trace.lock_names)]
        self._first_vcpu, self._first_lock = len(pcpus), len(pcpus) + len(vcpus)

    def pcpu(self, p: int) -> Event:
        return self._thread(p)

    def vcpu(self, v: int) -> Event:
        return self._thread(self._first_vcpu + v)

    def lock(self, g: int) -> Event:
        return self._thread(self._first_lock + g)

    def _thread(self, index: int) -> Event:
        return {"pid": self._threads[index][0], "tid": len(self._processes) + 1 + index}

    def names(self) -> Iterator[Event]:
        """Events that name the tracks, and put them in order."""
        for pid, name in enumerate(self._processes, 1):
            yield from self._names("process", {"pid": pid}, name, pid)
        for index, (_, name) in enumerate(self._threads):
            yield from self._names("thread", self._thread(index), name, index)

    def _names(self, what: str, where: Event, name: str, index: int) -> Iterator[Event]:
        yield {"name": f"{what}_name", "ph": "M", **where, "args": {"name": name}}
        yield {"name": f"{what}_sort_index", "ph": "M", **where, "args": {"sort_index": index}}


def _us(ns: int) -> float:
    """Return a time in us that Perfetto, which cuts off 1000 times of it, reads as these very ns."""
    us = ns / 1000
    return us if int(us * 1000) == ns else math.nextafter(us, math.inf)


def _slice(span: _Span, where: Event, name: str, category: str, **arguments: Any) -> Event:
    times = {"ts": _us(span.begin_ns), "dur": _us(span.end_ns - span.begin_ns)}
    return {"name": name, "cat": category, "ph": "X", **times, **where, "args": arguments}


def _doing(trace: Trace, span: _Span) -> tuple[str, dict[str, str]]:
    """What a vCPU does, in words, and what it has to do with which lock."""
    name = _NAMES[span.state]
    if span.role == Role.NONE:
        return name, {}
    if span.state in _OFF_CPU and span.role != Role.WAITS:
        name = f"{name}, {'holds a lock' if span.role == Role.HOLDS else 'next in line'}"
    return name, {"lock": trace.lock_names[span.lock], "role": _ROLES[span.role]}


def _pcpu_events(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
    for p in range(trace.configuration.host.pcpus):
        where = tracks.pcpu(p)
        for span in _each(trace.spans(vcpu=trace.vcpu_on[:, p])):
            if span.vcpu >= 0:
                yield _slice(span, where, trace.vcpu_names[span.vcpu], "vcpu")
        for span in _each(trace.pcpu_spans(p)):
            if span.vcpu >= 0:
                name, about = _doing(trace, span)
                extended = {"slice": "extended"} if span.extended == 1 else {}
                yield _slice(span, where, name, "state", **about, **extended)


def _vcpu_events(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
    for v in range(trace.configuration.n_vcpu):
        where = tracks.vcpu(v)
        for span in _each(trace.vcpu_spans(v)):
            name, about = _doing(trace, span)
            on = {"pcpu": span.pcpu} if span.pcpu >= 0 else {}
            yield _slice(span, where, name, "state", **about, **on)
    for at_ns, v, pcpu, role in trace.preemptions[["at_ns", "vcpu", "pcpu", "role"]].tolist():
        who = {Role.NONE: "", Role.HOLDS: "lock holder "}.get(role, "lock waiter ")
        at = {"ts": _us(at_ns), **tracks.vcpu(v)}
        name = f"{who}preempted"
        yield {"name": name, "cat": "preemption", "ph": "i", "s": "t", **at, "args": {"pcpu": pcpu}}


def _lock_events(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
    for g, lock in enumerate(trace.lock_names):
        where = tracks.lock(g)
        for span in _each(trace.lock_spans(g)):
            if span.vcpu >= 0:
                off_cpu = ", off CPU" if span.state in _OFF_CPU else ""
                owner = trace.vcpu_names[span.vcpu] + off_cpu
                yield _slice(span, where, owner, "owner", role=_ROLES[span.role])
        for span in _each(trace.waiter_spans(g)):
            at = {"ts": _us(span.begin_ns), **where}
            about = {"waiters": span.waiters}
            yield {"name": lock, "cat": "waiters", "ph": "C", **at, "args": about}
