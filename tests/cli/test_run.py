"""The command and `fastlhp.run`, with a stand-in for the engine; the last test runs the real one."""

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fastlhp
from fastlhp.cli.main import main
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS, ConfigurationResult, Status
from fastlhp.run.progress import Progress, ProgressReporter, Timing

STUDY = """
[study]
name = "small"
seed = 3
duration = "10ms"
warmup = "0ms"
replications = 2
[host]
pcpus = 2
frequency = "2GHz"
[policy]
preset = "baseline"
[[vm]]
name = "guest"
vcpus = 2
user = "40us"
hold = "2us"
lock = { kind = "ticket" }
[sweep]
"vm.guest.count" = [1, 2, 3]
"""


def fake_result(study, index):
    r, n_vms = study.replications, len(study.configurations[index].vms)
    vm = np.full((r, n_vms, len(VM_COUNTERS)), 10 + index, dtype=np.int64)
    return ConfigurationResult(index, vm, np.ones((r, len(HOST_COUNTERS)), dtype=np.int64))


def fake_execute(study, *, threads, sink, progress, stop=None):
    for i in range(study.n_configurations):
        sink(fake_result(study, i))
        if progress is not None:
            n = study.n_configurations
            progress(Progress(i + 1, n, 2 * i + 2, 2 * n, 1000 * i, 0.1 * i))
    return Timing(events=3000, engine_seconds=0.5, threads=threads)


@pytest.fixture
def engine(monkeypatch):
    """Install a stand-in for the engine; its `execute` may be replaced."""
    module = types.ModuleType("fastlhp.run.execute")
    module.execute = fake_execute
    module.execute_parts = lambda study, work, looks, **options: module.execute(study, **options)
    monkeypatch.setitem(sys.modules, "fastlhp.run.execute", module)
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "study.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTLHP_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["run", "study.toml", *arguments])


def test_run_and_show(engine, folder):
    done = run("-o", "out.h5", "--threads", "2")
    assert done.exit_code == 0, done.output
    assert "3 configurations x 2 replications" in done.stderr and "written to out.h5" in done.stderr
    assert "6 k" in done.stderr and "2 threads" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("#") and [line[0] for line in lines[1:4]] == ["0", "1", "2"]
    results = fastlhp.open("out.h5")
    assert results.status.tolist() == [0, 0, 0]
    assert results.timing == {"events": 3000, "engine_seconds": 0.5, "threads": 2}
    assert results.attributes.study == STUDY and results.attributes.provenance["threads"] == 2
    assert sorted(os.listdir()) == ["cache", "out.h5", "study.toml"]


def test_speed_is_remembered(engine, folder):
    run("--quiet")
    from fastlhp.run.speed import read_speed

    speed = read_speed()
    assert (speed.events_per_second, speed.threads) == (6000.0, len(os.sched_getaffinity(0)))


def test_default_name_and_quiet(engine, folder):
    done = run("--quiet", "--replications", "5", "--seed", "18446744073709551615")
    assert (done.exit_code, done.output) == (0, "")
    results = fastlhp.open("small.h5")
    assert results.n_replications == 5 and results.attributes.seed == 2**64 - 1


def test_an_existing_file_is_refused_before_anything_runs(engine, folder):
    engine.execute = None
    (folder / "out.h5").write_text("precious")
    done = run("-o", "out.h5")
    assert done.exit_code == 2 and "out.h5 exists" in done.stderr and "--force" in done.stderr
    assert (folder / "out.h5").read_text() == "precious"
    engine.execute = fake_execute
    assert run("-o", "out.h5", "--force").exit_code == 0
    assert len(fastlhp.open("out.h5")) == 3


def test_bad_input_writes_nothing(engine, folder):
    (folder / "study.toml").write_text(STUDY.replace("pcpus = 2", "pcpus = -2"))
    done = run("-o", "out.h5")
    assert done.exit_code == 2 and "host.pcpus" in done.stderr
    assert run("--threads", "0").exit_code == 2
    assert os.listdir() == ["study.toml"]


def test_a_failed_configuration_fails_alone(engine, folder):
    def execute(study, *, threads, sink, progress, stop):
        sink(fake_result(study, 2))
        sink(dataclasses.replace(fake_result(study, 1), status=Status.FAILED, message="lane 5 is stuck"))
        sink(fake_result(study, 0))
        return Timing(10, 0.1, threads)

    engine.execute = execute
    done = run("-o", "out.h5")
    assert done.exit_code == 1
    assert "configuration 1 (vm.guest.count = 2) failed: lane 5 is stuck" in done.stderr
    assert "1 of 3 configurations failed; the others are in out.h5" in done.stderr
    assert "failed" in done.stdout
    assert fastlhp.open("out.h5").status.tolist() == [0, 1, 0]


@pytest.mark.parametrize("finished", [0, 2])
def test_a_broken_run_keeps_what_is_finished(engine, folder, finished):
    def execute(study, *, threads, sink, progress, stop):
        for i in range(finished):
            sink(fake_result(study, i))
        raise MemoryError("no room")

    engine.execute = execute
    done = run("-o", "out.h5")
    assert done.exit_code == 1 and "the run broke off: MemoryError: no room" in done.stderr
    if finished:
        assert "2 of 3 configurations were finished and are in out.h5" in done.stderr
        assert fastlhp.open("out.h5").status.tolist() == [0, 0, 2]
    else:
        assert os.listdir() == ["study.toml"]


def test_long_studies_are_cut(engine, folder):
    counts = ", ".join(str(i) for i in range(1, 71))
    (folder / "study.toml").write_text(STUDY.replace("[1, 2, 3]", f"[{counts}]"))
    done = run("-o", "out.h5")
    assert done.stdout.splitlines()[-1] == "... 10 more configurations: use fastlhp show out.h5"
    assert "\n59 " in done.stdout and "\n60 " not in done.stdout


