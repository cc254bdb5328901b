"""One configuration once more, from a result file alone."""

import os
from dataclasses import dataclass

import numpy as np

from fastlhp.analysis.estimates import block_moments
from fastlhp.errors import FastlhpError
from fastlhp.model.study import DICTIONARY, load
from fastlhp.results.counters import HISTOGRAMS, ConfigurationResult, Status, join
from fastlhp.results.file import FileData
from fastlhp.results.metrics import EARLY, METRICS, Block, Level, missing_value
from fastlhp.run.execute import execute_parts
from fastlhp.run.work import Work

__all__ = ["Rerun", "rerun"]

_LEVELS: tuple[Level, ...] = ("host", "vm")


@dataclass(frozen=True)
class Rerun:
    """What a configuration gave the second time.

    Attributes
    ----------
    result : ConfigurationResult
        Its counters.
    differing : list of str
        What is not bit for bit as in the file: metrics, histograms, ``status``.
    n_compared : int
        How many of these were compared.
    """

    result: ConfigurationResult
    differing: list[str]
    n_compared: int


def rerun(path: str | os.PathLike[str], index: int, *, threads: int = 1) -> Rerun:
    """Simulate one configuration of a result file again, and compare it with what the file has.

    Parameters
    ----------
    path : path-like
        The file. Study, seed and replications are taken from it; data files and policies of one's own that the study
        names are looked for in the current folder.
    index : int
        Number of the configuration.
    threads : int, optional
        How many threads simulate.

    Raises
    ------
    StudyError
        If the study in the file is not valid any more.
    FastlhpError
        If the file cannot be read, or does not have that configuration.
    """
    data = FileData(path)
    if not 0 <= index < len(data.status):
        raise FastlhpError(f"{data.path} has configurations 0 to {len(data.status) - 1}, found {index}")
    if data.status[index] == Status.NOT_RUN:
        raise FastlhpError(f"configuration {index} of {data.path} was not run")
    member = next(it for it in reversed(data.members) if it.first <= index)
    about, own = member.attributes, index - member.first
    study = load(DICTIONARY, text=about.study).with_(member.n_replications, about.seed)
    parts: list[ConfigurationResult] = []
    # Of one that failed it is not known how many were meant.
    n = int(data.replications[index]) if data.status[index] == Status.OK else member.n_replications
    execute_parts(study, Work(n, [own]), threads=threads, sink=parts.append)
    result = join(parts)

    row = slice(index, index + 1)
    block = Block(data.context.part(row), own, [result], data.n_replications, data.context.n_vms)
    pairs = {"status": (np.array(result.status), data.status[index])}
    if data.moments is not None:
        for name, values in block_moments(block).items():
            for column, metric in enumerate(METRICS.values()):
                then = getattr(data.moments(metric, row), name)
                pairs[f"summary/{metric.name}/{name}"] = (values[:, column], then)
    for level in _LEVELS if data.moments is None else ():
        metrics = [metric for metric in METRICS.values() if level in metric.levels]
        for metric, values in zip(metrics, data.metrics(metrics, level), strict=True):
            name = metric.name if level == "host" else f"{level}/{metric.name}"
            pairs[name] = (block.metric(metric, level), values[row])
    for metric in map(METRICS.__getitem__, EARLY if data.moments is None else ()):
        then = data.first_half(metric, row)
        if not (np.isnan(then) | (then == missing_value(metric.dtype))).all():  # or of an older version
            pairs[f"first_half/{metric.name}"] = (block.first_half(metric), then)
    for name, number in HISTOGRAMS.items():
        pairs[f"histogram/{name}"] = (block.histogram[:, number], data.histogram(name)[row])
    differing = [name for name, (now, then) in pairs.items() if now.tobytes() != then.tobytes()]
    return Rerun(result, differing, len(pairs))
