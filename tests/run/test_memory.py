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


def peak_bytes(folder: Path, text: str) -> int:
    """Run a study, and return how much memory that took at most."""
    (folder / "study.toml").write_text(text)
    command = [sys.executable, "-c", PROGRAM, "run", str(folder / "study.toml"), "-o", str(folder / "out.h5")]
    done = subprocess.run(
        [*command, "--quiet", "--force"], env=environment(), capture_output=True, text=True, check=True
    )
    return 1024 * int(done.stdout)


def swept(replications: int, duration: str, **paths: int) -> str:
    """Return a study that sweeps paths over so many times each."""
    text = STUDY.format(duration=duration).replace("replications = 40", f"replications = {replications}")
    text = text.replace('warmup = "1ms"', 'warmup = "0ms"')
    text = text[: text.index("[sweep]")] + "[sweep]\n"
    return text + "".join(
        f'"{path}" = {[f"{i}ns" for i in range(1000, 1000 + n)]}\n' for path, n in paths.items()
    )


@pytest.mark.nightly
def test_summaries_of_a_million_configurations_in_a_gibibyte(tmp_path: Path) -> None:
    """All of them: what a few take is mostly buffers, which are not in proportion to anything."""
    text = swept(16, "50us", **{"vm.guest.user.exponential": 1000, "vm.guest.hold.exponential": 1000})
    assert peak_bytes(tmp_path, text.replace("[host]", 'store = "summaries"\n[host]', 1)) < 2**30
    results = fastlhp.open(tmp_path / "out.h5")
    assert len(results) == 1_000_000 and (results.summary("throughput").n == 16).all()


@pytest.mark.nightly
def test_a_million_rows_in_a_gibibyte(tmp_path: Path) -> None:
    """10,000 configurations of 100 replications each."""
    text = swept(100, "200us", **{"host.context_switch": 100, "vm.guest.hold.exponential": 100})
    assert peak_bytes(tmp_path, text) < 2**30
    results = fastlhp.open(tmp_path / "out.h5")
    assert len(results) * results.n_replications == 1_000_000 and (results.status == 0).all()
