"""Profiles fill in what a study leaves out, and are what was published."""

import math

import pytest
from scipy.stats import norm

from fastlhp.errors import StudyError
from fastlhp.model.distributions import Constant, Exponential, Lognormal
from fastlhp.model.presets import preset_names
from fastlhp.model.profiles import profile, profile_names, profile_text
from fastlhp.model.study import load


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_is_complete(name, example):
    tree = profile(name)
    assert set(tree) == {"description", "vm", "measured"}
    assert "\n" not in tree["description"] and profile_text(name).startswith("#")
    del example["vm"][0]["hold"]
    example["vm"][0]["profile"] = name
    (configuration,) = load(example).configurations
    assert isinstance(configuration.vms[0].hold, Lognormal)
    assert configuration.vms[0].user == Exponential(40_000.0)


@pytest.mark.parametrize("name", profile_names())
def test_holds_have_the_measured_mean_and_maximum(name):
    """The mean, and the quantile at 1 - 1/acquisitions, which is where the largest of them is to be expected."""
    measured, hold = profile(name)["measured"], profile(name)["vm"]["hold"]["lognormal"]
    assert hold["mean"] == f"{1000 * measured['hold_mean_us']:.0f}ns"
    sigma = math.sqrt(math.log1p(hold["cv"] ** 2))
    z = norm.isf(1 / measured["acquisitions"])
    largest = measured["hold_mean_us"] * math.exp(z * sigma - sigma**2 / 2)
    assert largest == pytest.approx(measured["hold_max_us"], rel=0.03)


def test_the_study_has_the_last_word(example):
    example["vm"][0] |= {"profile": "rq_lock", "hold": "3us"}
    (configuration,) = load(example).configurations
    assert configuration.vms[0].hold == Constant(3_000)


def test_profiles_can_be_swept(example):
    del example["vm"][0]["hold"]
    example["sweep"] = {"vm.guest.profile": ["rq_lock", "tasklist_lock"]}
    study = load(example)
    assert study.swept == {"vm.guest.profile": ("rq_lock", "tasklist_lock")}
    assert [c.vms[0].hold.mean_ns for c in study.configurations] == pytest.approx([1690, 7720])


@pytest.mark.parametrize("name", ["rq_lok", 3, ["rq_lock"]])
def test_an_unknown_profile(example, name):
    example["vm"][0]["profile"] = name
    with pytest.raises(StudyError) as caught:
        load(example)
    (problem,) = caught.value.problems
    assert problem.path == "vm.0.profile"
    assert problem.accepted.startswith('a profile: one of "clockevents_lock", "dentry_lockref"')


def test_user_has_to_be_given(example):
    del example["vm"][0]["hold"], example["vm"][0]["user"]
    example["vm"][0]["profile"] = "rq_lock"
    with pytest.raises(StudyError, match=r"vm\.0\.user"):
        load(example)


def test_names_are_not_those_of_presets():
    assert not set(profile_names()) & set(preset_names())
