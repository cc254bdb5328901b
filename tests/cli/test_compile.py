"""``fastlhp compile``."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fastlhp.cli.main import main
from fastlhp.engine import jit


def test_nowhere_to_keep_it(monkeypatch):
    monkeypatch.setattr(jit, "cache_directory", lambda: None)
    result = CliRunner().invoke(main, ["compile"])
    assert result.exit_code == 1
    assert "FASTLHP_CACHE_DIR" in result.stderr


@pytest.mark.slow
def test_processes_share_a_cold_cache_without_a_home(tmp_path):
    """Several that start at once all succeed; later ones find the compiled code, in the folder for temporary files."""
    places = ("FASTLHP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in places}
    environment |= {"HOME": os.devnull, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "fastlhp", "compile"]

    def start():
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    first = [start() for _ in range(2)]
    outputs = [process.communicate()[0] for process in first]
    assert [process.returncode for process in first] == [0, 0], outputs
    assert all(output.startswith("compiled (") and str(tmp_path) in output for output in outputs)
    last = start()
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert output.startswith("already compiled (") and str(tmp_path) in output
