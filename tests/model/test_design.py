"""Sweeps that are no plain grid: lists that advance together, sampled ranges, filters."""

from fractions import Fraction

import h5py
import numpy as np
import pytest

from fastlhp.errors import StudyError
from fastlhp.model.design import range_from
from fastlhp.model.study import load
from fastlhp.model.units import parse_duration, parse_frequency
from fastlhp.results.file import ResultWriter, open


def study_of(example, sweep, design=None):
    example["sweep"] = sweep
    if design is not None:
        example["study"]["design"] = design
    return load(example)


def problems_of(example, sweep, design=None):
    with pytest.raises(StudyError) as caught:
        study_of(example, sweep, design)
    return {problem.path: problem for problem in caught.value.problems}


def sobol(points, seed=1):
    return {"kind": "sobol", "points": points, "seed": seed}


def hypercube(points, seed=1):
    return {"kind": "latin_hypercube", "points": points, "seed": seed}


class TestZip:
    def test_lists_advance_together(self, example):
        sweep = {
            "vm.guest.count": [1, 2],
            "zip": {"host.pcpus": [2, 2, 8], "host": {"frequency": ["1GHz", "2GHz", "2GHz"]}},
        }
        study = study_of(example, sweep)
        assert [(len(c.vms), c.host.pcpus, c.host.frequency_hz) for c in study.configurations] == [
            (count, pcpus, hz) for count in (1, 2) for pcpus, hz in ((2, 1e9), (2, 2e9), (8, 2e9))
        ]
        assert study.coordinates["host.frequency"] == ["1GHz", "2GHz", "2GHz"] * 2
        assert study.swept["host.pcpus"] == (2, 2, 8)

    def test_several_tables_are_crossed(self, example):
        zips = [
            {"host.pcpus": [2, 4], "vm.guest.vcpus": [2, 4]},
            {"policy.guard": [{"kind": "none"}, {"kind": "delay"}], "vm.0.count": [1, 3]},
        ]
        study = study_of(example, {"zip": zips})
        assert [(c.host.pcpus, c.vms[0].vcpus, c.guard.kind, len(c.vms)) for c in study.configurations] == [
            (2, 2, "none", 1),
            (2, 2, "delay", 3),
            (4, 4, "none", 1),
            (4, 4, "delay", 3),
        ]

    @pytest.mark.parametrize(
        ("sweep", "path", "says"),
        [
            ({"zip": {"host.pcpus": [1, 2], "vm.0.count": [1]}}, "sweep.zip", "of the same length"),
            ({"zip": {"host.pcpus": [1, 1], "vm.0.count": [2, 2]}}, "sweep.zip", "at least differs"),
            ({"zip": {"host.pcpus": [1, 0]}}, 'sweep.zip."host.pcpus"[1]', "at least 1"),
            ({"zip": [{"host.pcpus": [1, "x"]}]}, 'sweep.zip[0]."host.pcpus"[1]', "a whole number"),
            ({"zip": {"hots.pcpus": [1]}}, 'sweep.zip."hots.pcpus"', 'did you mean "host"'),
            ({"zip": {"host.pcpus": {"from": 1, "to": 2}}}, 'sweep.zip."host.pcpus"', "a list of at least"),
            ({"zip": {}}, "sweep.zip", "a table of paths"),
            ({"zip": [{"host.pcpus": [1]}, 3]}, "sweep.zip[1]", "a table of paths"),
            (
                {"host.pcpus": [1], "zip": {"host.pcpus": [1]}},
                'sweep.zip."host.pcpus"',
                "every path once",
            ),
        ],
    )
    def test_mistakes(self, example, sweep, path, says):
        problems = problems_of(example, sweep)
        assert list(problems) == [path]
        assert says in problems[path].accepted


