"""How fast this machine simulates: remembered from run to run, for estimates of the run time.

The speed is one small JSON file in the user's cache folder. Nothing depends on it, so it never makes anything
fail.
"""

import contextlib
import json
import math
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.cache import cache_folder

if TYPE_CHECKING:
    from fastlhp.model.study import Configurations, Study

__all__ = ["Speed", "estimate_events", "events_per_replication", "read_speed", "write_speed"]


@dataclass(frozen=True)
class Speed:
    """A measured speed.

    Attributes
    ----------
    events_per_second : float
        Simulated events per second of wall time, with all threads.
    threads : int
        Number of threads it was measured with.
    """

    events_per_second: float
    threads: int


def read_speed() -> Speed | None:
    """Return the speed that this machine showed last, or None if none is known."""
    try:
        stored = json.loads((cache_folder() / "speed.json").read_text(encoding="utf-8"))
        speed = Speed(float(stored["events_per_second"]), int(stored["threads"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return speed if 0 < speed.events_per_second < math.inf and speed.threads > 0 else None


def write_speed(events_per_second: float, threads: int) -> None:
    """Remember a speed; where nothing can be written, nothing happens.

    Parameters
    ----------
    events_per_second : float
        Simulated events per second of wall time, compilation not counted.
    threads : int
        Number of threads it was measured with.
    """
    if not (0 < events_per_second < math.inf and threads > 0):
        return
    folder = cache_folder()
    with contextlib.suppress(OSError, RuntimeError):
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed into place: several runs may end at the same time.
        handle, temporary = tempfile.mkstemp(dir=folder, prefix="speed-", suffix=".json")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump({"events_per_second": float(events_per_second), "threads": int(threads)}, stream)
            os.replace(temporary, folder / "speed.json")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def estimate_events(study: "Study") -> float:
    """Return about how many events a study has, see `events_per_replication`.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    float
        Events of all configurations and replications together.
    """
    return float(events_per_replication(study.configurations).sum()) * study.replications


def events_per_replication(configurations: "Configurations") -> npt.NDArray[np.float64]:
    """Return about how many events a replication of each configuration has.

    A vCPU that runs has two events a cycle (the end of the work outside and inside the lock), and at most as
    many run as there are pCPUs. Spinning, halting and the hypervisor's own events are not counted.
    """
    vcpus: npt.NDArray[np.int64] = sum(configurations.of_vms(lambda it: it.count * it.model.vcpus))
    rates: Any = sum(configurations.of_vms(lambda it: 2 * it.count * it.model.vcpus / it.model.mean_cycle_ns))
    running = np.minimum(configurations.of_part("host", lambda host: host.pcpus), vcpus)
    window_ns = configurations.of_part("study", lambda window: (window.warmup or 0) + window.duration)
    found: npt.NDArray[np.float64] = running * (rates / vcpus) * window_ns
    return found
