"""The reference twin: known-answer vectors, accuracy of the logarithm, and the hand traces."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from naive import (
    Draws,
    fraction,
    histogram_bin,
    philox2x32,
    philox4x32,
    segment_of,
    simulate,
    standard_exponential,
)
from traces import TRACES

from fastlhp.model.study import load

# tests/kat_vectors of Random123, as published with Salmon et al., SC'11: rounds, counter, key, result.
KNOWN_2X32 = """
 7 00000000 00000000 00000000   257a3673 cd26be2a
 7 ffffffff ffffffff ffffffff   ab302c4d 3dc9d239
 7 243f6a88 85a308d3 13198a2e   bedbbe6b e4c770b3
10 00000000 00000000 00000000   ff1dae59 6cd10df2
10 ffffffff ffffffff ffffffff   2c3f628b ab4fd7ad
10 243f6a88 85a308d3 13198a2e   dd7ce038 f62a4c12
"""
KNOWN_4X32 = """
 7 00000000 00000000 00000000 00000000 00000000 00000000   5f6fb709 0d893f64 4f121f81 4f730a48
 7 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff   5207ddc2 45165e59 4d8ee751 8c52f662
 7 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0   4dfccaba 190a87f0 c47362ba b6b5242a
10 00000000 00000000 00000000 00000000 00000000 00000000   6627e8d5 e169c58d bc57ac4c 9b00dbd8
10 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff   408f276d 41c83b0e a20bc7c6 6d5451fd
10 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0   d16cfe09 94fdcceb 5001e420 24126ea1
"""


@pytest.mark.parametrize("line", KNOWN_2X32.strip().splitlines())
def test_philox2x32_known_answers(line: str) -> None:
    rounds, *words = line.split()
    c0, c1, key, *expected = (int(word, 16) for word in words)
    assert philox2x32((c0, c1), key, int(rounds)) == tuple(expected)


@pytest.mark.parametrize("line", KNOWN_4X32.strip().splitlines())
def test_philox4x32_known_answers(line: str) -> None:
    rounds, *words = line.split()
    c0, c1, c2, c3, k0, k1, *expected = (int(word, 16) for word in words)
    assert philox4x32((c0, c1, c2, c3), (k0, k1), int(rounds)) == tuple(expected)


def words() -> list[int]:
    """Words of every size, and those at the edges of octaves and of the mantissa's fold."""
    edges = [2**e + d for e in range(33) for d in (-2, -1, 0, 1, 2)]
    folds = [int(2**e * math.sqrt(0.5)) + d for e in range(2, 33) for d in range(-4, 5)]
    random = np.random.default_rng(7)
    uniform = [int(w) for w in random.integers(0, 2**32, 5000)]
    small = [int(2**e) for e in random.uniform(0, 32, 2000)]
    return [w for w in (*edges, *folds, *uniform, *small) if 0 <= w < 2**32]


def test_exponential_is_the_logarithm() -> None:
    for w in words():
        got = standard_exponential(w)
        assert isinstance(got, np.float32)
        # The word's fraction is rounded to single before the logarithm, by definition.
        y = float(np.float32(w >> 1) + np.float32(0.5))
        expected = -math.log(y / 2**31)
        assert float(got) == pytest.approx(expected, rel=1e-6, abs=0.0), w


def test_exponential_at_the_ends() -> None:
    assert standard_exponential(2**32 - 1) == 0
    assert float(standard_exponential(0)) == pytest.approx(32 * math.log(2), rel=1e-6)
    assert standard_exponential(0) == standard_exponential(1) > standard_exponential(2)


def test_segments() -> None:
    assert segment_of(np.float32(0)) == 0
    assert segment_of(np.float32(2.0**-17)) == 0
    assert segment_of(np.float32(2.0**-16)) == 1
    assert segment_of(np.float32(2.0**-15)) == 33
    assert segment_of(np.nextafter(np.float32(32), np.float32(0))) == 672


def test_durations() -> None:
    draws = Draws(1, 0, None)
    constant = SimpleNamespace(kind="constant", value_ns=77)
    exponential = SimpleNamespace(kind="exponential", mean_ns=1e6)
    assert draws.duration(constant, 5) == 77
    assert draws.duration(exponential, 2**32 - 1) == 0
    assert draws.duration(SimpleNamespace(kind="exponential", mean_ns=1e9), 0) == 2**30
    mean = np.mean([draws.next_duration(exponential, 0, 0, 0) for _ in range(4000)])
    assert abs(mean - 1e6) < 4 * 1e6 / math.sqrt(4000)


