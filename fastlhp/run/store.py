"""What a running study has finished, on disk: a folder of shards that a crash cannot harm.

The folder has ``manifest.json``, which says what is run, and shards, each with the counters of some replications. A
shard is written aside, flushed to disk and renamed, never changed, and has a checksum of its content as its name. So
whatever happens, a shard is there as a whole or not at all, and the run can go on from the shards that are there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError
from fastlhp.results.counters import (
    EARLY_COUNTERS,
    HISTOGRAMS,
    HOST_COUNTERS,
    HOST_INDEX,
    N_BINS,
    VM_COUNTERS,
    ConfigurationResult,
    join,
)
from fastlhp.run.flat import COLUMNS, Flat
from fastlhp.run.work import Shard, Work

if TYPE_CHECKING:
    from fastlhp.run.precision import Looks

__all__ = [
    "Manifest",
    "Session",
    "Store",
    "StoreError",
    "Survey",
    "read_manifest",
    "read_sessions",
    "read_shard",
    "shard_files",
    "survey",
]

FORMAT_VERSION = 2
"""Raised when shards of before would be misunderstood."""

FLUSH_S = 5.0
"""How long something finished may stay in memory only."""

_MANIFEST = "manifest.json"
_PREFIX, _SUFFIX, _REFUSED, _TEMPORARY = "shard-", ".npz", ".refused", ".tmp"
_SESSION, _LINES = "session-", ".jsonl"
_SHARD_BYTES = 8 * 1024**2
_PENDING_BYTES = 4 * _SHARD_BYTES
_OPEN_SHARDS = 3
_MAX_BYTES = 2**30

Array = npt.NDArray[Any]


class StoreError(FastlhpError, RuntimeError):
    """A run's folder cannot be used."""


class Manifest:
    """What is run, and when and how that began.

    Parameters
    ----------
    run : mapping
        What the counters depend on: a run goes on only if all of it is as it was.
    about : mapping
        When and how it was begun; it does not matter to the counters.
    """

    def __init__(self, run: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.run = dict(run)
        self.about = dict(about)

    @classmethod
    def of(cls, study: Any, shard: Shard | None, about: Mapping[str, Any]) -> Manifest:
        """Return the manifest of a study that is about to run."""
        from fastlhp import __version__
        from fastlhp.engine.jit import sources_hash

        run = {
            "format": FORMAT_VERSION,
            "fastlhp_version": __version__,
            "program": sources_hash(),
            "study": study.text,
            "files": study.files_hash,
            "seed": study.seed,
            "replications": study.replications,
            "precision": study.precision is not None,
            "configurations": study.n_configurations,
            "shard": str(shard) if shard else "",
        }
        return cls(run, {"source": os.path.abspath(study.source), **about})

    @property
    def fingerprint(self) -> str:
        """Hash of all that the results depend on; the same for all shares of a study."""
        return _hash({key: value for key, value in self.run.items() if key != "shard"})

    @property
    def identity(self) -> str:
        """Hash of all that makes this run; shards carry it."""
        return _hash(self.run)

    @property
    def shard(self) -> Shard | None:
        """Which share of the study is run, if not all of it."""
        text = self.run["shard"]
        return Shard(*map(int, text.split("/"))) if text else None

    @property
    def indices(self) -> Sequence[int]:
        """The configurations that are run."""
        n = self.run["configurations"]
        return self.shard.indices(n) if self.shard else range(n)

    def differences(self, other: Manifest) -> list[str]:
        """Say what is not as in an earlier run."""
        words = {
            "format": "the format of shards",
            "fastlhp_version": "the version of fastlhp",
            "program": "the simulator's code, or that of a policy of your own",
            "files": "the content of a data file that the study names",
        }
        found = []
        for key in self.run.keys() | other.run.keys():
            before, now = other.run.get(key), self.run.get(key)
            if before == now:
                continue
            if key == "study":
                found.append(_changed_line(str(before), str(now)))
            elif key in ("program", "files"):
                found.append(words[key])
            else:
                found.append(f"{words.get(key, key)} (was {before or 'none'}, is {now or 'none'})")
        return sorted(found)

    def write(self, directory: str) -> None:
        """Write it into a run's folder."""
        text = json.dumps({"run": self.run, "about": self.about}, indent=1)
        _write_durably(directory, _MANIFEST, text.encode())


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _changed_line(before: str, now: str) -> str:
    lines = itertools.zip_longest(before.splitlines(), now.splitlines())
    for number, (old, new) in enumerate(lines, 1):
        if old != new:
            return (
                f"line {number} of the study (was {old.strip() if old is not None else 'none'}, "
                f"is {new.strip() if new is not None else 'none'})"
            )
    return "the study's line ends"


def read_manifest(directory: str) -> Manifest:
    """Return the manifest of a run's folder.

    Raises
    ------
    StoreError
        If there is none that can be read.
    """
    path = os.path.join(directory, _MANIFEST)
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        manifest = Manifest(content["run"], content["about"])
        kinds = {"study": str, "seed": int, "replications": int, "configurations": int, "shard": str}
        if not all(isinstance(manifest.run[key], kind) for key, kind in kinds.items()):
            raise ValueError("a value of another type")
        assert manifest.indices is not None  # a shard that can be read
    except FileNotFoundError:
        raise StoreError(f"{directory} is no folder of a run: it has no {_MANIFEST}") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, FastlhpError, RecursionError) as error:
        raise StoreError(f"{path} is damaged, or of another program: {error!r}") from error
    return manifest


