"""Machine code that takes facts for granted: they hold, nothing else is taken for granted, and results are the same."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apart import nothing_tailored
from cases import FIRST_LOCK_CASE, FIRST_RELAXED, FIRST_WEIGHTED, random_study
from llvmlite import binding
from test_encode import SWEEPS, read, study_of
from test_invariance import assert_same, divisible_study, large_study, large_vm

from fastlhp.engine import block, jit, state, tailoring
from fastlhp.engine.block import Block, advance
from fastlhp.engine.encode import Encoded, Encoding
from fastlhp.engine.facts import IN_CONFIG, IN_HOST, IN_VMS
from fastlhp.engine.jit import Kernel, RecordView, kernel
from fastlhp.engine.machine_code import MachineCode
from fastlhp.engine.parameters import record_name, record_type, view
from fastlhp.engine.tailoring import Claim, Facts, known, make_room, path_for
from fastlhp.model.configuration import Configuration
from fastlhp.model.policy import PolicyParameters
from fastlhp.model.study import Study, load
from fastlhp.policies import FAMILIES, kinds


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where code is made."""
    with nothing_tailored(tmp_path_factory.mktemp("tailored")):
        yield


# The same results


VARIED = [
    ("guard", FIRST_RELAXED + 1007),
    ("guard", FIRST_RELAXED + 1027),
    ("guard", 1023),
    ("case", FIRST_WEIGHTED + 1114),
    ("case", FIRST_LOCK_CASE + 1050),
    ("case", FIRST_LOCK_CASE + 1144),
    ("case", FIRST_LOCK_CASE + FIRST_WEIGHTED + 1098),
]
"""Cases that have every policy between them."""
OTHERS = [
    *(("case", i) for i in range(1000, 1045)),
    *(("guard", i) for i in range(1000, 1100, 3)),
    *(("case", FIRST_WEIGHTED + i) for i in range(1000, 1036, 2)),
    *(("case", FIRST_RELAXED + i) for i in range(1000, 1018)),
    *(("guard", FIRST_WEIGHTED + i) for i in range(1000, 1050, 5)),
    *(("case", FIRST_LOCK_CASE + i) for i in range(1000, 1045, 2)),
]


def in_all(study: Study) -> set[tuple[str, str]]:
    """Families and kinds of the policies of a study of one configuration."""
    (it,) = study.configurations
    policies = [it.scheduler, it.scheduler.base_policy(), it.guard, it.response, *(vm.lock for vm in it.vms)]
    return {(policy.FAMILY, policy.kind) for policy in policies}


def test_the_cases_are_varied() -> None:
    """Every built-in policy is in one of them."""
    found = set().union(*(in_all(random_study(number, series)) for series, number in VARIED))
    assert found == {(family, kind) for family in FAMILIES for kind in kinds(family)}


def compare(study: Study) -> Facts:
    """Compare code made for a configuration with that for all, and return what it takes for granted."""
    encoded = Encoded(study.configurations[0])
    result = block.simulate(encoded, study.seed, range(20))
    assert_same(result, block.simulate(encoded, study.seed, range(20), tailored=True))
    assert_same(result, block.simulate(encoded, study.seed, range(20), tailored=True, lanes=3))
    (facts,) = advance._tailored
    advance._tailored.clear()
    sizes = [path.stat().st_size for path in (path_for(advance._path, facts), advance._path)]
    assert sizes[0] < 0.9 * sizes[1]  # what cannot happen is left out
    return facts


@pytest.mark.parametrize(
    ("series", "number"), [*VARIED, *(pytest.param(*case, marks=pytest.mark.nightly) for case in OTHERS)]
)
def test_results_are_the_same(series: str, number: int) -> None:
    """To the bit, with whatever policies."""
    compare(random_study(number, series))


DIVISIBLE = [("round_robin", "ticket", "choices"), ("gang", "test_and_set", "plain")]
OTHERS_DIVISIBLE = [
    ("round_robin", "test_and_set", "delay"),
    ("round_robin", "ticket", "weights"),
    ("round_robin", "ticket", "long"),
    ("relaxed_coscheduling", "ticket", "ties"),
    ("relaxed_coscheduling", "test_and_set", "choices"),
    ("gang", "ticket", "ties"),
]


