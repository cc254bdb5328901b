"""Speed of every preset, and of plain round robin with a remedy, beside the scalar C program's plain round robin.

    python benchmarks/presets.py [--rounds N]

One thread; 4 pCPUs, 2 VMs of 4 vCPUs, user 10 us and hold 1 us, both exponential, 100 ms. In every round each is run
between two runs of C, so that a machine that slows down or speeds up treats both alike; printed are medians. A decision
is a preemption, a yield, a halt, a kick, or the context switch that follows: what the hypervisor's scalar code does,
beside the guests' own events. Where decisions are more than 5 % of the events, all time divided by them says what one
costs at most.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import fastlhp
from fastlhp.bench.contenders import CASES, REMEDIES, compile_scalar, scalar_runner, study_of
from fastlhp.model.presets import preset_names
from fastlhp.run.tailor import tailor_for

REPLICATIONS = 512
DECISIONS = (
    *("context_switches", "preemptions", "yields", "halts", "guest_halts", "kicks"),
    *("guard_yields", "informed_yields"),
)


def study(name: str, replications: int) -> dict[str, Any]:
    """The study of a preset or remedy."""
    of_name = study_of(CASES["P4-M2-n4"], replications, 1, **REMEDIES.get(name, {}))
    of_name["study"]["duration"] = "100ms"
    if name not in REMEDIES:
        of_name["policy"] = {"preset": name}
        del of_name["vm"][0]["lock"]  # the preset has one
    return of_name


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Speed of every preset beside the scalar C program.")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        program = compile_scalar(Path(folder))
        if program is None:
            return 2
        run_c, case = scalar_runner(program), CASES["P4-M2-n4"]
        print(
            f"{'':<18} {'Mevents/s':>9} {'ns/event':>8} {'x C':>5} {'decisions/event':>15} {'ns/decision':>11}"
        )
        for name in [*REMEDIES, *preset_names()]:
            rates, ratios, share = [], [], 0.0
            for number in range(rounds + 1):
                before = run_c(case, 64, number).rate
                loaded = fastlhp.load(study(name, REPLICATIONS))
                tailor_for(loaded, least_s=0)
                results = fastlhp.run(loaded, threads=1)
                events = float(results.timing["events"])
                rate = events / float(results.timing["engine_seconds"])
                after = run_c(case, 64, number).rate
                if number > 0:  # the first run may compile
                    rates.append(rate)
                    ratios.append(rate / statistics.fmean((before, after)))
                share = sum(float(results[counter].sum()) for counter in DECISIONS) / events
            ns = 1e9 / statistics.median(rates)
            ratio = statistics.median(ratios)
            per_decision = f"{ns / share:.0f}" if share > 0.05 else "-"
            speed = f"{1e3 / ns:>9.1f} {ns:>8.1f} {ratio:>5.2f}"
            print(f"{name:<18} {speed} {share:>15.4f} {per_decision:>11}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
