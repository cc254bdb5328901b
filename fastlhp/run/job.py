"""A run from its beginning to its result file, so that it can be broken off anywhere and gone on with."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlhp.results.counters import Status
from fastlhp.results.file import FileData, ResultFileError, ResultWriter, check_target
from fastlhp.results.results import fixed_time, now, provenance
from fastlhp.run.precision import Looks
from fastlhp.run.store import Manifest, Store
from fastlhp.run.work import Shard, Work

if TYPE_CHECKING:
    from fastlhp.model.study import Study
    from fastlhp.run.executors import Pool
    from fastlhp.run.progress import Progress, Timing

__all__ = ["Job", "partial_folder"]


def partial_folder(path: str | os.PathLike[str]) -> str:
    """Return the folder in which the results of a file are kept while they are made."""
    # A link stays a link: the results are made where they will be.
    return f"{os.path.realpath(path)}.partial"


class Job:
    """A study that is run into a file.

    Parameters
    ----------
    study : Study
        What is run.
    output : path-like
        The file.
    shard : Shard, optional
        Run this share of the study only.
    resume : bool, optional
        Go on with an earlier run, if there is one.
    force : bool, optional
        Overwrite a file, and throw away what an earlier run has left.
    threads : int, optional
        For the provenance.
    warn : callable, optional
        Told what is wrong, but not so wrong that the run would have to stop.

    Attributes
    ----------
    path : str
        The file.
    directory : str
        Where results are kept until the file is complete.
    is_done : bool
        Whether an earlier run has completed the file already.

    Raises
    ------
    FastlhpError
        If the run cannot begin.
    """

    def __init__(
        self,
        study: Study,
        output: str | os.PathLike[str],
        *,
        shard: Shard | None = None,
        resume: bool = False,
        force: bool = False,
        threads: int | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.study = study
        self.path = os.fspath(output)
        self.directory = partial_folder(self.path)
        about = {"created": now(), "provenance": provenance(threads=threads)}
        manifest = Manifest.of(study, shard, about)
        self.indices = manifest.indices
        self.failures: dict[int, str] = {}
        self.n_finished = 0
        self.is_done = False
        self._force = force
        if resume and not force and os.path.exists(self.path):
            self._look_at_file(manifest)
        check_target(self.path, self._force)
        if not os.access(os.path.dirname(self.directory), os.W_OK):
            raise ResultFileError(f"cannot write {self.path}: the folder it is to be in cannot be written to")
        self.store = Store(self.directory, manifest, resume=resume, force=force, warn=warn)
        self._looks = Looks(study)
        if self.is_done:
            self.store.remove()
        elif self._looks.may_grow:
            for part in self.store.parts():
                self._looks.add(part)

    def _look_at_file(self, manifest: Manifest) -> None:
        """See whether the file is of this run, and complete."""
        data = FileData(self.path)
        if data.attributes.fingerprint != manifest.fingerprint:
            raise ResultFileError(
                f"{self.path} has results of another study, or of another version of this one or of fastlhp; give "
                "another name, or use --force to overwrite it"
            )
        self.is_done = bool((data.status[np.asarray(self.indices)] != Status.NOT_RUN).all())
        self.failures = data.messages
        self.n_finished = int(np.count_nonzero(data.status == Status.OK))
        self._force = True

    def __enter__(self) -> Job:
        """Return the job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the folder; it stays if anything in it is finished and not in the file."""
        self.store.close()
        if not self.store.is_removed:
            if self.store.n_shards:
                self.store.release()
            else:
                self.store.remove()

    def work(self) -> Work:
        """Return what is left to do, as far as that is decided."""
        return self.store.work(self._looks)

    def simulate(
        self,
        threads: int,
        *,
        pool: Pool | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Timing:
        """Simulate what is left to do.

        Parameters
        ----------
        threads : int
            Of this process, if there is no `pool`.
        pool : Pool, optional
            Workers that simulate instead of this process.
        progress : callable, optional
            Told about five times a second how far the run is.
        stop : threading.Event, optional
            Set to end early: what is finished is kept.
        """
        work = self.work()
        options: Any = {
            "sink": self.store.write,
            "looks": self._looks,
            "progress": progress,
            "stop": stop,
        }
        if pool is not None:
            from fastlhp.run.chunks import execute_chunks

            return execute_chunks(self.study, work, pool, **options)
        from fastlhp.run.execute import execute_parts

        return execute_parts(self.study, work, threads=threads, **options)

    def keep(self) -> None:
        """Bring what is finished to disk."""
        self.store.close()
        self.store.flush()

    def _provenance(self) -> dict[str, Any]:
        """Return how the run was begun and what each session did; the latter not where files are to be the same."""
        begun = dict(self.store.manifest.about["provenance"])
        if fixed_time() is None:
            begun["sessions"] = [session.described() for session in self.store.sessions()]
        return begun

    def write_file(self, timing: Timing | None = None) -> bool:
        """Write the file with all that is finished, and say whether that is everything.

        Without anything finished there is no file. The folder goes when the file is complete, and then only.
        """
        self.store.close()
        manifest = self.store.manifest
        seconds = {} if timing is None or fixed_time() is not None else dataclasses.asdict(timing)
        with ResultWriter(
            self.path,
            self.study,
            force=self._force,
            replications=self.store.widest(self._looks) if self._looks.may_grow else None,
            provenance=self._provenance(),
            created=manifest.about["created"],
            fingerprint=manifest.fingerprint,
            folder=self.directory,
        ) as writer:
            for result in self.store.results(self._looks):
                writer.write(result)
            self.failures, self.n_finished = writer.failures, writer.finished
            is_complete = writer.written == len(self.indices)
            if is_complete or self.n_finished:
                writer.close(timing=seconds)
        if is_complete:
            self.store.remove()
        return is_complete
