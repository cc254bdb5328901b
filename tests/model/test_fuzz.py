"""Whatever a study says, the answer is a study or a list of problems."""

import copy
import random
import tomllib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastlhp.data_files import data_path
from fastlhp.errors import StudyError
from fastlhp.model.study import Study, load

TEXT = data_path("example_study.toml").read_text(encoding="utf-8")
TREE = tomllib.loads(TEXT)
PRECISION = [
    {"metric": "lhp_probability", "relative": 0.05, "absolute": 1e-6, "max_replications": 100},
    {"metric": "wait_mean", "absolute": "1us", "confidence": 0.9, "batch": 8, "max_replications": 64},
]
FULL = TREE | {
    "study": TREE["study"] | {"precision": PRECISION},
    "vm": [
        TREE["vm"][0] | {"halt": {"probability": 0.5, "time": {"uniform": ["1us", "2us"]}}},
        TREE["vm"][0]
        | {
            "name": "other",
            "user": {"hyperexponential": {"probabilities": [0.9, 0.1], "means": ["1us", "20us"]}},
            "kernel": {"pareto": {"minimum": "1us", "alpha": 1.5, "maximum": "1ms"}},
            "hold": {"empirical": {"samples": ["1us", "2us"]}},
            "handover": {"weibull": {"mean": "10cycles", "shape": 2}},
            "lock": {"kind": "test_and_set", "count": 2, "weights": [1, 2]},
        },
    ],
}
FUZZ = settings(
    derandomize=True,
    deadline=None,
    max_examples=90,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)

numbers = (
    st.sampled_from([0, -1, 1, 2, 65, 1025, 10**7, 2**63, 2**64, 10**400, 0.0, -0.5, 1e-300, 1e308])
    | st.floats()
)
units = st.sampled_from(["ns", "us", "ms", "s", "cycles", "pauses", "GHz", "", "µs"])
durations = st.builds(lambda number, unit: f"{number}{unit}", numbers | st.integers(), units)
words = st.sampled_from(
    [
        *(
            "gang",
            "global",
            "round_robin",
            "delay",
            "none",
            "yield",
            "halt",
            "directed_yield",
            "queue",
            "holder",
        ),
        *("baseline", "vmware_esx2", "exponential", "random", "aligned", "kind", "label", "guest", "0", ""),
    ]
)
scalars = (
    numbers | durations | words | st.booleans() | st.none() | st.text(max_size=8) | st.binary(max_size=3)
)
paths = st.sampled_from(
    [
        *(
            "host.pcpus",
            "host.frequency",
            "host",
            "policy.preset",
            "policy.guard",
            "policy.guard.cap",
            "study.warmup",
        ),
        *(
            "vm.0.hold.exponential",
            "vm.other.user.hyperexponential.means.1",
            "vm.other.lock",
            "vm.0.lock.kind",
            "vm",
        ),
    ]
)
ranges = st.fixed_dictionaries(
    {"from": scalars, "to": scalars}, optional={"scale": st.sampled_from(["log", "linear", "", 3])}
)
likely_ranges = st.sampled_from(
    [{"from": 1, "to": 3}, {"from": "1us", "to": "1ms", "scale": "log"}, {"from": 1.0, "to": 2.0}]
)
designs = st.fixed_dictionaries(
    {"kind": st.sampled_from(["sobol", "latin_hypercube", "grid"]), "points": st.sampled_from([0, 1, 4, 6])}
)
amounts = st.recursive(
    st.sampled_from(["host.pcpus", "vm.0.count", 'vm["other"].vcpus', "vm.0.lock.count", "1", "2.5", "-3"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
    max_leaves=3,
)
conditions = st.recursive(
    st.builds("{} {} {}".format, amounts, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), amounts)
    | st.sampled_from(["vm.0.lock.kind in ['ticket']", "vm.0.user.exponential > '1us'", "True"]),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not {}".format, inner)
    ),
    max_leaves=3,
)
nonsense = st.lists(
    amounts
    | conditions
    | st.sampled_from([*"()[],.<=+*/'", "and", "not", "in", "if", "vm.0", "'1us'", "policy"]),
    max_size=6,
).map(" ".join)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(tree, path=()):
    """Return the paths of everything in a tree."""
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


PLACES = places(FULL)


