"""Speed of every preset beside the scalar C program's plain round robin.

    python benchmarks/presets.py [--rounds N]

One thread; 4 pCPUs, 2 VMs of 4 vCPUs, user 10 us and hold 1 us, both exponential, 100 ms. In every round each preset is
run between two runs of C, so that a machine that slows down or speeds up treats both alike; printed are medians. A
decision is a context switch, a yield, a halt or a kick: what the hypervisor's scalar code does, beside the guests' own
events. Where decisions are more than 5 % of the events, all time divided by them says what one costs at most.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import fastlhp
from fastlhp.bench.contenders import CASES, compile_scalar, scalar_runner
from fastlhp.model.presets import preset_names

REPLICATIONS = 512
DECISIONS = ("context_switches", "yields", "halts", "guest_halts", "kicks", "guard_yields", "informed_yields")


def study(preset: str) -> dict[str, object]:
    """The study of a preset."""
    return {
        "study": {
            "name": preset,
            "seed": 1,
            "duration": "100ms",
            "warmup": "0ms",
            "replications": REPLICATIONS,
        },
        "host": {"pcpus": 4, "frequency": "2.6GHz"},
        "policy": {"preset": preset},
        "vm": [
            {
                "name": "vm",
                "count": 2,
                "vcpus": 4,
                "user": {"exponential": "10us"},
                "hold": {"exponential": "1us"},
            }
        ],
    }


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
            f"{'preset':<18} {'Mevents/s':>9} {'ns/event':>8} {'x C':>5} {'decisions/event':>15} {'ns/decision':>11}"
        )
        for preset in preset_names():
            rates, ratios, share = [], [], 0.0
            for number in range(rounds + 1):
                before = run_c(case, 64, number).rate
                results = fastlhp.run(study(preset), threads=1)
                events = float(results.timing["events"])
                rate = events / float(results.timing["engine_seconds"])
                after = run_c(case, 64, number).rate
                if number > 0:  # the first run may compile
                    rates.append(rate)
                    ratios.append(rate / statistics.fmean((before, after)))
                share = sum(float(results[name].sum()) for name in DECISIONS) / events
            ns = 1e9 / statistics.median(rates)
            ratio = statistics.median(ratios)
            per_decision = f"{ns / share:.0f}" if share > 0.05 else "-"
            speed = f"{1e3 / ns:>9.1f} {ns:>8.1f} {ratio:>5.2f}"
            print(f"{preset:<18} {speed} {share:>15.4f} {per_decision:>11}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
