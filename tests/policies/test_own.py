"""A policy of the user's own: the worked example of docs/policies.md, and what can be wrong with such a file."""

import re
import sys
from pathlib import Path

import pytest

import fastlhp
from fastlhp import policies
from fastlhp.errors import StudyError

DOCUMENT = Path(fastlhp.__file__).parent / "docs" / "policies.md"


def example() -> tuple[str, str]:
    """Name and text of the file in the document."""
    match = re.search(
        r"<!-- (\w+\.py) -->\n```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
    )
    assert match
    return match.group(1), match.group(2)


@pytest.fixture(autouse=True)
def forget():
    """Leave no policy behind."""
    yield
    policies._own.clear()
    sys.modules["fastlhp.engine.jit"].forget_compiled()


def study_with(guard: dict) -> dict:
    return {
        "study": {"name": "own", "seed": 1, "duration": "20ms", "warmup": "0ms", "replications": 64},
        "host": {"pcpus": 2, "frequency": "1GHz"},
        "policy": {"scheduler": {"kind": "round_robin", "slice": "200us"}, "guard": guard},
        "vm": [
            {
                "name": "vm",
                "count": 2,
                "vcpus": 2,
                "lock": {"kind": "ticket"},
                "user": {"exponential": "10us"},
                "hold": {"exponential": "2us"},
            }
        ],
    }


def test_worked_example(tmp_path, monkeypatch):
    """The oracle of the document prevents all preemption of holders, and the built-in policies are as before."""
    name, text = example()
    (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = fastlhp.run(fastlhp.load(study_with({"kind": "none"})), threads=1)
    own = fastlhp.run(fastlhp.load(study_with({"kind": name, "cap": "100us"})), threads=1)
    after = fastlhp.run(fastlhp.load(study_with({"kind": "none"})), threads=1)
    assert (before["lhp_events"] > 0).any()
    assert (own["extensions"] > 0).any()
    assert own["lhp_events"].sum() == 0
    for metric in ("acquisitions", "lhp_events", "wait_max", "spin_time"):
        assert (before[metric] == after[metric]).all()


WANDERING = """
from typing import ClassVar

from fastlhp.engine.jit import device
from fastlhp.engine.queues import push
from fastlhp.engine.state import vcpu_at
from fastlhp.policies.schedulers.round_robin import (
    RoundRobin, has_queued, keeps_rest, may_take, replace, slice_ns, start, take, wake_up, yields
)


class Wandering(RoundRobin):
    KIND: ClassVar[str] = "wandering"


@device
def make_ready(host, v):
    vcpu = vcpu_at(host.vcpus, v)
    vcpu.home = (vcpu.home + 4) % host.n_pcpu
    push(host, vcpu.home, v)
"""


def test_a_scheduler_that_moves_pinned_vcpus(tmp_path, monkeypatch):
    """On large hosts the engine relies on where vCPUs are pinned; it sees when that changes."""
    from fastlhp.engine import block
    from fastlhp.engine.encode import Encoded

    (tmp_path / "wandering.py").write_text(WANDERING, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    study = study_with({"kind": "none"})
    study["policy"]["scheduler"]["kind"] = "wandering.py"
    study["host"]["pcpus"], study["vm"][0]["vcpus"], study["vm"][0]["count"] = 24, 4, 12
    study["study"]["duration"] = "3ms"
    loaded = fastlhp.load(study)
    encoded = Encoded(loaded.configurations[0])
    vm, host, histogram = block.simulate(encoded, loaded.seed, range(20))
    other = block.simulate(encoded, loaded.seed, range(20), scalar_only=True)
    assert (vm == other[0]).all()
    assert (host == other[1]).all()
    assert (histogram == other[2]).all()


def test_parameters_are_checked(tmp_path, monkeypatch):
    """Its parameters are checked like those of any policy."""
    name, text = example()
    (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as caught:
        fastlhp.load(study_with({"kind": name, "cap": 3, "cup": "1ms"}))
    assert {problem.path for problem in caught.value.problems} == {"policy.guard.cap", "policy.guard.cup"}


LOCK = "from fastlhp.model.policy import LockParameters\nclass Mine(LockParameters):\n    KIND = 'mine'\n"
GUARD = "from fastlhp.model.policy import GuardParameters\nclass Mine(GuardParameters):\n    KIND = {!r}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("class :", "SyntaxError"),
        ("x = 1", "no policy"),
        (LOCK, "the lock 'mine'; wanted is one guard"),
        (GUARD.format("delay"), "a guard of fastlhp's own"),
        (GUARD.format("a") + GUARD.format("b").replace("Mine", "Yours"), "the guard 'a', the guard 'b'"),
    ],
)
def test_bad_files(tmp_path, monkeypatch, text, says):
    """Whatever is wrong with the file, the study's error says it."""
    if text is not None:
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as caught:
        fastlhp.load(study_with({"kind": "mine.py"}))
    (problem,) = caught.value.problems
    assert problem.path == "policy.guard.kind"
    assert says in problem.accepted


def test_two_files_of_one_kind(tmp_path, monkeypatch):
    """Two files cannot share a kind: results could not tell them apart."""
    monkeypatch.chdir(tmp_path)
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(GUARD.format("mine"), encoding="utf-8")
    fastlhp.load(study_with({"kind": "one.py"}))
    with pytest.raises(StudyError, match="is taken by"):
        fastlhp.load(study_with({"kind": "two.py"}))


def test_document_names_every_hook():
    """The document lists all functions that the engine asks of policies."""
    from fastlhp.engine import block  # noqa: F401  imports every module that has hooks
    from fastlhp.engine.hooks import Hook

    text = DOCUMENT.read_text(encoding="utf-8")
    hooks = {
        (thing.family, thing.name)
        for name, module in list(sys.modules.items())
        if name.startswith("fastlhp.")
        for thing in vars(module).values()
        if isinstance(thing, Hook)
    }
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert not [hook for hook in sorted(hooks) if f"`{hook[1]}(" not in rows[hook[0]]]
