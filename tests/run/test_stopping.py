"""When a configuration is replicated no more, and what its intervals then cover.

A 95 % interval at the end of a sequential procedure must still cover the exact value in 95 % of studies. 1000 studies
each are allowed 930 to 970 hits; that is 2.9 standard errors, and the seeds are fixed.
"""

import numpy as np
import pytest

from fastlhp.analysis.estimates import estimate
from fastlhp.model.precision import StopRule, Target, targets_from
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Summary
from fastlhp.run.precision import excess, next_look

TRIALS = 1000


def test_how_far_a_target_is_missed():
    known = np.array([np.nan, 0.0, 10.0, 10.0])
    half = np.array([np.nan, 0.0, 1.0, 0.25])
    summary = Summary("throughput", "s-1", 0.95, known, half, known - half, known + half, np.full(4, 8))
    relative = Target(metric="throughput", relative=0.05, max_replications=9)
    assert excess(relative, summary).tolist() == [np.inf, np.inf, 2.0, 0.5]
    either = Target(metric="throughput", relative=0.05, absolute=2.0, max_replications=9)
    assert excess(either, summary).tolist() == [np.inf, 0.0, 0.5, 0.125]


def rule(metric, relative, minimum=32, batch=16, maximum=1024):
    return StopRule(
        (Target(metric=metric, relative=relative, max_replications=maximum),), minimum, batch, maximum
    )