@pytest.mark.parametrize(
    ("scheduler", "lock", "details"),
    [*DIVISIBLE, *(pytest.param(*case, marks=pytest.mark.nightly) for case in OTHERS_DIVISIBLE)],
)
def test_divided_courses(scheduler: str, lock: str, details: str) -> None:
    """The same on hosts whose tiles follow their courses each for itself."""
    facts = compare(load(divisible_study(scheduler, lock, details)))
    assert "host.divided" not in dict(facts)


@pytest.mark.parametrize("lock", ["ticket", pytest.param("test_and_set", marks=pytest.mark.nightly)])
def test_several_tiles(lock: str) -> None:
    """The same on hosts of several tiles that are not divided, because guests call the hypervisor."""
    study = large_study([large_vm("vm", 10, 4, 20, lock)], "global", "yield")
    study["host"]["pcpus"] = 18
    facts = dict(compare(load(study)))
    assert facts["block.n_tiles"] > 2 and facts["block.has_choices"] == 1
    assert facts["host.divided"] == facts["block.n_divided"] == 0


# What is replaced


@pytest.fixture(scope="module")
def codes() -> list[str]:
    """The LLVM code of the kernel."""
    codes = [code for code, _ in tailoring.read_modules(advance._path.with_suffix(".llvm"))]
    assert len(codes) > 1
    return codes


def accessed(code: str) -> list[str]:
    """The field that each line loads or stores, if any, found without the expressions that `known` uses."""
    lines = code.splitlines()
    nodes = dict(line.split(" = ", 1) for line in lines if line.startswith("!") and " = " in line)
    names = {node: content.split('"')[1] for node, content in nodes.items() if '"' in content}
    found = []
    for line in lines:
        tag = line.partition("!tbaa ")[2].partition(",")[0].strip()
        found.append(names[nodes[tag].partition("{")[2].partition(",")[0]] if tag else "")
    return found


DECISIVE = {
    *(f"config.{name}" for name in (*IN_CONFIG, "threshold")),
    *(f"vm_config.{name}" for name in (*IN_VMS, "patience")),
    *(f"host.{name}" for name in IN_HOST),
}


def of_blocks() -> set[str]:
    """Fields that a block knows something of."""
    block = Block(1, n_pcpu=1, n_vcpu=1, n_vm=1, n_lock=1, choices=False)
    return {field for field, _ in block.known(frozenset())}


def test_loads_of_known_fields_are_replaced(codes: list[str]) -> None:
    """All of them, each by its value; every other line of the kernel stays."""
    fields = DECISIVE | of_blocks()
    facts = {field: 1000 + i for i, field in enumerate(sorted(fields))}
    loaded = set()
    for code in codes:
        lines = code.splitlines()
        after = known(code, frozenset(facts.items())).splitlines()
        for line, field, now in zip(lines, accessed(code), after, strict=True):
            if field in facts and " = load " in line:
                loaded.add(field)
                assert now == f"{line.partition(' = ')[0]} = add i64 0, {facts[field]}"
            else:
                assert now == line
    assert fields <= loaded


def test_options_of_policies_are_replaced(codes: list[str]) -> None:
    """The fields that facts name are the ones that the kernel reads; distributions are not among them."""
    options = set()
    for name in SWEEPS:
        study = study_of(name)
        together = Encoding(study.configurations.parts(np.arange(study.n_configurations)))
        options |= {field for facts in together.known.facts for field, _ in facts if "policies" in field}
    loaded = {field for code in codes for field in accessed(code) if field in options}
    assert {field.rpartition(".")[2] for field in loaded} >= {"repay", "order", "fill", "variant", "base"}
    assert not {field.rpartition(".")[2] for field in options} & {"slice", "cap", "spin_threshold"}
    for code in codes:
        facts = frozenset((field, 7) for field in options)
        assert not {field for field in accessed(known(code, facts)) if field in options}


def test_nothing_is_replaced_without_facts(codes: list[str]) -> None:
    for code in codes:
        assert known(code, frozenset()) == code
        assert known(code, frozenset({("config.no_such_field", 1), ("scheduler", 1)})) == code


