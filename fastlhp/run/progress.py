"""What a running study reports, and how the commands show it."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from fastlhp.results.counters import ConfigurationResult
    from fastlhp.run.precision import Looks
    from fastlhp.run.work import Work

__all__ = ["Progress", "ProgressReporter", "Tally", "Timing", "format_elapsed", "si"]

LINE_INTERVAL_S = 30.0

REPORT_S = 0.2
"""Time between two reports of a run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a study has come.

    Attributes
    ----------
    done_configurations, n_configurations : int
        Finished configurations, of how many.
    done_replications, n_replications : int
        Finished replications over all configurations, of how many.
    events : int
        Simulated events so far.
    elapsed_s : float
        Wall time since the engine started, in s.
    earlier_replications : int
        How many of the finished replications are from before that: an earlier run that is resumed.
    least_precise : tuple of int and float, or None
        The configuration that is farthest from the precision asked for, and how many times wider than wanted its
        interval is.
    """

    done_configurations: int
    n_configurations: int
    done_replications: int
    n_replications: int
    events: int
    elapsed_s: float
    earlier_replications: int = 0
    least_precise: tuple[int, float] | None = None

    @property
    def events_per_second(self) -> float:
        """Events per second of wall time since the start."""
        return self.events / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Wall time left at the pace so far, in s; None while nothing is finished."""
        done = self.done_replications - self.earlier_replications
        if not done:
            return None
        return self.elapsed_s * (self.n_replications - self.done_replications) / done


@dataclass(frozen=True, slots=True)
class Timing:
    """What a study took.

    Attributes
    ----------
    events : int
        Simulated events, the warm-up included.
    engine_seconds : float
        Wall time of the simulation, without compilation and files.
    threads : int
        How many threads simulated.
    """

    events: int
    engine_seconds: float
    threads: int

    @property
    def events_per_second(self) -> float:
        """Events per second of engine time."""
        return self.events / self.engine_seconds if self.engine_seconds > 0 else 0.0


class Tally:
    """Counts what is finished, and tells about it about five times a second; for several threads.

    Parameters
    ----------
    work : Work
        What is to be done.
    progress : callable, optional
        Told.
    looks : Looks
        Knows how precise configurations are.

    Attributes
    ----------
    events : int
        Simulated events so far.
    """

    def __init__(self, work: "Work", progress: Callable[[Progress], None] | None, looks: "Looks") -> None:
        from fastlhp.results.counters import HOST_INDEX

        self._looks = looks
        self._events_at = HOST_INDEX["events"]
        self.events = 0
        self._tell = progress
        self._lock = threading.Lock()
        self._n_configurations = work.n_total
        self._configurations = work.n_total - len(work.indices)
        self._replications = self._earlier = work.n_earlier
        self._n_replications = work.n_earlier + work.n_replications
        self._started = self._reported = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Wall time since the start, in s."""
        return time.perf_counter() - self._started

    def add(self, part: "ConfigurationResult", following: Sequence[range] | None) -> None:
        """Count some replications of a configuration, and what is to follow them (see `Looks.add`)."""
        # Few numbers: NumPy would take longer to add them up.
        events = sum(part.host[:, self._events_at].tolist())
        with self._lock:
            self._replications += len(part.host)
            self.events += events
            if following is not None:
                self._n_replications += sum(map(len, following))
                self._configurations += not following

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            self._configurations,
            self._n_configurations,
            self._replications,
            self._n_replications,
            self.events,
            self.elapsed_s,
            self._earlier,
            self._looks.least_precise,
        )

    def report(self, *, at_once: bool = False) -> None:
        """Tell how far it is, if it is time."""
        now = time.perf_counter()
        if (
            self._tell is not None
            and (at_once or now - self._reported > REPORT_S)
            and self._lock.acquire(blocking=False)
        ):
            try:
                self._reported = now
                self._tell(self.progress)
            finally:
                self._lock.release()


def si(value: float) -> str:
    """Return a number with three digits and an SI prefix: ``41.3 M``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "


def _least_precise(progress: Progress) -> str:
    if progress.least_precise is None:
        return ""
    index, times = progress.least_precise
    if times <= 1:
        return f", #{index} to be looked at once more"
    return f", least precise #{index}" + (f" ({times:.2g} times too wide)" if times < 1e6 else "")


def format_elapsed(seconds: float | None) -> str:
    """Return a time in s as ``1:02:03``; a question mark if it is not known."""
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


class ProgressReporter:
    """Shows progress: a bar on a terminal, else one plain line every 30 s, which batch logs keep readable.

    Parameters
    ----------
    stream : text stream, optional
        Where to; standard error by default.
    interval_s : float, optional
        Time between two lines where the stream is no terminal, in s.
    clock : callable, optional
        Returns the time in s; for tests.

    Notes
    -----
    Use it as a context manager and pass it as the ``progress`` of ``execute``.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        interval_s: float = LINE_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._interval_s = interval_s
        self._clock = clock
        self._next_line = clock() + interval_s
        self._terminal = self._stream.isatty()
        self._bar: Any = None

    def __enter__(self) -> "ProgressReporter":
        """Return the reporter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar standing as it is."""
        self.close()

    def __call__(self, progress: Progress) -> None:
        """Show `progress`."""
        if self._terminal:
            self._show_bar(progress)
        elif self._clock() >= self._next_line:
            self._next_line = self._clock() + self._interval_s
            print(self.line(progress), file=self._stream, flush=True)

    def close(self) -> None:
        """End the bar; nothing is shown afterwards."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @staticmethod
    def line(progress: Progress) -> str:
        """Return `progress` as one line of a log."""
        share = 100 * progress.done_replications / max(progress.n_replications, 1)
        return (
            f"{progress.done_configurations}/{progress.n_configurations} configurations, "
            f"{share:.1f} % of the replications, {si(progress.events_per_second)}events/s, "
            f"{format_elapsed(progress.elapsed_s)} elapsed, {format_elapsed(progress.remaining_s)} left"
            f"{_least_precise(progress)}"
        )

    def _show_bar(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.n_replications,
                file=self._stream,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}, {remaining} left]",
            )
        self._bar.n = progress.done_replications
        self._bar.set_description_str(
            f"{progress.done_configurations}/{progress.n_configurations} configurations, "
            f"{si(progress.events_per_second)}events/s{_least_precise(progress)}",
            refresh=False,
        )
        self._bar.refresh()
