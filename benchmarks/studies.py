"""Speed of whole studies: a mixed sweep beside its parts, two threads beside one, and many short configurations.

    python benchmarks/studies.py [--rounds N]

Each line is the median of some rounds, in which both sides run one after the other.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import fastlhp
from fastlhp.bench.contenders import CASES, REMEDIES, study_of

HOSTS = (4, 8, 16)
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    **REMEDIES,
    "halt": {"response": {"kind": "halt", "spin_threshold": "25us"}},
    "gang": {"scheduler": {"kind": "gang", "slice": "10ms"}},
}
COUNTS = (1, 2, 3)
DURATION_MS = 50
REPLICATIONS = 64
SHORT_CONFIGURATIONS = 10_000


def sweep(**axes: list[Any]) -> dict[str, Any]:
    """Return a study that sweeps these axes; ``policy`` takes names of `POLICIES`."""
    study = study_of(CASES["P4-M2-n4"], REPLICATIONS, 1)
    study["study"]["duration"] = f"{DURATION_MS}ms"
    none = {"kind": "none"}
    policies = [
        {"guard": none, "response": none, **study["policy"], **POLICIES[name]} for name in axes.pop("policy")
    ]
    study["sweep"] = {key.replace("__", "."): values for key, values in axes.items()}
    study["sweep"]["zip"] = {
        f"policy.{part}": [policy[part] for policy in policies] for part in ("scheduler", "guard", "response")
    }
    return study


def speed(study: dict[str, Any], threads: int = 1) -> tuple[float, float]:
    """Run a study: its events and seconds, without compiling and files."""
    timing = fastlhp.run(study, threads=threads).timing
    return float(timing["events"]), float(timing["engine_seconds"])


def mixed() -> float:
    """Speed of a sweep over hosts, numbers of VMs and policies, relative to that of its parts."""
    events, seconds = speed(
        sweep(policy=list(POLICIES), host__pcpus=list(HOSTS), vm__guest__count=list(COUNTS))
    )
    parts = [
        speed(sweep(policy=[policy], host__pcpus=[pcpus], vm__guest__count=[count]))
        for policy, pcpus, count in itertools.product(POLICIES, HOSTS, COUNTS)
    ]
    if sum(part[0] for part in parts) != events:
        raise SystemExit("the parts are not the whole")
    return sum(part[1] for part in parts) / seconds


def two_threads() -> float:
    """Speed of two threads relative to one."""
    study = study_of(CASES["P4-M2-n4"], 4096, 1)
    one, two = speed(study), speed(study, threads=2)
    return one[1] / two[1]


def set_up(replications: int) -> float:
    """Share of set-up in the CPU time of many configurations of 10 ms: what the same events in one do not take."""
    many = study_of(CASES["P4-M2-n4"], replications, 1)
    many["study"]["duration"] = "10ms"
    many["sweep"] = {"host.context_switch": [f"{i}ns" for i in range(SHORT_CONFIGURATIONS)]}  # matters little
    one = study_of(CASES["P4-M2-n4"], 16 * 1024, 1)
    one["study"]["duration"] = "10ms"
    return 1 - cpu_s_per_event(one) / cpu_s_per_event(many)


def cpu_s_per_event(study: dict[str, Any]) -> float:
    """CPU time of a study, reading it included, by events."""
    began = time.process_time()
    events, _ = speed(study)
    return (time.process_time() - began) / events


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Speed of whole studies.")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    speed(study_of(CASES["P4-M2-n4"], 2, 1))  # compiles
    measures: list[tuple[str, Callable[[], float], str]] = [
        ("mixed sweep, x its parts", mixed, "{:.2f}"),
        ("two threads, x one", two_threads, "{:.2f}"),
        *(
            (f"{SHORT_CONFIGURATIONS} configurations of 10 ms x {n}: set-up", lambda n=n: set_up(n), "{:.0%}")
            for n in (1, 16, 64)
        ),
    ]
    for name, measure, form in measures:
        values = [measure() for _ in range(rounds)]
        print(f"{name:<48} {form.format(statistics.median(values))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
