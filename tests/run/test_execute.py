"""Running a study: threads, order of configurations, interruption."""

import threading

import numpy as np
import pytest

import fastlhp
from fastlhp.results.counters import ConfigurationResult
from fastlhp.run.execute import execute

STUDY = {
    "study": {"name": "threads", "seed": 7, "duration": "20ms", "warmup": "1ms", "replications": 40},
    "host": {"pcpus": 2, "frequency": "1GHz", "context_switch": "2us"},
    "policy": {"scheduler": {"kind": "round_robin", "slice": "1ms"}},
    "vm": [
        {
            "name": "guest",
            "count": 2,
            "vcpus": 2,
            "lock": {"kind": "ticket"},
            "user": {"exponential": "10us"},
            "hold": {"exponential": "2us"},
        }
    ],
    "sweep": {
        "host.pcpus": [1, 2, 9],
        "vm.guest.lock.kind": ["ticket", "test_and_set"],
        "policy.response": [{"kind": "none"}, {"kind": "yield", "spin_threshold": "5us"}],
    },
}


def outcome(study: dict, threads: int) -> dict[int, ConfigurationResult]:
    found: dict[int, ConfigurationResult] = {}
    execute(fastlhp.load(study), threads=threads, sink=lambda result: found.__setitem__(result.index, result))
    return found


def test_threads_give_the_same_bits() -> None:
    """One thread or three: every counter and histogram of every configuration is equal."""
    one, three = outcome(STUDY, 1), outcome(STUDY, 3)
    assert sorted(one) == sorted(three) == list(range(12))
    for index, result in one.items():
        np.testing.assert_array_equal(result.vm, three[index].vm)
        np.testing.assert_array_equal(result.host, three[index].host)
        np.testing.assert_array_equal(result.histogram, three[index].histogram)
        assert result.vm[..., 0].min() > 0


@pytest.mark.parametrize("lock", ["ticket", "test_and_set"])
def test_a_configuration_alone_is_as_in_the_sweep(lock: str) -> None:
    """Neither the other configurations of a study nor their order matter."""
    alone = {
        **STUDY,
        "host": {**STUDY["host"], "pcpus": 9},
        "vm": [{**STUDY["vm"][0], "lock": {"kind": lock}}],
        "sweep": {},
    }
    single = outcome(alone, 1)[0]
    study = fastlhp.load(STUDY)
    index = next(
        c.index
        for c in study.configurations
        if c.host.pcpus == 9 and c.vms[0].lock.kind == lock and c.response.kind == "none"
    )
    np.testing.assert_array_equal(single.vm, outcome(STUDY, 2)[index].vm)


def test_stop_drops_what_is_not_finished() -> None:
    """A run that is told to stop returns, with whole configurations only."""
    stop = threading.Event()
    found: list[ConfigurationResult] = []

    def sink(result: ConfigurationResult) -> None:
        found.append(result)
        stop.set()

    long = {**STUDY, "study": {**STUDY["study"], "duration": "500ms"}}
    execute(fastlhp.load(long), threads=1, sink=sink, stop=stop)
    assert 1 <= len(found) < 12