SMALL = """
define i64 @small(ptr %config, ptr %lane) {
  %a = load i64, ptr %config, align 1, !tbaa !0, !invariant.load !9
  store i64 %a, ptr %lane, align 1, !tbaa !4
  %b = load i64, ptr %lane, align 1, !tbaa !4
  %c = load i64, ptr %lane, align 1
  %d = load i64, ptr %lane, align 1, !tbaa !6
  %e = load i32, ptr %config, align 1, !tbaa !0
  %f = add i64 %a, %b
  ret i64 %f
}
!0 = !{!1, !1, i64 0}
!1 = !{!"config.scheduler", !2, i64 0}
!2 = !{!"config", !3, i64 0}
!3 = !{!"fields"}
!4 = !{!5, !5, i64 0}
!5 = !{!"host.n_pcpu", !8, i64 0}
!6 = !{!7, !7, i64 0}
!7 = !{!"config.scheduler_parameters", !2, i64 0}
!8 = !{!"host", !3, i64 0}
!9 = !{}
"""


def test_known() -> None:
    """Loads of 64 bits are replaced; not stores, not what is not marked, not fields with a name that begins alike."""
    code = str(binding.parse_assembly(SMALL))
    after = known(code, frozenset({("config.scheduler", 3), ("host.n_pcpu", -4)}))
    binding.parse_assembly(after).verify()
    changed = [
        (line.split(" = ")[0].strip(), now.strip())
        for line, now in zip(code.splitlines(), after.splitlines(), strict=True)
        if line != now
    ]
    assert changed == [("%a", "%a = add i64 0, 3"), ("%b", "%b = add i64 0, -4")]


def views() -> dict[str, RecordView]:
    """All views of records, by name."""
    policies = [sys.modules[cls.__module__] for family in FAMILIES for cls in kinds(family).values()]
    found = [
        it for module in (state, *policies) for it in vars(module).values() if isinstance(it, RecordView)
    ]
    return {it.name: it for it in found}


def test_what_is_fixed_is_never_stored(codes: list[str]) -> None:
    """LLVM is told that these fields do not change while the kernel runs."""
    fixed = {f"{name}.{field}" for name, it in views().items() for field in it.fixed}
    stored, invariant = set(), set()
    for code in codes:
        for line, field in zip(code.splitlines(), accessed(code), strict=True):
            if line.lstrip().startswith("store"):
                stored.add(field)
            elif "!invariant.load" in line:
                invariant.add(field)
    assert DECISIVE & invariant and "host.now" in stored
    assert not stored & fixed
    assert invariant <= fixed


# What is known


def values_of(field: str, address: int, configuration: Configuration) -> set[int]:
    """What a field of the configuration whose record is at an address is, wherever the kernel may read it."""
    record = read(address, state.CONFIG)[0]
    of, _, name = field.rpartition(".")
    if of in ("config", "host"):
        return {int(record[name])}
    if of == "vm_config":
        vms = read(int(record["vms"]), state.VM_CONFIG, len(configuration.vms))
        return set(vms[name].tolist())
    scheduler = configuration.scheduler
    found = set()
    for where, policy in (
        ("scheduler", scheduler.base_policy()),
        ("overlay", scheduler),
        ("guard", configuration.guard),
        ("response", configuration.response),
    ):
        if record_name(type(policy)) == of:
            its = read(int(record[f"{where}_parameters"]), record_type(type(policy)))[0]
            found.add(int(its[name]))
    return found


@pytest.mark.parametrize("name", SWEEPS)
def test_facts_hold(name: str) -> None:
    """What is known of a configuration among others is what is known of it alone, and what stands in its records."""
    study = study_of(name)
    indices = np.random.default_rng(2).permutation(study.n_configurations)
    together = Encoding(study.configurations.parts(indices))
    for at, index in enumerate(indices.tolist()):
        configuration = study.configurations[index]
        facts = together.known.facts[together.known.which[at]]
        assert facts == Encoded(configuration).facts
        fields = {field for field, _ in facts}
        assert len(fields) == len(facts)
        assert fields >= {f"config.{name}" for name in IN_CONFIG} | {f"host.{name}" for name in IN_HOST}
        for field, value in facts:
            assert values_of(field, int(together.address[at]), configuration) == {value}, field