class TestRanges:
    def test_a_latin_hypercube_has_one_point_in_every_stratum(self, example):
        sweep = {
            "vm.0.hold.lognormal.mean": {"from": "100ns", "to": "1ms", "scale": "log"},
            "vm.0.weight": {"from": -1.0 + 2, "to": 11.0},
            "vm.0.vcpus": {"from": 1, "to": 20},
        }
        study = study_of(example, sweep, hypercube(40))
        assert study.n_configurations == 40
        columns = list(study.coordinates.values())
        hold_ns = [float(parse_duration(text)) for text in columns[0]]
        strata = [
            np.log(np.array(hold_ns) / 100) / np.log(1e4) * 40,
            (np.array(columns[1]) - 1) / 10 * 40,
            (np.array(columns[2]) - 1) / 20 * 20,
        ]
        assert sorted(np.floor(strata[0])) == list(range(40))
        assert sorted(np.floor(strata[1])) == list(range(40))
        assert sorted(columns[2]) == sorted([*range(1, 21)] * 2)
        assert study.configurations[7].vms[0].vcpus == columns[2][7]
        assert study.configurations[7].vms[0].hold.mean_ns == hold_ns[7]

    def test_a_sobol_sequence_is_balanced_in_two_dimensions(self, example):
        sweep = {"vm.0.weight": {"from": 1.0, "to": 2.0}, "host.frequency": {"from": "1GHz", "to": "2GHz"}}
        study = study_of(example, sweep, sobol(64))
        weight = np.array(study.coordinates["vm.0.weight"]) - 1
        frequency = np.array([float(parse_frequency(text)) for text in study.coordinates["host.frequency"]])
        cells = np.floor(weight * 8) * 8 + np.floor((frequency / 1e9 - 1) * 8)
        assert sorted(cells) == list(range(64))

    def test_points_depend_on_their_seed_only(self, example):
        """The values themselves: they must not change with a machine, or unnoticed with a library."""
        sweep = {
            "vm.0.hold.lognormal.mean": {"from": "1us", "to": "100us", "scale": "log"},
            "host.pcpus": {"from": 1, "to": 64, "scale": "log"},
            "vm.0.weight": {"from": 0.5, "to": 2.0, "scale": "log"},
        }
        study = study_of(example, sweep, sobol(4, seed=7))
        expected = {
            "vm.0.hold.lognormal.mean": ["19.992us", "1.968us", "8.48us", "83.518us"],
            "host.pcpus": [46, 2, 13, 1],
            "vm.0.weight": [0.574713, 1.18832, 0.819951, 1.65682],
        }
        assert study.coordinates == expected
        assert study.with_(seed=99).coordinates == expected
        assert study_of(example, sweep, sobol(4, seed=8)).coordinates != expected
        assert study_of(example, sweep, hypercube(4, seed=7)).coordinates == {
            "vm.0.hold.lognormal.mean": ["12.62us", "36.778us", "9.033us", "2.214us"],
            "host.pcpus": [61, 3, 1, 13],
            "vm.0.weight": [1.15215, 0.943059, 1.95835, 0.526123],
        }

    @pytest.mark.parametrize(
        ("given", "positions", "values"),
        [
            (
                {"from": "1us", "to": "100us", "scale": "log"},
                [0, 0.25, 0.5, 1],
                ["1us", "3.162us", "10us", "100us"],
            ),
            ({"from": "1us", "to": "3us"}, [0, 0.25, 0.99999, 1], ["1us", "1.5us", "3us", "3us"]),
            ({"from": "1ms", "to": "1s", "scale": "log"}, [2 / 3], ["100ms"]),
            ({"from": "900ns", "to": "1.1us"}, [0.75], ["1.05us"]),
            ({"from": "1GHz", "to": "3GHz"}, [0.5], ["2GHz"]),
            ({"from": "10pauses", "to": "1000pauses", "scale": "log"}, [0.5], ["100pauses"]),
            ({"from": 1, "to": 4}, [0, 0.24, 0.26, 0.74, 0.76, 1], [1, 1, 2, 3, 4, 4]),
            ({"from": 1, "to": 7, "scale": "log"}, [0.33, 0.34, 0.66, 0.67], [1, 2, 3, 4]),
            ({"from": -2, "to": 1}, [0.1, 0.4, 0.6, 0.9], [-2, -1, 0, 1]),
            ({"from": 1.0, "to": 2, "scale": "log"}, [0, 0.5, 1], [1.0, 1.41421, 2.0]),
            ({"from": 0.12345649, "to": 0.5}, [0, 0.5], [0.12345649, 0.311728]),
        ],
    )
    def test_what_a_position_means(self, given, positions, values):
        assert range_from(given).values(positions) == values

    def test_ranges_are_one_design_crossed_with_lists(self, example):
        sweep = {
            "host.pcpus": [2, 4],
            "vm.0.vcpus": {"from": 1, "to": 8},
            "policy.guard": [{"kind": "none"}, {"kind": "delay"}],
            "vm.0.user.exponential": {"from": "1000cycles", "to": "9000cycles"},
        }
        study = study_of(example, sweep, sobol(8))
        assert study.n_configurations == 2 * 8 * 2
        pairs = set(
            zip(study.coordinates["vm.0.vcpus"], study.coordinates["vm.0.user.exponential"], strict=True)
        )
        assert len(pairs) == 8
        assert {vcpus for vcpus, _ in pairs} == set(range(1, 9))
        assert all(1000 <= int(cycles.removesuffix("cycles")) <= 9000 for _, cycles in pairs)

    def test_points_that_rounding_makes_equal_are_one(self, example):
        study = study_of(example, {"vm.0.vcpus": {"from": 1, "to": 4}}, sobol(64))
        assert sorted(study.coordinates["vm.0.vcpus"]) == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("given", "path", "says"),
        [
            ({"from": "1us"}, ".to", "a number, or a duration"),
            ({"from": "1us", "to": 5}, ".to", "of the same kind"),
            ({"from": "1us", "to": "5cycles"}, ".to", "of the same kind"),
            ({"from": "5us", "to": "1us"}, ".to", 'more than from, which is "5us"'),
            ({"from": 0, "to": 4, "scale": "log"}, ".from", "more than 0"),
            ({"from": 1, "to": 4, "scale": "lgo"}, ".scale", 'did you mean "log"'),
            ({"from": 1, "too": 4, "to": 5}, ".too", 'did you mean "to"'),
            ({"from": True, "to": 5}, ".from", "a number"),
            ({"from": float("nan"), "to": 5.0}, ".from", "a number"),
            ({"from": "x", "to": "5us"}, ".from", "a number"),
            ({"from": 10**400, "to": "1e99s"}, ".from", "a number"),
            ({"from": 1000, "to": 2000}, "", "at most 1024"),
            ({"from": 1.0, "to": 2.0}, "", "a whole number"),
        ],
    )
    def test_mistakes(self, example, given, path, says):
        problems = problems_of(example, {"host.pcpus": given}, sobol(16))
        assert says in problems[f'sweep."host.pcpus"{path}'].accepted
        assert all(where.startswith('sweep."host.pcpus"') for where in problems)

    def test_a_wrong_range_is_no_mistake_of_its_filter(self, example):
        sweep = {"host.pause": {"from": "1us", "to": 2}, "where": "host.pause > '1us'"}
        assert list(problems_of(example, sweep, sobol(16))) == ['sweep."host.pause".to']

    def test_a_mistake_is_told_once_with_its_number_of_points(self, example):
        problems = problems_of(
            example, {"vm.0.count": [1, 2], "host.pcpus": {"from": 1017, "to": 1032}}, sobol(16)
        )
        (problem,) = problems.values()
        assert (problem.found, problem.configurations, problem.of) == (
            "values from 1017 to 1032, linear",
            16,
            32,
        )

    @pytest.mark.parametrize(
        ("design", "path", "says"),
        [
            (None, "study.design", "how to sample"),
            ({"kind": "sobol", "points": 48}, "study.design.points", "such as 32 or 64"),
            ({"kind": "sobl", "points": 64}, "study.design.kind", "one of"),
            ({"kind": "sobol"}, "study.design.points", "a whole number"),
            ({"kind": "latin_hypercube", "points": 10**6}, "study.design.points", "at most 131072"),
            ({"kind": "latin_hypercube", "points": 3, "seed": -1}, "study.design.seed", "at least 0"),
            ({"kind": "latin_hypercube", "point": 3}, "study.design.point", 'did you mean "points"'),
            ("sobol", "study.design", "a table"),
        ],
    )
    def test_bad_designs(self, example, design, path, says):
        problems = problems_of(example, {"host.pcpus": {"from": 1, "to": 2}}, design)
        assert says in problems[path].accepted

    def test_a_design_without_a_range(self, example):
        problems = problems_of(example, {"host.pcpus": [1, 2]}, sobol(8))
        assert "only with a range" in problems["study.design"].accepted


