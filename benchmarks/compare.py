"""Speed of fastlhp beside its rivals, with the answer of each beside its speed.

    python benchmarks/compare.py [--quick] [--cases NAME ...] [--rounds N] [--json OUT]

Every round runs all contenders one after another, in an order that rotates, so that a machine that slows down
or speeds up treats them alike.  What is counted and compared is explained in README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COMPILER_FLAGS = ("-O3", "-march=native", "-ffast-math")
METRICS = ("throughput", "lhp_probability", "wasted_fraction")
AGREEMENT = 4.0  # standard errors
WORK_FACTOR = 8  # fastlhp simulates this many times what C does: full blocks, hardly any half-empty at the end
CASE_NAMES = ("P4-M2-n4", "P4-M3-n4", "P8-M4-n8", "P8-M1-n8")

THINK_NS, HOLD_NS, SLICE_NS, WARMUP_NS = 10_000, 1_000, 10_000_000, 0


@dataclass(frozen=True)
class Case:
    """A topology; all contenders run it with the same duration and warm-up.

    Ticket locks under overcommitment are metastable, so that the answers belong to the simulated window: a
    contender that ran longer replications would rightly find another throughput.
    """

    pcpus: int
    vms: int
    vcpus_per_vm: int
    duration_ns: int

    @property
    def is_reduction(self) -> bool:
        """Whether every vCPU has a pCPU: the machine-repairman queue, and no preemption."""
        return self.vms * self.vcpus_per_vm <= self.pcpus

    @property
    def exact_throughput(self) -> float | None:
        """Acquisitions per second of the machine-repairman queue M/M/1//N in equilibrium."""
        if not self.is_reduction:
            return None
        ratio, term, total = HOLD_NS / THINK_NS, 1.0, 1.0
        for k in range(self.vcpus_per_vm):
            term *= (self.vcpus_per_vm - k) * ratio
            total += term
        return self.vms * (1 - 1 / total) / HOLD_NS * 1e9


# The reduction is short, so that SimPy finishes several replications a round.
CASES = {
    "P4-M2-n4": Case(4, 2, 4, 200_000_000),
    "P4-M3-n4": Case(4, 3, 4, 200_000_000),
    "P8-M4-n8": Case(8, 4, 8, 200_000_000),
    "P8-M1-n8": Case(8, 1, 8, 50_000_000),
}


@dataclass(frozen=True)
class Measurement:
    """One run of one contender: its speed and, per metric, mean and standard error over replications."""

    events: int
    seconds: float
    answers: dict[str, tuple[float, float]]

    @property
    def rate(self) -> float:
        return self.events / self.seconds


Runner = Callable[[Case, int, int], Measurement]
"""Runs (case, replications, seed)."""


def run_fastlhp(
    case: Case, replications: int, seed: int, threads: int, policy: dict[str, Any]
) -> Measurement:
    """Run fastlhp in this process; the only place that knows its interface."""
    import fastlhp

    study = fastlhp.load(
        {
            "study": {
                "name": "compare",
                "seed": seed,
                "duration": f"{case.duration_ns}ns",
                "warmup": f"{WARMUP_NS}ns",
                "replications": replications,
            },
            "host": {"pcpus": case.pcpus, "frequency": "2.6GHz"},
            "policy": {
                "scheduler": {
                    "kind": "round_robin",
                    "slice": f"{SLICE_NS}ns",
                    "placement": "spread",
                    "order": "random",
                    "phase": "random",
                },
                **policy,
            },
            "vm": [
                {
                    "name": "guest",
                    "count": case.vms,
                    "vcpus": case.vcpus_per_vm,
                    "lock": {"kind": "ticket", "count": 1},
                    "user": {"exponential": f"{THINK_NS}ns"},
                    "hold": {"exponential": f"{HOLD_NS}ns"},
                }
            ],
        }
    )
    results = fastlhp.run(study, threads=threads)
    answers = {}
    for metric in METRICS:
        summary = results.summary(metric)
        answers[metric] = (float(summary.mean[0]), float(summary.standard_error[0]))
    return Measurement(int(results.timing["events"]), float(results.timing["engine_seconds"]), answers)


def measurement_from_fields(fields: dict[str, Any]) -> Measurement:
    # Ratios are pooled, sum over sum, where a contender has them so: fastlhp's summaries are.
    names = {m: f"{m}_pooled" if f"{m}_pooled" in fields else m for m in METRICS}
    answers = {
        m: (fields.get(name, math.nan), fields.get(f"{name}_standard_error", math.nan)) for m, name in names.items()
    }
    return Measurement(int(fields["events"]), float(fields["seconds"]), answers)


