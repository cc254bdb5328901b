"""Simulate lock-holder preemption under hypervisors, for thousands of configurations at once.

`load` a study, `run` it, `open` what an earlier run has written::

    study = fastlhp.load("study.toml")
    results = fastlhp.run(study)
    results.summary("lhp_probability").mean
"""

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlhp.exact.results import ExactResults
    from fastlhp.model.study import Study, load
    from fastlhp.results.file import open
    from fastlhp.results.results import Results

__all__ = ["ExactResults", "Results", "Study", "__version__", "exact", "load", "open", "run"]

__version__ = "0.1.0"

# The first import of the subpackages `fastlhp.run` and `fastlhp.exact` binds their names here. It is done now, so
# that the functions of the same names below stay bound. (Import from a subpackage as `from fastlhp.run.execute
# import ...`.)
importlib.import_module("fastlhp.run")
importlib.import_module("fastlhp.exact")

# Imported at their first use: `fastlhp --help` should not wait for HDF5.
_LAZY = {
    "load": "fastlhp.model.study",
    "Study": "fastlhp.model.study",
    "open": "fastlhp.results.file",
    "Results": "fastlhp.results.results",
    "ExactResults": "fastlhp.exact.results",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name == "analysis":
        return importlib.import_module("fastlhp.analysis")
    raise AttributeError(f"module 'fastlhp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def run(
    study: "Study | Mapping[str, Any] | str | os.PathLike[str]",
    *,
    threads: int | None = None,
    replications: int | None = None,
    seed: int | None = None,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = False,
) -> "Results":
    """Run a study.

    Parameters
    ----------
    study : Study, mapping or path-like
        The study, or what `load` makes one of.
    threads : int, optional
        How many threads simulate; by default one for each CPU that this process may use. The results do not
        depend on it.
    replications, seed : int, optional
        Instead of the study's.
    output : path-like, optional
        Write the results to this file; by default they are kept in memory.
    resume : bool, optional
        Go on with what an earlier run to that file has finished, if there is any.
    force : bool, optional
        Overwrite an existing file, and what an earlier run has left.
    progress : bool, optional
        Show the progress on standard error.

    Returns
    -------
    Results
        With `output`, reading from that file. A configuration that failed says so in ``results.status``.

    Raises
    ------
    StudyError
        If the study is not valid; it carries all problems.
    FastlhpError
        If the file exists and `force` is not given, or cannot be written.
    """
    import contextlib
    import dataclasses

    from fastlhp.model.study import Study, load
    from fastlhp.results.results import Attributes, MemoryData, Results, now, provenance
    from fastlhp.run.progress import ProgressReporter

    it = study if isinstance(study, Study) else load(study)
    it = it.with_(replications=replications, seed=seed)
    n_threads = available_cpus() if threads is None else threads
    if n_threads < 1:
        raise ValueError(f"threads must be >= 1, got {n_threads}")
    with ProgressReporter() if progress else contextlib.nullcontext() as reporter:
        if output is not None:
            from fastlhp.results.file import open
            from fastlhp.run.job import Job

            with Job(it, output, resume=resume, force=force, threads=n_threads) as job:
                if not job.is_done:
                    job.write_file(job.simulate(n_threads, progress=reporter))
            return open(output)
        from fastlhp.run.execute import execute

        about = Attributes(it.name, it.seed, it.text, now(), __version__, provenance(n_threads), {})
        data = MemoryData(it, it.replications, about)
        timing = execute(it, threads=n_threads, sink=data.write, progress=reporter)
        data.attributes = dataclasses.replace(about, timing=dataclasses.asdict(timing))
        return Results(data)


def exact(
    study: "Study | Mapping[str, Any] | str | os.PathLike[str]", *, max_states: int = 200_000
) -> "ExactResults":
    """Solve a study of small configurations in which all times are exponential, exactly and without simulation.

    Parameters
    ----------
    study : Study, mapping or path-like
        The study, or what `load` makes one of.
    max_states : int, optional
        Largest number of states of a configuration's Markov chain.

    Returns
    -------
    ExactResults
        The expected value of every metric that is a rate or an average over time, in equilibrium.

    Raises
    ------
    StudyError
        If the study is not valid, or has a configuration that cannot be solved; it carries all problems.
    """
    from fastlhp.exact.solve import solve
    from fastlhp.model.study import load

    return solve(load(study), max_states)


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
