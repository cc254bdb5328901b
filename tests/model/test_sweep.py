"""Sweeps: paths, labels, products, and mistakes in them."""

import sys

import numpy as np
import pytest

from fastlhp.errors import StudyError
from fastlhp.model.configuration import Parts
from fastlhp.model.distributions import Constant, Exponential
from fastlhp.model.study import load
from fastlhp.model.sweep import label_of


def problems_of(example, sweep):
    example["sweep"] = sweep
    with pytest.raises(StudyError) as caught:
        load(example)
    return {problem.path: problem for problem in caught.value.problems}


def swept(example, sweep):
    example["sweep"] = sweep
    return load(example)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (4, 4),
        (2.5, 2.5),
        ("10us", "10us"),
        (True, "true"),
        ([0.5, 1], "[0.5, 1]"),
        ({"kind": "none"}, "none"),
        ({"kind": "delay", "cap": "1ms", "repay": True}, "delay(cap=1ms, repay=true)"),
        ({"kind": "delay", "cap": {"exponential": "1ms"}}, "delay(cap=exponential(1ms))"),
        ({"exponential": "10us"}, "exponential(10us)"),
        ({"uniform": ["1us", "2us"]}, "uniform(1us, 2us)"),
        ({"lognormal": {"mean": "1us", "cv": 3.0}}, "lognormal(mean=1us, cv=3.0)"),
        ({"probability": 0.5, "time": "1ms"}, "probability=0.5, time=1ms"),
    ],
)
def test_automatic_labels(value, label):
    assert label_of(value) == label


def test_own_labels(example):
    guards = [
        {"kind": "none", "label": "plain"},
        {"kind": "delay", "label": "Uhlig"},
        {"kind": "delay", "cap": "2ms"},
    ]
    holds = [{"exponential": "1us", "label": "short"}, "5us"]
    study = swept(example, {"policy.guard": guards, "vm.0.hold": holds})
    assert study.swept == {
        "policy.guard": ("plain", "Uhlig", "delay(cap=2ms)"),
        "vm.0.hold": ("short", "5us"),
    }
    assert study.configurations[0].vms[0].hold == Exponential(1000.0)
    assert study.configurations[2].guard.cap == Constant(1_000_000)


def test_a_label_outside_a_sweep_is_an_unknown_key(example):
    example["policy"]["guard"] = {"kind": "none", "label": "x"}
    with pytest.raises(StudyError, match=r"policy\.guard\.label"):
        load(example)