def shard_files(directory: str) -> list[str]:
    """Return the paths of the shards in a run's folder."""
    return _files(directory, _PREFIX, _SUFFIX)


def _files(directory: str, prefix: str, suffix: str) -> list[str]:
    names = sorted(os.listdir(directory))
    return [
        os.path.join(directory, name) for name in names if name.startswith(prefix) and name.endswith(suffix)
    ]


@dataclass(frozen=True)
class Session:
    """What one process did for a run: a run that is resumed has several.

    Attributes
    ----------
    about : dict
        When and how it was begun: ``created``, ``provenance``.
    shards : list of tuple of float, int and int
        Of each shard that it wrote: when, in s after its beginning, and how many replications and events are in it.
    """

    about: dict[str, Any]
    shards: list[tuple[float, int, int]]

    @property
    def seconds(self) -> float:
        """Wall time until its last shard."""
        return self.shards[-1][0] if self.shards else 0.0

    @property
    def replications(self) -> int:
        """Replications that it finished."""
        return sum(shard[1] for shard in self.shards)

    @property
    def events(self) -> int:
        """Events of these."""
        return sum(shard[2] for shard in self.shards)

    def described(self) -> dict[str, Any]:
        """Return what a result file says of it."""
        return {
            "created": self.about.get("created", ""),
            **self.about.get("provenance", {}),
            "seconds": self.seconds,
            "replications": self.replications,
            "events": self.events,
            "shards": self.shards,
        }


def read_sessions(directory: str) -> list[Session]:
    """Return the sessions of a run, the first one first; lines that cannot be read are left out."""
    sessions: list[Session] = []
    try:
        paths = _files(directory, _SESSION, _LINES)
    except FileNotFoundError:
        return sessions  # The run has just come to its end.
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                about, *lines = [
                    json.loads(line) for line in file.read(_MAX_BYTES).splitlines() if _is_whole(line)
                ]
            shards = [(float(seconds), int(n), int(events)) for seconds, n, events in lines]
            if isinstance(about, dict) and isinstance(about.get("provenance", {}), dict):
                sessions.append(Session(about, shards))
        except (OSError, ValueError, TypeError, RecursionError):
            continue
    return sessions


def _is_whole(line: str) -> bool:
    """Say whether a line was written to its end."""
    return line.endswith(("}", "]"))