SWEEP = {
    "vm.guest.count": [1, 2, 3, 4],
    "host.pcpus": [2, 4, 8],
    "policy.guard": [{"kind": "none"}, {"kind": "delay", "cap": "500us"}, {"kind": "delay", "cap": "2ms"}],
    "vm.0.hold": ["1us", "5us"],
    "host.frequency": ["1GHz", "2GHz"],
}


def everything():
    for count in SWEEP["vm.guest.count"]:
        for pcpus in SWEEP["host.pcpus"]:
            for guard in SWEEP["policy.guard"]:
                for hold in (1000, 5000):
                    for hz in (10**9, 2 * 10**9):
                        cap = {"500us": 500_000, "2ms": 2_000_000}.get(guard.get("cap"))
                        yield count, pcpus, guard["kind"], cap, hold, hz


class TestFilters:
    @pytest.mark.parametrize(
        ("text", "keeps"),
        [
            ("vm.guest.count * vm.guest.vcpus <= 2 * host.pcpus", lambda n, p, k, c, h, f: n * 4 <= 2 * p),
            ("vm.0.count >= 2 and host.pcpus != 4", lambda n, p, k, c, h, f: n >= 2 and p != 4),
            ("not (vm.0.count == 1 or host.pcpus == 2)", lambda n, p, k, c, h, f: n != 1 and p != 2),
            ("1 < vm.0.count < host.pcpus / 2 + 1", lambda n, p, k, c, h, f: 1 < n < p / 2 + 1),
            ("vm[0].count in [1, 3]", lambda n, p, k, c, h, f: n in (1, 3)),
            ("vm['guest'].count not in (1, 3)", lambda n, p, k, c, h, f: n not in (1, 3)),
            ("host.pcpus - vm.0.count > -1", lambda n, p, k, c, h, f: p - n > -1),
            ('vm.0.hold <= "4096cycles"', lambda n, p, k, c, h, f: h <= 4096e9 / f),
            ("vm.0.hold * host.frequency == 5000", lambda n, p, k, c, h, f: h * f == 5000 * 10**9),
            ('host.frequency >= "1500MHz"', lambda n, p, k, c, h, f: f >= 1.5e9),
            (
                'policy.guard.kind != "delay" or policy.guard.cap <= 100 * vm.0.hold',
                lambda n, p, k, c, h, f: k != "delay" or c <= 100 * h,
            ),
            ("0.1 * vm.0.weight + 0.2 == 0.3", lambda n, p, k, c, h, f: True),
        ],
    )
    def test_what_is_kept(self, example, text, keeps):
        study = study_of(example, SWEEP | {"where": text})
        kept = [each for each in everything() if keeps(*each)]
        assert 0 < study.n_configurations == len(kept)
        assert study.n_combinations == 4 * 3 * 3 * 2 * 2
        assert study.dropped == {f"where {text}": study.n_combinations - len(kept)}
        found = [
            (len(c.vms), c.host.pcpus, c.guard.kind, c.vms[0].hold.mean_ns, c.host.frequency_hz)
            for c in study.configurations
        ]
        assert found == [(n, p, k, h, f) for n, p, k, c, h, f in kept]
        assert study.coordinates["host.pcpus"] == [each[1] for each in kept]
        assert [c.index for c in study.configurations] == list(range(len(kept)))

    def test_each_combination_is_counted_for_the_first_filter_that_drops_it(self, example):
        study = study_of(example, {"host.pcpus": [1, 2, 3, 4], "where": ["host.pcpus > 1", "host.pcpus > 2"]})
        assert study.dropped == {"where host.pcpus > 1": 1, "where host.pcpus > 2": 1}

    def test_what_is_dropped_may_be_impossible(self, example):
        sweep = {
            "policy.scheduler.kind": ["round_robin", "gang"],
            "host.pcpus": [2, 4],
            "policy.scheduler.placement": ["spread"],
        }
        example["policy"]["scheduler"] = {"slice": "10ms"}
        problems = problems_of(example, sweep)
        assert problems["vm.0.vcpus"].configurations == 1
        assert problems['sweep."policy.scheduler.placement"'].configurations == 2
        study = study_of(example, sweep | {"where": 'policy.scheduler.kind != "gang"'})
        assert [c.host.pcpus for c in study.configurations] == [2, 4]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("host.pcpus <", "a comparison of paths"),
            ("", "a comparison of paths"),
            (3, "a comparison of paths"),
            ("host.pcpus", "true or false"),
            ("host.pcpus + 1", "true or false"),
            ("host.pcpu > 1", "must be written"),
            ("vm.1.count > 1", "vm.guest."),
            ("pcpus > 1", "begins with host"),
            ("vm.0.user.exponential <= 5", "a duration has a unit"),
            ("vm.0.user.exponential + host.pcpus > 1", "a duration has a unit"),
            ("host.pcpus / (host.pcpus - 2) > 1", "no division by 0"),
            ("vm.0.lock > 1", "name one of its keys"),
            ("vm.0.lock.kind > 1", "a number or a duration"),
            ("host.pcpus and 1", "beside and, or, not"),
            ("policy.guard.cap < '1ms'", "must be written"),
            ("__import__('os').system('true') == 0", "a comparison of paths"),
            ("host.pcpus.__class__ == 1", "must be written"),
            ("(lambda: 1)() == 1", "a comparison of paths"),
            ("[x for x in [1]] == 1", "a comparison of paths"),
            ("2 ** 2 ** 100 > host.pcpus", "a comparison of paths"),
            ("host.pcpus in 3", 'a list after "in"'),
            ("host.pcpus is 3", "a comparison of paths"),
            ("f'{host.pcpus}' == 'x'", "a comparison of paths"),
            ("1e999 > host.pcpus", "a finite number"),
            ("None == 1", "a comparison of paths"),
            ("-" * 900 + "1 < host.pcpus", "at most 40 levels"),
            ("(" * 400 + "1" + ")" * 400, "a comparison of paths"),
            ("1 < " * 400 + "2", "at most 1000 characters"),
        ],
    )
    def test_mistakes(self, example, text, says):
        sweep = {"host.pcpus": [2, 4], "policy.guard": [{"kind": "none"}], "where": ["host.pcpus > 0", text]}
        problems = problems_of(example, sweep)
        assert list(problems) == ["sweep.where[1]"]
        assert says in problems["sweep.where[1]"].accepted

    def test_a_value_that_is_missing_in_some_combinations(self, example):
        problems = problems_of(example, SWEEP | {"where": "policy.guard.cap < '1ms'"})
        problem = problems["sweep.where[0]"]
        assert problem.found == "policy.guard.cap, which the study does not say"
        assert (problem.configurations, problem.of) == (48, 144 - 48)

    def test_warnings_count_what_is_left(self, example):
        example["study"]["duration"] = "40ms"
        sweep = {
            "host.pcpus": [1, 2, 3],
            "policy.scheduler.slice": ["5ms", "10ms"],
            "where": "host.pcpus > 1",
        }
        warnings = study_of(example, sweep).warnings
        assert [warning.partition(" (")[2] for warning in warnings] == ["in 2 of 4 configurations)"] * 2

    def test_nothing_left(self, example):
        problems = problems_of(example, {"host.pcpus": [2, 4], "where": "host.pcpus > 4"})
        assert problems["sweep"].found == "2 combinations, all of them dropped"


