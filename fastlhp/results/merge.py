"""Result files made one: those of the shares of a study, or of different studies with the same parameters."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.results.counters import Status
from fastlhp.results.file import FileData, ResultFileError, ResultWriter
from fastlhp.results.metrics import Context
from fastlhp.results.results import STUDY, Attributes, Member, fixed_time

__all__ = ["Merged", "merge"]

Array = npt.NDArray[Any]

_MOST_NAMED = 4


@dataclass(frozen=True)
class Merged:
    """What became of a merge.

    Attributes
    ----------
    n_configurations : int
        Of the study, or of all studies.
    missing : list of int
        Configurations that none of the files has.
    failed : list of int
        Configurations that failed.
    """

    n_configurations: int
    missing: list[int]
    failed: list[int]


class _Study:
    """A study, of which one or more files have configurations; where several have one, the first counts."""

    def __init__(self, number: int, file: FileData, member: Member) -> None:
        self.file, self.member = file, member
        self.abouts: list[Attributes] = []
        self.origin = np.full(member.n_configurations, -1)
        self.row = np.zeros(member.n_configurations, dtype=np.int64)
        self.add(number, file, member)

    def add(self, number: int, file: FileData, member: Member) -> None:
        """Take what a file has and none before it had."""
        self.abouts.append(member.attributes)
        rows = member.first + np.arange(member.n_configurations)
        new = (self.origin < 0) & (file.status[rows] != Status.NOT_RUN)
        self.origin[new], self.row[new] = number, rows[new]

    @property
    def rows(self) -> slice:
        """Its configurations in the file that was named first."""
        return slice(self.member.first, self.member.first + self.member.n_configurations)

    @property
    def attributes(self) -> Attributes:
        """What the files say of it."""
        timings = [about.timing for about in self.abouts]
        timing = {key: sum(timing[key] for timing in timings) for key in timings[0]} if all(timings) else {}
        created = min(about.created for about in self.abouts)
        provenance = dict(self.member.attributes.provenance)
        if len(self.abouts) > 1 and fixed_time() is None:
            provenance["shares"] = [
                {"created": about.created, "timing": dict(about.timing), **about.provenance}
                for about in self.abouts
            ]
        return replace(self.member.attributes, created=created, timing=timing, provenance=provenance)


def merge(
    paths: Sequence[str | PathLike[str]], output: str | PathLike[str], *, force: bool = False
) -> Merged:
    """Write one file with what several result files have.

    Files of shares of a study give the results of the study run at once, to the last bit. Files of different studies
    that sweep the same parameters give those of all, one after the other; the coordinate ``study`` tells them apart.

    Parameters
    ----------
    paths : sequence of path-like
        Result files; where several have a configuration of a study, the first counts.
    output : path-like
        The file to write.
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    ResultFileError
        If a file cannot be read or does not go with the others, or the file cannot be written.
    """
    files = [FileData(path) for path in paths]
    studies: dict[str, _Study] = {}
    for number, file in enumerate(files):
        for member in file.members:
            # A file that does not say what it is of shares nothing with another.
            key = member.attributes.fingerprint or f"{number} {member.first}"
            if key in studies:
                studies[key].add(number, file, member)
            else:
                studies[key] = _Study(number, file, member)
    chosen = list(studies.values())
    _check_alike(chosen)
    about, members = _together(chosen)
    origin = np.concatenate([study.origin for study in chosen])
    described = SimpleNamespace(
        name=about.title,
        seed=about.seed,
        text=about.study,
        replications=max(study.file.n_replications for study in chosen),
        keeps_replications=chosen[0].file.moments is None,
        coordinates={path: labels.tolist() for path, labels in _coordinates(chosen, members).items()},
    )
    with ResultWriter(
        output,
        described,
        force=force,
        provenance=about.provenance,
        created=about.created,
        fingerprint=about.fingerprint,
        context=Context.concatenate([study.file.context.part(study.rows) for study in chosen]),
        members=members,
    ) as writer:
        writer.copy(files, origin, np.concatenate([study.row for study in chosen]))
        failed = list(writer.failures)
        writer.close(about.timing or None)
    return Merged(len(origin), np.flatnonzero(origin < 0).tolist(), failed)


def _together(studies: Sequence[_Study]) -> tuple[Attributes, list[Member]]:
    """Return what the file is to say of itself, and of the studies in it, if there are several."""
    abouts = [study.attributes for study in studies]
    if len(studies) == 1:
        return abouts[0], []
    members: list[Member] = []
    first = 0
    for study, about in zip(studies, abouts, strict=True):
        name, number = study.member.name, 1
        while name in {member.name for member in members}:
            number += 1
            name = f"{study.member.name} ({number})"
        members.append(replace(study.member, name=name, first=first, attributes=about))
        first += study.member.n_configurations
    timings = [about.timing for about in abouts]
    fingerprints = [about.fingerprint for about in abouts]
    names = [member.name for member in members]
    together = replace(
        abouts[0],
        title=" + ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} studies",
        study="",
        created=min(about.created for about in abouts),
        timing={key: sum(timing[key] for timing in timings) for key in timings[0]} if all(timings) else {},
        provenance={},
        fingerprint=hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:32]
        if all(fingerprints)
        else "",
    )
    return together, members


def _coordinates(studies: Sequence[_Study], members: Sequence[Member]) -> dict[str, Array]:
    coordinates = {
        path: np.concatenate([study.file.coordinates[path][study.rows] for study in studies])
        for path in studies[0].file.coordinates
        if path != STUDY or not members
    }
    if not members:
        return coordinates
    names = [np.full(member.n_configurations, member.name, dtype=object) for member in members]
    return {STUDY: np.concatenate(names), **coordinates}


def _check_alike(studies: Sequence[_Study]) -> None:
    """Raise an error that says all that keeps different studies from being one file."""
    one = studies[0]
    wrong = []
    for other in studies[1:]:
        if reasons := [*_misfits(one, other)]:
            wrong.append(f"{other.file.path} does not go with {one.file.path}: {', '.join(reasons)}")
    incomplete = [study for study in studies if (study.origin < 0).any()] if len(studies) > 1 else []
    for study in incomplete:
        n, missing = len(study.origin), int((study.origin < 0).sum())
        other = studies[1] if study is one else one
        differing = ", ".join(_differences(study, other)) or "another state of the simulator"
        wrong.append(
            f"{other.file.path} is of another study than {study.file.path} ({differing}), and different studies "
            f"are joined when they are complete, but {missing} of {n} configurations of {study.file.path} "
            "were not run"
        )
    if wrong:
        raise ResultFileError("; ".join(wrong))


def _misfits(one: _Study, other: _Study) -> Iterator[str]:
    a, b = ({path: v for path, v in s.file.coordinates.items() if path != STUDY} for s in (one, other))
    yield from (f"it does not sweep {path}" for path in a if path not in b)
    yield from (f"it also sweeps {path}" for path in b if path not in a)
    if (one.file.moments is None) != (other.file.moments is None):
        yield "one of them has summaries only, the other the values of each replication"
    words = {True: "texts", False: "numbers"}
    for path in a:
        if path in b and (a[path].dtype.kind == "O") != (b[path].dtype.kind == "O"):
            yield f"its {path} are {words[b[path].dtype.kind == 'O']}, not {words[a[path].dtype.kind == 'O']}"


def _differences(one: _Study, other: _Study) -> Iterator[str]:
    """Say how a study differs from another that it may have been taken for."""
    a, b = one.member.attributes, other.member.attributes
    facts = {
        "seed": (a.seed, b.seed),
        "replications": (one.member.n_replications, other.member.n_replications),
        "version of fastlhp": (a.fastlhp_version, b.fastlhp_version),
    }
    yield from (f"{name} {y} instead of {x}" for name, (x, y) in facts.items() if x != y)
    if a.study != b.study:
        yield "another study file"
