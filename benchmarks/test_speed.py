"""Speed of every case and preset as a ratio to the C program, for pytest-benchmark; see README.md."""

import json
import statistics
from pathlib import Path

import presets
import pytest

import fastlhp
from fastlhp.bench.contenders import CASES, REMEDIES, available_contenders, study_of
from fastlhp.model.presets import preset_names
from fastlhp.run.tailor import tailor_for

LATEST = Path(__file__).with_name("latest.json")
ROUNDS = 3
REPLICATIONS = 512
C_SECONDS = 0.2


@pytest.fixture(scope="session")
def contenders(tmp_path_factory):
    return [c for c in available_contenders(tmp_path_factory.mktemp("c")) if c.name == "C"]


@pytest.fixture(scope="session")
def ratios():
    """Collect what is measured, and write it at the end; an earlier part of the suite stays."""
    found = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    before = dict(found)
    yield found
    if found != before:
        LATEST.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", [*CASES, *REMEDIES, *preset_names()])
def test_speed(name, benchmark, contenders, ratios):
    is_measured = not benchmark.disabled
    replications = REPLICATIONS if is_measured else 2
    case = CASES.get(name, CASES["P4-M2-n4"])
    study = fastlhp.load(
        study_of(case, replications, 1) if name in CASES else presets.study(name, replications)
    )
    speeds = []

    def run():
        timing = fastlhp.run(study, threads=1).timing
        speeds.append(timing["events"] / timing["engine_seconds"])

    if not is_measured:
        benchmark(run)
        assert speeds[0] > 0
        return
    tailor_for(study, least_s=0)
    run()
    speeds.clear()
    c = next((c for c in contenders if c.can_run(case)), None)
    if c is None:
        pytest.skip("no C compiler")
    trial = c.run(case, c.minimum, 1)
    replications = max(c.minimum, round(c.minimum * C_SECONDS / trial.seconds))
    rates = []

    def setup():
        rates.append(c.run(case, replications, 1).rate)

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS)
    setup()
    each = [
        s / statistics.fmean(around)
        for s, around in zip(speeds, zip(rates, rates[1:], strict=False), strict=True)
    ]
    ratios[name] = benchmark.extra_info["ratio_to_c"] = round(statistics.median(each), 3)
