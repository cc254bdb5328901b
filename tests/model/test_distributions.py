"""Distributions: what is read, what is refused, and how much of a tail is cut."""

import math

import numpy as np
import pytest

from fastlhp.model.distributions import (
    LIMIT_NS,
    Constant,
    Empirical,
    Exponential,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
    distribution_from,
)
from fastlhp.model.validation import Context, Mistakes


@pytest.mark.parametrize(
    ("value", "expected", "description"),
    [
        ("30ms", Constant(30_000_000), "30ms"),
        ("0.4ns", Constant(0), "0ns"),
        ({"exponential": "10us"}, Exponential(10_000.0), "exponential(10us)"),
        ({"uniform": ["1us", "3us"]}, Uniform(1000.0, 3000.0), "uniform(1us, 3us)"),
        ({"uniform": ["2us", "2us"]}, Constant(2000), "2us"),
        ({"lognormal": {"mean": "1us", "cv": 3.0}}, Lognormal(1000.0, 3.0), "lognormal(mean=1us, cv=3)"),
        ({"lognormal": {"mean": "1us", "cv": 0}}, Constant(1000), "1us"),
        ({"gamma": {"mean": "1us", "cv": 0.5}}, Gamma(1000.0, 0.5), "gamma(mean=1us, cv=0.5)"),
        ({"weibull": {"mean": "1us", "shape": 2}}, Weibull(1000.0, 2.0), "weibull(mean=1us, shape=2)"),
        (
            {"pareto": {"minimum": "1us", "alpha": 1.5, "maximum": "1ms"}},
            Pareto(1000.0, 1.5, 1e6),
            "pareto(minimum=1us, alpha=1.5, maximum=1ms)",
        ),
        (
            {"hyperexponential": {"probabilities": [0.9, 0.1], "means": ["1us", "20us"]}},
            Hyperexponential((0.9, 0.1), (1000.0, 20_000.0)),
            "hyperexponential(0.9: 1us, 0.1: 20us)",
        ),
        (
            {"empirical": {"samples": ["3us", "1us"]}},
            Empirical((1000.0, 3000.0), ""),
            "empirical(2 samples, mean=2us)",
        ),
        ({"empirical": {"samples": ["1us", "1us"]}}, Constant(1000), "1us"),
    ],
)
def test_what_a_study_writes(value, expected, description):
    distribution = distribution_from(value)
    assert distribution == expected
    assert distribution.describe() == description
    assert distribution_from(distribution.to_input()) == distribution
    assert hash(distribution) == hash(expected)
    assert distribution.is_constant == isinstance(expected, Constant)


