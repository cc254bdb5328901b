"""Device functions written for vectors do what their Python says."""

from __future__ import annotations

import numpy as np
import pytest

from fastlhp.engine.jit import kernel
from fastlhp.engine.state import int64_at
from fastlhp.engine.vectors import either, repeat, written

WIDTH = 8


@written("UniTuple(int64, 2)(int64, int64)")
def sum_and_largest_below(n, limit):
    """Of 0..n-1: the sum of those below a limit, and the number of the others."""

    def add(i, total, others):
        return either(i < limit, lambda: total + i, lambda: total), (i < limit).choose(others, others + 1)

    return repeat(n, add, n.like(0), n.like(0))


@written("uint64(int64, int64, int64, int64)")
def move(source, target, order, limit):
    """Move eight int32 to the places that ``order`` says; the bits of those above a limit."""
    values = source.times(WIDTH) + (order.load(WIDTH) << 2)
    found = values.gather(32)
    (target.times(WIDTH) + (order.load(WIDTH) << 2)).scatter(found)
    return (found > limit.narrow().times(WIDTH)).where()


@written("UniTuple(int64, 3)(int64)")
def totals(address):
    """Of eight int32: sum, how many are 0, and the sum of their pairs as int64."""
    values = address.load(WIDTH, 32)
    return values.sum().wide(), values.equals(0).count(), values.joined().sum()


@written("none(int64, int64)")
def count_up(address, step):
    """Store 5 and seven more, each larger by 3, and behind them the multiples of a step."""
    address.store((step.like(5)).counting(WIDTH, 3).narrow())
    (address + 4 * WIDTH).store(step.multiples(WIDTH).narrow())


@kernel
def call(n, limit, source, target, order, out):
    """All of them; six results."""
    below, others = sum_and_largest_below(n, limit)
    bits = move(source, target, order, limit)
    total, zeros, pairs = totals(target)
    int64_at(out, 0).value, int64_at(out, 1).value, int64_at(out, 2).value = below, others, np.int64(bits)
    int64_at(out, 3).value, int64_at(out, 4).value, int64_at(out, 5).value = total, zeros, pairs


@kernel
def fill(address, step):
    """`count_up`."""
    count_up(address, step)


@pytest.mark.parametrize(("n", "limit"), [(0, 3), (1, 0), (10, 4), (5, 100)])
def test_loops_branches_and_memory(n, limit):
    source = np.array([3, -7, 0, 2**31 - 1, 5, 4, -1, 0], np.int32)
    target = np.full(WIDTH, 99, np.int32)
    order = np.random.default_rng(1).permutation(WIDTH)
    out = np.zeros(6, np.int64)
    call(n, limit, *(array.ctypes.data for array in (source, target, order, out)))
    *below, bits, total, zeros, pairs = out.tolist()
    assert below == [sum(i for i in range(n) if i < limit), max(n - limit, 0)]
    assert (target == source).all()
    assert [bits >> i & 1 for i in range(WIDTH)] == [int(x > limit) for x in source[order]]
    assert (total, zeros) == (int(source.astype(np.int64).sum()) % 2**32, 2)
    assert pairs == int(source.view(np.int64).sum())


def test_sequences():
    memory = np.zeros(2 * WIDTH, np.int32)
    fill(memory.ctypes.data, 6)
    assert memory.tolist() == [*range(5, 5 + 3 * WIDTH, 3), *range(0, 6 * WIDTH, 6)]
