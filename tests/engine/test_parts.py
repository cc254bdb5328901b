"""A measured window in parts: each has the counters of a window of its own, and all together those of the whole."""

from __future__ import annotations

import dataclasses

import naive
import numpy as np
import pytest
from cases import FIRST_LOCK_CASE, FIRST_RELAXED, FIRST_WEIGHTED, random_study, tables

from fastlhp.engine import block
from fastlhp.engine.encode import Encoded
from fastlhp.model.study import load
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS, whole_window

REPLICATIONS = 6
CASES = [
    *(("case", i) for i in range(3000, 3013)),
    *(("case", i) for i in range(FIRST_LOCK_CASE + 3000, FIRST_LOCK_CASE + 3008)),
    *(("case", i) for i in range(FIRST_WEIGHTED + 3000, FIRST_WEIGHTED + 3006)),
    *(("case", i) for i in range(FIRST_RELAXED + 3000, FIRST_RELAXED + 3006)),
    *(("guard", i) for i in range(3000, 3040, 4)),
]


@pytest.mark.parametrize(("series", "number"), CASES)
def test_parts_add_up(series: str, number: int) -> None:
    """To look at the counters in between changes nothing, on either path."""
    study = random_study(number, series)
    encoded = Encoded(study.configurations[0])
    vm, host, histogram = block.simulate(encoded, study.seed, range(REPLICATIONS))
    for n in (2, 7, 64):
        for scalar_only in (False, True):
            parts = block.simulate_parts(encoded, study.seed, range(REPLICATIONS), n, scalar_only=scalar_only)
            assert parts[0].shape[1] == parts[1].shape[1] == n
            np.testing.assert_array_equal(whole_window(parts[0]), vm)
            np.testing.assert_array_equal(parts[1].sum(axis=1), host)
            np.testing.assert_array_equal(parts[2], histogram)


@pytest.mark.parametrize(("series", "number"), CASES[::4])
def test_a_part_is_a_window_of_its_own(series: str, number: int) -> None:
    """The reference twin, whose warm-up ends where the part begins, has the same counters."""
    study = random_study(number, series)
    configuration = study.configurations[0]
    start, length = configuration.warmup_ns, configuration.duration_ns
    n = 3
    vm, host, _ = block.simulate_parts(Encoded(configuration), study.seed, range(2), n)
    edges = [start + i * length // n for i in range(n + 1)]
    events = np.zeros(2, np.int64)
    for i in range(n):
        part = dataclasses.replace(configuration, warmup_ns=edges[i], duration_ns=edges[i + 1] - edges[i])
        for r in range(2):
            twin = naive.simulate(part, study.seed, r, tables)
            assert vm[r, i].T.tolist() == [list(twin.vm[name]) for name in VM_COUNTERS]
            # The twin counts events from time 0 on.
            expected = [twin.host[name] - (events[r] if name == "events" else 0) for name in HOST_COUNTERS]
            assert host[r, i].tolist() == expected
            events[r] = twin.host["events"]


def test_more_parts_than_nanoseconds() -> None:
    """Parts without length are empty."""
    study = load(
        {
            "study": {"name": "short", "seed": 1, "duration": "5ns", "replications": 1},
            "host": {"pcpus": 1, "frequency": "1GHz"},
            "policy": {"scheduler": {"kind": "round_robin", "slice": "2ns"}},
            "vm": [
                {
                    "name": "a",
                    "count": 2,
                    "vcpus": 1,
                    "lock": {"kind": "ticket"},
                    "user": "1ns",
                    "hold": "1ns",
                }
            ],
        }
    )
    encoded = Encoded(study.configurations[0])
    vm, host, _ = block.simulate(encoded, 1, range(1))
    parts = block.simulate_parts(encoded, 1, range(1), 8)
    np.testing.assert_array_equal(whole_window(parts[0]), vm)
    np.testing.assert_array_equal(parts[1].sum(axis=1), host)
    assert not parts[0][0, 0].any()
