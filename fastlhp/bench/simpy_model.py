"""The model of scalar.c in SimPy, with its command line and its JSON fields.

    python simpy_model.py P M n think_ns hold_ns slice_ns duration_ns warmup_ns replications seed
                          [--no-preemption]

Round robin with pinned vCPUs (spread placement, random order and phase, fixed slice), one ticket lock per VM,
exponential user and hold times.  With ``--no-preemption`` the vCPUs are plain SimPy processes that share one
`simpy.Resource` per VM, which is how a SimPy user would write the machine-repairman queue.

An event is counted as in scalar.c.  Times are float nanoseconds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

Process = Generator[simpy.Event, Any, None]


@dataclass
class Tally:
    """Counts of the measured window, which begins at `begin_ns`; `events` covers the warm-up too."""

    begin_ns: float
    events: int = 0
    acquisitions: int = 0
    contended_acquisitions: int = 0
    preemptions: int = 0
    lhp_events: int = 0
    lhp_acquisitions: int = 0
    lwp_events: int = 0
    user_ns: float = 0.0
    hold_ns: float = 0.0
    spin_ns: float = 0.0

    def clipped(self, start_ns: float, end_ns: float) -> float:
        return max(0.0, end_ns - max(start_ns, self.begin_ns))


class SpinningThread:
    """A vCPU that is never preempted: think, take the lock, hold, for ever."""

    def __init__(
        self, env: simpy.Environment, tally: Tally, lock: simpy.Resource, think_ns: float, hold_ns: float
    ) -> None:
        self.env, self.tally, self.lock = env, tally, lock
        self.think_per_ns, self.hold_per_ns = 1 / think_ns, 1 / hold_ns
        self.spinning_since = math.inf
        env.process(self.cycle())

    def cycle(self) -> Process:
        env, tally, lock = self.env, self.tally, self.lock
        while True:
            yield env.timeout(random.expovariate(self.think_per_ns))
            tally.events += 1
            with lock.request() as request:
                self.spinning_since = env.now
                contended = not request.triggered
                yield request
                if env.now >= tally.begin_ns:
                    tally.acquisitions += 1
                    if contended:
                        tally.contended_acquisitions += 1
                        tally.spin_ns += env.now - max(self.spinning_since, tally.begin_ns)
                self.spinning_since = math.inf
                yield env.timeout(random.expovariate(self.hold_per_ns))
                tally.events += 1

    def close(self) -> None:
        self.tally.spin_ns += self.tally.clipped(self.spinning_since, self.env.now)


@dataclass(eq=False)
class Vcpu:
    """A vCPU that runs only while its pCPU lets it."""

    env: simpy.Environment
    tally: Tally
    lock: simpy.Resource
    think_ns: float
    hold_ns: float
    running: bool = False
    holding: bool = False
    waiting: bool = False
    preempted_while_holding: bool = False
    running_since: float = 0.0
    dispatched: simpy.Event = field(init=False)
    process: simpy.Process = field(init=False)

    def __post_init__(self) -> None:
        self.dispatched = self.env.event()
        self.process = self.env.process(self.cycle())

    def dispatch(self) -> None:
        self.running = True
        self.running_since = self.env.now
        self.dispatched.succeed()
        self.dispatched = self.env.event()

    def preempt(self) -> None:
        """Take the pCPU away; a spinner has no residual to keep, so its process is not interrupted."""
        tally = self.tally
        counted = self.env.now >= tally.begin_ns
        self.charge()
        self.running = False
        tally.events += 1
        tally.preemptions += counted
        tally.lwp_events += self.waiting and counted
        if self.holding:
            tally.lhp_events += counted
            tally.lhp_acquisitions += counted and not self.preempted_while_holding
            self.preempted_while_holding = True
        if not self.waiting:
            self.process.interrupt()

    def charge(self) -> None:
        """Book the running time since the last change of state."""
        if not self.running:
            return
        elapsed = self.tally.clipped(self.running_since, self.env.now)
        if self.waiting:
            self.tally.spin_ns += elapsed
        elif self.holding:
            self.tally.hold_ns += elapsed
        else:
            self.tally.user_ns += elapsed
        self.running_since = self.env.now

    def work(self, duration_ns: float) -> Process:
        """Run for `duration_ns` of this vCPU's own time."""
        while True:
            if not self.running:
                yield self.dispatched
            started = self.env.now
            try:
                yield self.env.timeout(duration_ns)
            except simpy.Interrupt:
                duration_ns -= self.env.now - started
            else:
                self.tally.events += 1
                return

    def cycle(self) -> Process:
        while True:
            yield from self.work(random.expovariate(1 / self.think_ns))
            self.charge()
            with self.lock.request() as request:
                contended = not request.triggered
                if contended:
                    self.waiting = True
                    yield request
                    if not self.running:
                        yield self.dispatched
                    self.charge()
                    self.waiting = False
                self.holding, self.preempted_while_holding = True, False
                if self.env.now >= self.tally.begin_ns:
                    self.tally.acquisitions += 1
                    self.tally.contended_acquisitions += contended
                yield from self.work(random.expovariate(1 / self.hold_ns))
                self.charge()
                self.holding = False


