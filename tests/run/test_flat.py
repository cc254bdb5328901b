"""What workers send back loses nothing on its way, and is small."""

import dataclasses
import pickle

import numpy as np
import pytest

from fastlhp.results.counters import (
    EARLY_COUNTERS,
    HOST_COUNTERS,
    N_BINS,
    VM_COUNTERS,
    ConfigurationResult,
    Status,
    join,
)
from fastlhp.run.flat import Flat, Narrow, Parcel

EDGES = [
    0,
    *(sign * 2**bits + d for bits in (7, 8, 15, 16, 31, 32, 62) for sign in (-1, 1) for d in (-1, 0, 1)),
]
EDGES += [-(2**63), 2**63 - 1]


def sent(thing):
    """What arrives."""
    return pickle.loads(pickle.dumps(thing))


def assert_same(one, other):
    assert one.dtype == other.dtype == np.int64
    np.testing.assert_array_equal(one, other)


def counters(index, first, n=16, n_vm=2, highest=1000, **more):
    rng = np.random.default_rng([index, first])
    vm = rng.integers(0, highest, (n, n_vm, len(VM_COUNTERS)))
    vm[..., 10:20] = 0
    host, early = (rng.integers(0, highest, (n, len(names))) for names in (HOST_COUNTERS, EARLY_COUNTERS))
    histogram = rng.integers(0, highest, (2, N_BINS))
    return ConfigurationResult(index, vm, host, histogram, first=first, early=early, **more)


@pytest.mark.parametrize("value", EDGES)
def test_every_integer_arrives(value):
    """Alone, and in a column with others, small ones and the widest."""
    for others in ([], [0], [1, -1], EDGES):
        column = np.array([value, *others, value], np.int64)
        values = np.stack([np.zeros_like(column), column, np.full_like(column, value)], axis=1)
        assert_same(sent(Narrow(values)).wide(), values)


def test_no_integers_arrive():
    assert sent(Narrow(np.zeros((0, 3), np.int64))).wide().shape == (0, 3)


@pytest.mark.parametrize("highest", [1, 100, 2**20, 2**40, 2**63 - 1])
def test_results_arrive(highest):
    """In order, neighbours joined; with other numbers of VMs, failures, and halves of the window that nobody knows."""
    groups = [
        [counters(3, first, n_vm=5, highest=highest) for first in (0, 16, 32)],
        [counters(3, 64, n_vm=5, n=3, highest=highest)],
        [counters(4, 0, highest=highest)],
        [counters(9, 16, highest=highest, warmup_ns=10**12), counters(9, 32, highest=highest)],
        [counters(10, 0), counters(10, 16, status=Status.FAILED, message="größer als nötig")],
        [counters(11, 0, n=1, status=Status.FAILED, message="too much")],
    ]
    groups[2][0].early = np.full_like(groups[2][0].early, -1)
    groups[0][1].vm[3, 2, 1] = 2**63 - 1
    parts = [part for group in groups for part in group]
    np.random.default_rng(1).shuffle(parts)
    found = list(sent(Parcel(parts)).parts())
    for one, other in zip(found, map(join, groups), strict=True):
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if isinstance(b, np.ndarray):
                assert_same(a, b)
            else:
                assert a == b


def test_small_counters_take_few_bytes():
    parts = [counters(index, 0, n=256, highest=100) for index in range(10)]
    wide = sum(
        part.vm.nbytes + part.host.nbytes + part.early.nbytes + part.histogram.nbytes for part in parts
    )
    assert len(pickle.dumps(Parcel(parts))) < wide / 8


def test_arrays_that_are_too_short_are_no_results():
    flat = Flat.of([counters(0, 0), counters(1, 0)])
    for name in ("vm", "host", "early"):
        cut = dataclasses.replace(flat, **{name: getattr(flat, name)[:-1]})
        with pytest.raises(ValueError, match="cannot reshape"):
            list(cut.parts())
