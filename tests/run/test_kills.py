"""A run that is killed goes on where it was, and its file is that of a run that was not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from studies import environment, prepare

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize(
    ("kills", "precise"), [(20, False), (8, True), pytest.param(200, False, marks=pytest.mark.nightly)]
)
def test_random_kills(tmp_path: Path, kills: int, precise: bool) -> None:
    """SIGKILL, SIGTERM and SIGINT at random moments: no broken file, and in the end the same bytes."""
    command = prepare(tmp_path, "60ms", precise=precise)
    reference = tmp_path / "reference.h5"
    subprocess.run([*command, "-o", str(reference)], env=environment(), check=True, timeout=300)
    arguments = [str(tmp_path / "study.toml"), "--threads", "1"]
    program = [sys.executable, str(Path(__file__).with_name("kills.py")), "5", str(kills)]
    done = subprocess.run(
        [*program, str(reference), str(tmp_path / "out.h5"), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20 * kills,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    killed, _ = map(int, done.stdout.split())
    assert killed == kills
    # The first kill, if no other, met the run when something was finished, and that was said.
    assert "--resume goes on" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["out.h5", "reference.h5", "study.toml"]