def round_robin(env: simpy.Environment, vcpus: list[Vcpu], slice_ns: float) -> Process:
    """One pCPU: its vCPUs in turn, a slice each; the first slice ends at a uniform instant."""
    random.shuffle(vcpus)
    queue = deque(vcpus)
    remaining = random.uniform(0, slice_ns)
    queue[0].dispatch()
    while len(queue) > 1:
        yield env.timeout(remaining)
        queue[0].preempt()
        queue.rotate(-1)
        queue[0].dispatch()
        remaining = slice_ns


def replicate(
    pcpus: int,
    vms: int,
    vcpus_per_vm: int,
    think_ns: float,
    hold_ns: float,
    slice_ns: float,
    duration_ns: float,
    warmup_ns: float,
    preemption: bool = True,
) -> Tally:
    """Run one replication, with the global generator of `random`."""
    env = simpy.Environment()
    tally = Tally(begin_ns=warmup_ns)
    locks = [simpy.Resource(env, capacity=1) for _ in range(vms)]
    if preemption:
        vcpus = [Vcpu(env, tally, lock, think_ns, hold_ns) for lock in locks for _ in range(vcpus_per_vm)]
        for p in range(min(pcpus, len(vcpus))):
            env.process(round_robin(env, vcpus[p::pcpus], slice_ns))
        env.run(until=warmup_ns + duration_ns)
        for vcpu in vcpus:
            vcpu.charge()
    else:
        threads = [
            SpinningThread(env, tally, lock, think_ns, hold_ns) for lock in locks for _ in range(vcpus_per_vm)
        ]
        env.run(until=warmup_ns + duration_ns)
        for thread in threads:
            thread.close()
    return tally


def mean_and_error(name: str, values: list[float]) -> dict[str, float]:
    fields = {}
    if values:
        fields[name] = statistics.fmean(values)
    if len(values) > 1:
        fields[f"{name}_standard_error"] = statistics.stdev(values) / math.sqrt(len(values))
    return fields


def simulate(
    pcpus: int,
    vms: int,
    vcpus_per_vm: int,
    think_ns: float,
    hold_ns: float,
    slice_ns: float,
    duration_ns: float,
    warmup_ns: float,
    replications: int,
    seed: int,
    preemption: bool = True,
) -> dict[str, float]:
    """Run the replications and return the fields of scalar.c."""
    if not preemption and vms * vcpus_per_vm > pcpus:
        raise ValueError(f"without preemption {vms * vcpus_per_vm} vCPUs need as many pCPUs, got {pcpus}")
    random.seed(seed)
    began = time.perf_counter()
    tallies = [
        replicate(pcpus, vms, vcpus_per_vm, think_ns, hold_ns, slice_ns, duration_ns, warmup_ns, preemption)
        for _ in range(replications)
    ]
    seconds = time.perf_counter() - began
    events = sum(t.events for t in tallies)
    return {
        "pcpus": pcpus,
        "vms": vms,
        "vcpus_per_vm": vcpus_per_vm,
        "replications": replications,
        "events": events,
        "seconds": seconds,
        "events_per_second": events / seconds,
        "ns_per_event": 1e9 * seconds / events,
        **mean_and_error("throughput", [1e9 * t.acquisitions / duration_ns for t in tallies]),
        **mean_and_error(
            "lhp_probability", [t.lhp_acquisitions / t.acquisitions for t in tallies if t.acquisitions]
        ),
        **mean_and_error("wasted_fraction", [t.spin_ns / (pcpus * duration_ns) for t in tallies]),
        **{
            name: sum(getattr(t, name) for t in tallies)
            for name in (
                "acquisitions",
                "contended_acquisitions",
                "preemptions",
                "lhp_events",
                "lhp_acquisitions",
                "lwp_events",
            )
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The model of scalar.c in SimPy.")
    for name in ("pcpus", "vms", "vcpus_per_vm"):
        parser.add_argument(name, type=int)
    for name in ("think_ns", "hold_ns", "slice_ns", "duration_ns", "warmup_ns"):
        parser.add_argument(name, type=float)
    for name in ("replications", "seed"):
        parser.add_argument(name, type=int)
    parser.add_argument("--no-preemption", dest="preemption", action="store_false")
    print(json.dumps(simulate(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
