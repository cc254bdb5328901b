"""The registry, the parameters of each policy, and what does not go together."""

import pytest
from pydantic import ValidationError

from fastlhp.errors import StudyError
from fastlhp.model.distributions import Constant, Exponential
from fastlhp.model.study import load
from fastlhp.policies import FAMILIES, kinds
from fastlhp.policies.compatibility import TABLE, conflicts, rows
from fastlhp.policies.guards.delay import Delay
from fastlhp.policies.responses.halt import Halt

ALL = [(family, kind) for family in FAMILIES for kind in kinds(family)]


def with_policy(example, family, table):
    if family == "lock":
        example["vm"][0]["lock"] = table
    else:
        example["policy"][family] = table
    return example


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_every_policy_has_defaults_a_summary_and_a_source(family, kind, example):
    cls = kinds(family)[kind]
    assert cls.summary()
    module = __import__(cls.__module__, fromlist=["x"])
    assert len((module.__doc__ or "").splitlines()) > 3
    policy = {"policy": {"scheduler": {"kind": "round_robin"}}} if family != "scheduler" else {}
    study = load(with_policy(example | policy, family, {"kind": kind}))
    configuration = study.configurations[0]
    parameters = configuration.vms[0].lock if family == "lock" else getattr(configuration, family)
    assert type(parameters) is cls
    assert parameters.kind == kind
    assert parameters.describe().startswith(kind)
    again = load(with_policy(example, family, parameters.to_input())).configurations[0]
    assert (again.vms[0].lock if family == "lock" else getattr(again, family)) == parameters
    with pytest.raises(ValidationError):
        parameters.kind_of = 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_kind_lists_the_choices(family, example):
    with pytest.raises(StudyError) as caught:
        load(with_policy(example, family, {"kind": "nonee"}))
    (problem,) = caught.value.problems
    assert problem.path == ("vm.0.lock.kind" if family == "lock" else f"policy.{family}.kind")
    assert problem.found == '"nonee"'
    assert all(f'"{kind}"' in problem.accepted for kind in kinds(family))


def test_defaults(example):
    example["policy"] = {
        "scheduler": {"kind": "round_robin"},
        "response": {"kind": "halt"},
        "guard": {"kind": "delay"},
    }
    configuration = load(example).configurations[0]
    assert configuration.scheduler.slice == Constant(30_000_000)
    assert configuration.guard == Delay(cap="1ms", repay=False)
    # 32768 pauses of 140 cycles at 2.6 GHz
    assert configuration.response.spin_threshold == Constant(1_764_431)
    assert configuration.response.wakeup == Constant(65_000)
    example["policy"] = {"scheduler": {"kind": "gang"}}
    configuration = load(example).configurations[0]
    assert configuration.scheduler.slice == Constant(50_000_000)
    assert not configuration.scheduler.fill
    assert (configuration.guard.kind, configuration.response.kind) == ("none", "none")


