"""When a configuration has been replicated often enough.

Looks are taken after numbers of replications that the study alone fixes, and a decision depends on nothing but the
counters of these replications: it is the same on any machine, with any threads, and after an interruption.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.model.configuration import Configuration
from fastlhp.model.precision import StopRule, Target
from fastlhp.model.study import Study
from fastlhp.results.counters import ConfigurationResult, Status, join
from fastlhp.results.metrics import METRICS, Block, Context
from fastlhp.results.results import Summary
from fastlhp.run.work import Work

__all__ = ["Looks", "excess", "largest_excess", "next_look"]


def excess(target: Target, summary: Summary) -> npt.NDArray[np.float64]:
    """Return how many times wider intervals are than they shall be.

    Parameters
    ----------
    target : Target
        What is asked for.
    summary : Summary
        Estimates of its metric, with its confidence.

    Returns
    -------
    ndarray of float64, shape (configuration,)
        At most 1 where an estimate is precise, infinite where nothing is known. An estimate of 0 has no relative
        precision, however many replications agree on it.
    """
    half = summary.half_width
    limit = np.zeros(len(summary))
    if target.relative is not None:
        limit = target.relative * np.nan_to_num(np.abs(summary.mean))
    if target.absolute is not None:
        limit = np.maximum(limit, target.absolute)
    times = np.full(len(summary), np.inf)
    np.divide(half, limit, out=times, where=(limit > 0) & np.isfinite(half))
    return times


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


def largest_excess(
    rule: StopRule, configuration: Configuration, vm: npt.NDArray[np.int64], host: npt.NDArray[np.int64]
) -> float:
    """Return how far the targets of a rule are missed by some replications of a configuration.

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

    Returns
    -------
    float
        How many times wider than it shall be the worst interval is; at most 1 if all targets are met.
    """
    from fastlhp.analysis.estimates import estimate  # SciPy, which takes a quarter of a second to load

    context = Context.of([configuration], 1)
    result = ConfigurationResult(configuration.index, vm, host)
    block = Block(context, configuration.index, [result], len(host), context.n_vms)

    def read(name: str) -> npt.NDArray[Any]:
        return block.metric(METRICS[name], "host")

    return max(
        float(excess(target, estimate(METRICS[target.metric], read, target.confidence)).max())
        for target in rule.targets
    )


class Looks:
    """What is to be simulated of each configuration, decided as results come in.

    Parameters
    ----------
    study : Study, optional
        Without one nothing is decided: what is begun with is all there is.

    Attributes
    ----------
    first : int
        Replications of a configuration before anything is decided.
    """

    def __init__(self, study: Study | None = None) -> None:
        self._study = study
        self._rule = None if study is None else study.precision
        self.first = 0 if study is None else study.replications
        if self._rule is not None:
            self.first = self._rule.minimum
        self._work: Work | None = None
        self._left: dict[int, int] = {}
        self._parts: dict[int, list[ConfigurationResult]] = {}
        self._wanted: dict[int, int] = {}
        self._finished: set[int] = set()
        self._excess: dict[int, float] = {}

    @property
    def may_grow(self) -> bool:
        """Whether a configuration may be replicated further than is known yet."""
        return self._rule is not None

    def wanted(self, index: int) -> int:
        """Return how many replications of a configuration there are to be, as far as that is decided."""
        return self._wanted.get(index, self.first)

    def total(self, index: int) -> int | None:
        """Return how many replications a configuration has; None if that is not decided yet."""
        return self.wanted(index) if self._rule is None or index in self._finished else None

    def is_finished(self, index: int) -> bool:
        """Whether nothing is missing of a configuration of which something was added."""
        return index in self._finished if self._rule else index not in self._left

    @property
    def least_precise(self) -> tuple[int, float] | None:
        """Which configuration misses its targets most, and how many times wider than wanted its interval is."""
        # Other threads add to it meanwhile.
        return max(list(self._excess.items()), key=lambda item: item[1], default=None)

    def begin(self, work: Work) -> None:
        """Say what is about to be simulated."""
        self._work = work

    def add(self, part: ConfigurationResult) -> list[range] | None:
        """Take note of finished replications and return what is to follow.

        Nothing, an empty list, follows if the configuration is finished; None says that others of its replications
        have to be finished before anything can be said.
        """
        index = part.index
        if self._rule is None:
            left = self._left.pop(index, None)
            if left is None:
                assert self._work is not None
                left = self._work.n_left(index)
            if left > len(part.host):
                self._left[index] = left - len(part.host)
                return None
            return []
        parts = self._parts.setdefault(index, [])
        parts.append(part)
        if _missing(parts, self.wanted(index)):
            return None
        while (n := self._next(parts, self.wanted(index))) is not None:
            self._wanted[index] = n
            if missing := _missing(parts, n):
                return missing
        del self._parts[index]
        self._excess.pop(index, None)
        self._finished.add(index)
        return []

    def _next(self, parts: list[ConfigurationResult], n: int) -> int | None:
        """Return after how many replications to look again; ``parts`` have all of the first ``n``."""
        assert self._rule is not None and self._study is not None
        rule = self._rule
        result = join(part for part in parts if part.first < n)
        if result.status != Status.OK:
            return None
        configuration = self._study.configurations[result.index]

        def missed(k: int) -> float:
            return largest_excess(rule, configuration, result.vm[:k], result.host[:k])

        self._excess[result.index] = now = missed(n)
        return next_look(rule, n, lambda k: (now if k == n else missed(k)) <= 1)


def _missing(parts: list[ConfigurationResult], n: int) -> list[range]:
    """Return which of the first ``n`` replications are in none of the parts."""
    missing, at = [], 0
    for part in sorted(parts, key=lambda part: part.first):
        if at < min(part.first, n):
            missing.append(range(at, min(part.first, n)))
        at = max(at, part.stop)
    if at < n:
        missing.append(range(at, n))
    return missing