class TestPaths:
    def test_vms_by_number_or_name(self, example):
        example["vm"].append(example["vm"][0] | {"name": "other"})
        study = swept(example, {"vm.other.vcpus": [1, 2], "vm.0.vcpus": [3]})
        assert [[vm.vcpus for vm in c.vms] for c in study.configurations] == [[3, 3, 1, 1], [3, 3, 2, 2]]

    def test_into_lists(self, example):
        example["vm"][0]["hold"] = {
            "hyperexponential": {"probabilities": [0.5, 0.5], "means": ["1us", "2us"]}
        }
        study = swept(example, {"vm.0.hold.hyperexponential.means.1": ["3us", "4us"]})
        assert [c.vms[0].hold.means_ns for c in study.configurations] == [(1000, 3000), (1000, 4000)]

    def test_keys_that_the_study_does_not_say(self, example):
        study = swept(
            example, {"host.pause": ["1us"], "vm.0.halt.probability": [0, 1], "vm.0.halt.time": ["1ms"]}
        )
        assert [c.vms[0].halt_probability for c in study.configurations] == [0.0, 1.0]
        assert study.configurations[0].host.pause_ns == 1000

    def test_a_longer_path_leads_into_what_a_shorter_one_brings(self, example):
        schedulers = [{"kind": "round_robin", "label": "pinned"}, {"kind": "global"}]
        study = swept(example, {"policy.scheduler.slice": ["1ms", "2ms"], "policy.scheduler": schedulers})
        assert [(c.scheduler.kind, c.scheduler.slice.value_ns) for c in study.configurations] == [
            ("round_robin", 1_000_000),
            ("global", 1_000_000),
            ("round_robin", 2_000_000),
            ("global", 2_000_000),
        ]

    def test_the_window(self, example):
        study = swept(example, {"study.duration": ["1s", "2s"], "study.warmup": ["0s", "1s"]})
        assert [(c.duration_ns, c.warmup_ns) for c in study.configurations][1:3] == [
            (10**9, 10**9),
            (2 * 10**9, 0),
        ]

    def test_the_frequency_changes_every_duration_in_cycles(self, example):
        example["policy"]["response"] = {"kind": "yield", "spin_threshold": "4096cycles"}
        example["host"]["context_switch"] = "2000cycles"
        example["vm"][0]["user"] = {"exponential": "1000pauses"}
        study = swept(example, {"host.frequency": ["1GHz", "2GHz"]})
        slow, fast = study.configurations
        assert [c.response.spin_threshold.value_ns for c in (slow, fast)] == [4096, 2048]
        assert [c.host.context_switch.value_ns for c in (slow, fast)] == [2000, 1000]
        assert [c.vms[0].user.mean_ns for c in (slow, fast)] == [140_000, 70_000]

    def test_policy_paths(self, example):
        sweep = {"host.pcpus": [4], "policy.guard.cap": ["1us"], "vm.0.lock.count": [1], "vm.0.vcpus": [1]}
        example["policy"]["guard"] = {"kind": "delay"}
        assert swept(example, sweep).policy_paths == ("policy.guard.cap", "vm.0.lock.count")

    def test_an_empty_sweep_is_one_configuration(self, example):
        assert swept(example, {}).n_configurations == 1


BAD = [
    ({"host.pcpu": [1, 2]}, 'sweep."host.pcpu"', "pcpu", 'did you mean "pcpus"'),
    ({"host.pcpus": [1, 0]}, 'sweep."host.pcpus"[1]', "0", "at least 1"),
    ({"host.pcpus": ["x"]}, 'sweep."host.pcpus"[0]', '"x"', "a whole number"),
    ({"host.pcpus": 4}, 'sweep."host.pcpus"', "4", "a list of at least one value"),
    ({"host.pcpus": []}, 'sweep."host.pcpus"', "[]", "a list of at least one value"),
    ({"host.pcpus": [2, 2]}, 'sweep."host.pcpus"[1]', "2 a second time", "values that differ"),
    ({"hots.pcpus": [2]}, 'sweep."hots.pcpus"', "hots.pcpus", 'did you mean "host"'),
    ({"host..pcpus": [2]}, 'sweep."host..pcpus"', "host..pcpus", "a dotted path"),
    ({"": [2]}, 'sweep.""', "", "a dotted path"),
    ({"host.pcpus.x": [2]}, 'sweep."host.pcpus.x"', "host.pcpus.x", "host.pcpus is 4"),
    ({"study.seed": [2]}, 'sweep."study.seed"', "study.seed", "only duration and warmup"),
    ({"policy": [{}]}, 'sweep."policy"', "policy", "policy.preset"),
    ({"vm.guest.name": ["x"]}, 'sweep."vm.guest.name"', "vm.guest.name", "other than its name"),
    ({"vm.nobody.count": [1]}, 'sweep."vm.nobody.count"', "vm.nobody.count", "vm.guest."),
    ({"vm.1.count": [1]}, 'sweep."vm.1.count"', "vm.1.count", "vm.0."),
    ({"vm": [1]}, 'sweep."vm"', "vm", "vm.0."),
    ({"vm.0": [{}]}, 'sweep."vm.0"', "vm.0", "other than its name"),
    ({"vm.0.lock.kind": ["tciket"]}, 'sweep."vm.0.lock.kind"[0]', '"tciket"', 'did you mean "ticket"'),
    ({"vm.0.hodl.exponential": ["1us"]}, 'sweep."vm.0.hodl.exponential"', "hodl", 'did you mean "hold"'),
    (
        {"vm.0.user.exponential": ["1us", 2]},
        'sweep."vm.0.user.exponential"[1]',
        "2",
        "a bare number has no unit",
    ),
    ({"vm.0.hold.exponential": ["1us"]}, "vm.0.hold", None, "exactly one of the keys"),
    ({"policy.guard": [{"kind": "delay", "cap": 1}]}, 'sweep."policy.guard"[0].cap', "1", "a bare number"),
    ({"policy.guard": [{"kind": "none", "label": 3}]}, 'sweep."policy.guard"[0].label', "3", "printable"),
    (
        {"policy.guard": [{"kind": "none", "label": "a\tb"}]},
        'sweep."policy.guard"[0].label',
        None,
        "printable",
    ),
    ({"policy.guard.cap": ["1ms"]}, 'sweep."policy.guard.cap"', "cap", "no parameters here"),
    ({"policy.preset": ["nix"]}, 'sweep."policy.preset"[0]', '"nix"', '"baseline"'),
    ({"vm.0.weight": [float("nan")]}, 'sweep."vm.0.weight"[0]', "nan", "a finite number"),
    ({"vm.0.count": [1, 1025]}, "vm", "4100 vCPUs", "at most 4096"),
    ({"vm.0.count": [1, 65], "vm.0.lock.count": [64]}, "vm", "4160 locks", "at most 4096"),
]