def _write_durably(directory: str, name: str, content: bytes) -> None:
    """Write a file so that after a crash it is there as a whole or not at all."""
    temporary = os.path.join(directory, f".{name}.{os.getpid()}{_TEMPORARY}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, os.path.join(directory, name))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StoreError(f"cannot write {os.path.join(directory, name)}: {error.strerror}") from error
    _sync_folder(directory)


def _sync_folder(path: str) -> None:
    # Not every file system can do it; the file itself is on disk by now.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _pack(flat: Flat, identity: str) -> bytes:
    """Return the content of a shard."""
    arrays: dict[str, Array] = {
        "run": np.frombuffer(identity.encode(), np.uint8),
        "table": flat.table,
        "messages": flat.messages,
        "vm": flat.vm.ravel(),
        "host": flat.host.ravel(),
        "early": flat.early.ravel(),
        "histogram": flat.histogram,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def _name_of(content: bytes) -> str:
    return f"{_PREFIX}{hashlib.sha256(content).hexdigest()[:32]}{_SUFFIX}"


def read_shard(path: str, manifest: Manifest) -> list[ConfigurationResult]:
    """Return the results in a shard.

    Raises
    ------
    StoreError
        If it was cut off or changed, or belongs to another run. Nothing in it is ever executed.
    """
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise ValueError("too large")
        with open(path, "rb") as file:
            content = file.read()
        if _name_of(content) != os.path.basename(path):
            raise StoreError(f"{path} was cut off or changed: its checksum is not that of its name")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise ValueError("too large")

            def array(name: str, dtype: type[np.generic]) -> Array:
                with archive.open(f"{name}.npy") as member:
                    found = np.lib.format.read_array(member, allow_pickle=False)
                if found.dtype != dtype:
                    raise ValueError(f"{name} is of type {found.dtype}")
                return np.asarray(found)

            if array("run", np.uint8).tobytes() != manifest.identity.encode():
                raise StoreError(f"{path} belongs to another run")
            table = array("table", np.int64)
            _check_table(table, manifest)
            flat = Flat(
                table,
                array("messages", np.uint8),
                array("vm", np.int64).reshape(-1, len(VM_COUNTERS)),
                array("host", np.int64).reshape(-1, len(HOST_COUNTERS)),
                array("early", np.int64).reshape(-1, len(EARLY_COUNTERS)),
                array("histogram", np.int64).reshape(len(table), len(HISTOGRAMS), N_BINS),
            )
        return list(flat.parts())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} is no shard of fastlhp: {error}") from error


def _check_table(table: Array, manifest: Manifest) -> None:
    if table.ndim != 2 or table.shape[1] != COLUMNS or (table < 0).any():
        raise ValueError("its table is not one")
    for index, first, count in table[:, :3].tolist():
        if index >= manifest.run["configurations"] or first + count > manifest.run["replications"]:
            raise ValueError(f"it has replications {first} to {first + count} of configuration {index}")


@dataclass(frozen=True)
class Survey:
    """How far a run is, as its folder tells.

    Attributes
    ----------
    manifest : Manifest
        What is run.
    is_running : bool or None
        Whether a process is at work in it; None if that cannot be told.
    configurations, replications : int
        How many of them are finished.
    damaged : list of str
        Shards that cannot be read.
    last : float or None
        When the last shard was written, in s since the epoch.
    per_second : float or None
        Replications a second, between the first shard and the last.
    events : int
        Simulated events of what is finished.
    sessions : list of Session
        What processes have done for it so far.
    """

    manifest: Manifest
    is_running: bool | None
    configurations: int
    replications: int
    damaged: list[str]
    last: float | None
    per_second: float | None
    events: int
    sessions: list[Session]


def survey(directory: str) -> Survey:
    """Look into a run's folder, without disturbing the run."""
    manifest = read_manifest(directory)
    indices = np.arange(manifest.run["configurations"])
    damaged, tables, times = [], [], []
    n_events = 0
    for path in shard_files(directory):
        try:
            with zipfile.ZipFile(path) as archive:
                with archive.open("table.npy") as member:
                    table = np.lib.format.read_array(member, allow_pickle=False).reshape(-1, COLUMNS)
                with archive.open("host.npy") as member:
                    host = np.lib.format.read_array(member, allow_pickle=False).reshape(
                        -1, len(HOST_COUNTERS)
                    )
            if table.dtype != np.int64 or not np.isin(table[:, 0], indices).all():
                raise ValueError("configurations of another study")
            n_events += int(host[:, HOST_INDEX["events"]].sum())
            times.append(os.stat(path).st_mtime)
            tables.append(table)
        except FileNotFoundError:
            continue  # The run has just come to its end.
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
            damaged.append(path)
    done = np.zeros_like(indices)
    for table in tables:
        np.add.at(done, table[:, 0], table[:, 2])
    done = np.minimum(done, manifest.run["replications"])
    order = np.argsort(times)
    seconds = times[order[-1]] - times[order[0]] if times else 0.0
    later = sum(int(tables[i][:, 2].sum()) for i in order[1:])
    return Survey(
        manifest,
        _is_locked(os.path.join(directory, _MANIFEST)),
        int(np.count_nonzero(done == manifest.run["replications"])),
        int(done.sum()),
        damaged,
        max(times, default=None),
        later / seconds if seconds > 0 else None,
        n_events,
        read_sessions(directory),
    )


def _is_locked(path: str) -> bool | None:
    try:
        import fcntl

        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return None
    return False


class Store:
    """The folder of a running study; what is written to it is in a shard a few seconds later.

    Parameters
    ----------
    directory : str
        The folder; made if it is not there.
    manifest : Manifest
        What is run.
    resume : bool, optional
        Go on with what an earlier run has left there.
    force : bool, optional
        Throw that away.
    warn : callable, optional
        Told what is wrong with shards that cannot be used; what they had is simulated again.

    Attributes
    ----------
    is_removed : bool
        Whether `remove` was called.

    Raises
    ------
    StoreError
        If the folder has finished work and neither `resume` nor `force` is given, or work of a study that has changed;
        if another process is writing to it; if nothing can be written there.
    """

    def __init__(
        self,
        directory: str,
        manifest: Manifest,
        *,
        resume: bool = False,
        force: bool = False,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        # That of an earlier session takes its place.
        self._about = manifest.about
        self._began = time.monotonic()
        self._session = ""
        self._lock = threading.Condition()
        self._pending: list[ConfigurationResult] = []
        self._pending_bytes = 0
        self._oldest = 0.0
        self._failure: Exception | None = None
        self._closed = False
        self.is_removed = False
        self._shards: list[str] = []
        self._tables: list[Array] = []
        self._guard: Any = None
        try:
            self._take_over(resume, force, warn)
        except BaseException as error:
            self.release()
            if isinstance(error, OSError):
                raise StoreError(f"cannot use {directory}: {error.strerror}") from error
            raise
        self._flusher = threading.Thread(target=self._keep_flushing, name="fastlhp-store", daemon=True)
        self._flusher.start()

    def _take_over(self, resume: bool, force: bool, warn: Callable[[str], None]) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.directory)
        if not os.path.isdir(self.directory):
            raise StoreError(f"{self.directory} is in the way: results are kept there while they are made")
        if os.path.exists(os.path.join(self.directory, _MANIFEST)):
            self._claim()
        shards = shard_files(self.directory)
        if force and not resume:
            self._clear()
        elif shards and not resume:
            raise StoreError(
                f"{self.directory} has finished work of an earlier run; use --resume to go on with it, or --force to "
                "throw it away"
            )
        elif shards:
            before = read_manifest(self.directory)
            if changes := self.manifest.differences(before):
                raise StoreError(
                    f"cannot go on with {self.directory}, since this has changed: {'; '.join(changes)}; undo that, "
                    "or use --force without --resume to begin anew"
                )
            self.manifest.about = before.about
            self._remove_temporary()
            for path in shards:
                try:
                    parts = read_shard(path, self.manifest)
                except StoreError as error:
                    os.replace(path, f"{path}{_REFUSED}")
                    warn(
                        f"{error}; it is set aside as {path}{_REFUSED}, and what it should have is simulated again"
                    )
                else:
                    self._add(path, parts)
            return
        else:
            self._clear()
        os.makedirs(self.directory, exist_ok=True)
        self.manifest.write(self.directory)
        self._claim()

    def _claim(self) -> None:
        """See to it that no other process writes to the folder; the system frees it when this process ends."""
        self.release()
        self._guard = open(os.path.join(self.directory, _MANIFEST), "rb")
        try:
            import fcntl

            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise StoreError(f"another run is writing to {self.directory}") from None
        except (ImportError, OSError):
            # No locks here. Two runs in one folder do the same work twice, but neither harms the other.
            pass

    def release(self) -> None:
        """Let others write to the folder."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    @property
    def n_shards(self) -> int:
        """Number of shards on disk."""
        return len(self._shards)

    def write(self, part: ConfigurationResult) -> None:
        """Take some replications of a configuration.

        Raises
        ------
        StoreError
            If something taken earlier could not be written.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._pending_bytes < _PENDING_BYTES or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            if not self._pending:
                self._oldest = time.monotonic()
            self._pending.append(part)
            self._pending_bytes += _size(part)
            if self._pending_bytes >= _SHARD_BYTES:
                self._lock.notify_all()

    def _keep_flushing(self) -> None:
        try:
            while True:
                with self._lock:
                    while not self._closed and self._pending_bytes < _SHARD_BYTES:
                        left = self._oldest + FLUSH_S - time.monotonic() if self._pending else None
                        if left is not None and left <= 0:
                            break
                        # Looks again in a while, since the first of a batch does not wake it.
                        self._lock.wait(FLUSH_S / 5 if left is None else min(left, FLUSH_S / 5))
                    if self._closed:
                        return
                self.flush()
        except Exception as error:
            with self._lock:
                self._failure = error
                self._lock.notify_all()

    def flush(self) -> None:
        """Write what is in memory to a shard; in one thread at a time."""
        with self._lock:
            pending = self._pending[:]
        if not pending:
            return
        flat = Flat.of(pending)
        content = _pack(flat, self.manifest.identity)
        name = _name_of(content)
        _write_durably(self.directory, name, content)
        self._note(pending)
        with self._lock:
            del self._pending[: len(pending)]
            self._oldest = time.monotonic()
            self._pending_bytes -= sum(map(_size, pending))
            self._add(os.path.join(self.directory, name), list(flat.parts()))
            self._lock.notify_all()

    def _note(self, parts: Sequence[ConfigurationResult]) -> None:
        """Write down when a shard was written, and what is in it."""
        lines = [json.dumps(self._entry(parts))]
        # Nobody's results depend on it: a full disk ends the run at the next shard.
        with contextlib.suppress(OSError):
            if not self._session:
                number = 1 + len(_files(self.directory, _SESSION, _LINES))
                self._session = os.path.join(self.directory, f"{_SESSION}{number:04}{_LINES}")
                lines.insert(0, json.dumps(self._about))
            with open(self._session, "a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)

    def _entry(self, parts: Sequence[ConfigurationResult]) -> tuple[float, int, int]:
        n_events = sum(int(part.host[:, HOST_INDEX["events"]].sum()) for part in parts)
        seconds = round(time.monotonic() - self._began, 3)
        return seconds, sum(len(part.host) for part in parts), n_events

    def sessions(self) -> list[Session]:
        """Return what each process did; of this one also what is in no shard yet."""
        sessions = read_sessions(self.directory)
        with self._lock:
            if self._pending and not self._session:
                sessions.append(Session(dict(self._about), []))
            if self._pending and sessions:
                sessions[-1].shards.append(self._entry(self._pending))
        return sessions

    def _add(self, path: str, parts: Sequence[ConfigurationResult]) -> None:
        self._tables.append(_table(parts, len(self._shards)))
        self._shards.append(path)

    def close(self) -> None:
        """Stop flushing in the background; the folder stays."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._flusher.join()

    def _rows(self) -> Array:
        """Return where results are: configuration, first replication, replications, shard, row; nothing twice."""
        with self._lock:
            rows = np.concatenate([*self._tables, _table(self._pending, -1)])
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        same = rows[1:, 0] == rows[:-1, 0]
        if not (same & (rows[1:, 1] < rows[:-1, 1] + rows[:-1, 2])).any():
            return rows
        # Two processes did the same work, or one did it once more for a shard that had gone.
        kept, end = [], (-1, 0)
        for row in rows:
            if row[0] != end[0] or row[1] >= end[1]:
                kept.append(row)
                end = (row[0], row[1] + row[2])
        return np.array(kept)

    def work(self, looks: Looks | None = None) -> Work:
        """Return what is left to do.

        Parameters
        ----------
        looks : Looks, optional
            Knows how many replications of a configuration there are to be; by default all those of the study.
        """
        replications, n = self.manifest.run["replications"], self.manifest.run["configurations"]

        def wanted(index: int) -> int:
            return looks.wanted(index) if looks else int(replications)

        rows = self._rows()
        done = np.bincount(rows[:, 0], weights=rows[:, 2], minlength=n).astype(np.int64)
        indices = self.manifest.indices
        left = [index for index in indices if done[index] < wanted(index)] if len(rows) else indices
        gaps: dict[int, list[range]] = {index: [] for index in left if done[index]}
        position = dict.fromkeys(gaps, 0)
        for index, first, count in rows[np.isin(rows[:, 0], list(gaps)), :3].tolist():
            if first > position[index]:
                gaps[index].append(range(position[index], first))
            position[index] = first + count
        for index, at in position.items():
            if at < wanted(index):
                gaps[index].append(range(at, wanted(index)))
        return Work(looks.first if looks else replications, left, gaps, len(indices), int(done.sum()))

    def widest(self, looks: Looks) -> int:
        """Return how many replications the finished configuration with the most of them has."""
        rows = self._rows()
        done = np.bincount(rows[:, 0], weights=rows[:, 2]).astype(np.int64)
        return max((int(n) for index, n in enumerate(done) if n and n == looks.total(index)), default=1)

    def parts(self) -> Iterator[ConfigurationResult]:
        """Yield all that is finished, in the order of configurations and replications, nothing twice."""
        for _, _, parts in self._by_configuration():
            yield from parts()

    def results(self, looks: Looks | None = None) -> Iterator[ConfigurationResult]:
        """Yield the configurations that are finished, in their order.

        Parameters
        ----------
        looks : Looks, optional
            Knows how many replications a finished configuration has; by default all those of the study.
        """
        for index, n, parts in self._by_configuration():
            if n == (looks.total(index) if looks else self.manifest.run["replications"]):
                yield join(parts())

    def _by_configuration(self) -> Iterator[tuple[int, int, Callable[[], Iterator[ConfigurationResult]]]]:
        """Yield configurations, how many of their replications are there, and a function that reads these."""

        @functools.lru_cache(maxsize=_OPEN_SHARDS)
        def parts_of(shard: int) -> list[ConfigurationResult]:
            return self._pending if shard < 0 else read_shard(self._shards[shard], self.manifest)

        rows = self._rows()
        starts = np.flatnonzero(np.diff(rows[:, 0], prepend=-1)) if len(rows) else np.array([], np.int64)
        for start, stop in itertools.pairwise([*starts.tolist(), len(rows)]):
            own = rows[start:stop]

            def read(own: Array = own) -> Iterator[ConfigurationResult]:
                return (parts_of(int(shard))[int(row)] for _, _, _, shard, row in own)

            yield int(own[0, 0]), int(own[:, 2].sum()), read

    def remove(self) -> None:
        """Remove the folder; what is not of this run stays in it."""
        self.close()
        self._clear()
        self.is_removed = True

    def abandon(self) -> bool:
        """Leave the folder to itself, at once, and say whether there is anything in it; if not, it is removed."""
        if not self._shards:
            with contextlib.suppress(OSError):
                self._clear()
        return bool(self._shards)

    def _clear(self) -> None:
        # The manifest last: a folder with shards but no manifest could not be gone on with.
        self._remove_temporary()
        sessions = _files(self.directory, _SESSION, _LINES)
        for path in [*sessions, *shard_files(self.directory), os.path.join(self.directory, _MANIFEST)]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.release()
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)

    def _remove_temporary(self) -> None:
        for name in os.listdir(self.directory):
            if name.startswith(".") and name.endswith(_TEMPORARY):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, name))


def _size(part: ConfigurationResult) -> int:
    return part.vm.nbytes + part.host.nbytes + part.histogram.nbytes


def _table(parts: Sequence[ConfigurationResult], shard: int) -> Array:
    rows = [(part.index, part.first, len(part.host), shard, row) for row, part in enumerate(parts)]
    return np.array(rows, np.int64).reshape(-1, 5)
