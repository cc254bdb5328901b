"""Traces as files that Perfetto and chrome://tracing open: the JSON of the Trace Event Format [1]_.

References
----------
.. [1] N. Duca and D. Sinclair, "Trace Event Format", Google, 2016.
"""

import json
from collections.abc import Iterator
from os import PathLike
from typing import Any

from fastlhp import __version__
from fastlhp.run.trace import Role, State, Trace
from fastlhp.view.files import write_text

__all__ = ["trace_events", "write_trace"]

Event = dict[str, Any]

_NAMES = {
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
_OFF_CPU = (State.READY, State.COSTOPPED, State.BLOCKED, State.SWITCH, State.EXIT)
_ROLES = {Role.WAITS: "waits", Role.GRANTED: "next in line", Role.HOLDS: "holds"}


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
    write_text(f'{head}, "traceEvents": [\n{lines}\n]}}\n', path, force)


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


def _slice(span: Any, where: Event, name: str, category: str, **arguments: Any) -> Event:
    begin, end = int(span["begin_ns"]), int(span["end_ns"])
    times = {"ts": begin / 1000, "dur": (end - begin) / 1000}
    return {"name": name, "cat": category, "ph": "X", **times, **where, "args": arguments}


def _doing(trace: Trace, span: Any) -> tuple[str, dict[str, str]]:
    """What a vCPU does, in words, and what it has to do with which lock."""
    state, role = State(span["state"]), Role(span["role"])
    name = _NAMES[state]
    if role == Role.NONE:
        return name, {}
    if state in _OFF_CPU and role != Role.WAITS:
        name = f"{name}, {'holds a lock' if role == Role.HOLDS else 'next in line'}"
    return name, {"lock": trace.lock_names[span["lock"]], "role": _ROLES[role]}


def _pcpu_events(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
    for p in range(trace.configuration.host.pcpus):
        where = tracks.pcpu(p)
        for span in trace.spans(vcpu=trace.vcpu_on[:, p]):
            if span["vcpu"] >= 0:
                yield _slice(span, where, trace.vcpu_names[span["vcpu"]], "vcpu")
        for span in trace.pcpu_spans(p):
            if span["vcpu"] >= 0:
                name, about = _doing(trace, span)
                extended = {"slice": "extended"} if span["extended"] == 1 else {}
                yield _slice(span, where, name, "state", **about, **extended)


def _vcpu_events(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
    for v in range(trace.configuration.n_vcpu):
        for span in trace.vcpu_spans(v):
            name, about = _doing(trace, span)
            on = {"pcpu": int(span["pcpu"])} if span["pcpu"] >= 0 else {}
            yield _slice(span, tracks.vcpu(v), name, "state", **about, **on)
    for event in trace.preemptions:
        who = {Role.NONE: "", Role.HOLDS: "lock holder "}.get(event["role"], "lock waiter ")
        at = {"ts": int(event["at_ns"]) / 1000, **tracks.vcpu(int(event["vcpu"]))}
        taken = {"pcpu": int(event["pcpu"])}
        yield {"name": f"{who}preempted", "cat": "preemption", "ph": "i", "s": "t", **at, "args": taken}


def _lock_events(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
    for g, lock in enumerate(trace.lock_names):
        for span in trace.lock_spans(g):
            if span["vcpu"] >= 0:
                owner = trace.vcpu_names[span["vcpu"]]
                off_cpu = ", off CPU" if span["state"] in _OFF_CPU else ""
                yield _slice(span, tracks.lock(g), owner + off_cpu, "owner", role=_ROLES[Role(span["role"])])
        for span in trace.waiter_spans(g):
            at = {"ts": int(span["begin_ns"]) / 1000, **tracks.lock(g)}
            about = {"waiters": int(span["waiters"])}
            yield {"name": f"waiters {lock}", "cat": "waiters", "ph": "C", **at, "args": about}
