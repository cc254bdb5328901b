"""The comparison with measurements; a few of the 30 configurations, with few replications."""

import numpy as np
import pytest

import fastlhp
from fastlhp.validation import real_host
from fastlhp.validation.real_host import (
    Measured,
    cases,
    measurements,
    pooled_ratio,
    weighted_ratio,
)

BY_NUMBER = {measured.number: measured for measured in measurements()}


def outcome(number, replications):
    measured = BY_NUMBER[number]
    results = fastlhp.run(real_host._study(measured, replications), threads=1)
    return results, list(real_host._judge(measured)(results))


def test_the_data():
    assert len(BY_NUMBER) == len(list(cases(quick=True))) == 30
    assert sum(len(measured.columns["acq"]) for measured in BY_NUMBER.values()) == 992
    assert [n for n, measured in BY_NUMBER.items() if not measured.is_overcommitted] == [1]
    # The figures of the table that comes with the data.
    futex = BY_NUMBER[37]
    assert futex.columns["lhp"].sum() == 198
    assert pooled_ratio(futex.columns["acq"], futex.columns["wall_s"], np.zeros(24, int))[0] == pytest.approx(
        63963, abs=1
    )


@pytest.mark.parametrize("number", [1, 5, 29, 37, 49])
def test_a_configuration_agrees(number):
    _, checks = outcome(number, 192)
    assert len(checks) == (2 if number == 1 else 3)
    assert all(made.agrees for made in checks), checks


def test_a_wrong_model_is_rejected():
    """The measured ticket locks are not test-and-set locks, nor do their waiters sleep."""
    for other in ({"lock": "tas"}, {"policy": "futex", "spin_before_us": "25"}):
        real = BY_NUMBER[43]
        wrong = Measured(real.number, {**real.row, **other}, real.columns)
        results = fastlhp.run(real_host._study(wrong, 16), threads=1)
        throughput, *_ = real_host._judge(real)(results)
        assert not throughput.agrees and throughput.note


def test_phases_are_those_of_the_simulation():
    """VMs that always run together hardly spin; VMs that never do, spin most of the time."""
    measured = BY_NUMBER[5]
    results, _ = outcome(5, 32)
    phase = real_host._phase_of_replications(measured, 32)
    assert set(phase) == {0, 2, 4, 6}
    share = np.asarray(results["wasted_fraction"]).ravel()
    assert share[phase == 6].max() < 0.05
    assert share[phase == 0].min() > 0.4


def test_first_slices_end_whole_ticks_apart():
    assert real_host._phases(1) == [[0.5, 0.5]]
    for ticks in (3, 8):
        differences = [(b - a) * ticks % ticks for a, b in real_host._phases(ticks)]
        assert differences == pytest.approx(range(ticks))


def test_weighting_by_strata():
    rng = np.random.default_rng(5)
    stratum = rng.integers(0, 2, 4000)
    values = np.where(stratum == 0, 1.0, 3.0) + rng.normal(0, 0.1, 4000)
    ones = np.ones(4000)
    value, error = weighted_ratio(values, ones, stratum, {0: 0.9, 1: 0.1})
    assert abs(value - 1.2) < 4 * error
    assert error == pytest.approx(0.1 * np.sqrt(0.9**2 / 2000 + 0.1**2 / 2000), rel=0.1)
    # Within strata the same numbers have a small error, in one heap a large one.
    assert pooled_ratio(values, ones, stratum)[1] == pytest.approx(0.1 / np.sqrt(4000), rel=0.1)
    assert pooled_ratio(values, ones, 0 * stratum)[1] == pytest.approx(1.0 / np.sqrt(4000), rel=0.1)