BAD = [
    ("scheduler", {"kind": "round_robin", "slice": "0ms"}, "policy.scheduler.slice", "not zero"),
    (
        "scheduler",
        {"kind": "round_robin", "slice": 30},
        "policy.scheduler.slice",
        "a bare number has no unit",
    ),
    ("scheduler", {"kind": "round_robin", "placement": "x"}, "policy.scheduler.placement", '"balance"'),
    ("scheduler", {"kind": "round_robin", "phase": [0.5]}, "policy.scheduler.phase", "a list of 4 fractions"),
    ("scheduler", {"kind": "round_robin", "phase": [0, 1, 1, 1]}, "policy.scheduler.phase", "above 0"),
    ("scheduler", {"kind": "round_robin", "phase": "late"}, "policy.scheduler.phase", '"aligned"'),
    ("scheduler", {"kind": "global", "placement": "spread"}, "policy.scheduler.placement", "no such key"),
    ("scheduler", {"kind": "global", "phase": [0.1, 0.2]}, "policy.scheduler.phase", "one for each pCPU"),
    ("scheduler", {"kind": "gang", "fill": 1}, "policy.scheduler.fill", "true or false"),
    ("scheduler", {"kind": "gang", "phase": [0.1, 0.2]}, "policy.scheduler.phase", "a list of 1 fraction,"),
    ("scheduler", {"kind": "fair", "latency": "0ms"}, "policy.scheduler.latency", "not zero"),
    ("scheduler", {"kind": "fair", "tick": {"exponential": "1ms"}}, "policy.scheduler.tick", "a fixed time"),
    ("scheduler", {"kind": "fair", "slice": "1ms"}, "policy.scheduler.slice", "the keys are latency"),
    ("scheduler", {"kind": "credit", "tick": "0ms"}, "policy.scheduler.tick", "not zero"),
    ("scheduler", {"kind": "credit", "ratelimit": 1}, "policy.scheduler.ratelimit", "no unit"),
    ("scheduler", {"kind": "relaxed_coscheduling", "base": "fair"}, "policy.scheduler.base", '"credit"'),
    ("scheduler", {"kind": "relaxed_coscheduling", "variant": "esx5"}, "policy.scheduler.variant", '"esx4"'),
    (
        "scheduler",
        {"kind": "relaxed_coscheduling", "skew_resume": "4ms"},
        "policy.scheduler.skew_resume",
        "at most skew_threshold",
    ),
    (
        "scheduler",
        {"kind": "relaxed_coscheduling", "skew_threshold": "0ms"},
        "policy.scheduler.skew_threshold",
        "not zero",
    ),
    ("scheduler", {"slice": "1ms"}, "policy.scheduler.kind", "a scheduler: one of"),
    ("scheduler", "gang", "policy.scheduler", "a table"),
    ("guard", {"kind": "none", "cap": "1ms"}, "policy.guard.cap", "no parameters here"),
    ("guard", {"kind": "delay", "repay": "yes"}, "policy.guard.repay", "true or false"),
    ("guard", {"kind": "delay", "cap": "2s"}, "policy.guard.cap", "at most 1.073741824s"),
    ("guard", {"kind": "extra_slice", "cap": "1ms"}, "policy.guard.cap", "the keys are length"),
    ("guard", {"kind": ["delay"]}, "policy.guard.kind", "a guard"),
    ("response", {"kind": "yield", "spin_threshold": "0us"}, "policy.response.spin_threshold", "not zero"),
    ("guard", {"kind": "monitor", "latency": "2us"}, "policy.guard.latency", "the keys are cap"),
    ("guard", {"kind": "monitor_halt", "cap": "1ms"}, "policy.guard.cap", "the keys are window"),
    ("guard", {"kind": "driver", "latency": 2}, "policy.guard.latency", "a bare number has no unit"),
    ("response", {"kind": "notify", "spin_threshold": "0us"}, "policy.response.spin_threshold", "not zero"),
    ("response", {"kind": "directed_yield", "target": "next"}, "policy.response.target", '"round_robin"'),
    (
        "response",
        {"kind": "directed_yield", "window_grow": 0},
        "policy.response.window_grow",
        "a whole number from 1",
    ),
    ("response", {"kind": "directed_yield", "window_grow": 2.0}, "policy.response.window_grow", "true for 2"),
    ("response", {"kind": "directed_yield", "window_max": 9}, "policy.response.window_max", "a bare number"),
    (
        "response",
        {"kind": "directed_yield", "window_max": {"exponential": "1ms"}},
        "policy.response.window_max",
        "a constant",
    ),
    (
        "response",
        {"kind": "halt", "spin_threshold": "1e8pauses"},
        "policy.response.spin_threshold",
        "at most 1.07",
    ),
    ("lock", {"kind": "ticket", "count": 0}, "vm.0.lock.count", "at least 1 and at most 64"),
    ("lock", {"kind": "ticket", "count": 65}, "vm.0.lock.count", "at most 64"),
    ("lock", {"kind": "ticket", "count": 1.0}, "vm.0.lock.count", "a whole number"),
    ("lock", {"kind": "ticket", "count": 2, "weights": [1]}, "vm.0.lock.weights", "each of the 2 locks"),
    ("lock", {"kind": "ticket", "count": 2, "weights": [1, 0]}, "vm.0.lock.weights", "above 0"),
    ("lock", {"kind": "ticket", "weights": "x"}, "vm.0.lock.weights", "a list of numbers"),
    ("lock", {"count": 2}, "vm.0.lock.kind", "a lock: one of"),
    ("lock", {"kind": "pv_ticket", "check": "1us"}, "vm.0.lock.check", "no such key"),
    ("lock", {"kind": "pv_queue", "check": "0ns"}, "vm.0.lock.check", "not zero"),
    ("lock", {"kind": "hybrid_queue", "wakeup": 65}, "vm.0.lock.wakeup", "a bare number has no unit"),
    ("lock", {"kind": "preemptable_ticket", "timeout": "0us"}, "vm.0.lock.timeout", "not zero"),
    ("lock", {"kind": "informed", "reserve": "1GHz"}, "vm.0.lock.reserve", "a duration with a unit"),
]


@pytest.mark.parametrize(("family", "table", "path", "says"), BAD)
def test_bad_parameters(family, table, path, says, example):
    with pytest.raises(StudyError) as caught:
        load(with_policy(example, family, table))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert says in problem.accepted


def test_caps_of_zero_and_random_caps_are_fine(example):
    example["policy"]["guard"] = {"kind": "delay", "cap": "0us"}
    assert load(example).configurations[0].guard.cap.is_zero
    example["policy"]["guard"] = {"kind": "delay", "cap": {"exponential": "10us"}}
    assert load(example).configurations[0].guard.cap == Exponential(10_000.0)


def test_a_window_that_grows(example):
    for written, factor in ((True, 2), (False, 1), (3, 3)):
        example["policy"]["response"] = {
            "kind": "directed_yield",
            "window_grow": written,
            "window_max": "1ms",
        }
        response = load(example).configurations[0].response
        assert (response.window_grow, response.window_max) == (factor, Constant(1_000_000))