def fastlhp_runner(threads: int, **policy: Any) -> Runner:
    return lambda case, replications, seed: run_fastlhp(case, replications, seed, threads, policy)


def scalar_runner(program: Path) -> Runner:
    def run(case: Case, replications: int, seed: int) -> Measurement:
        numbers = (case.pcpus, case.vms, case.vcpus_per_vm, THINK_NS, HOLD_NS, SLICE_NS, case.duration_ns)
        command = [str(program), *map(str, (*numbers, WARMUP_NS, replications, seed))]
        if case.is_reduction:
            command.append("--no-preemption")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return measurement_from_fields(json.loads(done.stdout))

    return run


def run_simpy(case: Case, replications: int, seed: int) -> Measurement:
    import simpy_model

    numbers = (case.pcpus, case.vms, case.vcpus_per_vm, THINK_NS, HOLD_NS, SLICE_NS, case.duration_ns)
    return measurement_from_fields(
        simpy_model.simulate(*numbers, WARMUP_NS, replications, seed, preemption=not case.is_reduction)
    )


@dataclass
class Contender:
    """Something that can run a case, and what it did in it so far."""

    name: str
    run: Runner
    same_model: bool = True  # its answers must agree with those of the reference
    only_reduction: bool = False
    minimum: int = 2  # replications a round
    multiple: int = 1
    work_like: str | None = None  # simulate WORK_FACTOR times as many replications as this contender
    replications: int = 0
    rounds: list[Measurement] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median over rounds, events per second."""
        return statistics.median(m.rate for m in self.rounds)

    def answer(self, metric: str) -> tuple[float, float]:
        """Mean over rounds, which all have equally many replications and their own seed, and its error."""
        pairs = [m.answers[metric] for m in self.rounds]
        count = len(pairs)
        return statistics.fmean(p[0] for p in pairs), math.sqrt(sum(p[1] ** 2 for p in pairs)) / count


def compile_scalar(folder: Path, *flags: str) -> Path | None:
    """Compile scalar.c with $CC, cc, gcc or clang; None, with a message, where none works."""
    for compiler in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if not compiler or not shutil.which(compiler):
            continue
        program = folder / "-".join(("scalar", *(flag.strip("-") for flag in flags)))
        command = [compiler, *COMPILER_FLAGS, *flags, str(HERE / "scalar.c"), "-lm", "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return program
        print(f"{' '.join(command)} failed:\n{done.stderr}", file=sys.stderr)
    print("C is skipped: no working C compiler ($CC, cc, gcc, clang)", file=sys.stderr)
    return None


def available_contenders(folder: Path) -> list[Contender]:
    contenders = []
    program = compile_scalar(folder)
    if program is not None:
        contenders.append(Contender("C", scalar_runner(program), minimum=16))
        vector_draws = compile_scalar(folder, "-DVECTOR_DRAWS")
        if vector_draws is not None:
            contenders.append(Contender("C, vector draws", scalar_runner(vector_draws), minimum=16))
    try:
        import fastlhp  # noqa: F401
    except ImportError as error:
        print(f"fastlhp is skipped: {error}", file=sys.stderr)
    else:
        delay = {"kind": "delay", "cap": "500us"}
        spin_yield = {"kind": "yield", "spin_threshold": "25us"}
        like = "C" if program else None
        contenders += [
            Contender("fastlhp, 1 thread", fastlhp_runner(1), work_like=like),
            Contender("fastlhp, 2 threads", fastlhp_runner(2), work_like=like),
            Contender("fastlhp, delay", fastlhp_runner(1, guard=delay), same_model=False),
            Contender("fastlhp, yield", fastlhp_runner(1, response=spin_yield), same_model=False),
        ]
        for c in contenders[-4:]:
            # Whole blocks of lanes, and enough of them that the last, partly filled one does not show.
            c.minimum, c.multiple = 1024, 512
    try:
        import simpy  # noqa: F401
    except ImportError:
        print("SimPy is skipped: not installed (pip install simpy)", file=sys.stderr)
    else:
        contenders.append(Contender("SimPy", run_simpy, only_reduction=True, minimum=4))
    return contenders


def choose_replications(contenders: list[Contender], case: Case, target_s: float) -> None:
    """Size every contender's round by a short trial, which also compiles what is compiled on first use."""
    by_name = {c.name: c for c in contenders}
    for c in contenders:
        trial = c.run(case, c.minimum, 1)
        like = by_name.get(c.work_like or "")
        wanted = WORK_FACTOR * like.replications if like else c.minimum * target_s / trial.seconds
        c.replications = max(c.minimum, c.multiple * math.ceil(wanted / c.multiple))


def ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.1 else f"1/{1 / ratio:.0f}"


