"""``fastlhp run``: run a study and write its result file."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from fastlhp.errors import FastlhpError, StudyError

if TYPE_CHECKING:
    from fastlhp.model.study import Study
    from fastlhp.run.executors import Pool
    from fastlhp.run.job import Job
    from fastlhp.run.progress import Timing
    from fastlhp.run.store import Store
    from fastlhp.run.work import Shard

__all__ = ["command"]

_FAILED, _BAD_INPUT = 1, 2
_MAX_ROWS = 60


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> "Shard | None":
    from fastlhp.run.work import Shard

    if value is None:
        return None
    try:
        number, of = map(int, value.split("/"))
        return Shard(number, of)
    except (ValueError, FastlhpError):
        raise click.BadParameter(f"{value!r} is not I/N with 1 <= I <= N") from None


@click.command()
@click.argument("study", metavar="STUDY.toml", type=click.Path())
@click.option(
    "-o", "--output", metavar="OUT.h5", type=click.Path(), help="Result file; default: NAME.h5 here."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Or worker processes; default: the CPUs this process may use.",
)
@click.option(
    "--replications", type=click.IntRange(min=1), help="Instead of the study's, its precision included."
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Instead of the study's.")
@click.option("--resume", is_flag=True, help="Go on with an earlier run of the same file, if there is one.")
@click.option(
    "--executor",
    type=click.Choice(["threads", "processes", "mpi", "dask"]),
    default="threads",
    show_default=True,
    help="What simulates.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of Dask, as tcp://host:8786.")
@click.option("--shard", metavar="I/N", callback=_shard, help="Run the I-th of N shares; see fastlhp merge.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--force", is_flag=True, help="Overwrite a result file, and what an interrupted run has left.")
@click.pass_context
def command(
    context: click.Context,
    study: str,
    output: str | None,
    threads: int | None,
    replications: int | None,
    seed: int | None,
    resume: bool,
    executor: str,
    scheduler: str | None,
    shard: "Shard | None",
    quiet: bool,
    force: bool,
) -> None:
    """Run a study and write its result file.

    Ctrl-C stops it and keeps what is finished, and --resume goes on; a second one stops it at once. A run that was
    killed has lost the last seconds only.
    """
    with _Signals() as signals:
        try:
            loaded = _load(study, replications, seed)
            path = output or _default_output(loaded, shard)
            code = _begin(loaded, path, shard, executor, scheduler, threads, signals, resume, force, quiet)
        except StudyError:
            raise
        except FastlhpError as error:
            # Nothing has been simulated yet.
            _say(str(error))
            code = _BAD_INPUT
    context.exit(code)


def _load(study: str, replications: int | None, seed: int | None) -> "Study":
    from fastlhp.model.study import load

    return load(study).with_(replications=replications, seed=seed)


def _begin(
    study: "Study",
    output: str,
    shard: "Shard | None",
    executor: str,
    scheduler: str | None,
    threads: int | None,
    signals: "_Signals",
    resume: bool,
    force: bool,
    quiet: bool,
) -> int:
    """Take up the run and return the exit code; an error before the simulation is raised."""
    from fastlhp import available_cpus
    from fastlhp.run.executors import open_pool
    from fastlhp.run.job import Job

    workers = threads or available_cpus()
    job = Job(study, output, shard=shard, resume=resume, force=force, threads=workers, warn=_say)
    with job, open_pool(executor, workers, scheduler) as pool:
        signals.store = job.store
        return _run(job, pool, signals, workers, quiet)


def _default_output(study: "Study", shard: "Shard | None") -> str:
    """Return a file in the current folder that is named after the study."""
    name = "".join(c if c.isalnum() or c in "-_.+ " else "_" for c in study.name).strip(" .") or "results"
    return f"{name}-{shard.number}-of-{shard.of}.h5" if shard else f"{name}.h5"


def _say(message: str) -> None:
    click.echo(f"fastlhp: {message}", err=True)


def _run(job: "Job", pool: "Pool | None", signals: "_Signals", threads: int, quiet: bool) -> int:
    """Run what is left to do and return the exit code."""
    if job.is_done:
        _say(f"{job.path} is complete, nothing is left to do")
        return _FAILED if job.failures else 0
    try:
        return _simulate(job, pool, signals, threads, quiet)
    except FastlhpError as error:
        _say(str(error))
    except Exception as error:
        # A mistake in fastlhp, or no memory: what is finished may have taken days.
        _say(f"the run broke off: {type(error).__name__}: {error}")
    _keep(job, None)
    return _FAILED


def _simulate(job: "Job", pool: "Pool | None", signals: "_Signals", threads: int, quiet: bool) -> int:
    from fastlhp.run.progress import ProgressReporter

    with ProgressReporter() if not quiet else contextlib.nullcontext() as reporter:
        timing = job.simulate(threads, pool=pool, progress=reporter, stop=signals.stop)
    if signals.received is not None and job.work().indices:
        _keep(job, timing)
        return 128 + signals.received
    if pool is None:
        _remember_speed(timing)
    job.write_file(timing)
    for index, message in job.failures.items():
        _say(f"configuration {index}{_labels(job.study, index)} failed: {message}")
    if job.failures:
        _say(f"{len(job.failures)} of {len(job.indices)} configurations failed; the others are in {job.path}")
    if not quiet:
        _report(job, timing)
    return _FAILED if job.failures else 0


def _keep(job: "Job", timing: "Timing | None") -> None:
    """Keep what is finished, first in the folder and then in the file."""
    try:
        job.keep()
        job.write_file(timing)
    except FastlhpError as error:
        _say(str(error))
    n = len(job.indices)
    if job.n_finished:
        _say(f"{job.n_finished} of {n} configurations were finished and are in {job.path}")
    else:
        _say(f"no configuration was finished; {job.path} was not written")
    if job.store.n_shards:
        _say(f"what is finished is kept in {job.directory}; the same command with --resume goes on")


def _labels(study: "Study", index: int) -> str:
    labels = study.configurations[index].labels
    return f" ({', '.join(f'{path} = {label}' for path, label in labels.items())})" if labels else ""


def _remember_speed(timing: "Timing") -> None:
    from fastlhp.run.speed import write_speed

    if timing.engine_seconds > 0:
        write_speed(timing.events_per_second, timing.threads)


def _report(job: "Job", timing: "Timing") -> None:
    from fastlhp.cli.show import print_results, screen
    from fastlhp.results.file import open as open_results
    from fastlhp.results.table import as_table
    from fastlhp.run.progress import si

    n = len(job.indices)
    upto = "up to " if job.study.precision is not None else ""
    _say(
        f"{n} configurations x {upto}{job.study.replications} replications, "
        f"{si(timing.events)}events in {timing.engine_seconds:.3g} s "
        f"({si(timing.events_per_second)}events/s, {timing.threads} "
        f"thread{'' if timing.threads == 1 else 's'}), written to {job.path}"
    )
    if n < job.study.n_configurations:
        return
    text = as_table(open_results(job.path), max_rows=_MAX_ROWS, **screen())
    if n > _MAX_ROWS:
        text += f"... {n - _MAX_ROWS} more configurations: use fastlhp show {job.path}\n"
    print_results(text)


class _Signals:
    """Turns SIGINT and SIGTERM into a wish to stop; a second one ends the process at once.

    Attributes
    ----------
    stop : threading.Event
        Set by the first signal.
    received : int or None
        Number of that signal.
    store : Store or None
        What keeps results, once there is one.
    """

    _CAUGHT = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.received: int | None = None
        self.store: Store | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Signals":
        # Signals belong to the main thread; elsewhere (a program that calls the command) they stay as they
        # are.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self._CAUGHT}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            self.stop.set()
            self._write(
                "\nfastlhp: stopping; what is finished is kept (once more: stop at once, and lose the last seconds)\n"
            )
            return
        # Threads that compute cannot be interrupted, so nothing less than this is at once.
        kept = (
            f"what is in {self.store.directory} is" if self.store and self.store.abandon() else "nothing was"
        )
        self._write(f"fastlhp: stopped; {kept} kept\n")
        os._exit(128 + number)

    @staticmethod
    def _write(message: str) -> None:
        # Not print: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, message.encode())
