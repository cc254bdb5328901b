"""Studies: what is read, and that every mistake is reported with its path, all at once."""

import pickle
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fastlhp.data_files import data_path
from fastlhp.errors import FastlhpError, StudyError
from fastlhp.model.distributions import Constant, Exponential, Lognormal
from fastlhp.model.study import load


def problems_of(source):
    with pytest.raises(StudyError) as caught:
        load(source)
    return {problem.path: problem for problem in caught.value.problems}


def put(tree, path, value):
    """Set a dotted path of a study; DELETE removes it."""
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        tree = tree[key]
    if value is DELETE:
        del tree[last]
    else:
        tree[last] = value


DELETE = object()


class TestTheExample:
    def test_it_loads_as_it_is(self):
        path = data_path("example_study.toml")
        study = load(path)
        assert study.name == "overcommit-and-remedies"
        assert (study.seed, study.replications) == (1, 64)
        assert (study.duration_ns, study.warmup_ns) == (2_000_000_000, 200_000_000)
        assert study.text == path.read_text(encoding="utf-8")
        assert study.source == str(path)
        assert study.n_configurations == len(study.configurations) == 4 * 2 * 2 * 3
        assert study.warnings == []
        assert load(study) is study

    def test_its_configurations(self):
        study = load(str(data_path("example_study.toml")))
        last = study.configurations[-1]
        assert last.index == 47
        assert last.labels == {
            "vm.guest.count": 4,
            "vm.guest.lock.kind": "ticket",
            "policy.guard": "delay(cap=500us)",
            "policy.response": "directed_yield(spin_threshold=25us, target=holder)",
        }
        assert last.host.pcpus == 4
        assert last.host.frequency_hz == 2.6e9
        assert last.host.pause_ns == pytest.approx(140 / 2.6)
        assert last.host.context_switch == Constant(2000)
        assert [vm.name for vm in last.vms] == ["guest.0", "guest.1", "guest.2", "guest.3"]
        assert {vm.group for vm in last.vms} == {"guest"}
        vm = last.vms[0]
        assert (vm.vcpus, vm.weight, vm.lock.kind, vm.lock.count) == (4, 1.0, "ticket", 1)
        assert (vm.user, vm.hold) == (Exponential(40_000.0), Lognormal(2000.0, 2.0))
        assert vm.kernel.is_zero and vm.handover.is_zero and vm.halt_time.is_zero
        assert vm.halt_probability == 0
        assert (last.n_vcpu, last.overcommit_ratio) == (16, 4.0)

    def test_coordinates_run_with_the_first_path_slowest(self):
        study = load(data_path("example_study.toml"))
        assert list(study.coordinates) == list(study.configurations[0].labels)
        for index, configuration in enumerate(study.configurations):
            assert configuration.index == index
            assert configuration.labels == {path: column[index] for path, column in study.coordinates.items()}
        assert study.coordinates["vm.guest.count"][:13] == [1] * 12 + [2]
        assert study.coordinates["policy.guard"][:7] == ["none"] * 3 + ["delay(cap=500us)"] * 3 + ["none"]
        assert study.policy_paths == ("vm.guest.lock.kind", "policy.guard", "policy.response")

    def test_configurations_are_a_sequence(self):
        configurations = load(data_path("example_study.toml")).configurations
        assert [c.index for c in configurations[10:13]] == [10, 11, 12]
        assert configurations[-1] == configurations[47]
        with pytest.raises(IndexError):
            configurations[48]

    def test_a_study_can_be_pickled(self):
        study = load(data_path("example_study.toml"))
        again = pickle.loads(pickle.dumps(study))
        assert list(again.configurations) == list(study.configurations)