BAD = [
    (30, "", "a bare number has no unit"),
    (True, "", "a duration with a unit"),
    (None, "", "a duration with a unit"),
    ("2s", "", "at most 1.073741824s"),
    ("1.1s", "", "not 1.1s"),
    ({}, "", "exactly one of the keys"),
    ({"exponential": "1us", "uniform": ["1us", "2us"]}, "", "exactly one of the keys"),
    ({"exponentail": "1us"}, "exponentail", 'did you mean "exponential"'),
    ({"exponential": 5}, "exponential", "a bare number has no unit"),
    ({"exponential": "0us"}, "exponential", "above 0"),
    ({"exponential": "-1us"}, "exponential", "not negative"),
    ({"exponential": "2s"}, "", "a mean of at most 1.073741824s"),
    ({"exponential": {"mean": "1us"}}, "exponential", "a duration with a unit"),
    ({"uniform": ["3us", "1us"]}, "", "low at most as large as high"),
    ({"uniform": ["3us"]}, "uniform", "a list of two durations"),
    ({"uniform": ["1us", 3]}, "uniform.1", "a bare number has no unit"),
    ({"lognormal": "1us"}, "lognormal", "a table with the keys mean, cv"),
    ({"lognormal": {"mean": "1us"}}, "lognormal.cv", "a number from 0"),
    ({"lognormal": {"mean": "1us", "cv": -1}}, "lognormal.cv", "0, or a number from 0.001"),
    ({"lognormal": {"mean": "1us", "cv": math.nan}}, "lognormal.cv", "0, or a number"),
    ({"lognormal": {"mean": "0us", "cv": 1}}, "lognormal.mean", "above 0"),
    ({"lognormal": {"mean": "1us", "cv": 1, "sd": 1}}, "lognormal.sd", "no such key"),
    ({"gamma": {"mean": "1us", "cv": 31}}, "gamma.cv", "to 30"),
    ({"weibull": {"mean": "1us", "shape": 0}}, "weibull.shape", "at least 0.1"),
    ({"weibull": {"mean": "1us", "shape": "1"}}, "weibull.shape", "a number"),
    (
        {"pareto": {"minimum": "2us", "alpha": 1, "maximum": "2us"}},
        "pareto.maximum",
        "above the minimum, 2us",
    ),
    ({"pareto": {"minimum": "1us", "alpha": 0, "maximum": "2us"}}, "pareto.alpha", "at least 0.01"),
    ({"pareto": {"minimum": "0us", "alpha": 1, "maximum": "2us"}}, "pareto.minimum", "above 0"),
    (
        {"hyperexponential": {"probabilities": [0.5, 0.4], "means": ["1us", "2us"]}},
        "hyperexponential.probabilities",
        "sum to 1, not to 0.9",
    ),
    (
        {"hyperexponential": {"probabilities": [1.5, -0.5], "means": ["1us", "2us"]}},
        "hyperexponential.probabilities.0",
        "probabilities above 0",
    ),
    (
        {"hyperexponential": {"probabilities": [0.5, 0.5], "means": ["1us"]}},
        "hyperexponential.means",
        "as many means as probabilities: 2, not 1",
    ),
    ({"hyperexponential": {"probabilities": [], "means": []}}, "hyperexponential.means", "1 to 64 durations"),
    ({"empirical": {}}, "empirical.file", "the name of a CSV file"),
    ({"empirical": {"file": "x.csv"}}, "empirical.column", "the name of a column"),
    ({"empirical": {"samples": []}}, "empirical.samples", "a list of durations"),
    ({"empirical": {"samples": ["1us", 2]}}, "empirical.samples.1", "a bare number has no unit"),
    ({"empirical": {"samples": ["1us"], "file": "x.csv"}}, "empirical.samples", "either samples"),
    ({"empirical": {"samples": ["3s"]}}, "", "at most 1.073741824s"),
]


@pytest.mark.parametrize(("value", "path", "says"), BAD)
def test_what_is_refused(value, path, says):
    with pytest.raises(Mistakes) as caught:
        distribution_from(value)
    found = {".".join(map(str, mistake.keys)): mistake.accepted for mistake in caught.value.mistakes}
    wanted = path or next((key for key in found if says in found[key]), "")
    assert says in found[wanted], found


def test_all_mistakes_of_a_table_at_once():
    value = {"hyperexponential": {"probabilities": [0.5, 0.4], "means": ["1us", 3], "extra": 1}}
    with pytest.raises(Mistakes) as caught:
        distribution_from(value)
    assert len(caught.value.mistakes) == 3


def test_zero_is_refused_where_time_must_pass():
    assert distribution_from("0ns").is_zero
    with pytest.raises(Mistakes):
        distribution_from("0.1ns", positive=True)


class TestSamplesFromAFile:
    def read(self, folder, **table):
        return distribution_from(
            {"empirical": {"file": "holds.csv", "column": "hold_ns"} | table}, Context(folder=folder)
        )

    def test_a_column_in_ns(self, tmp_path):
        (tmp_path / "holds.csv").write_text("name, hold_ns\na,2000\nb,1000.5\n\n", encoding="utf-8-sig")
        distribution = self.read(tmp_path)
        assert distribution == Empirical((1000.5, 2000.0), "holds.csv:hold_ns")
        assert distribution.describe() == "empirical(holds.csv:hold_ns, 2 samples, mean=1.50025us)"

    @pytest.mark.parametrize(
        ("content", "key", "says"),
        [
            (None, "file", "not there"),
            (b"", "column", "a column of holds.csv: none"),
            (b"hold_us\n1\n", "column", 'did you mean "hold_us"'),
            (b"hold_ns\n", "file", "at least one row"),
            (b"hold_ns\n1\nx\n-2\nnan\ninf\n", "column", "numbers of ns, not negative"),
            (b"a,hold_ns\n1\n", "column", "numbers of ns"),
            (b"hold_ns\n\xff\n", "file", "UTF-8"),
            (b"hold_ns\n2e9\n", "", "at most 1.073741824s"),
        ],
    )
    def test_bad_files(self, tmp_path, content, key, says):
        if content is not None:
            (tmp_path / "holds.csv").write_bytes(content)
        with pytest.raises(Mistakes) as caught:
            self.read(tmp_path)
        (mistake,) = caught.value.mistakes
        assert mistake.keys == (("empirical", key) if key else ())
        assert says in mistake.accepted

    def test_bad_cells_are_named_by_line(self, tmp_path):
        (tmp_path / "holds.csv").write_text("hold_ns\n1\nx\n-2\nnan\ninf\n")
        with pytest.raises(Mistakes) as caught:
            self.read(tmp_path)
        assert caught.value.mistakes[0].found == "line 3: 'x', line 4: '-2', line 5: 'nan' and 1 more"

    def test_a_folder_a_bad_name_a_device(self, tmp_path):
        for name in (".", "a\0b", "/dev/zero"):
            with pytest.raises(Mistakes):
                self.read(tmp_path, file=name)


