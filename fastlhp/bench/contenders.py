"""What is compared: the cases, and the programs that can run them.

A contender that this machine lacks (a C compiler, SimPy, Cimba Python) is left out with a message.
"""

import functools
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastlhp.errors import FastlhpError

__all__ = [
    "CASES",
    "METRICS",
    "REMEDIES",
    "WARMUP_NS",
    "Case",
    "Contender",
    "Measurement",
    "available_contenders",
    "compile_scalar",
    "fastlhp_runner",
    "install_cimba",
    "scalar_runner",
    "study_of",
]

_HERE = Path(__file__).resolve().parent
_COMPILER_FLAGS = ("-O3", "-march=native", "-ffast-math")
METRICS = ("throughput", "lhp_probability", "wasted_fraction")
WARMUP_NS = 0


@dataclass(frozen=True)
class Case:
    """What all contenders run, with the same duration and warm-up.

    Ticket locks under overcommitment are metastable, so that the answers belong to the simulated window: a
    contender that ran longer replications would rightly find another throughput.

    Attributes
    ----------
    pcpus, vms, vcpus : int
        pCPUs, VMs, vCPUs of each VM.
    duration_ns : int
        Length of a replication.
    user_ns, hold_ns : int
        Means of the exponential times.
    slice_ns : int
        Length of a slice.
    spin_ns : int
        Spinning after which a vCPU yields to the holder; 0 for never.
    """

    pcpus: int
    vms: int
    vcpus: int
    duration_ns: int
    user_ns: int = 10_000
    hold_ns: int = 1_000
    slice_ns: int = 10_000_000
    spin_ns: int = 0

    @property
    def is_reduction(self) -> bool:
        """Whether every vCPU has a pCPU: the machine-repairman queue, and no preemption."""
        return self.vms * self.vcpus <= self.pcpus

    @property
    def exact_throughput(self) -> float | None:
        """Acquisitions per second of the machine-repairman queue M/M/1//N in equilibrium."""
        if not self.is_reduction:
            return None
        ratio, term, total = self.hold_ns / self.user_ns, 1.0, 1.0
        for k in range(self.vcpus):
            term *= (self.vcpus - k) * ratio
            total += term
        return self.vms * (1 - 1 / total) / self.hold_ns * 1e9

    def describe(self) -> str:
        """Return its times in words."""
        spin = f", yields to the holder after {self.spin_ns / 1e3:g} us" if self.spin_ns else ""
        return (
            f"user {self.user_ns / 1e3:g} us, hold {self.hold_ns / 1e3:g} us, slice {self.slice_ns / 1e6:g} ms"
            f"{spin}, window {self.duration_ns / 1e6:g} ms"
        )


# The reduction is short, so that SimPy finishes several replications a round. The last three keep the hypervisor busy.
CASES = {
    "P4-M2-n4": Case(4, 2, 4, 200_000_000),
    "P4-M3-n4": Case(4, 3, 4, 200_000_000),
    "P8-M4-n8": Case(8, 4, 8, 200_000_000),
    "P8-M1-n8": Case(8, 1, 8, 50_000_000),
    "P64-M32-n4": Case(64, 32, 4, 20_000_000),
    "slice-100us": Case(4, 2, 4, 50_000_000, slice_ns=100_000),
    "spinning": Case(4, 2, 4, 200_000_000, user_ns=1_000, hold_ns=10_000),
    "yield-2us": Case(4, 3, 4, 20_000_000, spin_ns=2_000),
}

REMEDIES: dict[str, dict[str, Any]] = {
    "delay": {"guard": {"kind": "delay", "cap": "500us"}},
    "yield": {"response": {"kind": "yield", "spin_threshold": "25us"}},
}
"""Of `P4-M2-n4`, beside the C program without them."""


@dataclass(frozen=True)
class Measurement:
    """One run of one contender: its speed and, per metric, mean and standard error over replications."""

    events: int
    seconds: float
    answers: dict[str, tuple[float, float]]

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


Runner = Callable[[Case, int, int], Measurement]
"""Runs (case, replications, seed)."""