def disagreement(c: Contender, reference: Contender) -> float:
    """Largest difference from the reference over the metrics, in standard errors."""
    largest = 0.0
    for metric in METRICS:
        (a, a_error), (b, b_error) = c.answer(metric), reference.answer(metric)
        error = math.hypot(a_error, b_error)
        if a != b:
            largest = max(largest, abs(a - b) / error if error > 0 else math.inf)
    return largest


def run_case(name: str, contenders: list[Contender], rounds: int, target_s: float) -> dict[str, Any]:
    """Measure one case, print its table, return its part of the JSON file."""
    case = CASES[name]
    for c in contenders:
        c.rounds = []
    choose_replications(contenders, case, target_s)
    for r in range(rounds):
        shift = r % len(contenders)
        for c in contenders[shift:] + contenders[:shift]:
            c.rounds.append(c.run(case, c.replications, 1000 + r))

    reference = contenders[0]
    header = [
        "contender",
        "Mevents/s",
        "ns/event",
        f"x {reference.name}",
        "by round",
        "throughput /s",
        "LHP probability",
        "wasted fraction",
        "agrees",
        "replications",
    ]
    rows, records = [header], []
    for c in contenders:
        by_round = statistics.median(a.rate / b.rate for a, b in zip(c.rounds, reference.rounds, strict=True))
        difference = disagreement(c, reference) if c.same_model and c is not reference else None
        answers = {m: c.answer(m) for m in METRICS}
        verdict = (
            "-" if difference is None else f"{'yes' if difference < AGREEMENT else 'NO'} ({difference:.1f})"
        )
        rows.append(
            [
                c.name,
                f"{c.rate / 1e6:.2f}",
                f"{1e9 / c.rate:.2f}",
                ratio_text(c.rate / reference.rate),
                ratio_text(by_round),
                "{:.0f} +- {:.0f}".format(*answers["throughput"]),
                "{:.3e} +- {:.0e}".format(*answers["lhp_probability"]),
                "{:.5f} +- {:.5f}".format(*answers["wasted_fraction"]),
                verdict,
                f"{rounds} x {c.replications}",
            ]
        )
        records.append(
            {
                "contender": c.name,
                "replications_per_round": c.replications,
                "events_per_second": c.rate,
                "events_per_second_by_round": [m.rate for m in c.rounds],
                "seconds_by_round": [m.seconds for m in c.rounds],
                "ratio_of_medians": c.rate / reference.rate,
                "median_of_round_ratios": by_round,
                "largest_difference_in_standard_errors": difference,
                "agrees": None if difference is None else difference < AGREEMENT,
                **{m: {"mean": mean, "standard_error": error} for m, (mean, error) in answers.items()},
            }
        )

    window = f"think {THINK_NS / 1e3:g} us, hold {HOLD_NS / 1e3:g} us, slice {SLICE_NS / 1e6:g} ms"
    print(f"\n{name}: {window}, window {case.duration_ns / 1e6:g} ms after {WARMUP_NS / 1e6:g} ms of warm-up")
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
    if case.exact_throughput is not None:
        print(f"exact throughput in equilibrium (machine repairman): {case.exact_throughput:.1f} /s")
    return {
        "case": name,
        "reference": reference.name,
        "duration_ns": case.duration_ns,
        "warmup_ns": WARMUP_NS,
        "exact_throughput": case.exact_throughput,
        "contenders": records,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0, 1 if two answers disagree, 2 if there is nothing to compare."""
    parser = argparse.ArgumentParser(description="Speed and answers of fastlhp and its rivals.")
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds of about 0.3 s instead of 5 of about 1 s"
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=CASE_NAMES,
        default=list(CASE_NAMES),
        metavar="NAME",
        help=f"which of {', '.join(CASE_NAMES)} (default: all)",
    )
    parser.add_argument("--rounds", type=int, help="rounds per case")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write everything to this file")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (2 if options.quick else 5)
    target_s = 0.3 if options.quick else 1.0

    with tempfile.TemporaryDirectory() as folder:
        contenders = available_contenders(Path(folder))
        cases = []
        for name in options.cases:
            able = [c for c in contenders if CASES[name].is_reduction or not c.only_reduction]
            if able:
                cases.append(run_case(name, able, rounds, target_s))
    if not cases:
        print("nothing to compare", file=sys.stderr)
        return 2
    if options.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count()}
        options.json.write_text(
            json.dumps({"host": machine, "rounds": rounds, "cases": cases}, indent=2) + "\n"
        )
    disagree = [r for case in cases for r in case["contenders"] if r["agrees"] is False]
    return 1 if disagree else 0


if __name__ == "__main__":
    sys.exit(main())
