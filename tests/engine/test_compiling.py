"""The short way through Numba: which functions take it, and that those that do not are compiled as well."""

from __future__ import annotations

import gc
import operator

import numpy as np
import pytest
from numba.core.compiler import run_frontend
from numba.core.typeinfer import TypeInferer
from numba.core.types.functions import BaseFunction

from fastlhp.engine.compiling import Survey, shortcuts
from fastlhp.engine.jit import device, kernel
from fastlhp.engine.linking import never_fails

STEP = 2


def loops(n):
    total = 0
    for i in range(n - 1, -1, -1):
        total += i % 3
    return np.int64(total)


def chooses(a, b):
    return max(a, b) if a > 0 else a << 1


def splits(a):
    first, second = divmod_of(a)
    return first - second


@device
def divmod_of(a):
    return a // 3, a % 3


def steps(n):
    total = 0
    for i in range(0, n, STEP):
        total += i
    return total


def steps_by(n, step):
    total = 0
    for i in range(0, n, step):
        total += i
    return total


def raises(x):
    if x > 3:
        raise ValueError("too large")
    return x


def comprehends(n):
    return sum([i * i for i in range(n)])


def squares(x):
    return x**2


def takes_root(x):
    return np.sqrt(x)


def asks_for_none(x):
    return x is None


def branches(a, b):
    total = a * b
    for i in range(3):
        if i > a:
            total += b
            b = total
    return total + b


def uses_other(x):
    return operator.add(x, 1)


@pytest.mark.parametrize("function", [loops, chooses, splits, steps, branches])
def test_plain(function):
    assert Survey(run_frontend(function)).is_plain


@pytest.mark.parametrize(
    "function", [steps_by, raises, comprehends, squares, takes_root, asks_for_none, uses_other]
)
def test_not_plain(function):
    assert not Survey(run_frontend(function)).is_plain


device_loops, device_chooses, device_splits, device_steps = map(device, (loops, chooses, splits, steps))
device_raises, device_squares, device_steps_by = map(device, (raises, squares, steps_by))
device_branches = device(branches)


@device
def between(x):
    return device_raises(x) + 1


@kernel
def call_all(x):
    plain = device_loops(x) + device_chooses(x, 7) + device_splits(x) + device_steps(x)
    return plain + device_branches(x, 7) + device_squares(x) + device_steps_by(x, 3) + between(x)


@pytest.fixture(scope="module")
def compiled():
    """`call_all`, compiled."""
    call_all(0)
    return call_all


def test_results_and_exceptions(compiled):
    """Compiled functions do what Python does, and exceptions pass through plain functions."""
    for x in (-2, 0, 3):
        expected = loops(x) + chooses(x, 7) + splits(x) + steps(x) + branches(x, 7)
        expected += squares(x) + steps_by(x, 3) + x + 1
        assert compiled(x) == expected
    with pytest.raises(RuntimeError, match="failed"):
        compiled(4)


def test_shortcuts_end():
    """Numba is changed, and garbage stays, only while a kernel is compiled."""
    before = BaseFunction.get_call_type, TypeInferer.propagate, gc.isenabled()
    with pytest.raises(ValueError), shortcuts():
        assert BaseFunction.get_call_type is not before[0]
        assert TypeInferer.propagate is not before[1]
        assert not gc.isenabled()
        raise ValueError
    assert (BaseFunction.get_call_type, TypeInferer.propagate, gc.isenabled()) == before


def test_what_never_fails(compiled):
    """A call is not checked if nothing in the callee can fail."""

    def fails(function):
        (result,) = function.dispatcher().overloads.values()
        return result.fndesc.mangled_name not in never_fails

    assert not any(map(fails, (device_loops, device_chooses, device_splits, device_steps, divmod_of)))
    assert all(map(fails, (device_raises, device_steps_by, between)))
