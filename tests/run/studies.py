"""Studies for runs that are interrupted, and scripts that run them."""

import os
import sys
from pathlib import Path

import h5py
import numpy as np

import fastlhp

STUDY = """
[study]
name = "interrupted"
seed = 11
duration = "{duration}"
warmup = "1ms"
replications = 40
[host]
pcpus = 2
frequency = "2GHz"
context_switch = "2us"
[policy]
scheduler = {{ kind = "round_robin", slice = "2ms" }}
[[vm]]
name = "guest"
vcpus = 2
user = {{ exponential = "20us" }}
hold = {{ exponential = "2us" }}
lock = {{ kind = "ticket" }}
[sweep]
"host.pcpus" = [1, 2, 9]
"vm.guest.count" = [1, 2, 3]
"vm.guest.lock.kind" = ["ticket", "test_and_set"]
"policy.response" = [{{ kind = "none" }}, {{ kind = "yield", spin_threshold = "10us" }}]
"""

PRECISION = """replications = 16
precision = { metric = "wait_mean", relative = 0.1, batch = 8, max_replications = 72 }"""
"""Instead of the number of replications: not all configurations stop at the same look."""

ROOT = Path(fastlhp.__file__).parents[1]

ABOUT_THE_RUN = ("created", "provenance", "timing_")
"""Attributes that say when, where and how fast; without SOURCE_DATE_EPOCH they differ from run to run."""

PROGRAM = """
import importlib, sys
if __name__ == "__main__":
    importlib.import_module("fastlhp.run.store").FLUSH_S = 0.1
    chunks = importlib.import_module("fastlhp.run.chunks")
    chunks.SHORTEST_S = chunks.LONGEST_S = 0.05
    from fastlhp.cli.main import main
    main()
"""


def environment(**more: str) -> dict[str, str]:
    """Environment of a process that runs this fastlhp, in which files say nothing about the run."""
    folders = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": folders, "SOURCE_DATE_EPOCH": "0", **more}


def prepare(folder: Path, duration: str = "20ms", *, precise: bool = False) -> list[str]:
    """Write the study, and the program that shards and chunks it finely; return the command."""
    text = STUDY.format(duration=duration)
    (folder / "study.toml").write_text(text.replace("replications = 40", PRECISION) if precise else text)
    (folder / "program.py").write_text(PROGRAM)
    return [sys.executable, str(folder / "program.py"), "run", str(folder / "study.toml"), "--quiet"]


def assert_same_results(one: Path, other: Path) -> None:
    """Compare all variables, and all attributes but those about the run."""
    with h5py.File(one) as a, h5py.File(other) as b:
        for key in a.attrs:
            if not key.startswith(ABOUT_THE_RUN):
                assert a.attrs[key] == b.attrs[key], key

        def compare(name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Dataset):
                assert b[name].dtype == item.dtype
                assert np.asarray(b[name][...]).tobytes() == np.asarray(item[...]).tobytes() or (
                    item.dtype.kind == "O" and (b[name][...] == item[...]).all()
                ), name

        a.visititems(compare)
        assert sorted(a) == sorted(b)
