"""``fastlhp presets``."""

import tomllib

import pytest
from click.testing import CliRunner

from fastlhp.cli.main import main
from fastlhp.model.presets import preset, preset_names


def test_the_list():
    result = CliRunner().invoke(main, ["presets"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(preset_names())
    assert all(preset(name)["description"] in line for name, line in zip(preset_names(), lines, strict=True))


@pytest.mark.parametrize("name", preset_names())
def test_one_of_them(name):
    result = CliRunner().invoke(main, ["presets", name])
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout) == preset(name)


def test_an_unknown_name():
    result = CliRunner().invoke(main, ["presets", "baselin"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "unknown preset 'baselin'; choose from: balance, baseline" in result.stderr
