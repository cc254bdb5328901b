"""Record what happens in one replication."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.engine import state as engine
from fastlhp.engine.encode import Encoded
from fastlhp.engine.watch import Watch
from fastlhp.errors import FastlhpError
from fastlhp.model.configuration import Configuration
from fastlhp.model.study import Study, load
from fastlhp.model.units import format_duration
from fastlhp.run.trace import ACQUISITION, PREEMPTION, Role, State, Trace
from fastlhp.run.warmup import settled

__all__ = ["DEFAULT_LENGTH_NS", "MAX_CELLS", "MAX_EVENTS", "record"]

DEFAULT_LENGTH_NS = 100_000_000
MAX_EVENTS = 500_000
"""In a window; they take some seconds."""
MAX_CELLS = 2**25
"""Events of a window times vCPUs: what has to be kept in memory."""
CHUNK = 2**20
"""Numbers that are read from the engine before they are made into a part of the trace."""

Array = npt.NDArray[Any]


def _table(values: Mapping[int, int]) -> Array:
    table = np.zeros(max(values) + 1, np.int8)
    table[list(values)] = list(values.values())
    return table


_STATE = _table(
    {
        engine.SWITCHING: State.SWITCH,
        engine.EXITING: State.EXIT,
        engine.READY: State.READY,
        engine.HALTED: State.HALTED,
        engine.SERVING: State.KERNEL,
        engine.COSTOPPED: State.COSTOPPED,
    }
)
"""`State` of a vCPU that does not run, by the engine's."""
_RUNNING_STATE = _table(
    {
        engine.USER: State.USER,
        engine.KERNEL: State.KERNEL,
        engine.HOLDING: State.HOLDING,
        engine.WAITING: State.SPINNING,
        engine.HANDOVER: State.SPINNING,
    }
)
"""`State` of a vCPU that runs, by the phase of its guest."""
_ROLE = _table(
    {
        engine.USER: Role.NONE,
        engine.KERNEL: Role.NONE,
        engine.HOLDING: Role.HOLDS,
        engine.WAITING: Role.WAITS,
        engine.HANDOVER: Role.GRANTED,
    }
)
"""`Role` by the phase of the guest."""