def study_or_problems(source):
    try:
        study = load(source)
    except StudyError as error:
        assert error.problems
        assert str(error)
        return None
    assert isinstance(study, Study)
    for index in {0, study.n_configurations // 2, study.n_configurations - 1}:
        configuration = study.configurations[index]
        assert configuration.vms and 1 <= configuration.n_vcpu <= 4096
    assert all(isinstance(warning, str) for warning in study.warnings)
    if isinstance(source, dict):
        assert load(tomllib.loads(study.text)).n_configurations == study.n_configurations
    return study


def mutate(tree, place, action, value):
    *parents, last = place
    for key in parents:
        if not isinstance(tree, dict | list) or isinstance(tree, dict) != isinstance(key, str):
            return
        try:
            tree = tree[key]
        except (KeyError, IndexError):
            return
    if (
        isinstance(tree, dict)
        and last in tree
        or isinstance(tree, list)
        and isinstance(last, int)
        and last < len(tree)
    ):
        if action == "delete":
            del tree[last]
        elif action == "rename" and isinstance(tree, dict):
            tree[str(value)[:20]] = tree.pop(last)
        else:
            tree[last] = value


mutations = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(["delete", "rename", "set", "set"]), values),
    min_size=1,
    max_size=4,
)


@FUZZ
@given(mutations)
def test_mutated_studies(changes):
    tree = copy.deepcopy(FULL)
    for place, action, value in changes:
        mutate(tree, place, action, value)
    study_or_problems(tree)


@FUZZ
@given(st.dictionaries(paths | st.text(max_size=10), st.lists(values, max_size=3) | values, max_size=3))
def test_random_sweeps(sweep):
    study_or_problems(copy.deepcopy(FULL) | {"sweep": sweep})


@FUZZ
@given(
    st.dictionaries(paths, likely_ranges | ranges | st.lists(values, max_size=3), max_size=3),
    st.dictionaries(paths, st.lists(values, max_size=2) | values, max_size=2) | values,
    st.lists(conditions | nonsense | values, max_size=2),
    st.booleans() | scalars,
    designs | values,
)
def test_random_designs(sweep, zipped, where, drop, design):
    tree = copy.deepcopy(FULL)
    tree["study"]["design"] = design
    tree["sweep"] = sweep | {"zip": zipped, "where": where, "drop_impossible": drop}
    study_or_problems(tree)


@FUZZ
@given(conditions, conditions | nonsense, st.sampled_from([1, 4, 8]))
def test_random_filters(one, other, points):
    tree = copy.deepcopy(FULL)
    tree["study"]["design"] = {"kind": "sobol", "points": points}
    tree["sweep"] = {
        "policy.scheduler": [{"kind": "round_robin"}, {"kind": "gang"}],
        "host.pcpus": {"from": 1, "to": 9},
        "zip": {"vm.0.count": [1, 2], "vm.0.vcpus": [4, 2]},
        "where": [one, f"not ({other}) or vm.0.count == 1"],
        "drop_impossible": True,
    }
    study = study_or_problems(tree)
    if study is not None:
        n = 4 * len(study.axes[1])
        assert study.n_combinations == n
        assert study.n_configurations == n - sum(study.dropped.values()) > 0
        assert all(len(column) == study.n_configurations for column in study.coordinates.values())


@FUZZ
@given(values)
def test_random_values(value):
    study_or_problems(value if not isinstance(value, str) else {"study": value})


@settings(FUZZ, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["bytes", "cut", "swap", "lines"]))
@example(0, 1, "cut")
def test_damaged_files(tmp_path_factory, seed, count, damage):
    generator = random.Random(seed)
    content = bytearray(TEXT.encode())
    for _ in range(count):
        at, other = generator.randrange(len(content) - 30), generator.randrange(len(content) - 30)
        if damage == "bytes":
            content[at] = generator.randrange(256)
        elif damage == "cut":
            del content[at : at + generator.randrange(1, 20)]
        elif damage == "swap":
            content[at : at + 8], content[other : other + 8] = (
                content[other : other + 8],
                content[at : at + 8],
            )
        else:
            lines = content.split(b"\n")
            generator.shuffle(lines)
            content = bytearray(b"\n".join(lines))
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes(content)
    study_or_problems(path)


@pytest.mark.parametrize(
    "text", ["", "\0", "=", "[[vm]]\n" * 300, "[sweep]\n'' = [{}]", "a" * 10_000, "\U0001f600 = 1"]
)
def test_short_files(tmp_path, text):
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    assert study_or_problems(tmp_path / "s.toml") is None
