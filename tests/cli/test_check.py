"""``fastlhp check`` and what all commands share."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cache import cache_folder
from fastlhp.cli.main import main
from fastlhp.data_files import data_path
from fastlhp.errors import FastlhpError
from fastlhp.model.study import load
from fastlhp.run.speed import Speed, estimate_events, read_speed, write_speed

EXAMPLE = str(data_path("example_study.toml"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTLHP_CACHE_DIR", str(tmp_path / "cache"))


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_a_valid_study():
    result = run("check", EXAMPLE)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "overcommit-and-remedies: valid" in result.stdout
    assert "configurations  48" in result.stdout
    assert "64 of each, 3072 in all" in result.stdout
    assert "2s after 200ms of warm-up" in result.stdout
    assert "vm.guest.lock.kind: test_and_set, ticket" in result.stdout
    assert "--calibrate" in result.stdout


def test_a_bad_study(tmp_path):
    (tmp_path / "bad.toml").write_text("[host]\npcpus = 0\nfrequency = 3\n")
    result = run("check", str(tmp_path / "bad.toml"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"5 problems in {tmp_path / 'bad.toml'}:" in result.stderr
    assert "  host.pcpus: found 0; accepted: a whole number at least 1 and at most 1024" in result.stderr


@pytest.mark.parametrize("path", ["none.toml", "."])
def test_no_study(path):
    result = run("check", path)
    assert result.exit_code == 2
    assert "1 problem in" in result.stderr


def test_warnings_and_a_known_speed(tmp_path):
    text = data_path("example_study.toml").read_text(encoding="utf-8").replace('"2s"', '"90ms"')
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    write_speed(1e6, 2)
    result = run("check", str(tmp_path / "s.toml"))
    assert result.exit_code == 0
    assert "is only 9 slices" in result.stdout
    assert "at 1e+06 events per second" in result.stdout
    assert "2.8 minutes" in result.stdout


def test_calibration(monkeypatch):
    execute = types.ModuleType("fastlhp.run.execute")
    execute.calibrate = lambda: 2e6
    monkeypatch.setitem(sys.modules, "fastlhp.run.execute", execute)
    result = run("check", EXAMPLE, "--calibrate")
    assert result.exit_code == 0
    assert "at 2e+06 events per second" in result.stdout


class TestEstimate:
    def test_events(self):
        study = load(EXAMPLE)
        # 4 pCPUs always busy, two events in 42 us, 2.2 s, 48 configurations, 64 replications
        assert estimate_events(study) == pytest.approx(4 * 2 / 42e-6 * 2.2 * 48 * 64)

    def test_speed_is_remembered(self):
        assert read_speed() is None
        write_speed(1e8, 2)
        assert read_speed() == Speed(1e8, 2)
        write_speed(float("nan"), 2)
        assert read_speed() == Speed(1e8, 2)
        assert [path.name for path in cache_folder().iterdir()] == ["speed.json"]

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"events_per_second": "x", "threads": 1}', "\0"])
    def test_a_damaged_file_is_no_speed(self, text):
        cache_folder().mkdir()
        (cache_folder() / "speed.json").write_text(text)
        assert read_speed() is None

    def test_no_place_for_it(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("FASTLHP_CACHE_DIR", str(tmp_path / "file" / "cache"))
        write_speed(1e8, 2)
        assert read_speed() is None


class TestTheCommand:
    def test_help_names_the_commands(self):
        result = run("--help")
        assert result.exit_code == 0
        assert {"check", "presets"} <= set(result.stdout.split())

    def test_version(self):
        from fastlhp import __version__

        assert run("--version").stdout == f"fastlhp {__version__}\n"

    def test_unknown_commands_and_options(self):
        result = run("chekc")
        assert result.exit_code == 2
        assert "choose from: bench, check" in result.stderr
        assert run("check").exit_code == 2
        assert run("check", "--nope", EXAMPLE).exit_code == 2

    @pytest.mark.parametrize(("error", "code"), [(FastlhpError("no"), 1), (KeyboardInterrupt(), 130)])
    def test_exit_codes_of_other_errors(self, monkeypatch, error, code):
        def fail(path):
            raise error

        monkeypatch.setattr("fastlhp.model.study.load", fail)
        assert run("check", EXAMPLE).exit_code == code

    def test_as_a_module(self):
        done = subprocess.run(
            [sys.executable, "-m", "fastlhp", "presets", "nix"], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith("Usage: fastlhp presets")


class TestThePlan:
    """What `check` prints of a sweep; the studies are those of design.md."""

    DOCUMENT = (Path(fastlhp.__file__).parent / "docs" / "design.md").read_text(encoding="utf-8")
    REST = """
        [host]
        pcpus = 4
        frequency = "2.6GHz"
        [policy]
        scheduler = { kind = "round_robin", slice = "10ms" }
        [[vm]]
        name = "guest"
        count = 2
        vcpus = 4
        lock = { kind = "ticket" }
        user = { exponential = "40us" }
        hold = { exponential = "2us" }
    """

    @pytest.mark.parametrize("number", range(DOCUMENT.count("```toml")))
    def test_worked_examples(self, number, tmp_path):
        """Every example of the page, completed by the rest of a study, prints what the page says."""
        study, rest = self.DOCUMENT.split("```toml\n")[number + 1].split("```", 1)
        lines = [line for line in rest.split("```toml")[0].splitlines() if line.startswith("    ")]
        assert lines
        if "[study]" not in study:
            study = '[study]\nduration = "2s"\n' + study
        (tmp_path / "s.toml").write_text(study + self.REST, encoding="utf-8")
        result = run("check", str(tmp_path / "s.toml"))
        assert result.exit_code == 0, result.stderr
        printed = result.stdout.splitlines()
        assert [line for line in printed if line in {line[4:] for line in lines}] == [
            line[4:] for line in lines
        ]

    def test_long_lists_are_cut(self, tmp_path):
        sweep = f"""
            [study]
            duration = "2s"
            [sweep]
            "vm.0.vcpus" = {list(range(3, 15))}
            where = {[f"vm.0.vcpus != {n}" for n in range(4, 14)]}
        """
        (tmp_path / "s.toml").write_text(sweep + self.REST, encoding="utf-8")
        lines = run("check", str(tmp_path / "s.toml")).stdout.splitlines()
        assert "swept           vm.0.vcpus: 3, 4, 5, 6, 7, 8, 9, 10, ... (12 values)" in lines
        dropped = [line.split(None, 1)[1] for line in lines if line.startswith("dropped")]
        assert dropped[::7] == ["1: where vm.0.vcpus != 4", "1: where vm.0.vcpus != 11"]
        assert dropped[8:] == ["2: for 2 other reasons"]
