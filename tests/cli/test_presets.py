"""``fastlhp presets``."""

import tomllib

import pytest
from click.testing import CliRunner

from fastlhp.cli.main import main
from fastlhp.model.presets import preset, preset_names
from fastlhp.model.profiles import profile, profile_names


def test_the_list():
    result = CliRunner().invoke(main, ["presets"])
    assert result.exit_code == 0
    listed = [line.split(maxsplit=1) for line in result.stdout.splitlines() if "  " in line]
    known = [(name, preset(name)) for name in preset_names()] + [(n, profile(n)) for n in profile_names()]
    assert listed == [[name, tree["description"]] for name, tree in known]


@pytest.mark.parametrize("name", (*preset_names(), *profile_names()))
def test_one_of_them(name):
    result = CliRunner().invoke(main, ["presets", name])
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout) == (preset if name in preset_names() else profile)(name)


def test_an_unknown_name():
    result = CliRunner().invoke(main, ["presets", "baselin"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "unknown preset or profile 'baselin'; choose from: balance, baseline" in result.stderr
