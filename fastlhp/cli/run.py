"""``fastlhp run``: run a study and write its result file."""

import contextlib
import os
import signal
import threading
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from fastlhp.errors import FastlhpError, StudyError

if TYPE_CHECKING:
    from fastlhp.model.study import Study
    from fastlhp.results.file import ResultWriter
    from fastlhp.run.progress import Timing

__all__ = ["command"]

_FAILED, _BAD_INPUT = 1, 2
_MAX_ROWS = 60


@click.command()
@click.argument("study", metavar="STUDY.toml", type=click.Path())
@click.option(
    "-o", "--output", metavar="OUT.h5", type=click.Path(), help="Result file; default: NAME.h5 here."
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: the CPUs this process may use.")
@click.option(
    "--replications", type=click.IntRange(min=1), help="Instead of the study's, its precision included."
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Instead of the study's.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--force", is_flag=True, help="Overwrite an existing result file.")
@click.pass_context
def command(
    context: click.Context,
    study: str,
    output: str | None,
    threads: int | None,
    replications: int | None,
    seed: int | None,
    quiet: bool,
    force: bool,
) -> None:
    """Run a study and write its result file.

    Ctrl-C stops it and keeps what is finished; a second one throws everything away.
    """
    from fastlhp import available_cpus
    from fastlhp.model.study import load

    loaded = load(study).with_(replications=replications, seed=seed)
    try:
        code = _run(loaded, output or _default_output(loaded), threads or available_cpus(), quiet, force)
    except StudyError:
        raise
    except FastlhpError as error:
        # Nothing has been simulated yet.
        _say(str(error))
        code = _BAD_INPUT
    context.exit(code)


def _default_output(study: "Study") -> str:
    """Return a file in the current folder that is named after the study."""
    name = "".join(c if c.isalnum() or c in "-_.+ " else "_" for c in study.name).strip(" .")
    return f"{name or 'results'}.h5"


def _say(message: str) -> None:
    click.echo(f"fastlhp: {message}", err=True)


def _run(study: "Study", output: str, threads: int, quiet: bool, force: bool) -> int:
    """Run `study` and return the exit code; an error before the simulation is raised."""
    from fastlhp.results.file import ResultWriter
    from fastlhp.results.results import provenance

    made = provenance(threads=threads)
    with ResultWriter(output, study, force=force, provenance=made) as writer, _Signals(writer) as signals:
        try:
            return _simulate(study, writer, signals, threads, quiet)
        except FastlhpError as error:
            _say(str(error))
        except Exception as error:
            # A mistake in fastlhp, or no memory: what is finished may have taken days.
            _say(f"the run broke off: {type(error).__name__}: {error}")
            try:
                _keep(study, writer, None)
            except FastlhpError as another:
                _say(str(another))
        return _FAILED


def _simulate(study: "Study", writer: "ResultWriter", signals: "_Signals", threads: int, quiet: bool) -> int:
    from fastlhp.run.execute import execute
    from fastlhp.run.progress import ProgressReporter

    with ProgressReporter() if not quiet else contextlib.nullcontext() as reporter:
        timing = execute(study, threads=threads, sink=writer.write, progress=reporter, stop=signals.stop)
    if signals.received is not None and writer.written < study.n_configurations:
        _keep(study, writer, timing)
        return 128 + signals.received
    _remember_speed(timing)
    writer.close(timing=asdict(timing))
    failures = writer.failures
    for index, message in failures.items():
        _say(f"configuration {index}{_labels(study, index)} failed: {message}")
    if failures:
        _say(
            f"{len(failures)} of {study.n_configurations} configurations failed; the others are in "
            f"{writer.path}"
        )
    if not quiet:
        _report(study, writer, timing)
    return _FAILED if failures else 0


def _keep(study: "Study", writer: "ResultWriter", timing: "Timing | None") -> None:
    """Close the file with what is finished."""
    if not writer.finished:
        writer.abort()
        _say(f"no configuration was finished; {writer.path} was not written")
        return
    writer.close(timing=asdict(timing) if timing is not None else None)
    _say(
        f"{writer.finished} of {study.n_configurations} configurations were finished and are in {writer.path}"
    )


def _labels(study: "Study", index: int) -> str:
    labels = study.configurations[index].labels
    return f" ({', '.join(f'{path} = {label}' for path, label in labels.items())})" if labels else ""


def _remember_speed(timing: "Timing") -> None:
    from fastlhp.run.speed import write_speed

    if timing.engine_seconds > 0:
        write_speed(timing.events_per_second, timing.threads)


def _report(study: "Study", writer: "ResultWriter", timing: "Timing") -> None:
    from fastlhp.cli.show import print_results, screen
    from fastlhp.results.file import open as open_results
    from fastlhp.results.table import as_table
    from fastlhp.run.progress import si

    upto = "up to " if study.precision is not None else ""
    _say(
        f"{study.n_configurations} configurations x {upto}{study.replications} replications, "
        f"{si(timing.events)}events in {timing.engine_seconds:.3g} s "
        f"({si(timing.events_per_second)}events/s, {timing.threads} "
        f"thread{'' if timing.threads == 1 else 's'}), written to {writer.path}"
    )
    text = as_table(open_results(writer.path), max_rows=_MAX_ROWS, **screen())
    if study.n_configurations > _MAX_ROWS:
        text += (
            f"... {study.n_configurations - _MAX_ROWS} more configurations: use fastlhp show {writer.path}\n"
        )
    print_results(text)


class _Signals:
    """Turns SIGINT and SIGTERM into a wish to stop; a second one ends the process at once, without the file.

    Attributes
    ----------
    stop : threading.Event
        Set by the first signal.
    received : int or None
        Number of that signal.
    """

    _CAUGHT = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, writer: "ResultWriter") -> None:
        self.stop = threading.Event()
        self.received: int | None = None
        self._writer = writer
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
                b"\nfastlhp: stopping; what is finished is kept (once more: stop at once, keep nothing)\n"
            )
            return
        # Threads that compute cannot be interrupted, so nothing less than this is at once.
        with contextlib.suppress(OSError):
            os.unlink(self._writer.temporary)
        self._write(b"fastlhp: stopped; nothing was kept\n")
        os._exit(128 + number)

    @staticmethod
    def _write(message: bytes) -> None:
        # Not print: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, message)