class TestDefaultsAndDictionaries:
    def test_the_least_that_must_be_said(self):
        study = load(
            {
                "study": {"duration": "1s"},
                "host": {"pcpus": 1, "frequency": "1GHz"},
                "policy": {"preset": "baseline"},
                "vm": [{"vcpus": 1, "user": "1us", "hold": "1us"}],
            }
        )
        assert (study.name, study.seed, study.replications, study.warmup_ns) == ("study", 1, 32, 0)
        (configuration,) = study.configurations
        assert configuration.labels == {}
        assert study.coordinates == {}
        assert configuration.vms[0].name == "vm0.0"

    def test_the_text_of_a_dictionary_says_the_same(self, example):
        example["vm"][0]["halt"] = {"probability": 0.5, "time": {"uniform": ["1us", "2us"]}}
        example["study"]["name"] = 'a "quoted" \\ name, µ'
        example["sweep"] = {
            "host.pcpus": np.array([2, 4]),
            "vm.0.weight": (1, 2.5),
            "study.duration": ["1s", "2s"],
        }
        study = load(example)
        assert study.source == "<dict>"
        again = tomllib.loads(study.text)
        assert again["study"]["name"] == example["study"]["name"]
        assert list(load(again).configurations) == list(study.configurations)
        assert load(again).text == study.text

    def test_sub_tables_for_the_sweep(self, tmp_path):
        text = data_path("example_study.toml").read_text(encoding="utf-8")
        text = (
            text[: text.index("[sweep]")]
            + "[sweep]\nhost.pcpus = [2, 4]\nvm.guest.hold.lognormal.cv = [1, 2]\n"
        )
        (tmp_path / "s.toml").write_text(text, encoding="utf-8")
        assert list(load(tmp_path / "s.toml").swept) == ["host.pcpus", "vm.guest.hold.lognormal.cv"]

    def test_samples_are_relative_to_the_study(self, tmp_path, example):
        text = data_path("example_study.toml").read_text(encoding="utf-8")
        hold = '{ empirical = { file = "holds.csv", column = "hold_ns" } }'
        text = text.replace('{ lognormal = { mean = "2us", cv = 2.0 } }', hold)
        (tmp_path / "s.toml").write_text(text, encoding="utf-8")
        assert problems_of(tmp_path / "s.toml")["vm.0.hold.empirical.file"].found == '"holds.csv"'
        (tmp_path / "holds.csv").write_text("hold_ns\n1000\n3000\n")
        assert load(tmp_path / "s.toml").configurations[0].vms[0].hold.samples_ns == (1000.0, 3000.0)

    def test_with(self, example):
        study = load(example)
        other = study.with_(replications=5, seed=2**64 - 1)
        assert (other.replications, other.seed, other.text) == (5, 2**64 - 1, study.text)
        assert study.with_() is not study
        assert study.replications == 64
        with pytest.raises(StudyError) as caught:
            study.with_(replications=0, seed=-1)
        assert [problem.path for problem in caught.value.problems] == ["seed", "replications"]


