"""``[study] precision``: what may be asked for."""

import pytest

from fastlhp.errors import StudyError
from fastlhp.model.study import load

ONE = {"metric": "lhp_probability", "relative": 0.05, "max_replications": 1000}


def test_a_single_target(example):
    example["study"]["precision"] = ONE
    study = load(example)
    assert study.replications == 1000
    assert list(study.precision.looks()) == [
        *range(64, 256, 16),
        *range(256, 384, 32),
        384,
        432,
        480,
        528,
        592,
        656,
        736,
        816,
        912,
        1000,
    ]
    (target,) = study.precision.targets
    assert (target.metric, target.relative, target.absolute, target.confidence) == (
        "lhp_probability",
        0.05,
        None,
        0.95,
    )


def test_of_several_targets_the_largest_numbers_count(example):
    time = {
        "metric": "wait_mean",
        "absolute": "1.5us",
        "confidence": 0.9,
        "batch": 20,
        "max_replications": 70,
    }
    example["study"] |= {"replications": 8, "precision": [ONE | {"max_replications": 50}, time]}
    study = load(example)
    assert list(study.precision.looks()) == [8, 28, 48, 68, 70]
    assert study.precision.targets[1].absolute == 1.5e-6
    example["study"]["precision"][0]["min_replications"] = 50
    assert list(load(example).precision.looks()) == [50, 70]


def test_there_are_always_two_replications_before_a_look(example):
    example["study"] |= {"replications": 1, "precision": ONE}
    assert load(example).precision.minimum == 2


def test_a_number_on_the_command_line_overrides_it(example):
    example["study"]["precision"] = ONE
    study = load(example).with_(replications=40)
    assert (study.replications, study.precision) == (40, None)
    assert load(example).with_(seed=3).precision == load(example).precision


@pytest.mark.parametrize(
    ("precision", "path", "says"),
    [
        (3, "", "or a list"),
        ([], "", "or a list"),
        ([ONE, "x"], "[1]", "or a list"),
        ({"metric": "fairness", "max_replications": 5}, "", "relative and absolute"),
        (ONE | {"metric": "lhp_probabilit"}, ".metric", 'did you mean "lhp_probability"'),
        (ONE | {"metric": "wait_q99"}, ".metric", "with a value per replication"),
        (ONE | {"relative": 1.0}, ".relative", "a number above 0 and below 1"),
        (ONE | {"confidence": 0.0}, ".confidence", "a number above 0 and below 1"),
        (ONE | {"absolute": "5us"}, ".absolute", "else a number"),
        (ONE | {"absolute": -1.0}, ".absolute", "above 0"),
        (ONE | {"metric": "spin_time", "absolute": 5}, ".absolute", 'a duration such as "5us"'),
        (ONE | {"metric": "spin_time", "absolute": "5"}, ".absolute", 'a duration such as "5us"'),
        (ONE | {"min_replications": 1}, ".min_replications", "at least 2"),
        (ONE | {"min_replications": 1001}, ".max_replications", "at least min_replications = 1001"),
        ([ONE | {"batch": 0}], "[0].batch", "at least 1"),
        ({"metric": "fairness", "relative": 0.1}, ".max_replications", "a whole number"),
        (ONE | {"relativ": 1}, ".relativ", 'did you mean "relative"'),
    ],
)
def test_mistakes(example, precision, path, says):
    example["study"]["precision"] = precision
    with pytest.raises(StudyError) as caught:
        load(example)
    problems = {problem.path: problem for problem in caught.value.problems}
    assert list(problems) == [f"study.precision{path}"]
    assert says in problems[f"study.precision{path}"].accepted
