"""Solve every configuration of a study."""

from collections import Counter

import numpy as np

from fastlhp.errors import Problem, StudyError
from fastlhp.exact.chain import explore, rates
from fastlhp.exact.machine import TooManyStatesError
from fastlhp.exact.results import ExactResults
from fastlhp.exact.scope import mistakes
from fastlhp.model.study import Study
from fastlhp.model.sweep import format_keys
from fastlhp.model.validation import show

__all__ = ["solve"]


def solve(study: Study, max_states: int) -> ExactResults:
    """Return the exact results of a study.

    Parameters
    ----------
    study : Study
        What to solve.
    max_states : int
        Largest number of states of one configuration.

    Raises
    ------
    StudyError
        If a configuration cannot be solved, before any is; or if one has too many states.
    """
    if max_states < 1:
        raise ValueError(f"max_states must be >= 1, got {max_states}")
    n = study.n_configurations
    found = Counter(
        (format_keys(mistake.keys), show(mistake.found), mistake.accepted)
        for configuration in study.configurations
        for mistake in dict.fromkeys(mistakes(configuration))
    )
    if found:
        _refuse(
            study,
            [Problem(*key, *((count, n) if count < n else (None, None))) for key, count in found.items()],
        )
    states, counters = [], []
    for configuration in study.configurations:
        try:
            chain = explore(configuration, max_states)
        except TooManyStatesError:
            labels = ", ".join(f"{path} = {label}" for path, label in configuration.labels.items())
            where = f"configuration {configuration.index}{f' ({labels})' if labels else ''}"
            accepted = f"at most {max_states} (--max-states); fewer vCPUs, VMs or locks have fewer"
            _refuse(study, [Problem(where, f"more than {max_states} states", accepted)])
        states.append(len(chain))
        counters.append(rates(chain) * configuration.duration_ns)
    return ExactResults(study, np.array(states), counters)


def _refuse(study: Study, problems: list[Problem]) -> None:
    raise StudyError(problems, "" if study.source == "<dict>" else study.source)