BAD = [
    ("study.name", "", "a name of"),
    ("study.name", "a\nb", "printable"),
    ("study.seed", -1, "at least 0"),
    ("study.seed", 2**64, "at most 18446744073709551615"),
    ("study.seed", 1.0, "a whole number"),
    ("study.seed", True, "a whole number"),
    ("study.duration", DELETE, "a duration with a unit"),
    ("study.duration", 2, "a bare number has no unit"),
    ("study.duration", "2", "a bare number has no unit"),
    ("study.duration", "0s", "above 0"),
    ("study.duration", "0.4ns", "above 0"),
    ("study.duration", "1e7s", "at most 1e6 s"),
    ("study.duration", {"exponential": "1s"}, "a duration with a unit"),
    ("study.warmup", "-1ms", "not negative"),
    ("study.replications", 0, "at least 1"),
    ("study.replications", 10**6 + 1, "at most 1000000"),
    ("study.replications", "64", "a whole number"),
    ("study.warm_up", "1s", 'did you mean "warmup"'),
    ("host.pcpus", DELETE, "at least 1 and at most 1024"),
    ("host.pcpus", 0, "at least 1"),
    ("host.pcpus", 1025, "at most 1024"),
    ("host.pcpus", "four", "a whole number"),
    ("host.pcpus", 4.0, "a whole number"),
    ("host.frequency", DELETE, "a frequency with a unit"),
    ("host.frequency", 2.6, "a bare number has no unit"),
    ("host.frequency", "2.6", "a bare number has no unit"),
    ("host.frequency", "2.6GB", "a frequency with a unit"),
    ("host.context_switch", 2, "a bare number has no unit"),
    ("host.context_switch", "2s", "at most 1.073741824s"),
    ("host.vm_exit", "5 parsecs", "no unit 'parsecs'"),
    ("host.pause", "0cycles", "above 0"),
    ("host.pause", "5pauses", "no pauses"),
    ("host.pause", "1s", "at most 1ms"),
    ("host.pcpu", 4, 'did you mean "pcpus"'),
    ("policy.preset", "baselin", 'did you mean "baseline"'),
    ("policy.preset", 3, "a preset: one of"),
    ("policy.schedular", {}, 'did you mean "scheduler"'),
    ("policy.scheduler", DELETE, "or policy.preset"),
    ("vm.0.name", "a.b", "a name of up to 64 letters"),
    ("vm.0.name", "0", "beginning with a letter"),
    ("vm.0.count", -1, "at least 0"),
    ("vm.0.count", 5000, "at most 4096"),
    ("vm.0.vcpus", 0, "at least 1"),
    ("vm.0.vcpus", 65, "at most 64"),
    ("vm.0.vcpus", DELETE, "a whole number"),
    ("vm.0.weight", 0, "above 0"),
    ("vm.0.weight", float("nan"), "a number above 0"),
    ("vm.0.weight", float("inf"), "at most 1000000"),
    ("vm.0.weight", 10**400, "a number above 0"),
    ("vm.0.lock", DELETE, "unless the preset brings a lock"),
    ("vm.0.user", DELETE, "a duration with a unit"),
    ("vm.0.hold", DELETE, "a duration with a unit"),
    ("vm.0.hodl", "1us", 'did you mean "hold"'),
    ("vm.0.halt", {"probability": 0.5}, "a duration"),
    ("vm.0.halt", {"time": "1us"}, "at most 1"),
    ("vm.0.halt", "1us", "a table with the keys probability, time"),
    ("hosts", {}, 'did you mean "host"'),
    ("host", 4, "a table with the keys pcpus"),
    ("host", DELETE, "a table with the keys pcpus"),
    ("study", DELETE, "a table with the keys name"),
    ("policy", DELETE, "a table with the keys preset"),
    ("policy", "baseline", "a table with the keys preset"),
    ("vm", DELETE, "tables [[vm]]"),
    ("vm", [], "tables [[vm]]"),
    ("vm", {"vcpus": 4}, "two brackets"),
    ("vm.0", 5, "a table with the keys name"),
    ("sweep", [1], "a table of paths"),
]
INSIDE = {"vm.0.halt": {"a duration": ".time", "at most 1": ".probability"}}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    BAD,
    # The same in every process, or pytest-xdist refuses them: no address of an object.
    ids=[f"{path}={'(deleted)' if value is DELETE else repr(value)}"[:50] for path, value, _ in BAD],
)
def test_one_mistake(path, value, says, example):
    put(example, path, value)
    (problem,) = problems_of(example).values()
    assert problem.path == path + INSIDE.get(path, {}).get(says, "")
    assert says in problem.accepted
    assert (problem.found == "nothing") == (
        value is DELETE or path == "vm.0.halt" and isinstance(value, dict)
    )
    assert problem.configurations is None


def test_all_mistakes_at_once(example):
    puts = [(p, v) for p, v, _ in BAD if "." in p and p not in ("policy.scheduler", "vm.0", "vm.0.halt")]
    last = {path: value for path, value in puts}
    for path, value in last.items():
        put(example, path, value)
    assert set(problems_of(example)) >= set(last)


def test_a_cycle_must_take_time(example):
    example["vm"][0] |= {
        "user": "0us",
        "kernel": "0us",
        "hold": "0ns",
        "halt": {"probability": 1, "time": "1ms"},
    }
    assert problems_of(example)["vm.0.hold"].found == "a cycle of 0ns"
    example["vm"][0]["user"] = {"exponential": "0.001ns"}
    assert "at least 1ns" in problems_of(example)["vm.0.hold"].accepted
    example["vm"][0]["kernel"] = "1ns"
    load(example)


