"""Running a study: threads, order of configurations, interruption."""

import importlib
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

import fastlhp
from fastlhp.analysis.estimates import estimate
from fastlhp.results.counters import ConfigurationResult
from fastlhp.results.metrics import METRICS
from fastlhp.results.table import as_table
from fastlhp.run.execute import execute
from fastlhp.run.progress import Progress
from fastlhp.run.work import Work

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


class TestPrecision:
    """Configurations that stop when they are precise enough."""

    TARGETS = [
        {"metric": "lhp_probability", "relative": 0.3, "batch": 8, "max_replications": 200},
        {
            "metric": "wait_mean",
            "relative": 0.1,
            "min_replications": 20,
            "batch": 8,
            "max_replications": 100,
        },
    ]

    @property
    def study(self) -> dict:
        return {**STUDY, "study": {**STUDY["study"], "replications": 10, "precision": self.TARGETS}}

    def test_the_same_bits_with_any_threads(self) -> None:
        one, three = outcome(self.study, 1), outcome(self.study, 3)
        assert sorted(one) == sorted(three) == list(range(12))
        for index, result in one.items():
            np.testing.assert_array_equal(result.vm, three[index].vm)
            np.testing.assert_array_equal(result.host, three[index].host)
            np.testing.assert_array_equal(result.histogram, three[index].histogram)

    def test_each_stops_as_soon_as_all_its_targets_are_met_twice(self) -> None:
        """Looked up in the results of a run with all replications, of which the stopped ones are the first."""
        study = fastlhp.load(self.study)
        assert study.precision is not None
        looks = list(study.precision.looks())
        assert looks == [*range(20, 132, 8), 132, 148, 164, 180, 196, 200]
        everything = fastlhp.run(study, replications=200)

        def half_width(name: str, k: int) -> np.ndarray:
            summary = estimate(METRICS[name], lambda each: everything[each][:, :k], 0.95)
            return summary.half_width / np.where(summary.mean > 0, summary.mean, np.nan)

        met = {
            k: (half_width("lhp_probability", k) <= 0.3) & (half_width("wait_mean", k) <= 0.1) for k in looks
        }
        expected = [
            next((b for a, b in zip(looks, looks[1:], strict=False) if met[a][i] and met[b][i]), 200)
            for i in range(12)
        ]
        assert len(set(expected)) > 3
        results = fastlhp.run(study, threads=2)
        assert results["replications"].tolist() == expected
        assert results.n_replications == 200
        for metric in ("lhp_events", "wait_mean", "fairness"):
            values, missing = results[metric], -1 if metric == "lhp_events" else np.nan
            for i, n in enumerate(expected):
                np.testing.assert_array_equal(values[i, :n], everything[metric][i, :n])
                np.testing.assert_array_equal(values[i, n:], missing)
        assert (results.vm("acquisitions")[0, expected[0] :] == -1).all()
        assert results.summary("throughput").n.tolist() == expected

    def test_in_a_file(self, tmp_path: Path) -> None:
        in_memory = fastlhp.run(self.study, threads=2)
        in_file = fastlhp.run(self.study, threads=2, output=tmp_path / "r.h5")
        for metric in (*in_memory.metrics,):
            np.testing.assert_array_equal(in_file[metric], in_memory[metric])
        n = in_memory["replications"]
        text = as_table(in_file)
        assert f"interval from {n.min()} to {n.max()} replications" in text.replace("\n", " ")
        with h5py.File(tmp_path / "r.h5", "r+") as file:
            del file["replications"]
        # A file from before: all have the same number.
        assert (fastlhp.open(tmp_path / "r.h5")["replications"] == 200).all()

    def test_progress_reaches_its_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.import_module("fastlhp.run.progress"), "REPORT_S", 0.0)
        seen: list[Progress] = []
        study = fastlhp.load(self.study)
        found: list[ConfigurationResult] = []
        execute(study, threads=2, sink=found.append, progress=seen.append)
        done = sum(len(result.host) for result in found)
        assert (seen[-1].done_replications, seen[-1].n_replications) == (done, done)
        assert done < 12 * 200
        assert any(progress.least_precise for progress in seen) and seen[-1].least_precise is None

    def test_threads_wait_for_a_single_configuration_that_goes_on(self) -> None:
        target = {"metric": "wait_mean", "relative": 0.02, "max_replications": 5000}
        alone = {**STUDY, "study": {**STUDY["study"], "precision": target}, "sweep": {}}
        assert 100 < len(outcome(alone, 3)[0].host) == len(outcome(alone, 1)[0].host) < 5000


@pytest.mark.parametrize("begun", [3, 1024])
def test_batches_hold_what_each_configuration_is_alone(monkeypatch: pytest.MonkeyPatch, begun: int) -> None:
    """Few or many configurations begun at a time, numbers of VMs that alternate, a last unit that is short."""
    module = importlib.import_module("fastlhp.run.execute")
    monkeypatch.setattr(module, "_MOST_BEGUN", begun)
    monkeypatch.setattr(module, "_MOST_VMS", 4 * begun)
    study = {
        **STUDY,
        "study": {**STUDY["study"], "replications": 19},
        "sweep": {"host.pcpus": [2, 9], "vm.guest.count": [1, 3, 2], "host.context_switch": ["1us", "2us"]},
    }
    together = outcome(study, 2)
    assert sorted(together) == list(range(12))
    for c in fastlhp.load(study).configurations:
        host = {**STUDY["host"], "pcpus": c.host.pcpus, "context_switch": c.labels["host.context_switch"]}
        vm = {**STUDY["vm"][0], "count": len(c.vms)}
        alone = outcome({**study, "host": host, "vm": [vm], "sweep": {}}, 1)[0]
        found = together[c.index]
        assert (found.first, found.stop, found.warmup_ns) == (0, 19, 1_000_000)
        for name in ("vm", "host", "early", "histogram"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))


def test_units_of_what_is_left() -> None:
    work = Work(40, [7, 8, 9], gaps={8: [range(3, 5), range(20, 40)]})
    assert work.units([7, 8]).tolist() == [
        [0, 0, 16],
        [0, 16, 16],
        [0, 32, 8],
        [1, 3, 2],
        [1, 20, 16],
        [1, 36, 4],
    ]
    assert [work.n_left(index) for index in (7, 8)] == [40, 22]