class TestImpossible:
    SWEEP = {
        "policy.scheduler.kind": ["round_robin", "gang"],
        "host.pcpus": [2, 4, 8],
        "policy.guard.kind": ["none", "delay"],
        "vm.0.count": [0, 1],
    }

    @pytest.fixture
    def example(self, example):
        example["policy"]["scheduler"] = {"slice": "10ms"}
        return example

    def test_they_are_dropped_by_reason(self, example):
        study = study_of(example, self.SWEEP | {"drop_impossible": True})
        assert study.n_configurations == 24 - 6 - 2 - 8
        (guard, width, none) = sorted(study.dropped, key=lambda reason: reason.split()[0])
        assert (study.dropped[guard], study.dropped[width], study.dropped[none]) == (4, 4, 8)
        assert guard.startswith('policy.guard.kind: "delay", not this guard with the scheduler gang')
        assert all(
            c.scheduler.kind != "gang" or (c.guard.kind == "none" and c.host.pcpus >= 4)
            for c in study.configurations
        )

    def test_otherwise_they_are_errors(self, example):
        problems = problems_of(example, self.SWEEP)
        assert {path: problem.configurations for path, problem in problems.items()} == {
            "vm.0.vcpus": 4,
            "policy.guard.kind": 6,
            "vm": 12,
        }

    def test_wrong_values_stay_errors(self, example):
        problems = problems_of(example, self.SWEEP | {"drop_impossible": True, "host.pcpus": [0, 4]})
        assert list(problems) == ['sweep."host.pcpus"[0]']
        problems = problems_of(example, self.SWEEP | {"drop_impossible": "yes"})
        assert problems["sweep.drop_impossible"].accepted == "true or false"