def record(
    study: Study | Mapping[str, Any] | str | os.PathLike[str],
    *,
    configuration: int = 0,
    replication: int = 0,
    window: tuple[int, int] | None = None,
) -> Trace:
    """Record one replication, exactly as `fastlhp.run` simulates it.

    Parameters
    ----------
    study : Study, mapping or path-like
        The study, or what `fastlhp.load` makes one of.
    configuration, replication : int, optional
        Which replication, from 0.
    window : (int, int), optional
        Begin and end in ns since the start of the replication, warm-up included. By default the measured window, of
        a longer one the first 100 ms.

    Returns
    -------
    Trace

    Raises
    ------
    StudyError
        If the study is not valid.
    FastlhpError
        If there is no such replication or window, or too much happens in it.
    """
    study = load(study)
    if not 0 <= configuration < study.n_configurations:
        raise FastlhpError(
            f"{study.name} has configurations 0 to {study.n_configurations - 1}, found {configuration}"
        )
    if not 0 <= replication < study.replications:
        raise FastlhpError(
            f"{study.name} has replications 0 to {study.replications - 1}, found {replication}"
        )
    chosen = settled(study, configuration)
    begin, end = _window(chosen, window)
    watch = Watch(Encoded(chosen), study.seed, replication)
    watch.skip_to(begin)
    limit = min(MAX_EVENTS, MAX_CELLS // chosen.n_vcpu)
    # The last row of a chunk is the first of the next one, so that no change between two rows is missed.
    rows, times = watch.snapshot(), np.array([begin])
    n_at_once = max(1, CHUNK // rows.shape[1])
    parts: list[dict[str, Array]] = []
    n_events = 0
    while (next_at := int(_next_at(watch, rows)[-1])) < end:
        if n_events >= limit:
            raise FastlhpError(
                f"more than {limit:,} events in the window, which are too many: end it at "
                f"{format_duration(next_at)} at the latest"
            )
        rows = np.concatenate([rows[-1:], watch.snapshots(n_at_once)])
        times = np.append(times[-1], _next_at(watch, rows)[:-1])
        within = times < end
        rows, times = rows[within], times[within]
        parts.append(_read(watch, rows, times))
        n_events += len(rows) - 1
    last = _read(watch, rows[-1:], times[-1:])
    columns = {name: np.concatenate([*(part[name] for part in parts), last[name]]) for name in last}
    times = np.append(columns.pop("times"), end)
    lasts = np.diff(times) > 0
    for name in ("state", "role", "pcpu", "lock", "home", "extended"):
        columns[name] = columns[name][lasts]
    times = times[np.append(lasts, True)]
    return Trace(study.name, chosen, study.seed, replication, times, **columns)


def _window(configuration: Configuration, window: tuple[int, int] | None) -> tuple[int, int]:
    measured, end = configuration.warmup_ns, configuration.warmup_ns + configuration.duration_ns
    if window is None:
        return measured, min(end, measured + DEFAULT_LENGTH_NS)
    if not 0 <= window[0] < window[1] <= end:
        found = ":".join(map(format_duration, window))
        raise FastlhpError(
            f"a window begins before it ends, within 0ns:{format_duration(end)} (warm-up "
            f"{format_duration(measured)}, then {format_duration(end - measured)}); found {found}"
        )
    return window


def _next_at(watch: Watch, rows: Array) -> Array:
    """When the event after each snapshot happens."""
    return np.ascontiguousarray(rows[:, watch.columns["next_key"]]).view(np.int64)[:, 0] >> engine.ORDER_BITS


def _read(watch: Watch, rows: Array, times: Array) -> dict[str, Array]:
    """Return the columns of a trace from snapshots, all but the last; and what happens from each to the next."""
    part = {name: rows[:, columns] for name, columns in watch.columns.items()}
    n_vcpu = part["vcpus.state"].shape[1]
    pcpu = np.full((len(rows), n_vcpu), -1, np.int16)
    row, p = np.nonzero(part["pcpus.mode"] != engine.IDLE)
    pcpu[row, part["pcpus.vcpu"][row, p]] = p

    at = np.maximum(pcpu, 0)
    state = part["vcpus.state"]
    runs = state == engine.RUNNING
    phase = np.where(runs, np.take_along_axis(part["present.phase"], at, 1), part["vcpus.phase"])
    position = np.take_along_axis(part["present.position"], at, 1)
    lock = np.where(runs, (position >> engine.LOCK_SHIFT) & engine.LOCK_MASK, part["vcpus.lock"])
    role = _ROLE[phase]
    lock[role == Role.NONE] = -1

    at = np.maximum(lock, 0)
    off_owner = np.take_along_axis(part["lock_records.off_owner"], at, 1)
    is_held = np.take_along_axis(part["lock_records.off_holding"], at, 1) != 0
    waits = phase == engine.WAITING
    role[waits & ~runs & (off_owner == np.arange(n_vcpu))] = Role.GRANTED
    doing = np.where(runs, _RUNNING_STATE[phase], _STATE[state])
    behind = runs & waits & (off_owner >= 0)
    doing[behind & is_held] = State.SPINNING_LHP
    doing[behind & ~is_held] = State.SPINNING_LWP
    doing[(state == engine.HALTED) & waits] = State.BLOCKED

    preempted = part["vcpus.preempted"]
    i, v = np.nonzero(preempted[1:] > preempted[:-1])
    preemptions = np.empty(len(i), PREEMPTION)
    preemptions["at_ns"], preemptions["vcpu"] = times[i + 1], v
    preemptions["pcpu"], preemptions["role"] = pcpu[i, v], role[i + 1, v]
    holds = role == Role.HOLDS
    i, v = np.nonzero(holds[1:] & ~holds[:-1])
    acquisitions = np.empty(len(i), ACQUISITION)
    acquisitions["at_ns"], acquisitions["vcpu"] = times[i + 1], v
    acquisitions["lock"] = lock[i + 1, v]

    n = max(len(rows) - 1, 1)
    return {
        "times": times[:n],
        "state": doing[:n],
        "role": role[:n],
        "pcpu": pcpu[:n],
        "lock": lock[:n].astype(np.int16),
        "home": part["vcpus.home"][:n].astype(np.int16),
        "extended": part["pcpus.extended"][:n] == engine.EXTENDED,
        "preemptions": preemptions,
        "acquisitions": acquisitions,
    }
