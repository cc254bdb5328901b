"""``fastlhp init``."""

import re
import tomllib

import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.main import main
from fastlhp.model.presets import preset_names
from fastlhp.model.start import start_study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fastlhp_says(*arguments):
    return CliRunner().invoke(main, arguments)


def test_the_study_runs_as_it_is(folder):
    assert fastlhp_says("init").exit_code == 0
    checked = fastlhp_says("check", "study.toml")
    assert checked.exit_code == 0 and "warning" not in checked.stdout
    assert fastlhp_says("run", "study.toml", "-o", "results.h5", "--quiet").exit_code == 0
    results = fastlhp.open("results.h5")
    assert results.configurations["policy.preset"].tolist() == ["baseline", "kvm_pvqspinlock"] * 4
    # Four vCPUs on four pCPUs, then overcommitment: what the study shows.
    assert results["lhp_events"][:2].sum() == 0
    assert (results["lhp_events"][2:].sum(axis=1) > 0).all()


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset(folder, preset):
    assert fastlhp_says("init", "mine.toml", "--preset", preset).exit_code == 0
    study = fastlhp.load("mine.toml")
    assert study.name == "mine"
    assert study.warnings == []
    assert study.swept["policy.preset"] == tuple(dict.fromkeys(["baseline", preset]))


def test_what_is_commented_out_is_valid_as_well():
    text = start_study("study.toml")
    commented = [i for i, line in enumerate(text.splitlines()) if re.match(r'# [\w".]+ = ', line)]
    assert len(commented) >= 12
    for i in commented:
        lines = text.splitlines()
        lines[i] = lines[i].removeprefix("# ")
        before, after = tomllib.loads(text), tomllib.loads("\n".join(lines))
        assert before != after
        assert fastlhp.load(after).n_configurations > 0, lines[i]


def test_nothing_is_overwritten(folder):
    (folder / "study.toml").write_text("mine")
    said = fastlhp_says("init")
    assert said.exit_code == 2 and "--force" in said.stderr
    assert (folder / "study.toml").read_text() == "mine"
    assert fastlhp_says("init", "--force").exit_code == 0
    assert fastlhp_says("check", "study.toml").exit_code == 0


def test_names(folder):
    assert fastlhp_says("init", 'a "b"\n.toml').exit_code == 0
    assert fastlhp.load('a "b"\n.toml').name == "study"
    assert fastlhp_says("init", 'a "b".toml').exit_code == 0
    assert fastlhp.load('a "b".toml').name == 'a "b"'


def test_mistakes(folder):
    said = fastlhp_says("init", "--preset", "kvm_pl")
    assert said.exit_code == 2 and "kvm_ple" in said.stderr
    said = fastlhp_says("init", "no/such/folder.toml")
    assert said.exit_code == 1 and "no/such/folder.toml" in said.stderr
    assert list(folder.iterdir()) == []
