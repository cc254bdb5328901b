"""One configuration again, from the result file alone."""

import shutil
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner
from studies import STUDY

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results.counters import HISTOGRAMS
from fastlhp.results.merge import merge
from fastlhp.results.metrics import EARLY, METRICS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result file with a seed and replications that its study file does not say."""
    folder = tmp_path_factory.mktemp("rerun")
    study = fastlhp.load(folder / "study.toml", text=STUDY.format(duration="10ms"))
    fastlhp.run(study, seed=2**64 - 1, replications=20, output=folder / "out.h5")
    return folder / "out.h5"


def rerun(path: Path, index: object) -> "tuple[int, str]":
    done = CliRunner().invoke(main, ["rerun", str(path), "--configuration", str(index)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize("index", [0, 17, 35])
def test_the_bits_are_the_same(written: Path, index: int) -> None:
    code, said = rerun(written, index)
    n = 1 + len(METRICS) + sum("vm" in metric.levels for metric in METRICS.values()) + len(HISTOGRAMS)
    n += len(EARLY)
    assert code == 0 and f"20 replications: all {n} variables are the same, bit for bit" in said, said


def test_a_file_of_several_studies(written: Path, tmp_path: Path) -> None:
    study = fastlhp.load(tmp_path / "study.toml", text=STUDY.format(duration="1ms"))
    fastlhp.run(study, seed=1, replications=3, output=tmp_path / "short.h5")
    merge([tmp_path / "short.h5", written], tmp_path / "both.h5")
    for index, n in ((35, 3), (36 + 17, 20)):
        code, said = rerun(tmp_path / "both.h5", index)
        assert code == 0 and f"{n} replications: all" in said, said


def test_a_changed_value_is_found(written: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copy(written, tmp_path / "changed.h5"))
    with h5py.File(changed, "r+") as file:
        file["vm/acquisitions"][17, 3, 0] += 1
        file["wait_mean"][16, 0] *= 1 + 2**-52
    assert rerun(changed, 17) == (
        1,
        f"fastlhp: configuration 17 of {changed}, 20 replications: not as in the file: vm/acquisitions\n",
    )
    assert rerun(changed, 16)[1].endswith("not as in the file: wait_mean\n")
    assert rerun(changed, 15)[0] == 0


def test_what_is_not_there_is_refused(written: Path, tmp_path: Path) -> None:
    assert rerun(written, 36) == (2, f"fastlhp: {written} has configurations 0 to 35, found 36\n")
    assert rerun(tmp_path / "none.h5", 0)[0] == 2
    assert rerun(written, -1)[0] == 2
