"""``warmup = "auto"``: about as long as a known transient lasts, and the same bits however a study is run."""

import importlib
import threading
from pathlib import Path

import numpy as np
import pytest
from studies import STUDY, assert_same_results

import fastlhp
from fastlhp.errors import StudyError
from fastlhp.model.study import load
from fastlhp.results.counters import ConfigurationResult
from fastlhp.run.executors import open_pool
from fastlhp.run.job import Job
from fastlhp.run.warmup import PARTS, mser_5, settled

AUTO = STUDY.format(duration="20ms").replace('warmup = "1ms"', 'warmup = "auto"')


@pytest.mark.parametrize("settling", [5.0, 10.0, 20.0])
def test_an_exponential_transient(settling: float) -> None:
    """What falls as exp(-t / settling) is in the noise of a twentieth after three times that."""
    rng = np.random.default_rng(int(settling))
    t = np.arange(PARTS)
    cuts = [mser_5(1 + np.exp(-t / settling) + rng.normal(0, 0.05, PARTS)) for _ in range(200)]
    assert 2 * settling < np.median(cuts) < 5 * settling
    assert np.quantile(cuts, 0.05) >= settling


def test_nothing_to_leave_out() -> None:
    rng = np.random.default_rng(1)
    cuts = [mser_5(rng.normal(1, 0.05, PARTS)) for _ in range(1000)]
    assert np.median(cuts) <= PARTS / 20 and max(cuts) <= PARTS / 2
    assert mser_5(np.ones(PARTS)) == 0


def study_of(user: object, hold: str = "1ms") -> fastlhp.Study:
    return load(
        {
            "study": {"name": "auto", "seed": 2, "duration": "800ms", "warmup": "auto", "replications": 4},
            "host": {"pcpus": 4, "frequency": "1GHz"},
            "policy": {"scheduler": {"kind": "round_robin", "slice": "1ms"}},
            "vm": [
                {
                    "name": "guest",
                    "vcpus": 4,
                    "user": user,
                    "hold": {"exponential": hold},
                    "lock": {"kind": "ticket"},
                }
            ],
        }
    )


def test_of_a_simulation() -> None:
    """Nobody takes the lock in the first 60 ms, and all of them at about the same time after that."""
    late = settled(study_of({"uniform": ["60ms", "100ms"]}), 0)
    assert 60_000_000 <= late.warmup_ns <= 400_000_000 and late.warmup_ns % 20_000_000 == 0
    assert not late.has_auto_warmup
    assert settled(study_of({"exponential": "80us"}, "20us"), 0).warmup_ns <= 80_000_000


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_the_same_bits_anywhere(tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one thread; with others and broken off; and one configuration alone."""
    chunks = importlib.import_module("fastlhp.run.chunks")
    monkeypatch.setattr(chunks, "SHORTEST_S", 1e-6)
    monkeypatch.setattr(chunks, "LONGEST_S", 1e-6)
    (tmp_path / "study.toml").write_text(AUTO)
    study = fastlhp.load(tmp_path / "study.toml")
    fastlhp.run(study, threads=1, output=tmp_path / "whole.h5")
    stop = threading.Event()

    with Job(study, tmp_path / "out.h5") as job, open_pool(executor, 2) as pool:
        write = job.store.write

        def write_and_break_off(part: ConfigurationResult) -> None:
            write(part)
            stop.set()

        monkeypatch.setattr(job.store, "write", write_and_break_off)
        job.simulate(2, pool=pool, stop=stop)
        job.keep()
        work = job.work()
        assert work.indices and work.n_earlier
    with Job(study, tmp_path / "out.h5", resume=True) as job, open_pool(executor, 2) as pool:
        job.simulate(2, pool=pool)
        assert job.write_file()
    assert_same_results(tmp_path / "whole.h5", tmp_path / "out.h5")
    results = fastlhp.open(tmp_path / "out.h5")
    found = results["warmup_time"]
    assert (found >= 0).all() and (found <= 0.01).all() and len(np.unique(found)) > 3
    i = int(np.argmax(found))
    assert settled(study, i).warmup_ns == round(1e9 * found[i])
    # As a study that says so.
    fixed = AUTO.replace('warmup = "auto"', f'warmup = "{round(1e9 * found[i])}ns"')
    alone = fastlhp.run(fastlhp.load(tmp_path / "fixed.toml", text=fixed), threads=2)
    for metric in ("acquisitions", "spin_time", "wait_max", "preemptions"):
        np.testing.assert_array_equal(alone[metric][i], results[metric][i])


def test_what_a_study_may_say(tmp_path: Path) -> None:
    assert fastlhp.load(tmp_path / "a.toml", text=AUTO).configurations[0].has_auto_warmup
    with pytest.raises(StudyError, match='or "auto"'):
        fastlhp.load(tmp_path / "a.toml", text=AUTO.replace('"auto"', '"automatic"'))