def test_facts_of_some_things() -> None:
    """Those of a part are those of the whole."""
    study = study_of("schedulers")
    its = Encoding(study.configurations.parts(np.arange(study.n_configurations))).known
    some = its[np.array([3, 0, 3])]
    assert [some.facts[which] for which in some.which] == [its.facts[its.which[i]] for i in (3, 0, 3)]


def test_vms_that_differ() -> None:
    """Of VMs that differ in something nothing is known of that."""
    study = study_of("numbers of VMs")
    for configuration in study.configurations:
        facts = dict(Encoded(configuration).facts)
        assert ("vm_config.lock_kind" in facts) == (len({vm.lock.kind for vm in configuration.vms}) == 1)
        assert ("vm_config.n_vcpu" in facts) == (len({vm.vcpus for vm in configuration.vms}) == 1)


def test_no_address_is_a_fact() -> None:
    """Addresses are others in another process, which is to find the same code."""
    study = load(
        {
            "study": {"name": "addresses", "duration": "1ms"},
            "host": {"pcpus": 2, "frequency": "1GHz", "context_switch": "1us", "vm_exit": "1us"},
            "policy": {
                "scheduler": {"kind": "round_robin", "slice": "1ms"},
                "response": {"kind": "yield", "spin_threshold": "10us"},
            },
            "vm": [
                {
                    "name": "guest",
                    "vcpus": 2,
                    "lock": {"kind": "pv_ticket", "spin_threshold": "20us"},
                    "user": {"exponential": "10us"},
                    "hold": "1us",
                }
            ],
        }
    )
    one, other = Encoded(study.configurations[0]), Encoded(study.configurations[0])
    assert one.facts == other.facts
    fields = {field for field, _ in one.facts}
    assert not fields & {"vm_config.patience", "config.threshold", "config.context_switch", "config.vm_exit"}


def test_no_two_policies_have_the_same_records() -> None:
    """Even where they have the same options: what is known of one is not known of the other."""
    all_kinds = [cls for family in FAMILIES for cls in kinds(family).values()]
    assert len({record_type(cls) for cls in all_kinds}) == len({record_name(cls) for cls in all_kinds})

    class One(PolicyParameters):
        option: int

    class Other(PolicyParameters):
        option: int

    for cls in (One, Other):
        view(cls).template()
    with pytest.raises(TypeError, match=r"records 'alike' and '.*\.One' have the same fields"):
        RecordView("alike", record_type(One)).template()


# What is kept


THING = np.dtype([("size", np.int64), ("count", np.int64)])
thing_at = RecordView("thing", THING, ["size"])


def digits(address):
    thing = thing_at(address, 0)
    return 10 * thing.size + thing.count


FACTS: Facts = frozenset({("thing.size", 9)})


@pytest.fixture
def things() -> np.ndarray[Any, Any]:
    things = np.zeros(1, THING)
    things["size"], things["count"] = 4, 2
    return things


@pytest.fixture
def in_a_process(tmp_path: Path) -> Callable[[], Kernel]:
    """What each of several processes has, which keep code in the same folder."""

    def make() -> Kernel:
        it = Kernel(digits)
        it._find_path = lambda: tmp_path / "digits.o"
        return it

    return make


def compiles_nothing(*arguments: object) -> None:
    raise AssertionError("there is something to be compiled")


