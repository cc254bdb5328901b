"""A study as a job array of Slurm: a script that is its own documentation."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from string import Template

from fastlhp.errors import FastlhpError

__all__ = ["job_script"]

_SCRIPT = Template(
    """#!/bin/bash
# Runs $study as a Slurm job array.
#
#   bash $script           compiles, then runs $tasks shares of the study, then merges them
#   fastlhp status $parts/part-1.h5
#
# The same command again goes on where shares were cancelled, ran out of time or lost their node: what is finished is
# not simulated again, and the result is the same to the last bit.
set -eu
cd $folder

fastlhp=($fastlhp)
study=$study
out=$out
parts=$parts
tasks=$tasks
script=$script
common=($options)

submit() { sbatch --parsable "$${common[@]}" "$$@" --output="$$parts/%x-%A-%a.log" "$$script"; }

part() { echo "$$parts/part-$$1.h5"; }

is_finished() { [ -e "$$(part "$$1")" ] && [ ! -d "$$(part "$$1").partial" ]; }

case "$${FASTLHP_STEP-submit}" in
submit)
    if [ -e "$$out" ]; then echo "$$out exists" >&2; exit 2; fi
    mkdir -p "$$parts"
    left=$$(for i in $$(seq "$$tasks"); do is_finished "$$i" || echo "$$i"; done | paste -sd,)
    # All tasks find the kernels in the cache.
    compile=$$(FASTLHP_STEP=compile submit --job-name=$name-compile --cpus-per-task=1 --time=15)
    dependency=afterok:$$compile
    if [ -n "$$left" ]; then
        array=$$(FASTLHP_STEP=task submit --job-name=$name --array="$$left" --dependency="$$dependency" \\
            --kill-on-invalid-dep=yes --cpus-per-task=$cpus --time=$time --signal=B:TERM@$grace --requeue)
        dependency=afterany:$$array
    fi
    merge=$$(FASTLHP_STEP=merge submit --job-name=$name-merge --dependency="$$dependency" \\
        --kill-on-invalid-dep=yes --cpus-per-task=1 --time=$time)
    echo "submitted as $$compile, $${array-}, $$merge; logs are in $$parts"
    ;;
compile)
    "$${fastlhp[@]}" compile "$$study"
    ;;
task)
    # Slurm's SIGTERM before the end of the time reaches fastlhp itself, which keeps what is finished.
    exec "$${fastlhp[@]}" run "$$study" --shard "$$SLURM_ARRAY_TASK_ID/$$tasks" --resume --quiet \\
        --threads "$$SLURM_CPUS_PER_TASK" --output "$$(part "$$SLURM_ARRAY_TASK_ID")"$arguments
    ;;
merge)
    files=()
    for i in $$(seq "$$tasks"); do
        if ! is_finished "$$i"; then echo "share $$i is not finished: bash $$script goes on" >&2; exit 1; fi
        files+=("$$(part "$$i")")
    done
    "$${fastlhp[@]}" merge "$${files[@]}" --output "$$out"
    ;;
esac
"""
)


def job_script(
    study: str,
    output: str,
    script: str,
    *,
    tasks: int,
    time: str,
    cpus: int = 1,
    arguments: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """Return the script of a job array that runs a study.

    Parameters
    ----------
    study, output, script : str
        The study file, the result file, and where the script will be.
    tasks : int
        Number of shares, which are the tasks of the array.
    time : str
        Time limit of each, as Slurm has it: ``90`` (minutes), ``1:30:00``, ``1-12``.
    cpus : int, optional
        CPUs, and threads, of each.
    arguments : sequence of str, optional
        More options of ``fastlhp run``.
    options : sequence of str, optional
        More options of ``sbatch``, as ``--partition=long``.

    Raises
    ------
    FastlhpError
        If the time limit is none.
    """
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", time):
        raise FastlhpError(f"--time must be minutes, H:M:S or D-H[:M[:S]], got {time!r}")
    output = os.path.abspath(output)
    name = re.sub(r"[^\w.-]", "_", os.path.basename(output).removesuffix(".h5"))
    quoted = {
        "study": os.path.abspath(study),
        "script": os.path.abspath(script),
        "folder": os.getcwd(),
        "out": output,
        "parts": f"{output}.parts",
        "name": name,
    }
    return _SCRIPT.substitute(
        {key: shlex.quote(value) for key, value in quoted.items()},
        fastlhp=shlex.join([sys.executable, "-m", "fastlhp"]),
        tasks=tasks,
        time=time,
        cpus=cpus,
        grace=60,
        arguments="".join(f" {shlex.quote(argument)}" for argument in arguments),
        options=shlex.join(options),
    )
