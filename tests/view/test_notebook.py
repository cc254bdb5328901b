import subprocess
import sys

import numpy as np
import pytest
from made_up import grid, results_of
from test_markup import Reader

import fastlhp
from fastlhp.data_files import data_path
from fastlhp.view.words import few_words, what_is_simulated

HOSTILE = "</td><script>alert('x')</script>\"&"


def texts_of(markup):
    return [text for text in Reader(markup).texts if text.strip()]


def test_study():
    study = fastlhp.load(data_path("example_study.toml"))
    texts = texts_of(study._repr_html_())
    assert "Study overcommit-and-remedies" in texts
    assert "48 configurations of 64 replications, seed 1" in texts
    assert texts[texts.index("vm.guest.count") :][:3] == ["vm.guest.count", "4", "1, 2, 3, 4"]
    assert texts[texts.index("guard") :][:3] == ["guard", "none", "delay(cap=500us, repay=false)"]
    assert "handover" not in texts


def test_all_swept_values_are_told():
    study = fastlhp.load(data_path("example_study.toml"))
    things = what_is_simulated(study)
    assert things["Host"] == {
        "pCPUs": ["4"],
        "vCPUs per pCPU": ["1, 2, 3, 4"],
        "clock": ["2.6 GHz"],
        "context switch": ["2us"],
        "VM exit": ["500ns"],
    }
    assert things["VMs guest"]["number"] == ["1, 2, 3, 4"]
    assert things["VMs guest"]["lock"] == ["test_and_set(count=1)", "ticket(count=1)"]
    assert len(things["Policy"]["response"]) == 3
    assert things["Time"] == {"warm-up": ["200ms"], "measured": ["2s"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([2, 1], ["1, 2"]),
        (list(range(10, 0, -1)), ["1 to 10 (10 values)"]),
        (["1us", "2us"], ["1us", "2us"]),
        ([f"{i}us" for i in range(9)], ["0us", "1us", "2us", "3us", "4us", "5us", "and 3 more"]),
    ],
)
def test_few_words(values, words):
    assert few_words(values) == words


def test_results():
    columns = grid(policy__guard=["none", HOSTILE], vm__guest__count=list(range(5)))
    waste = np.linspace(0.1, 0.2, 40).reshape(10, 4)
    markup = results_of(columns, wasted_fraction=waste)._repr_html_()
    texts = texts_of(markup)
    assert "Results of made-up" in texts and "10 configurations of 4 replications, seed 1" in texts
    assert "The first 8 of 10 configurations, with 95 % intervals" in texts
    assert texts.count(HOSTILE) == 3
    # Configuration 0, as `show` writes it.
    assert f"{waste[0].mean():.4f} ± 0.0053" in texts
    tags = [tag for tag, _ in Reader(markup).tags]
    assert tags.count("tr") == 9 and "script" not in tags
    assert len(markup) < 20_000


def test_failed_configurations_say_so():
    columns = grid(vm__guest__count=[1, 2, 3])
    texts = texts_of(results_of(columns, status=[0, 1, 2], wasted_fraction=np.ones((3, 2)))._repr_html_())
    assert [t for t in texts if t in ("ok", "failed", "not run")] == ["ok", "failed", "not run"]


def test_a_study_is_shown_without_heavy_imports():
    code = (
        "import sys, fastlhp\n"
        f"fastlhp.load({str(data_path('example_study.toml'))!r})._repr_html_()\n"
        "assert not {'numba', 'scipy', 'h5py', 'matplotlib'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