def test_other_processes_find_what_one_has_made(
    in_a_process: Callable[[], Kernel], things: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And take for granted what it was made for, whatever stands in memory."""
    at = things.ctypes.data
    one = in_a_process()
    assert one(at) == 42
    assert one.tailored(FACTS) is None
    made = one.tailor(FACTS)
    assert made is not None and made(at) == 92
    assert one.tailored(FACTS) is one.tailor(FACTS) is made
    assert one.tailored(frozenset({("thing.size", 8)})) is None
    assert one(at) == 42
    monkeypatch.setattr(Kernel, "compile", compiles_nothing)
    monkeypatch.setattr(jit, "translate", compiles_nothing)
    other = in_a_process()
    assert other(at) == 42
    found = other.tailored(FACTS)
    assert found is not None and found(at) == 92
    assert other.tailor(FACTS) is found


def test_a_process_that_begins_with_it(
    in_a_process: Callable[[], Kernel], things: np.ndarray[Any, Any]
) -> None:
    """The kernel is compiled first."""
    made = in_a_process().tailor(FACTS)
    assert made is not None and made(things.ctypes.data) == 92


def test_nowhere_to_keep_it(things: np.ndarray[Any, Any]) -> None:
    """Then it is in memory only."""
    it = kernel(digits)
    assert it(things.ctypes.data) == 42 and it._path is None
    assert it.tailored(FACTS) is None
    made = it.tailor(FACTS)
    assert made is not None and made(things.ctypes.data) == 92
    assert it.tailored(FACTS) is made


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def empty(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("broken", [truncated, changed, empty])
def test_broken_code_is_made_again(
    in_a_process: Callable[[], Kernel], things: np.ndarray[Any, Any], broken: Callable[[bytes], bytes]
) -> None:
    one = in_a_process()
    one.tailor(FACTS)
    path = path_for(one._path, FACTS)
    path.write_bytes(broken(path.read_bytes()))
    other = in_a_process()
    assert other(things.ctypes.data) == 42
    assert other.tailored(FACTS) is None
    assert other.tailor(FACTS)(things.ctypes.data) == 92
    assert MachineCode.read(path, 1) is not None


def of_something_else(content: bytes) -> bytes:
    return zlib.compress(b'{"code": 1}')


@pytest.mark.parametrize("broken", [truncated, changed, empty, of_something_else, None])
def test_nothing_is_made_from_broken_llvm_code(
    in_a_process: Callable[[], Kernel],
    things: np.ndarray[Any, Any],
    broken: Callable[[bytes], bytes] | None,
) -> None:
    """Nor from what is not there any more; the kernel goes on, and nothing is left behind."""
    in_a_process()(things.ctypes.data)
    it = in_a_process()
    it(things.ctypes.data)
    path = it._path.with_suffix(".llvm")
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken(path.read_bytes()))
    assert it.tailor(FACTS) is None
    assert it(things.ctypes.data) == 42
    assert not [file for file in path.parent.iterdir() if file.suffix not in (".o", ".llvm")]


def test_what_another_process_is_making(
    in_a_process: Callable[[], Kernel], things: np.ndarray[Any, Any]
) -> None:
    """It is not waited for."""
    it = in_a_process()
    it(things.ctypes.data)
    with Claim(path_for(it._path, FACTS)) as is_ours:
        assert is_ours
        assert it.tailor(FACTS) is None
        assert it.tailor(FACTS) is None
    assert it.tailor(FACTS) is not None


def test_one_of_several_makes_a_file(tmp_path: Path) -> None:
    """The others do not take its right away when they go."""
    path = tmp_path / "code.o"
    with Claim(path) as first:
        for _ in range(2):
            with Claim(path) as other:
                assert (first, other) == (True, False)
    assert not list(tmp_path.iterdir())
    with Claim(path) as again:
        assert again


def test_the_right_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Claim(tmp_path / "code.o"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_who_is_lost_does_not_keep_its_right(tmp_path: Path) -> None:
    """What nobody has made for minutes, another makes."""
    path = tmp_path / "code.o"
    Claim(path).__enter__()
    (mark,) = tmp_path.iterdir()
    with Claim(path) as too_early:
        assert not too_early
    os.utime(mark, (0, 0))
    with Claim(path) as taken_over:
        assert taken_over
        with Claim(path) as another:
            assert not another
    assert not list(tmp_path.iterdir())


def test_no_right_where_nothing_can_be_written(tmp_path: Path) -> None:
    with Claim(tmp_path / "missing" / "code.o") as is_ours:
        assert not is_ours


def test_make_room(tmp_path: Path) -> None:
    """The newest stay; kernels and their LLVM code stay."""
    others = {"kernel-1.o", "kernel-1.llvm", "kernel-1-tailored-5.making"}
    for name in others:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    paths = [
        path_for(tmp_path / "kernel-1.o", frozenset({("it", i)})) for i in range(tailoring.MOST_KEPT + 5)
    ]
    order = list(enumerate(paths))
    random.Random(1).shuffle(order)
    for age, path in order:
        path.touch()
        os.utime(path, (1000 + age, 1000 + age))
    make_room(paths[0])
    assert {path.name for path in tmp_path.iterdir()} == others | {path.name for path in paths[5:]}
    make_room(paths[-1])
    assert len(list(tmp_path.iterdir())) == tailoring.MOST_KEPT + len(others)
