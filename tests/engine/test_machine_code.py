"""Machine code on disk: what is written can be called, and what is not whole is not loaded."""

import json

import pytest

from fastlhp.engine import jit, translation
from fastlhp.engine.jit import device, kernel
from fastlhp.engine.machine_code import MachineCode, write_code


@kernel
def add(a, b):
    """Their sum."""
    return a + b


@pytest.fixture(scope="module")
def compiled():
    return add.compile()


@pytest.fixture
def path(compiled, tmp_path):
    path = tmp_path / "add.o"
    write_code(path, compiled.fndesc.llvm_func_name, compiled.library.machine_code)
    return path


def test_round_trip(path):
    code = MachineCode.read(path, 2)
    assert code is not None
    assert code(40, 2) == add(40, 2) == 42
    assert [file.name for file in path.parent.iterdir()] == ["add.o"]


def test_what_is_not_whole_is_not_loaded(path):
    whole = path.read_bytes()
    head, _, code = whole.partition(b"\n")
    about = json.loads(head)
    for content in (
        whole[:-1],
        whole[: len(whole) // 2],
        head,
        b"",
        b"[]\n" + code,
        whole[:-1] + bytes([whole[-1] ^ 1]),
        json.dumps({**about, "symbol": "another"}).encode() + b"\n" + code,
    ):
        path.write_bytes(content)
        assert MachineCode.read(path, 2) is None
    path.unlink()
    assert MachineCode.read(path, 2) is None


def test_nowhere_to_write(compiled, tmp_path):
    """Then the next process compiles again."""
    write_code(tmp_path / "missing" / "add.o", compiled.fndesc.llvm_func_name, compiled.library.machine_code)
    assert not list(tmp_path.iterdir())


def test_only_integers(tmp_path):
    @kernel
    def half(a):
        return a / 2

    with pytest.raises(TypeError, match="half returns float64"):
        half.compile()


def twice_the_sum(n):
    """Of the numbers below n."""
    total = 0
    for i in range(n):
        total += triple(i)
    return 2 * total // 3


@device
def triple(i):
    return 3 * i


@pytest.fixture
def with_part(monkeypatch):
    """A kernel with a part."""
    monkeypatch.setattr(jit, "parts", set(jit.parts))
    large = jit.part(twice_the_sum)
    monkeypatch.setattr("fastlhp.engine.compiling.parts", jit.parts)

    @kernel
    def four_times(n):
        return 2 * large(n) + triple(0)

    return four_times


def test_part(with_part):
    """A part is an object file of its own; the kernel calls it."""
    assert len(with_part.compile().library.machine_code) == 2
    assert with_part(5) == 40


@pytest.mark.parametrize("executable", ["/bin/false", "/there/is/no/such/program"])
def test_part_without_another_process(with_part, monkeypatch, executable):
    """Where that fails, or cannot be started, this process does its work."""
    monkeypatch.setattr(translation.sys, "executable", executable)
    assert with_part(5) == 40


def test_part_in_a_frozen_application(with_part, monkeypatch):
    """Its executable is no interpreter, and is not started."""
    monkeypatch.setattr(translation.sys, "frozen", True, raising=False)
    monkeypatch.setattr(translation, "_start", None)
    assert with_part(5) == 40