@pytest.mark.parametrize(("sweep", "path", "found", "says"), BAD, ids=[str(sweep)[:50] for sweep, *_ in BAD])
def test_bad_sweeps(example, sweep, path, found, says):
    problems = problems_of(example, sweep)
    assert path in problems
    assert says in problems[path].accepted
    assert found is None or problems[path].found.strip('"') == found.strip('"')
    assert len(problems) == 1


def test_the_same_path_twice(example):
    problems = problems_of(example, {"vm.0.count": [1], "vm.guest.count": [2]})
    assert problems['sweep."vm.guest.count"'].found == 'the same path as "vm.0.count"'


def test_each_problem_once_with_the_number_of_configurations(example):
    sweep = {
        "host.pcpus": [2, 0, 4],
        "policy.scheduler": [{"kind": "gang"}, {"kind": "round_robin"}],
        "vm.0.count": [1, 2],
    }
    problems = problems_of(example, sweep)
    assert {path: (p.configurations, p.of) for path, p in problems.items()} == {
        'sweep."host.pcpus"[1]': (4, 12),
        "vm.0.vcpus": (2, 12),
    }
    assert str(problems["vm.0.vcpus"]).endswith("(in 2 of 12 configurations)")


def test_at_most_ten_million_configurations(example):
    values = [f"{n}ns" for n in range(1, 3201)]
    example["host"]["pcpus"] = 0
    problems = problems_of(example, {"host.vm_exit": values, "host.context_switch": values})
    assert problems["sweep"].found == "10240000 configurations"
    assert "host.pcpus" in problems


def n_calls(function):
    """Return how many functions of Python it takes, those that it calls included."""
    n = 0

    def count(frame, event, argument):
        nonlocal n
        n += event == "call"

    earlier = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(earlier)
    return n


def test_a_study_is_as_much_work_as_its_lists_are_long(example):
    """Not as their product: of ten times as many values each, there are a hundred times as many configurations."""
    loading, making = [], []
    for n in (10, 100):
        sweep = {
            "vm.0.hold.lognormal.mean": [f"{i}ns" for i in range(100, 100 + n)],
            "policy.scheduler.slice": [f"{i}us" for i in range(100, 100 + n)],
        }
        study = swept(example, sweep)
        loading.append(n_calls(lambda sweep=sweep: swept(example, sweep)))
        making.append(n_calls(lambda study=study: list(study.configurations)) / len(study.configurations))
    assert len(study.configurations) == 10_000
    assert loading[1] < 10 * loading[0]
    assert making[1] < 1.5 * making[0]


