"""Starts a study again and again, and ends it at a random moment each time, until it was killed so many times.

``python kills.py SEED KILLS REFERENCE OUT ARGUMENT...``; each run is a fork of this process, which has loaded the
kernel already, and the first is killed when it is certain to be half-way. Prints how often a run was killed, and how
often one came to its end; every end is compared.
"""

import contextlib
import importlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import program
from studies import Hold, n_shards, wait_for

from fastlhp.cli.main import main
from fastlhp.run.execute import compile_kernel


def run(out: str, arguments: list[str], hold: Path = program.HOLD) -> int:
    child = os.fork()
    if child == 0:
        # Python's own handler raises wherever it likes, also where nobody can say so.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        program.HOLD = hold
        code = 70
        try:
            main(["run", *arguments, "-o", out, "--resume", "--quiet"])
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(out: str, reference: bytes) -> None:
    with open(out, "rb") as file:
        assert file.read() == reference, "the file differs from that of an uninterrupted run"
    assert not os.path.exists(f"{out}.partial"), "the folder is still there"


def kill_half_way(out: str, arguments: list[str]) -> None:
    """Let a run be killed when it is certain that something is finished, and something is not."""
    hold = Hold(Path(out).parent)
    child = run(out, arguments, hold.path)
    wait_for(lambda: n_shards(Path(out)) == 2)
    os.kill(child, signal.SIGTERM)
    hold.release()
    assert exit_code(child) == 128 + signal.SIGTERM


def kill_again_and_again(seed: int, kills: int, reference: bytes, out: str, arguments: list[str]) -> None:
    draw = random.Random(seed)
    began = time.monotonic()
    assert exit_code(run(out, arguments)) == 0
    whole_s = time.monotonic() - began
    check(out, reference)
    os.unlink(out)
    kill_half_way(out, arguments)
    killed, ended = 1, 0
    while killed < kills:
        child = run(out, arguments)
        deadline = time.monotonic() + draw.uniform(0.02, 1.0) * whole_s
        while (
            time.monotonic() < deadline
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.002)
        chosen = draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, chosen)
        code = exit_code(child)
        assert code in (0, -chosen, 128 + chosen), f"{chosen.name} ended a run with {code}"
        if code == 0:
            ended += 1
            check(out, reference)
            os.unlink(out)
        else:
            killed += 1
            # Whatever is there under the file's name is whole.
            if os.path.exists(out):
                importlib.import_module("fastlhp.results.file").open(out)
    assert exit_code(run(out, arguments)) == 0
    check(out, reference)
    print(killed, ended)


if __name__ == "__main__":
    compile_kernel()
    with open(sys.argv[3], "rb") as file:
        expected = file.read()
    kill_again_and_again(int(sys.argv[1]), int(sys.argv[2]), expected, sys.argv[4], sys.argv[5:])