def test_the_result_file_has_every_swept_path_as_a_coordinate(example, tmp_path):
    sweep = {
        "vm.0.hold.lognormal.mean": {"from": "1us", "to": "9us"},
        "vm.0.weight": {"from": 1.0, "to": 2.0},
        "zip": {"host.pcpus": [2, 4], "host.context_switch": ["1us", "2us"]},
        "where": "vm.0.weight * host.pcpus < 6",
    }
    study = study_of(example, sweep, sobol(8))
    with ResultWriter(tmp_path / "r.h5", study) as writer:
        writer.close()
    results = open(tmp_path / "r.h5")
    assert 0 < len(results) == study.n_configurations < 16
    assert {path: column.tolist() for path, column in results.configurations.items()} == study.coordinates
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["vm.0.weight"].dtype == np.float64
        assert file["host.pcpus"].dtype == np.int64
        for path in ("host.pcpus", "host.context_switch", "vm.0.weight", "vm.0.hold.lognormal.mean"):
            assert file[path].dims[0][0].name == "/configuration"
    weights, pcpus = results.configurations["vm.0.weight"], results.configurations["host.pcpus"]
    assert (weights * pcpus < 6).all()
    for index, configuration in enumerate(study.configurations):
        assert configuration.labels == {path: column[index] for path, column in study.coordinates.items()}
        assert Fraction(configuration.vms[0].hold.mean_ns) == parse_duration(
            configuration.labels["vm.0.hold.lognormal.mean"]
        )