@pytest.mark.parametrize(
    "distribution",
    [
        Exponential(3e8),
        Uniform(0.0, 2e9),
        Lognormal(1e7, 20.0),
        Lognormal(5e8, 0.3),
        Gamma(5e8, 0.5),
        Gamma(1e8, 3.0),
        Gamma(1e9, 0.1),
        Weibull(5e8, 2.0),
        Weibull(1e7, 0.3),
        Pareto(1e6, 1.1, 1e11),
        Pareto(1e6, 1.0, 1e11),
        Pareto(1e8, 0.5, 2e9),
        Hyperexponential((0.9, 0.1), (1e6, 1e9)),
        Empirical((1.0, 2.0, 3e9), ""),
    ],
    ids=lambda distribution: distribution.describe(),
)
def test_share_of_the_mean_that_is_cut(distribution):
    """E[max(X - L, 0)] / E[X] against the integral of the quantile function."""
    from scipy import stats

    u = np.concatenate([(np.arange(200_000) + 0.5) / 200_000 * 0.999, 1 - np.logspace(-3, -12, 100_000)])
    quantiles = {
        "exponential": lambda d: stats.expon(scale=d.mean_ns).ppf,
        "uniform": lambda d: stats.uniform(d.low_ns, d.high_ns - d.low_ns).ppf,
        "lognormal": lambda d: (
            stats.lognorm(math.sqrt(math.log1p(d.cv**2)), scale=d.mean_ns / math.sqrt(1 + d.cv**2)).ppf
        ),
        "gamma": lambda d: stats.gamma(d.cv**-2, scale=d.mean_ns * d.cv**2).ppf,
        "weibull": lambda d: stats.weibull_min(d.shape, scale=d.mean_ns / math.gamma(1 + 1 / d.shape)).ppf,
        "pareto": lambda d: (
            lambda u: (
                d.minimum_ns * (1 - u * (1 - (d.minimum_ns / d.maximum_ns) ** d.alpha)) ** (-1 / d.alpha)
            )
        ),
    }
    if distribution.kind == "hyperexponential":
        expected = sum(
            p * m * math.exp(-LIMIT_NS / m)
            for p, m in zip(distribution.probabilities, distribution.means_ns, strict=True)
        )
        expected /= distribution.mean_ns
    elif distribution.kind == "empirical":
        expected = (3e9 - LIMIT_NS) / (3e9 + 3)
    else:
        order = np.argsort(u)
        x = quantiles[distribution.kind](distribution)(u[order])
        assert np.trapezoid(x, u[order]) == pytest.approx(distribution.mean_ns, rel=2e-3)
        expected = np.trapezoid(np.maximum(x - LIMIT_NS, 0), u[order]) / distribution.mean_ns
    assert distribution.cut_share() == pytest.approx(expected, rel=5e-3, abs=1e-6)


@pytest.mark.parametrize(
    "distribution",
    [
        Exponential(1e4),
        Lognormal(2000.0, 2.0),
        Gamma(1e4, 0.001),
        Gamma(1e3, 30.0),
        Weibull(1e4, 100.0),
        Weibull(1.0, 0.1),
    ],
)
def test_ordinary_times_are_not_cut(distribution):
    assert distribution.cut_share() < 1e-4


def test_pareto_at_its_edges():
    assert Pareto(1000.0, 0.01, 1000.0 * (1 + 1e-12)).mean_ns == pytest.approx(1000.0)
    assert Pareto(1000.0, 100.0, 1e20).mean_ns == pytest.approx(1000 * 100 / 99)
    assert 0 < Pareto(1e-20, 0.01, 1e9).mean_ns < 1e9