@dataclass
class Contender:
    """Something that can run a case, and what it did in it so far.

    Attributes
    ----------
    name : str
        Its name.
    run : callable
        Runs it.
    can_run : callable
        Says whether it can run a case.
    minimum, multiple : int
        Least number of replications a round, and what their number is a multiple of: whole blocks of lanes.
    work_like : str
        Simulate several times as many replications as this contender.
    replications : int
        A round.
    rounds : list of Measurement
        What it did.
    """

    name: str
    run: Runner
    can_run: Callable[[Case], bool]
    minimum: int = 2
    multiple: int = 1
    work_like: str = ""
    replications: int = 0
    rounds: list[Measurement] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median over rounds, events per second."""
        return statistics.median(m.rate for m in self.rounds)

    def answer(self, metric: str) -> tuple[float, float]:
        """Mean over rounds, which all have equally many replications and their own seed, and its error."""
        pairs = [m.answers[metric] for m in self.rounds]
        return statistics.fmean(p[0] for p in pairs), math.sqrt(sum(p[1] ** 2 for p in pairs)) / len(pairs)


def study_of(case: Case, replications: int, seed: int, **policy: Any) -> dict[str, Any]:
    """Return the study that is a case, with another guard or response if one is given."""
    spin = {"kind": "directed_yield", "target": "holder", "spin_threshold": f"{case.spin_ns}ns"}
    return {
        "study": {
            "name": "bench",
            "seed": seed,
            "duration": f"{case.duration_ns}ns",
            "warmup": f"{WARMUP_NS}ns",
            "replications": replications,
        },
        "host": {"pcpus": case.pcpus, "frequency": "2.6GHz"},
        "policy": {
            "scheduler": {"kind": "round_robin", "slice": f"{case.slice_ns}ns"},
            **({"response": spin} if case.spin_ns else {}),
            **policy,
        },
        "vm": [
            {
                "name": "guest",
                "count": case.vms,
                "vcpus": case.vcpus,
                "lock": {"kind": "ticket"},
                "user": {"exponential": f"{case.user_ns}ns"},
                "hold": {"exponential": f"{case.hold_ns}ns"},
            }
        ],
    }


def fastlhp_runner(threads: int, **policy: Any) -> Runner:
    """Return what runs fastlhp, with another policy than the case's if one is given."""

    def run(case: Case, replications: int, seed: int) -> Measurement:
        import fastlhp
        from fastlhp.run.tailor import tailor_for

        study = fastlhp.load(study_of(case, replications, seed, **policy))
        tailor_for(study, least_s=0)  # as a long run does by itself, and as a rival's compiler does
        results = fastlhp.run(study, threads=threads)
        answers = {}
        for metric in METRICS:
            summary = results.summary(metric)
            answers[metric] = (float(summary.mean[0]), float(summary.standard_error[0]))
        return Measurement(int(results.timing["events"]), float(results.timing["engine_seconds"]), answers)

    return run


def _numbers(case: Case, replications: int, seed: int) -> list[int]:
    """Return the arguments that all rivals take."""
    times = (case.user_ns, case.hold_ns, case.slice_ns, case.duration_ns, WARMUP_NS)
    return [case.pcpus, case.vms, case.vcpus, *times, replications, seed]


def _measurement(fields: dict[str, Any]) -> Measurement:
    # Ratios are pooled, sum over sum, where a contender has them so: fastlhp's summaries are.
    names = {m: f"{m}_pooled" if f"{m}_pooled" in fields else m for m in METRICS}
    answers = {
        m: (fields.get(name, math.nan), fields.get(f"{name}_standard_error", math.nan))
        for m, name in names.items()
    }
    return Measurement(int(fields["events"]), float(fields["seconds"]), answers)


