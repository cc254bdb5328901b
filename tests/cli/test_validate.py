"""``fastlhp validate``."""

import json

import pytest
from click.testing import CliRunner

from fastlhp.cli.main import main
from fastlhp.validation import closed_forms
from fastlhp.validation.checks import Case, check


@pytest.fixture
def two_cases(monkeypatch):
    """One case that agrees and one that misses, without a simulation."""

    def use(allowed):
        agrees = Case("fine", lambda: [check("x", (1.0, 0.0), (1.0, 0.0))])
        misses = Case("off", lambda: [check("y", (1.0, 0.0), (2.0, 0.0), cause="on purpose")])
        monkeypatch.setattr(closed_forms, "cases", lambda quick: iter([agrees, misses]))
        monkeypatch.setattr(closed_forms, "ALLOWED", allowed)

    return use


def validate(*arguments):
    return CliRunner().invoke(main, ["validate", "--quiet", "--part", "a", *arguments])


def test_exit_code_and_table(two_cases):
    two_cases(1)
    assert validate().exit_code == 0
    two_cases(0)
    done = validate()
    assert done.exit_code == 1
    assert "likely cause: on purpose" in done.stdout
    assert "1 of 2 cases agree: FAILED" in done.stdout


def test_json(two_cases):
    two_cases(0)
    done = validate("--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["parts"][0]["missed"] == ["off"]
    assert validate("--csv").stdout.startswith("part,case,quantity")


def test_an_unknown_part():
    done = CliRunner().invoke(main, ["validate", "--part", "z"])
    assert done.exit_code == 2
    assert "'z'" in done.stderr
