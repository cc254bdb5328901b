"""A study of a million rows fits into little memory: nothing of it is ever there as a whole."""

import subprocess
import sys
from pathlib import Path

import pytest
from studies import STUDY, environment

import fastlhp

PROGRAM = """
import resource, sys
from fastlhp.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.nightly
def test_a_million_rows_in_a_gibibyte(tmp_path: Path) -> None:
    """10,000 configurations of 100 replications each."""
    text = STUDY.format(duration="200us").replace("replications = 40", "replications = 100")
    text = text.replace('warmup = "1ms"', 'warmup = "0ms"')
    text = text[: text.index("[sweep]")] + "[sweep]\n"
    text += f'"host.context_switch" = {[f"{i}ns" for i in range(1000, 1100)]}\n'
    text += f'"vm.guest.hold.exponential" = {[f"{i}ns" for i in range(1000, 1100)]}\n'
    (tmp_path / "study.toml").write_text(text)
    out = tmp_path / "out.h5"
    command = [sys.executable, "-c", PROGRAM, "run", str(tmp_path / "study.toml"), "-o", str(out), "--quiet"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**20, "KiB at most"
    results = fastlhp.open(out)
    assert len(results) * results.n_replications == 1_000_000 and (results.status == 0).all()