def test_parameters_can_be_made_in_python(example):
    assert Delay(cap="500us") == Delay(cap=Constant(500_000))
    example["policy"]["guard"] = Delay(cap="500us", repay=True)
    example["vm"][0]["hold"] = Exponential(1500.5)
    study = load(example)
    assert study.configurations[0].guard == Delay(cap="500us", repay=True)
    assert study.configurations[0].vms[0].hold == Exponential(1500.5)
    with pytest.raises(ValidationError, match="pause is not known"):
        Halt()


class TestUnderGang:
    @pytest.fixture
    def gang(self, example):
        example["policy"] = {"scheduler": {"kind": "gang"}}
        return example

    @pytest.mark.parametrize("kind", [kind for kind in kinds("guard") if kind != "none"])
    def test_no_guard(self, gang, kind):
        gang["policy"]["guard"] = {"kind": kind}
        with pytest.raises(StudyError, match="break co-scheduling"):
            load(gang)

    def test_no_directed_yield(self, gang):
        gang["policy"]["response"] = {"kind": "directed_yield"}
        with pytest.raises(StudyError, match="gives nothing up"):
            load(gang)
        gang["policy"]["response"] = {"kind": "yield"}
        load(gang)

    def test_no_vm_wider_than_the_host(self, gang):
        gang["host"]["pcpus"] = 3
        with pytest.raises(StudyError) as caught:
            load(gang)
        assert [str(problem) for problem in caught.value.problems] == [
            "vm.0.vcpus: found 4; accepted: at most host.pcpus = 3 with the scheduler gang: "
            "all vCPUs of a VM must fit into one slot"
        ]

    def test_everything_in_one_list_also_beside_other_mistakes(self, gang):
        gang["policy"] |= {
            "guard": {"kind": "delay", "cap": 1},
            "response": {"kind": "directed_yield", "target": "x"},
        }
        gang["host"] |= {"pcpus": 2, "pcpu": 3}
        gang["vm"][0]["user"] = 7
        with pytest.raises(StudyError) as caught:
            load(gang)
        assert {problem.path for problem in caught.value.problems} == {
            "host.pcpu",
            "policy.guard.cap",
            "policy.guard.kind",
            "policy.response.kind",
            "policy.response.target",
            "vm.0.user",
            "vm.0.vcpus",
        }

    def test_the_table_can_be_printed(self):
        assert len(rows()) == len(TABLE) + 1
        assert all(reason for *_, reason in rows())


class TestLocks:
    @pytest.fixture
    def plain(self, example):
        example["policy"] = {"scheduler": {"kind": "round_robin", "slice": "2ms"}}
        return example

    def problem(self, study):
        with pytest.raises(StudyError) as caught:
            load(study)
        (problem,) = caught.value.problems
        return problem

    @pytest.mark.parametrize("kind", ["pv_ticket", "pv_queue", "hybrid_queue"])
    def test_those_that_block_by_themselves_go_with_no_halt(self, kind, plain):
        study = with_policy(plain, "lock", {"kind": kind})
        load(with_policy(study, "response", {"kind": "yield"}))
        problem = self.problem(with_policy(study, "response", {"kind": "halt"}))
        assert (problem.path, problem.found) == ("vm.0.lock.kind", f'"{kind}"')
        assert problem.accepted == (
            "not this lock with the response halt: the waiters of this lock block by themselves, after its own "
            "spin_threshold"
        )

    def test_their_defaults(self, plain):
        lock = load(with_policy(plain, "lock", {"kind": "pv_queue"})).configurations[0].vms[0].lock
        # 32768 and 256 pauses of 140 cycles at 2.6 GHz
        assert (lock.spin_threshold, lock.check) == (Constant(1_764_431), Constant(13_785))
        assert lock.wakeup == Constant(65_000)

    def test_informed_goes_with_a_known_slice_end_only(self, plain):
        study = with_policy(plain, "lock", {"kind": "informed"})
        load(study)
        load(with_policy(study, "scheduler", {"kind": "global"}))
        problem = self.problem(with_policy(study, "scheduler", {"kind": "gang"}))
        assert problem.path == "vm.0.lock.kind"
        assert "gives nothing up" in problem.accepted
        for scheduler in ("credit", "fair", "relaxed_coscheduling"):
            (conflict,) = conflicts({"scheduler": scheduler, "lock": "informed"})
            assert "when the slice ends" in conflict.reason

    def test_a_reserve_fits_into_a_slice(self, plain):
        load(with_policy(plain, "lock", {"kind": "informed", "reserve": "2ms"}))
        problem = self.problem(with_policy(plain, "lock", {"kind": "informed", "reserve": "3ms"}))
        assert problem.path == "vm.0.lock.reserve"
        assert (problem.found, problem.accepted) == ("3ms", "at most the scheduler's slice, 2ms on average")
