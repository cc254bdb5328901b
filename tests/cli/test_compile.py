"""``fastlhp compile``."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fastlhp.cli.main import main
from fastlhp.engine import jit
from fastlhp.engine.block import advance


def test_nowhere_to_keep_it(monkeypatch):
    monkeypatch.setattr(jit, "cache_directory", lambda: None)
    result = CliRunner().invoke(main, ["compile"])
    assert result.exit_code == 1
    assert "FASTLHP_CACHE_DIR" in result.stderr


STUDY = """
[study]
name = "two combinations"
duration = "1s"
replications = 1_000_000  # no run is so short that code for it does not pay
[host]
frequency = "1GHz"
[policy]
scheduler = { kind = "round_robin", slice = "1ms" }
[[vm]]
name = "guest"
vcpus = 2
user = { exponential = "20us" }
hold = { exponential = "2us" }
lock = { kind = "ticket" }
[sweep]
"host.pcpus" = [1, 2]
"vm.guest.hold" = ["1us", "2us"]
"""


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """A cache with the kernel, and nothing else."""
    advance._ready()
    shutil.copytree(
        advance._path.parent,
        tmp_path / "cache" / advance._path.parent.name,
        ignore=shutil.ignore_patterns("*tailored*"),
    )
    with monkeypatch.context() as patch:
        patch.setenv("FASTLHP_CACHE_DIR", str(tmp_path / "cache"))
        advance.forget()
        yield tmp_path / "cache"
    advance.forget()


def test_code_for_a_study(own_cache, tmp_path, monkeypatch):
    """It is made for what the configurations have in common, and found the next time."""
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    first = CliRunner().invoke(main, ["compile", str(path)])
    assert first.exit_code == 0, first.stderr
    assert first.stdout.startswith("compiled (") and str(own_cache) in first.stdout
    assert first.stderr == "code for 2 of 2 combinations of policies and sizes\n"
    assert len(list(own_cache.glob("*/*-tailored-*.o"))) == 2
    assert not list(own_cache.glob("*/*.making"))

    def makes_nothing(*arguments):
        raise AssertionError("the code is there")

    monkeypatch.setattr(jit, "translate", makes_nothing)
    advance.forget()
    again = CliRunner().invoke(main, ["compile", str(path)])
    assert again.exit_code == 0, again.stderr
    assert again.stdout.startswith("already compiled (")
    assert again.stderr == first.stderr


def test_no_code_for_a_short_study(own_cache, tmp_path):
    """To make it would take longer than to run the study without."""
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("1_000_000", "4"))
    result = CliRunner().invoke(main, ["compile", str(path)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("already compiled (")
    assert result.stderr.startswith("code for 0 of 2 combinations of policies and sizes; of the others there")
    assert not list(own_cache.glob("*/*-tailored-*.o"))


def test_code_switched_off(own_cache, tmp_path, monkeypatch):
    """Then it is said why there is none."""
    monkeypatch.setenv("FASTLHP_TAILOR", "0")
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    result = CliRunner().invoke(main, ["compile", str(path)])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "no code for the study: FASTLHP_TAILOR is 0\n"
    assert not list(own_cache.glob("*/*-tailored-*.o"))


def test_a_study_that_is_wrong(tmp_path):
    """Is said to be so before anything is made."""
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("round_robin", "round_robbing"))
    result = CliRunner().invoke(main, ["compile", str(path)])
    assert result.exit_code != 0
    assert "round_robbing" in result.stderr and "compiled" not in result.stdout


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
