"""When a configuration has been replicated often enough.

Looks are taken after numbers of replications that the study alone fixes, and a decision depends on nothing but the
counters of these replications: it is the same on any machine, with any threads, and after an interruption.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.estimates import estimate
from fastlhp.model.configuration import Configuration
from fastlhp.model.precision import StopRule, Target
from fastlhp.results.counters import ConfigurationResult
from fastlhp.results.metrics import METRICS, Block, Context
from fastlhp.results.results import Summary

__all__ = ["is_precise", "next_look", "targets_are_met"]


def is_precise(target: Target, summary: Summary) -> npt.NDArray[np.bool_]:
    """Say of each estimate whether its interval is as narrow as it shall be.

    Parameters
    ----------
    target : Target
        What is asked for.
    summary : Summary
        Estimates of its metric, with its confidence.

    Returns
    -------
    ndarray of bool, shape (configuration,)
        False where nothing is known. An estimate of 0 has no relative precision, however many replications agree
        on it.
    """
    half = summary.half_width
    precise = np.zeros(len(summary), dtype=bool)
    if target.relative is not None:
        precise |= (half <= target.relative * np.abs(summary.mean)) & (summary.mean != 0)
    if target.absolute is not None:
        precise |= half <= target.absolute
    return precise


def next_look(rule: StopRule, n: int, met: Callable[[int], bool]) -> int | None:
    """Return after how many replications to look again; None if there need not be more.

    Parameters
    ----------
    rule : StopRule
        The study's.
    n : int
        Replications so far; one of ``rule.looks()``.
    met : callable
        Says whether all targets are met by the first k replications.

    Notes
    -----
    To look at an interval again and again and stop as soon as it is narrow enough favours moments at which the spread
    happens to be small; such intervals cover less than they promise. So the targets must be met at two looks in
    succession: this is the replications algorithm of [1]_, its look-ahead being the way to the next look. The narrower
    the interval, the less it matters: in the limit coverage is right without it [2]_.

    References
    ----------
    .. [1] K. Hoad, S. Robinson and R. Davies, "Automated selection of the number of replications for a discrete-event
       simulation", Journal of the Operational Research Society 61(11), 2010.
    .. [2] Y. S. Chow and H. Robbins, "On the asymptotic theory of fixed-width sequential confidence intervals for the
       mean", Annals of Mathematical Statistics 36(2), 1965.

    Examples
    --------
    >>> rule = StopRule((), minimum=32, batch=16, maximum=70)
    >>> [next_look(rule, n, lambda k: k >= 48) for n in (32, 48, 64, 70)]
    [48, 64, None, None]
    """
    looks = list(rule.looks())
    number = looks.index(n)
    if n == rule.maximum or (number > 0 and met(n) and met(looks[number - 1])):
        return None
    return looks[number + 1]


def targets_are_met(
    rule: StopRule, configuration: Configuration, vm: npt.NDArray[np.int64], host: npt.NDArray[np.int64]
) -> bool:
    """Say whether all targets of a rule are met by some replications of a configuration.

    Parameters
    ----------
    rule : StopRule
        The study's.
    configuration : Configuration
        What was simulated.
    vm : ndarray of int64, shape (replication, vm, counter)
        Counters of the VMs.
    host : ndarray of int64, shape (replication, counter)
        Counters of the host.
    """
    context = Context.of([configuration], 1)
    result = ConfigurationResult(configuration.index, vm, host)
    block = Block(context, configuration.index, [result], len(host), context.n_vms)

    def read(name: str) -> npt.NDArray[Any]:
        return block.metric(METRICS[name], "host")

    return all(
        is_precise(target, estimate(METRICS[target.metric], read, target.confidence)).all()
        for target in rule.targets
    )
