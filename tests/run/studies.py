"""Studies for runs that are interrupted, and scripts that run them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

import fastlhp
from fastlhp.run.store import shard_files

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

PROGRAM = Path(__file__).with_name("program.py")


def environment(**more: str) -> dict[str, str]:
    """Environment of a process that runs this fastlhp, in which files say nothing about the run."""
    folders = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": folders, "SOURCE_DATE_EPOCH": "0", **more}


def prepare(folder: Path, duration: str = "20ms", *, precise: bool = False) -> list[str]:
    """Write the study and return the command that runs it in small shards and chunks."""
    text = STUDY.format(duration=duration)
    (folder / "study.toml").write_text(text.replace("replications = 40", PRECISION) if precise else text)
    return [sys.executable, str(PROGRAM), "run", str(folder / "study.toml"), "--quiet"]


class Hold:
    """Lets a run come to a stop half-way, as `program.py` says, until it is released.

    Parameters
    ----------
    folder : Path
        Where the file is that says so.

    Attributes
    ----------
    path : Path
        The file.
    environment : dict
        Of the processes that come to a stop.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hold"
        self.path.touch()
        self.environment = environment(FASTLHP_TEST_HOLD=str(self.path))

    def workers(self) -> list[int]:
        """Return the processes that stand in the midst of a chunk."""
        return [int(path.name.rpartition("-")[2]) for path in self.path.parent.glob("hold-*")]

    def release(self) -> None:
        """Let everything go on."""
        self.path.unlink(missing_ok=True)


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for something that is certain to happen, before a process ends if one is given."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def n_shards(output: Path) -> int:
    """Return how many shards there are of a result file that is being made."""
    partial = f"{output}.partial"
    return len(shard_files(partial)) if os.path.isdir(partial) else 0


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
