"""The JSON schema of study files, beside what reads them."""

import copy
import json
import re
import tomllib

import jsonschema
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.main import main
from fastlhp.data_files import data_path
from fastlhp.errors import StudyError
from fastlhp.model.described import field_texts
from fastlhp.model.presets import preset_names
from fastlhp.model.profiles import profile_names
from fastlhp.model.schema import study_schema
from fastlhp.model.start import start_study
from fastlhp.policies import FAMILIES, kinds

SCHEMA = jsonschema.Draft202012Validator(study_schema())
STUDIES = [
    path for path in sorted(data_path().rglob("*.toml")) if path.parent.name not in ("presets", "profiles")
]


def mistakes(tree):
    return [f"{error.json_path}: {error.message}" for error in SCHEMA.iter_errors(tree)]


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(study_schema())
    printed = CliRunner().invoke(main, ["schema"])
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == study_schema()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies(path):
    assert mistakes(tomllib.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", preset_names())
def test_presets(name):
    """As a preset, and with its tables written out."""
    assert mistakes(tomllib.loads(start_study("study.toml", name))) == []
    preset = tomllib.loads(data_path("presets", f"{name}.toml").read_text(encoding="utf-8"))
    study = tomllib.loads(start_study("study.toml"))
    del study["sweep"]
    study["policy"] = preset["policy"]
    study["host"] |= preset["host"]
    study["vm"][0]["lock"] = preset["lock"]
    assert mistakes(study) == []
    assert fastlhp.load(study).n_configurations == 1


@pytest.mark.parametrize("name", profile_names())
def test_profiles(name, example):
    del example["vm"][0]["hold"]
    assert mistakes(example) != []
    example["vm"][0]["profile"] = name
    assert mistakes(example) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_every_policy_with_all_its_parameters(family, example):
    for kind, cls in kinds(family).items():
        study = copy.deepcopy(example)
        holder = study["vm"][0] if family == "lock" else study["policy"]
        holder[family] = {"kind": kind, **{name: f.default for name, f in cls.model_fields.items()}}
        holder[family] = {name: value for name, value in holder[family].items() if value is not None}
        assert mistakes(study) == [], kind
        holder[family]["slyce"] = "1ms"
        assert mistakes(study) != [], kind


@pytest.mark.parametrize(
    "hold",
    [
        "2us",
        " 1.5e3 ns ",
        "4096cycles",
        "1pause",
        {"exponential": "2us"},
        {"uniform": ["1us", "2us"]},
        {"lognormal": {"mean": "2us", "cv": 2}},
        {"gamma": {"mean": "2us", "cv": 0.5}},
        {"weibull": {"mean": "2us", "shape": 2}},
        {"pareto": {"minimum": "1us", "alpha": 1.5, "maximum": "1ms"}},
        {"hyperexponential": {"probabilities": [0.5, 0.5], "means": ["1us", "9us"]}},
        {"empirical": {"samples": ["1us", "2us"]}},
    ],
)
def test_durations(hold, example):
    example["vm"][0]["hold"] = hold
    fastlhp.load(example)
    assert mistakes(example) == []


VALID = """
[study]
duration = "2s"
replications = 32
design = { kind = "sobol", points = 4 }
precision = { metric = "wait_mean", relative = 0.05, absolute = "1us", max_replications = 100 }
[host]
frequency = "2.6GHz"
[policy]
preset = "baseline"
guard = { kind = "delay" }
scheduler = { slice = "1ms" }
[[vm]]
vcpus = 2
user = "40us"
hold = { exponential = "2us" }
lock = { weights = [1, 2], count = 2 }
halt = { probability = 0.1, time = "1ms" }
[sweep]
host.pcpus = [2, 4]
"vm.0.hold.exponential" = { from = "1us", to = "1ms", scale = "log" }
"policy.guard.cap" = ["1ms"]
where = ["host.pcpus < 8"]
drop_impossible = true
[[sweep.zip]]
"vm.vm0.count" = [1, 2]
study.warmup = ["0s", "1ms"]
"""

WRONG = [
    'replications = 32 -> replications = "32"',
    "replications = 32 -> replications = 0",
    "replications = 32 -> replicatoins = 32",
    'duration = "2s" -> duration = 2',
    'duration = "2s" -> duration = "2 parsecs"',
    'duration = "2s" -> duration = "-2s"',
    'kind = "sobol" -> kind = "halton"',
    "points = 4 -> points = 0",
    ", points = 4 -> ",
    "max_replications = 100 -> max_replications = 1.5",
    ", max_replications = 100 -> ",
    "relative = 0.05 -> relative = 1",
    'relative = 0.05, absolute = "1us", -> ',
    'metric = "wait_mean", -> ',
    'frequency = "2.6GHz" -> frequency = 2.6',
    'frequency = "2.6GHz" -> frequency = "2.6ms"',
    'preset = "baseline" -> preset = "basline"',
    'preset = "baseline" -> presets = "baseline"',
    'kind = "delay" -> kind = "dealy"',
    'kind = "delay" -> kind = "delay", length = "1ms"',
    'kind = "delay" -> kind = "delay", repay = 1',
    'slice = "1ms" -> slyce = "1ms"',
    'scheduler = { slice = "1ms" } -> scheduler = "round_robin"',
    "vcpus = 2 -> vcpus = 0",
    "vcpus = 2 -> vcpus = 65",
    "vcpus = 2 -> vcpus = 2\nweight = 0",
    "vcpus = 2 -> vcpus = 2\nname = 3",
    'user = "40us" -> user = 40',
    'exponential = "2us" -> exponental = "2us"',
    'user = "40us" -> user = { exponential = 40 }',
    'exponential = "2us" -> exponential = "2us", uniform = ["1us", "2us"]',
    'exponential = "2us" -> lognormal = { mean = "2us" }',
    'exponential = "2us" -> lognormal = { mean = "2us", cv = 1, median = "1us" }',
    "weights = [1, 2] -> weights = 3",
    "probability = 0.1 -> probability = 2",
    ', time = "1ms" -> ',
    "host.pcpus = [2, 4] -> host.pcpus = []",
    "host.pcpus = [2, 4] -> host.pcpus = 4",
    "host.pcpus = [2, 4] -> pcpus = [2, 4]",
    "host.pcpus = [2, 4] -> hosts.pcpus = [2, 4]",
    'scale = "log" -> scale = "logarithmic"',
    ', to = "1ms" -> ',
    "drop_impossible = true -> drop_impossible = 1",
    '"vm.vm0.count" = [1, 2] -> "vm.vm0.count" = { from = 1, to = 2 }',
    "[[vm]] -> [vm]",
    "[[vm]] -> [[vms]]",
    "[sweep] -> [sweeps]\n[sweep]",
]


def test_what_is_valid():
    tree = tomllib.loads(VALID)
    assert fastlhp.load(tree).n_configurations == 2 * 4 * 2
    assert mistakes(tree) == []


@pytest.mark.parametrize("change", WRONG)
def test_both_refuse(change):
    before, after = change.split(" -> ")
    assert before in VALID
    tree = tomllib.loads(VALID.replace(before, after, 1))
    with pytest.raises(StudyError):
        fastlhp.load(tree)
    assert mistakes(tree) != []


@pytest.mark.parametrize(
    "key", ["study.duration", "host.pcpus", "host", "policy", "vm.vcpus", "vm.hold", "vm"]
)
def test_what_is_missing(key, example):
    table, _, name = key.rpartition(".")
    holder = example if not table else example["vm"][0] if table == "vm" else example[table]
    del holder[name]
    with pytest.raises(StudyError):
        fastlhp.load(example)
    assert mistakes(example) != []


def test_hints():
    """Every key has a description for those who write studies."""
    schema = study_schema()
    for table in ("study", "host"):
        for name, key in schema["properties"][table]["properties"].items():
            assert re.match(r"\S.*\.", key["description"]), (table, name)
    for name, key in schema["properties"]["vm"]["items"]["properties"].items():
        assert name in ("lock", "halt") or re.match(r"\S.*\.", key["description"]), name
    for family in FAMILIES:
        for cls in kinds(family).values():
            assert set(cls.model_fields) <= set(field_texts(cls)), cls
