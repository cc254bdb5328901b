"""Published orderings and trends, with few replications."""

import pytest

import fastlhp
from fastlhp.validation import published


def outcome(case):
    return list(case.judge(*(fastlhp.run(study, threads=1) for study in case.studies)))


@pytest.mark.parametrize(
    ("make", "replications"),
    [
        (published._kernel_build, 6),
        (published._extra_schedule, 8),
        (published._extra_schedule_is_fair, 2),
        (published._spin_tail, 4),
        (published._rarity, 16),
        (published._sleepy_waiters, 2),
        (published._whom_to_yield_to, 2),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_case_agrees(make, replications):
    checks = outcome(make(replications))
    assert checks and all(made.agrees for made in checks), checks


def test_skew():
    case = published._skew()
    checks = outcome(case)
    assert len(checks) == 4 and all(made.agrees for made in checks), checks


def test_ebizzy_is_predicted_but_not_compared():
    *shown, why = outcome(published._ebizzy(2))
    assert why.note and not any(made.is_compared for made in (*shown, why))
    assert all(0.9 < made.predicted < 1.1 and made.reference > 0 for made in shown), shown


def test_what_is_not_modelled_says_why():
    cases = {case.name: case for case in published.cases(quick=True)}
    for name, reason in published.NOT_MODELLED:
        (only,) = cases[name].judge()
        assert not only.is_compared and only.note == reason
