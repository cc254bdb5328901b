"""Result files of shares of a study, made one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from types import SimpleNamespace

import numpy as np

from fastlhp.results.counters import Status
from fastlhp.results.file import FileData, ResultFileError, ResultWriter

__all__ = ["Merged", "merge"]


@dataclass(frozen=True)
class Merged:
    """What became of a merge.

    Attributes
    ----------
    n_configurations : int
        Of the study.
    missing : list of int
        Configurations that none of the files has.
    failed : list of int
        Configurations that failed.
    """

    n_configurations: int
    missing: list[int]
    failed: list[int]


def merge(
    paths: Sequence[str | PathLike[str]], output: str | PathLike[str], *, force: bool = False
) -> Merged:
    """Write one file with what the result files of shares of a study have.

    The results are those of the study run at once, to the last bit.

    Parameters
    ----------
    paths : sequence of path-like
        Result files; where several have a configuration, the first counts.
    output : path-like
        The file to write.
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    ResultFileError
        If a file cannot be read or is of another study, or the file cannot be written.
    """
    parts = [FileData(path) for path in paths]
    first = parts[0]
    for part in parts:
        _check_alike(first, part)
    origin = np.full(len(first.status), -1)
    for number, part in reversed(list(enumerate(parts))):
        origin[part.status != Status.NOT_RUN] = number
    about = first.attributes
    study = SimpleNamespace(
        name=about.title,
        seed=about.seed,
        text=about.study,
        replications=first.n_replications,
        coordinates={path: labels.tolist() for path, labels in first.coordinates.items()},
    )
    with ResultWriter(
        output,
        study,
        force=force,
        provenance=about.provenance,
        created=min(part.attributes.created for part in parts),
        fingerprint=about.fingerprint,
        context=first.context,
    ) as writer:
        writer.copy(parts, origin)
        failed = list(writer.failures)
        timings = [part.attributes.timing for part in parts]
        writer.close(
            {key: sum(timing[key] for timing in timings) for key in timings[0]} if all(timings) else None
        )
    return Merged(len(origin), np.flatnonzero(origin < 0).tolist(), failed)


def _check_alike(one: FileData, other: FileData) -> None:
    a, b = one.attributes, other.attributes
    if not b.fingerprint:
        raise ResultFileError(f"{other.path} does not say what it is of, so it cannot be merged")
    if a.fingerprint == b.fingerprint:
        return
    facts = {
        "seed": (a.seed, b.seed),
        "replications": (one.n_replications, other.n_replications),
        "version of fastlhp": (a.fastlhp_version, b.fastlhp_version),
    }
    differing = [f"{name} {y} instead of {x}" for name, (x, y) in facts.items() if x != y]
    if a.study != b.study:
        differing.append("another study file")
    raise ResultFileError(
        f"{os.fspath(other.path)} does not go with {os.fspath(one.path)}: "
        f"{', '.join(differing) or 'other data files, or another state of the simulator'}"
    )