def test_limits_of_the_whole_host(example):
    example["vm"][0]["count"] = 1024
    load(example)
    example["vm"].append(example["vm"][0] | {"name": "other", "count": 1, "vcpus": 1})
    assert problems_of(example)["vm"].found == "4097 vCPUs"
    example["vm"][0]["count"] = example["vm"][1]["count"] = 0
    assert "at least one VM" in problems_of(example)["vm"].accepted
    example["vm"][1]["count"] = 1
    assert [vm.name for vm in load(example).configurations[0].vms] == ["other.0"]


def test_names_differ(example):
    example["vm"].append(example["vm"][0] | {"name": "vm0"})
    example["vm"].append(example["vm"][0])
    assert list(problems_of(example)) == ["vm.2.name"]
    del example["vm"][2]
    del example["vm"][0]["name"]
    assert list(problems_of(example)) == ["vm.1.name"]


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"[study\n", "line 1"),
            (b"[study]\na = 1\na = 2\n", "overwrite"),
            (b"\xff\xfe", "byte 0xff"),
            (b"a = " + b"9" * 5000, "limit"),
            (b"a = " + b"[" * 100_000, "nested too deeply"),
            (b"a = 2024-13-45", ""),
        ],
    )
    def test_what_is_no_toml(self, tmp_path, content, found):
        (tmp_path / "s.toml").write_bytes(content)
        (problem,) = problems_of(tmp_path / "s.toml").values()
        assert problem.path == str(tmp_path / "s.toml")
        assert found in problem.found

    def test_no_such_file_or_a_folder(self, tmp_path):
        (problem,) = problems_of(tmp_path / "none.toml").values()
        assert problem.found == "no such file"
        (problem,) = problems_of(tmp_path).values()
        assert problem.found == "a folder"
        problems_of("a\0b")
        problems_of("/dev/null")

    def test_an_empty_file_lacks_everything(self, tmp_path):
        (tmp_path / "s.toml").write_text("")
        assert set(problems_of(tmp_path / "s.toml")) == {"study", "host", "policy", "vm"}

    def test_dates_are_no_values(self, tmp_path):
        (tmp_path / "s.toml").write_text("[study]\nname = 2024-01-01\n[host]\npcpus = [07:00:00]\n")
        assert list(problems_of(tmp_path / "s.toml")) == ["study.name", "host.pcpus[0]"]

    def test_a_byte_order_mark_and_carriage_returns(self, tmp_path):
        text = data_path("example_study.toml").read_text(encoding="utf-8").replace("\n", "\r\n")
        (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert load(tmp_path / "s.toml").n_configurations == 48


class TestStrangeObjects:
    @pytest.mark.parametrize("source", [None, 3, [1], b"x.toml", object()])
    def test_what_is_no_study(self, source):
        problems_of(source)

    @pytest.mark.parametrize("value", [None, object(), {1, 2}, b"x", 1j, "\ud800", {1: 2}, load, Path("x")])
    def test_strange_values(self, example, value):
        example["host"]["pcpus"] = value
        problems_of(example)

    def test_a_dictionary_in_itself(self, example):
        example["host"]["pcpus"] = example
        example["study"]["name"] = [[], example["study"]]
        problems_of(example)

    def test_errors_are_value_errors_that_can_be_pickled(self, example):
        example["host"] = {}
        with pytest.raises(FastlhpError) as caught:
            load(example)
        assert isinstance(caught.value, ValueError)
        assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
        assert str(caught.value).splitlines()[0] == "2 problems:"


def test_cut_tails_are_told(example):
    example["vm"][0]["user"] = {"lognormal": {"mean": "100ms", "cv": 5}}
    example["policy"]["guard"] = {"kind": "delay", "cap": {"exponential": "500ms"}}
    first, second = load(example).warnings
    assert first.startswith(
        "policy.guard.cap: exponential(500ms) is cut at 1.073741824s (2^30 ns), which takes 11.68%"
    )
    assert second.startswith("vm.0.user: lognormal(mean=100ms, cv=5) is cut")


def test_doubtful_studies_are_told(example):
    example["study"] |= {"duration": "50ms", "replications": 1}
    assert load(example).warnings == [
        "study.duration: 50ms is only 5 slices of 10ms (in 1 of 1 configurations)",
        "study.replications: 1 replication gives no confidence intervals",
    ]