def poisson(mean):
    """Rare events among acquisitions whose number varies with them."""

    def draw(rng, n):
        acquisitions = rng.poisson(10_000, (TRIALS, n))
        hits = rng.poisson(mean * acquisitions / 10_000)
        return {"lhp_acquisitions": hits, "acquisitions": acquisitions, "preemptions": acquisitions // 10}

    return draw, mean / 10_000


def skewed(rng, n):
    """Lognormal waits, in a number of acquisitions that goes up with them."""
    size = rng.lognormal(0, 0.5, (TRIALS, n))
    acquisitions = np.ceil(1000 * size)
    waits = acquisitions * rng.lognormal(-0.125, 0.5, (TRIALS, n)) * 1e-6
    return {"wait_time": waits, "acquisitions": acquisitions.astype(np.int64)}


def queue(load, customers):
    """Waits of the first customers of an M/M/1 queue that is in equilibrium from the start; the service rate is 1."""

    def draw(rng, n):
        wait = np.where(rng.random((TRIALS, n)) < load, rng.exponential(1 / (1 - load), (TRIALS, n)), 0.0)
        total = np.zeros((TRIALS, n))
        for _ in range(customers):
            total += wait
            wait += rng.exponential(1.0, (TRIALS, n)) - rng.exponential(1 / load, (TRIALS, n))
            np.maximum(wait, 0.0, out=wait)
        return {"wait_time": total, "acquisitions": np.full((TRIALS, n), customers)}

    return draw, load / (1 - load)


def stopped(rule, columns):
    """Return how many replications each trial has, and the summaries after that many."""
    (target,) = rule.targets
    looks = list(rule.looks())

    def summary(k):
        return estimate(METRICS[target.metric], lambda name: columns[name][:, :k], target.confidence)

    summaries = {k: summary(k) for k in looks}
    met = {k: excess(target, summaries[k]) <= 1 for k in looks}
    n = np.zeros(TRIALS, dtype=np.int64)
    for trial in range(TRIALS):
        look = rule.minimum
        while look is not None:
            n[trial] = look
            look = next_look(rule, look, lambda k, trial=trial: bool(met[k][trial]))
    return n, summaries


def hits(n, summaries, exact):
    covered = {k: (summary.low <= exact) & (exact <= summary.high) for k, summary in summaries.items()}
    return sum(bool(covered[k][trial]) for trial, k in enumerate(n.tolist()))


CASES = {
    "frequent": (rule("lhp_probability", 0.05, maximum=512), *poisson(10.0)),
    "queue": (rule("wait_mean", 0.05, maximum=384), *queue(0.3, 160)),
}
LONG = {
    "rare": (rule("lhp_probability", 0.1, batch=64, maximum=8192), *poisson(0.1)),
    "few": (rule("lhp_probability", 0.2, minimum=16, maximum=512), *poisson(2.0)),
    "narrow": (rule("lhp_probability", 0.01, batch=128, maximum=8192), *poisson(10.0)),
    "long queue": (rule("wait_mean", 0.05, maximum=4096, batch=64), *queue(0.7, 50)),
    "narrow queue": (rule("wait_mean", 0.03, maximum=4096, batch=64), *queue(0.3, 50)),
    "skewed": (rule("wait_mean", 0.05, maximum=1024), skewed, 1e-6),
}


@pytest.mark.parametrize(
    ("rule", "draw", "exact"),
    [
        *(pytest.param(*case, id=name) for name, case in CASES.items()),
        *(pytest.param(*case, id=name, marks=pytest.mark.nightly) for name, case in LONG.items()),
    ],
)
def test_intervals_cover(rule, draw, exact):
    n, summaries = stopped(rule, draw(np.random.default_rng(5), rule.maximum))
    assert rule.minimum + rule.batch < n.mean() < rule.maximum / 1.3
    assert (n < rule.maximum).mean() > 0.99
    assert 930 <= hits(n, summaries, exact) <= 970
    # A theory that is off by as much as the interval is half wide is seen through.
    (target,) = rule.targets
    assert hits(n, summaries, exact * (1 + target.relative)) < 700


def test_a_single_lucky_look_does_not_stop():
    rule = StopRule((), minimum=10, batch=5, maximum=32)
    assert list(rule.looks()) == [10, 15, 20, 25, 30, 32]
    lucky = {10, 20}
    assert [next_look(rule, k, lucky.__contains__) for k in rule.looks()] == [15, 20, 25, 30, 32, None]
    steady = {15, 20}
    assert [next_look(rule, k, steady.__contains__) for k in rule.looks()] == [15, 20, None, 30, 32, None]


def test_looks_grow_apart():
    looks = list(StopRule((), minimum=32, batch=16, maximum=1000).looks())
    assert looks[:15] == list(range(32, 257, 16))
    assert looks[15:] == [288, 320, 352, 384, 432, 480, 528, 592, 656, 736, 816, 912, 1000]


class TestWhatIsPrecise:
    @staticmethod
    def precise(values, metric="fairness", preemptions=0, **target):
        (target,) = targets_from({"metric": metric, "max_replications": 10, **target})
        columns = {metric: np.asarray(values, dtype=float)[None]}
        if METRICS[metric].denominator:
            columns = {
                "lhp_acquisitions": np.asarray(values)[None],
                "acquisitions": np.full((1, len(values)), 1000),
                "preemptions": np.full((1, len(values)), preemptions),
            }

        return bool(excess(target, estimate(METRICS[metric], columns.__getitem__, target.confidence))[0] <= 1)

    def test_relative_and_absolute(self):
        values = [0.4, 0.6, 0.5, 0.5]  # half the interval is 3.18 x 0.0408 = 0.13
        assert self.precise(values, relative=0.27)
        assert not self.precise(values, relative=0.25)
        assert self.precise(values, absolute=0.14)
        assert not self.precise(values, absolute=0.12)
        assert self.precise(values, absolute=0.12, relative=0.27)
        assert not self.precise(values, relative=0.27, confidence=0.99)

    def test_an_estimate_of_zero(self):
        assert not self.precise([0.0] * 8, relative=0.5)
        assert self.precise([0.0] * 8, absolute=0.001)
        # A probability of which nothing was seen has an exact upper end: 1 - 0.025^(1 / (8 x preemptions)).
        assert not self.precise([0] * 8, metric="lhp_probability", preemptions=100, absolute=0.001)
        assert self.precise([0] * 8, metric="lhp_probability", preemptions=1000, absolute=0.001)

    def test_nothing_is_known_of_one_replication_or_of_none_with_a_value(self):
        assert not self.precise([0.5], relative=0.5, absolute=1.0)
        assert not self.precise([np.nan] * 8, relative=0.5, absolute=1.0)
