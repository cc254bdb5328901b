"""A file of 10,000 configurations: every command that reads it takes seconds, and little memory."""

import os
import subprocess
import sys

import pytest
from test_figures import RESPONSES, write

pytest.importorskip("matplotlib")

GIB = 2**30
# Of CPU time. It is less than 10 s where nobody else computes.
MOST_S = 15


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    sweep = {
        "vm.guest.count": [1, 2, 3, 4, 5],
        "vm.guest.user": [f"{n}us" for n in range(30, 130)],
        "policy.scheduler.slice": ["1ms", "2ms", "5ms", "10ms", "20ms"],
        "vm.guest.lock.kind": ["ticket", "queue"],
        "policy.response": [RESPONSES[0], RESPONSES[1]],
    }
    return write(tmp_path_factory.mktemp("large") / "large.h5", sweep)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "command",
    [
        ["show"],
        ["show", "--csv"],
        ["status"],
        ["compare"],
        ["compare", "--sensitivity"],
        ["compare", "--until", "wasted_fraction < 0.05", "--along", "count"],
        ["plot", "-o", "figures", "--force"],
        ["report", "-o", "report.html", "--force"],
    ],
    ids=" ".join,
)
def test_time_and_memory(large, tmp_path, command):
    name, *options = command
    done = subprocess.Popen(
        [sys.executable, "-m", "fastlhp", name, str(large), *options], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(done.pid, 0)
    done.returncode = os.waitstatus_to_exitcode(status)
    assert done.returncode == 0
    assert used.ru_utime + used.ru_stime < MOST_S
    assert used.ru_maxrss * 1024 < GIB