def _command_runner(command: list[str], arguments: Callable[[Case, int, int], list[str]]) -> Runner:
    def run(case: Case, replications: int, seed: int) -> Measurement:
        line = [*command, *arguments(case, replications, seed)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FastlhpError(f"{' '.join(line)} failed:\n{done.stderr.strip()}")
        return _measurement(json.loads(done.stdout.splitlines()[-1]))

    return run


def scalar_runner(program: Path) -> Runner:
    """Return what runs the compiled C program."""

    def arguments(case: Case, replications: int, seed: int) -> list[str]:
        options = ["--no-preemption"] if case.is_reduction else []
        if case.spin_ns:
            options += ["--spin", str(case.spin_ns)]
        return [*map(str, _numbers(case, replications, seed)), *options]

    return _command_runner([str(program)], arguments)


def _run_simpy(case: Case, replications: int, seed: int) -> Measurement:
    from fastlhp.bench.simpy_model import simulate

    arguments: list[Any] = [*_numbers(case, replications, seed), not case.is_reduction]
    return _measurement(simulate(*arguments))


def _cimba_arguments(case: Case, replications: int, seed: int) -> list[str]:
    times = (case.user_ns, case.hold_ns, case.duration_ns)
    return [str(number) for number in (case.vcpus, *times, replications, seed)]


def compile_scalar(folder: Path, *flags: str) -> Path | None:
    """Compile scalar.c with $CC, cc, gcc or clang; None, with a message, where none works."""
    for compiler in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if not compiler or not shutil.which(compiler):
            continue
        program = folder / "-".join(("scalar", *(flag.strip("-") for flag in flags)))
        command = [compiler, *_COMPILER_FLAGS, *flags, str(_HERE / "scalar.c"), "-lm", "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return program
        print(f"{' '.join(command)} failed:\n{done.stderr}", file=sys.stderr)
    print("C is left out: no working C compiler ($CC, cc, gcc, clang)", file=sys.stderr)
    return None


def install_cimba(folder: Path) -> Path:
    """Make an environment with Cimba Python in a folder, unless it is there; return its interpreter.

    Raises
    ------
    FastlhpError
        If that is not possible.
    """
    python = folder / "bin" / "python"
    commands = [[str(python), "-c", "import cimba"]]
    if not python.exists():
        make = [sys.executable, "-m", "venv", str(folder)]
        install = [str(python), "-m", "pip", "install", "--quiet", "cimba"]
        commands = [make, install, *commands]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FastlhpError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return python


def available_contenders(folder: Path, cimba: Path | None = None) -> list[Contender]:
    """Return the contenders that this machine has, the reference first: C, or fastlhp where there is no compiler.

    Parameters
    ----------
    folder : Path
        Where C programs are compiled to.
    cimba : Path, optional
        An interpreter that has Cimba Python.
    """
    contenders = []
    compiled = functools.partial(compile_scalar, folder)
    plain = compiled()
    if plain is not None:

        def c(name: str, program: Path, *, yields: bool = False) -> Contender:
            return Contender(
                name, scalar_runner(program), lambda case: bool(case.spin_ns) == yields, minimum=16
            )

        # One program for both would be slower without yields.
        for name, flags, yields in (
            ("C", ("-DDIRECTED_YIELD",), True),
            ("C, all metrics", ("-DALL_METRICS",), False),
            ("C, all metrics", ("-DALL_METRICS", "-DDIRECTED_YIELD"), True),
            ("C, vector draws", ("-DVECTOR_DRAWS",), False),
            ("C, vector draws", ("-DVECTOR_DRAWS", "-DDIRECTED_YIELD"), True),
        ):
            program = compiled(*flags)
            if program is not None:
                contenders.append(c(name, program, yields=yields))
        contenders.insert(0, c("C", plain))
    like = "C" if plain is not None else ""
    for name, threads in (("fastlhp, 1 thread", 1), ("fastlhp, 2 threads", 2)):
        contenders.append(Contender(name, fastlhp_runner(threads), lambda case: True, 512, 512, like))

    def is_reduction(case: Case) -> bool:
        return case.is_reduction

    if importlib.util.find_spec("simpy"):
        contenders.append(Contender("SimPy", _run_simpy, is_reduction, minimum=4))
    else:
        print("SimPy is left out: not installed (pip install simpy)", file=sys.stderr)
    if cimba is not None:
        run = _command_runner([str(cimba), str(_HERE / "cimba_model.py")], _cimba_arguments)
        contenders.append(Contender("Cimba Python", run, is_reduction, minimum=16))
    return contenders