INTERRUPTED = """
import os, sys, time, types
sys.path[:0] = {folders!r}
from test_run import fake_result
from fastlhp.cli.main import main
from fastlhp.run.progress import Timing

def execute(study, *, threads, sink, progress, stop):
    for i in range({finished}):
        sink(fake_result(study, i))
    for number in {signals}:
        os.kill(os.getpid(), number)
        time.sleep(0.05)
    assert stop.wait(5)
    return Timing(10, 0.1, threads)

module = types.ModuleType("fastlhp.run.execute")
module.execute_parts = lambda study, work, looks, **options: execute(study, **options)
sys.modules["fastlhp.run.execute"] = module
main()
"""


@pytest.mark.parametrize(
    ("signals", "finished", "code"),
    [
        ([signal.SIGINT], 2, 130),
        ([signal.SIGTERM], 1, 143),
        ([signal.SIGINT], 0, 130),
        ([signal.SIGINT, signal.SIGINT], 2, 130),
    ],
)
def test_interruption(folder, signals, finished, code):
    source = INTERRUPTED.format(
        folders=[os.path.dirname(__file__), str(Path(fastlhp.__file__).parents[1])],
        finished=finished,
        signals=[int(s) for s in signals],
    )
    command = [sys.executable, "-c", textwrap.dedent(source), "run", "study.toml", "-o", "out.h5", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if len(signals) == 2:
        assert "nothing was kept" in done.stderr
        assert os.listdir() == ["study.toml"]
    elif finished:
        assert f"{finished} of 3 configurations were finished and are in out.h5" in done.stderr
        assert fastlhp.open("out.h5").status.tolist() == [0] * finished + [2] * (3 - finished)
    else:
        assert "no configuration was finished; out.h5 was not written" in done.stderr
        assert os.listdir() == ["study.toml"]


def test_python_function(engine, folder):
    memory = fastlhp.run("study.toml", threads=2, replications=3)
    assert memory["acquisitions"].shape == (3, 3) and memory.attributes.source == ""
    assert memory.timing["events"] == 3000 and memory.attributes.provenance["threads"] == 2
    filed = fastlhp.run(fastlhp.load("study.toml"), output="out.h5", replications=3, seed=5, threads=1)
    np.testing.assert_array_equal(memory["wait_mean"], filed["wait_mean"])
    assert filed.attributes.seed == 5
    with pytest.raises(fastlhp.results.file.ResultFileError, match="exists"):
        fastlhp.run("study.toml", output="out.h5")
    fastlhp.run("study.toml", output="out.h5", force=True)
    with pytest.raises(ValueError, match="threads must be >= 1"):
        fastlhp.run("study.toml", threads=0)


def test_the_function_run_and_the_package_run_get_along(engine):
    importlib.import_module("fastlhp.run.progress")
    from fastlhp.run.execute import execute

    assert callable(fastlhp.run) and execute is fake_execute
    assert set(fastlhp.__all__) <= set(dir(fastlhp))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fastlhp.nonsense


def test_import_is_light():
    code = (
        "import sys, fastlhp; fastlhp.run; fastlhp.__version__\n"
        "assert not {'numba', 'numpy', 'h5py', 'pydantic', 'scipy', 'tqdm'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Stream:
    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return self.terminal


def test_logs_get_a_line_every_interval():
    stream, time = Stream(False), [0.0]
    with ProgressReporter(stream, interval_s=30, clock=lambda: time[0]) as report:
        for second in range(100):
            time[0] = float(second)
            report(Progress(second // 10, 10, second, 100, 2_000_000 * second, float(second)))
    lines = stream.text.splitlines()
    assert len(lines) == 3
    assert lines[1] == "6/10 configurations, 60.0 % of the replications, 2 Mevents/s, 1:00 elapsed, 0:40 left"


def test_terminals_get_a_bar():
    stream = Stream(True)
    with ProgressReporter(stream) as report:
        report(Progress(0, 4, 0, 8, 0, 0.0))
        report(Progress(2, 4, 4, 8, 5_000, 2.0))
    assert "\r" in stream.text and "50%" in stream.text and "2/4 configurations, 2.5 kevents/s" in stream.text


@pytest.mark.parametrize(
    ("least_precise", "said"),
    [
        (None, "0:02 left"),
        ((17, 2.34), "0:02 left, least precise #17 (2.3 times too wide)"),
        ((17, np.inf), "0:02 left, least precise #17"),
        ((3, 0.9), "0:02 left, #3 to be looked at once more"),
    ],
)
def test_the_least_precise_configuration_is_named(least_precise, said):
    progress = Progress(2, 4, 4, 8, 5_000, 2.0, 0, least_precise)
    assert ProgressReporter.line(progress).endswith(said)
    stream = Stream(True)
    with ProgressReporter(stream) as report:
        report(progress)
    assert said.partition("left")[2] in stream.text


@pytest.mark.slow
def test_the_real_engine(folder):
    pytest.importorskip("fastlhp.run.execute")
    done = run("-o", "out.h5", "--threads", "1")
    assert done.exit_code == 0, done.output
    results = fastlhp.open("out.h5")
    assert results.status.tolist() == [0, 0, 0] and results.timing["events"] > 0
    parts = ("user_time", "kernel_time", "hold_time", "spin_time", "switch_time", "exit_time", "idle_time")
    # 2 pCPUs for 10 ms, exactly.
    total = sum(np.rint(np.asarray(results[part]) * 1e9).astype(np.int64) for part in parts)
    assert (total == 20_000_000).all()
    memory = fastlhp.run("study.toml", threads=2)
    for name in memory:
        np.testing.assert_array_equal(memory[name], results[name], err_msg=name)
