"""Studies of which only summaries are kept: the same bits however they were run."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from studies import PRECISION, STUDY, assert_same_results

import fastlhp
from fastlhp.cli.main import main


@pytest.mark.parametrize("replications", ["replications = 20", PRECISION])
def test_threads_shares_and_replications_agree(tmp_path: Path, replications: str) -> None:
    text = STUDY.format(duration="2ms").replace("replications = 40", replications)
    summaries = text.replace("[host]", 'store = "summaries"\n[host]', 1)
    (tmp_path / "study.toml").write_text(summaries)
    (tmp_path / "full.toml").write_text(text)

    def run(name: str, study: str, *options: str) -> Path:
        path = tmp_path / f"{name}.h5"
        command = ["run", str(tmp_path / study), "-o", str(path), "--quiet", *options]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        return path

    one, two = run("one", "study.toml", "--threads", "1"), run("two", "study.toml", "--threads", "2")
    assert_same_results(one, two)
    shares = [str(run(f"share{i}", "study.toml", "--shard", f"{i}/3")) for i in (1, 2, 3)]
    done = CliRunner().invoke(main, ["merge", *shares, "-o", str(tmp_path / "merged.h5")])
    assert done.exit_code == 0, done.output
    assert_same_results(one, tmp_path / "merged.h5")

    results, full = fastlhp.open(one), fastlhp.open(run("full", "full.toml"))
    assert results.n_replications == full.n_replications == full["replications"].max()
    for metric in ("throughput", "lhp_probability", "wait_q99"):
        left, right = results.summary(metric), full.summary(metric)
        assert left.mean == pytest.approx(right.mean, rel=1e-13, nan_ok=True)
        assert left.high == pytest.approx(right.high, rel=1e-9, nan_ok=True)
        assert (left.n == right.n).all()
    done = CliRunner().invoke(main, ["rerun", str(one), "--configuration", "17"])
    assert done.exit_code == 0 and "the same, bit for bit" in done.output