class TestPresets:
    def test_parts_of_a_preset_can_be_overridden(self, example):
        example["policy"] = {"preset": "uhlig_hint", "response": {"kind": "yield"}, "guard": {"cap": "2ms"}}
        del example["vm"][0]["lock"]
        (configuration,) = load(example).configurations
        assert (configuration.scheduler.kind, configuration.scheduler.slice) == (
            "round_robin",
            Constant(10_000_000),
        )
        assert (configuration.guard.kind, configuration.guard.cap) == ("delay", Constant(2_000_000))
        assert configuration.response.kind == "yield"
        assert configuration.vms[0].lock.kind == "test_and_set"

    def test_a_table_with_a_kind_replaces_the_presets(self, example):
        example["policy"] = {"preset": "microslice", "scheduler": {"kind": "round_robin"}}
        example["vm"][0]["lock"] = {"kind": "queue"}
        (configuration,) = load(example).configurations
        assert configuration.scheduler.slice == Constant(30_000_000)
        assert configuration.vms[0].lock.kind == "queue"

    def test_costs_unless_the_host_says_otherwise(self, example):
        example["policy"] = {"preset": "baseline"}
        example["host"] = {"pcpus": 4, "frequency": "2GHz", "vm_exit": "0ns"}
        host = load(example).configurations[0].host
        assert (host.context_switch, host.vm_exit) == (Constant(2000), Constant(0))

    def test_swept_presets_and_parameters(self, example):
        example["policy"] = {}
        del example["vm"][0]["lock"]
        sweep = {"policy.preset": ["baseline", "vmware_esx2"], "policy.scheduler.slice": ["1ms", "2ms"]}
        study = swept(example, sweep)
        assert [
            (c.scheduler.kind, c.scheduler.slice.value_ns, c.vms[0].lock.kind) for c in study.configurations
        ] == [
            ("round_robin", 1_000_000, "ticket"),
            ("round_robin", 2_000_000, "ticket"),
            ("gang", 1_000_000, "test_and_set"),
            ("gang", 2_000_000, "test_and_set"),
        ]
        assert study.policy_paths == ("policy.preset", "policy.scheduler.slice")


def test_tables_that_many_variants_share_are_read_with_each_clock(example):
    """A table in cycles is another one at another frequency, and that of a mistake is refused everywhere."""
    frequencies = ["1GHz", "2GHz", "1GHz"]
    example["host"].pop("frequency", None)
    example["vm"][0]["user"] = {"exponential": "1000cycles"}
    example["vm"][0]["lock"] = {"kind": "pv_ticket", "spin_threshold": "1000cycles"}
    example["sweep"] = {
        "vm.0.count": [1, 2],
        "zip": {"host.frequency": frequencies, "host.vm_exit": ["1us", "2us", "3us"]},
    }
    configurations = load(example).configurations
    assert len(configurations) == 6
    for c in configurations:
        length_ns = 1000 if c.labels["host.frequency"] == "1GHz" else 500
        assert c.vms[0].user.mean_ns == c.vms[0].lock.spin_threshold.mean_ns == length_ns
    example["vm"][0]["user"] = {"exponential": "1000"}
    with pytest.raises(StudyError, match="a bare number has no unit") as error:
        load(example)
    assert len(error.value.problems) == 1


def test_parts_are_those_of_the_configurations(example):
    example["sweep"] = {
        "host.pcpus": [2, 4],
        "vm.0.vcpus": [1, 2, 3],
        "study.duration": ["10ms", "20ms"],
        "where": "host.pcpus + vm.0.vcpus != 4",
    }
    study = load(example)
    indices = np.arange(study.n_configurations)[::-3]
    parts = study.configurations.parts(indices)
    for at, index in enumerate(indices.tolist()):
        c = study.configurations[index]
        assert (parts.duration_ns[at], parts.warmup_ns[at]) == (c.duration_ns, c.warmup_ns)
        assert not parts.has_auto_warmup[at]
        for name in ("host", "scheduler", "guard", "response"):
            choice = getattr(parts, name)
            assert choice.variants[choice.which[at]] is getattr(c, name)
        assert tuple(vm for its in parts.groups for vm in its.variants[its.which[at]].vms) == c.vms
        alone = Parts.of(c)
        assert [its.variants[0].count for its in alone.groups] == [
            its.variants[its.which[at]].count for its in parts.groups
        ]