def test_draws_have_names() -> None:
    first = Draws(2**40 + 3, 5, None)
    k, c, _, _ = philox4x32((2, 1, 5, 7), (3, 2**8))
    assert first.words(7, 2, 1, 9) == philox2x32((9, c), k)
    assert first.next_word(7, 2, 1) == philox2x32((0, c), k)[0]
    assert first.next_word(7, 2, 1) == philox2x32((1, c), k)[0]
    # A choice among one and a constant move no counter.
    assert first.next_choice(1, 7, 2, 1) == 0
    assert first.next_word(7, 2, 1) == philox2x32((2, c), k)[0]


def test_choices() -> None:
    assert fraction(0, 100) == 1
    assert fraction(2**32 - 1, 100) == 100
    assert sorted(Draws(1, 0, None).shuffle(list(range(9)), 5, 0xFFFFFFFF, 0)) == list(range(9))


def test_histogram_bins() -> None:
    assert [histogram_bin(x) for x in (0, 1, 2, 3, 16, 17, 31, 32)] == [0, 0, 16, 24, 64, 65, 79, 80]
    assert histogram_bin(2**44 - 1) == histogram_bin(2**50) == 703


def differences(outcome: Any, names: list[str], expected: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Find the counters that are not as expected, as (found, expected)."""
    found = {}
    for name, counters in expected["vm"].items():
        for counter, value in counters.items():
            got = outcome.vm[counter][names.index(name)]
            if got != value:
                found[f"{name}.{counter}"] = (got, value)
    for counter, value in expected["host"].items():
        if outcome.host[counter] != value:
            found[counter] = (outcome.host[counter], value)
    return found


@pytest.mark.parametrize(
    ("described", "expected", "replication"),
    [trace[1:] for trace in TRACES],
    ids=[trace[0] for trace in TRACES],
)
def test_hand_trace(described: dict[str, Any], expected: dict[str, Any], replication: int) -> None:
    study = load(described)
    (configuration,) = study.configurations
    outcome = simulate(configuration, study.seed, replication, trace=True)
    names = [vm.group for vm in configuration.vms]
    assert differences(outcome, names, expected) == {}, "\n".join(map(str, outcome.trace))


RANDOM_VMS = [
    {
        "name": "heavy",
        "vcpus": 3,
        "weight": 2,
        "lock": {"kind": "ticket", "count": 2, "weights": [3, 1]},
        "user": {"exponential": "90ns"},
        "kernel": {"exponential": "20ns"},
        "hold": {"exponential": "60ns"},
        "handover": {"exponential": "4ns"},
        "halt": {"probability": 0.2, "time": {"exponential": "300ns"}},
    },
    {
        "name": "light",
        "vcpus": 2,
        "lock": {"kind": "test_and_set"},
        "user": {"exponential": "70ns"},
        "hold": {"exponential": "60ns"},
    },
]
SCHEDULERS = {
    "pinned": {"kind": "round_robin", "slice": {"exponential": "200ns"}, "placement": "random"},
    "balance": {"kind": "round_robin", "slice": "200ns", "placement": "balance", "slice_after_yield": "rest"},
    "global": {"kind": "global", "slice": "200ns"},
    "gang": {"kind": "gang", "slice": {"exponential": "200ns"}},
    "fill": {"kind": "gang", "slice": "200ns", "fill": True},
}
GUARDS = {
    "unguarded": {"kind": "none"},
    "delay": {"kind": "delay", "cap": {"exponential": "50ns"}, "repay": True},
    "extra": {"kind": "extra_slice", "length": "50ns"},
    "monitor": {"kind": "monitor", "cap": {"exponential": "50ns"}},
    "window": {"kind": "monitor_halt", "window": "50ns"},
    "driver": {"kind": "driver", "cap": "50ns", "latency": {"exponential": "10ns"}},
}
RESPONSES = {
    "spin": {"kind": "none"},
    "yield": {"kind": "yield", "spin_threshold": {"exponential": "40ns"}},
    "boost": {"kind": "directed_yield", "spin_threshold": "40ns", "target": "waiter", "migrate": True},
    "turn": {
        "kind": "directed_yield",
        "spin_threshold": "40ns",
        "target": "round_robin",
        "window_grow": 2,
        "window_max": "100ns",
    },
    "halt": {"kind": "halt", "spin_threshold": "40ns", "wakeup": {"exponential": "30ns"}},
    "notify": {"kind": "notify", "spin_threshold": "40ns"},
}
POLICIES = [
    (scheduler, guard, response)
    for scheduler in SCHEDULERS
    for guard in GUARDS
    for response in RESPONSES
    if scheduler not in ("gang", "fill") or (guard == "unguarded" and response not in ("boost", "turn"))
]


def random_study(scheduler: str, guard: str, response: str, **host: Any) -> dict[str, Any]:
    """Describe a small study in which everything happens."""
    return {
        "study": {"name": "random", "seed": 3, "duration": "10us", "warmup": "1us", "replications": 2},
        "host": {
            "pcpus": 3,
            "frequency": "1GHz",
            "context_switch": {"exponential": "6ns"},
            "vm_exit": {"exponential": "6ns"},
            **host,
        },
        "policy": {
            "scheduler": SCHEDULERS[scheduler],
            "guard": GUARDS[guard],
            "response": RESPONSES[response],
        },
        "vm": RANDOM_VMS,
    }


@pytest.mark.parametrize(("scheduler", "guard", "response"), POLICIES)
def test_accounts_add_up(scheduler: str, guard: str, response: str) -> None:
    """The twin checks its own sums, lock owners and tickets; here, that each part of a policy acts."""
    study = load(random_study(scheduler, guard, response))
    (configuration,) = study.configurations
    outcome = simulate(configuration, study.seed, 0)
    total = {counter: sum(values) for counter, values in outcome.vm.items()}
    assert total["acquisitions"] >= total["contended_acquisitions"] > 0
    # With the other guards two waiters may go on boosting each other, so that no slice ends.
    assert total["lhp_events"] >= total["lhp_acquisitions"] >= (guard in ("unguarded", "delay", "extra"))
    assert total["spin_ns"] >= total["spin_lhp_ns"] + total["spin_lwp_ns"]
    assert sum(outcome.wait_histogram.values()) == total["contended_acquisitions"]
    assert sum(outcome.holder_off_histogram.values()) == total["holder_off_spells"]
    assert (total["extensions"] > 0) == (guard != "unguarded")
    assert (total["guard_yields"] > 0) == (guard == "delay")
    assert (total["yields"] > 0) == (response in ("yield", "boost", "turn"))
    assert (total["halts"] > 0) == (response == "halt") == (total["kicks"] > 0)
    directed = sum(total[f"directed_yields_{result}"] for result in ("holder", "waiter", "other", "none"))
    if response in ("boost", "turn"):
        # A yield whose exit straddles an edge of the window is counted on one side, its result on the other.
        assert abs(directed - total["yields"]) <= configuration.host.pcpus
        if response == "boost":
            assert total["directed_yields_waiter"] > 0
    else:
        assert directed == 0


def test_same_name_same_result() -> None:
    study = load(random_study("pinned", "delay", "yield"))
    (configuration,) = study.configurations
    first = simulate(configuration, study.seed, 0)
    assert simulate(configuration, study.seed, 0) == first
    assert simulate(configuration, study.seed, 1) != first
    assert simulate(configuration, study.seed + 2**32, 0) != first


def test_a_table_of_straight_lines_is_an_exponential() -> None:
    described = random_study("pinned", "unguarded", "spin")
    study = load(described)
    other = load(
        random_study("pinned", "unguarded", "spin", context_switch={"gamma": {"mean": "6ns", "cv": 1}})
    )
    asked = []

    def tables(distribution: Any) -> tuple[np.ndarray, np.ndarray]:
        asked.append(distribution.kind)
        return np.zeros(673, np.float32), np.full(673, 6, np.float32)

    exponential = simulate(study.configurations[0], study.seed, 0)
    tabulated = simulate(other.configurations[0], study.seed, 0, tables)
    assert asked == ["gamma"]
    assert tabulated == exponential
