"""The Results object: the same over a file and over memory."""

import contextlib
import datetime
import difflib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError
from fastlhp.results.counters import HISTOGRAMS, N_BINS, ConfigurationResult, Status, bin_edges_ns
from fastlhp.results.metrics import (
    CONFIGURATION_METRICS,
    EARLY,
    METRICS,
    NS,
    Block,
    Context,
    Level,
    Metric,
    histogram_quantile,
)

if TYPE_CHECKING:
    import pandas
    import xarray

    from fastlhp.analysis.statistics import Method

__all__ = [
    "STUDY",
    "Attributes",
    "Member",
    "MemoryData",
    "MetricArray",
    "MissingExtraError",
    "Moments",
    "Results",
    "Summary",
    "UnknownMetricError",
    "coordinate_array",
    "fixed_time",
    "now",
    "provenance",
]

Array = npt.NDArray[Any]


class UnknownMetricError(FastlhpError, KeyError):
    """There is no such metric."""

    # KeyError prints the repr of its argument, which garbles a sentence.
    __str__ = Exception.__str__


class MissingExtraError(FastlhpError, ImportError):
    """An optional dependency is not installed."""


class MetricArray(np.ndarray[Any, np.dtype[Any]]):
    """An array that knows its unit.

    Parts of it keep the unit; what is computed from it is a plain array.

    Attributes
    ----------
    units : str
        The unit, "1" for pure numbers.
    """

    units: str

    def __new__(cls, values: npt.ArrayLike, units: str) -> "MetricArray":
        """Make a read-only view of `values`."""
        array = np.asarray(values).view(cls)
        array.units = units
        array.flags.writeable = False
        return array

    def __array_finalize__(self, source: Any) -> None:
        """Take over the unit of the array that this is a part of."""
        self.units = getattr(source, "units", "1")

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Return the result of a computation without a unit, since it may have another."""
        return array[()] if return_scalar else np.asarray(array)


@dataclass(frozen=True, eq=False)
class Summary:
    """Estimates of one metric, one per configuration.

    Attributes
    ----------
    metric, units : str
        Which metric, and its unit.
    confidence : float
        Probability that an interval covers the true value.
    mean : ndarray of float64, shape (configuration,)
        Mean over replications; of a ratio the pooled one, sum over sum.
    standard_error : ndarray of float64, shape (configuration,)
        Standard error of `mean`.
    low, high : ndarray of float64, shape (configuration,)
        Ends of the confidence intervals.
    n : ndarray of int64, shape (configuration,)
        Number of replications behind each estimate.
    """

    metric: str
    units: str
    confidence: float
    mean: Array
    standard_error: Array
    low: Array
    high: Array
    n: Array

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self.mean)

    @cached_property
    def half_width(self) -> Array:
        """Half of the interval before it was cut at impossible values, shape (configuration,)."""
        return np.asarray(np.fmax(self.high - self.mean, self.mean - self.low))


@dataclass(frozen=True, eq=False)
class Moments:
    """What estimates and intervals of a metric are made of, without its replications; all of shape (configuration,).

    Attributes
    ----------
    mean : ndarray of float64
        Mean over replications; of a ratio the pooled one, sum over sum.
    standard_error : ndarray of float64
        Standard error of `mean`.
    n : ndarray of int64
        Number of replications with a value.
    numerator, denominator : ndarray of float64
        Sums over these; the denominator of what is no ratio is `n`.
    trials : ndarray of float64
        The least of the sums of the metrics that bound the number of trials behind a probability (those that are 0
        left out); infinite where there is none.
    """

    mean: Array
    standard_error: Array
    n: Array
    numerator: Array
    denominator: Array
    trials: Array


@dataclass(frozen=True)
class Attributes:
    """What a result says about itself.

    Attributes
    ----------
    title : str
        Name of the study.
    seed : int
        Its seed.
    study : str
        The whole study file.
    created : str
        When the results were made, ISO 8601.
    fastlhp_version : str
        By which version.
    provenance : mapping
        Command line, threads, platform, CPU, versions.
    timing : mapping
        ``events``, ``engine_seconds``, ``threads``, as far as known.
    source : str
        The file; empty for results in memory.
    fingerprint : str
        Hash of all that the results depend on; empty if not known.
    """

    title: str
    seed: int
    study: str
    created: str
    fastlhp_version: str
    provenance: Mapping[str, Any]
    timing: Mapping[str, float]
    source: str = ""
    fingerprint: str = ""


STUDY = "study"
"""The coordinate that says which of several studies in a file a configuration is of."""


@dataclass(frozen=True)
class Member:
    """One of the studies in a file; most files have one.

    Attributes
    ----------
    name : str
        Its name, unique in the file.
    first, n_configurations : int
        Which configurations of the file are its own.
    n_replications : int
        Replications of each, at most.
    attributes : Attributes
        What its own file said.
    """

    name: str
    first: int
    n_configurations: int
    n_replications: int
    attributes: Attributes


ReadMoments = Callable[[Metric, slice], Moments]


class ResultData(Protocol):
    """Where a `Results` takes its arrays from."""

    @property
    def attributes(self) -> Attributes: ...  # noqa: D102
    @property
    def n_replications(self) -> int: ...  # noqa: D102
    @property
    def context(self) -> Context: ...  # noqa: D102
    @property
    def status(self) -> Array: ...  # noqa: D102
    @property
    def replications(self) -> Array: ...  # noqa: D102
    @property
    def warmup_s(self) -> Array: ...  # noqa: D102
    @property
    def messages(self) -> dict[int, str]: ...  # noqa: D102
    @property
    def coordinates(self) -> dict[str, Array]: ...  # noqa: D102
    @property
    def moments(self) -> "ReadMoments | None":
        """Reads the moments of a metric; None where there are values of each replication."""

    def metrics(  # noqa: D102
        self, metrics: Sequence[Metric], level: Level, rows: slice = ...
    ) -> list[Array]: ...
    def first_half(self, metric: Metric, rows: slice = ...) -> Array: ...  # noqa: D102
    def histogram(self, name: str, rows: slice = ...) -> Array: ...  # noqa: D102


_ALL_ROWS = slice(None)


class PartData:
    """Neighbouring configurations of other results.

    Parameters
    ----------
    data : ResultData
        The others.
    rows : slice
        Which configurations; without a step.
    """

    def __init__(self, data: ResultData, rows: slice) -> None:
        self._data = data
        self._rows = rows
        self.attributes, self.n_replications = data.attributes, data.n_replications
        self.moments: ReadMoments | None = None if data.moments is None else self._moments
        first, last, _ = rows.indices(len(data.status))
        self.context = data.context.part(rows)
        self.status, self.replications = data.status[rows], data.replications[rows]
        self.warmup_s = data.warmup_s[rows]
        self.messages = {i - first: text for i, text in data.messages.items() if first <= i < last}
        self.coordinates = {path: values[rows] for path, values in data.coordinates.items()}

    def _moments(self, metric: Metric, rows: slice) -> Moments:
        assert self._data.moments is not None
        its = self._data.moments(metric, self._rows)
        return Moments(*(getattr(its, field.name)[rows] for field in fields(Moments)))

    def metrics(self, metrics: Sequence[Metric], level: Level, rows: slice = _ALL_ROWS) -> list[Array]:
        """Return metrics."""
        return [values[rows] for values in self._data.metrics(metrics, level, self._rows)]

    def first_half(self, metric: Metric, rows: slice = _ALL_ROWS) -> Array:
        """Return a metric in the first half of the window."""
        return self._data.first_half(metric, self._rows)[rows]

    def histogram(self, name: str, rows: slice = _ALL_ROWS) -> Array:
        """Return a histogram of each configuration."""
        return self._data.histogram(name, self._rows)[rows]


def coordinate_array(labels: Sequence[Any]) -> Array:
    """Return the labels of a swept parameter as an array: int64, float64 or str (object)."""
    if labels and all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        try:
            return np.array(labels, dtype=np.int64)
        except OverflowError:  # a seed may need 64 bits; readers know no such integers
            return np.array([str(label) for label in labels], dtype=object)
    if labels and all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
        return np.array(labels, dtype=np.float64)
    return np.array([_text(label) for label in labels], dtype=object)


def _text(label: Any) -> str:
    """Return a label as TOML writes it."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def fixed_time() -> int | None:
    """Return the time in ``SOURCE_DATE_EPOCH``, if that is set: then files say nothing that differs from run to run."""
    value = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None


def now() -> str:
    """Return the time in UTC, ISO 8601; that of ``SOURCE_DATE_EPOCH`` if it is set."""
    seconds = fixed_time()
    moment = datetime.datetime.fromtimestamp(time.time() if seconds is None else seconds, datetime.UTC)
    return moment.isoformat(timespec="seconds")


def provenance(threads: int | None = None, command: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what a file should say about how it was made: command line, threads, platform, CPU, versions."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "numba", "llvmlite", "h5py"):
        # Not by importing them: Numba takes a second.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    if fixed_time() is not None:
        return {"versions": versions}
    return {
        "command": list(sys.argv if command is None else command),
        "threads": threads,
        "host": platform.node(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "vectors": _vectors(),
        "versions": versions,
    }


def _cpu_model() -> str:
    """Return what the CPU calls itself."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()


def _vectors() -> str:
    """Return the widest vectors that kernels are compiled for; empty if that is not known."""
    try:
        from llvmlite.binding import get_host_cpu_features

        features = get_host_cpu_features()
    except (ImportError, RuntimeError):
        return ""
    return next((name for name in _VECTORS if features.get(name)), "")


_VECTORS = ("avx512f", "avx2", "avx", "sse2", "sve", "neon")


class MemoryData:
    """Results that are kept in memory, as counters.

    Parameters
    ----------
    study : Study
        What is run.
    n_replications : int
        Replications of each configuration, at most.
    attributes : Attributes
        What is known about the results.

    Notes
    -----
    Its method `write` is a ``sink`` of ``execute``.
    """

    _BLOCK = 64
    moments: ReadMoments | None = None

    def __init__(self, study: Any, n_replications: int, attributes: Attributes) -> None:
        self.study = study
        self._n_replications = n_replications
        self.attributes = attributes
        self.results: dict[int, ConfigurationResult] = {}
        self.context = Context.of(study.configurations, study.n_configurations)

    def write(self, result: ConfigurationResult) -> None:
        """Keep the result of a configuration."""
        self.results[result.index] = result

    @property
    def n_replications(self) -> int:
        """Replications of the configuration that has the most."""
        most = max((len(result.host) for result in self.results.values()), default=0)
        return min(most, self._n_replications) or self._n_replications

    @property
    def status(self) -> Array:
        """Status of each configuration."""
        status = np.full(len(self.context), Status.NOT_RUN, dtype=np.int64)
        for i, result in self.results.items():
            status[i] = result.status
        return status

    @property
    def replications(self) -> Array:
        """Number of replications of each configuration; -1 without a result."""
        replications = np.full(len(self.context), -1, dtype=np.int64)
        for i, result in self.results.items():
            if result.status == Status.OK:
                replications[i] = len(result.host)
        return replications

    @property
    def warmup_s(self) -> Array:
        """Warm-up of each configuration in s; NaN without a result."""
        warmup_s = np.full(len(self.context), np.nan)
        for i, result in self.results.items():
            if result.status == Status.OK:
                warmup_s[i] = result.warmup_ns / NS
        return warmup_s

    @property
    def messages(self) -> dict[int, str]:
        """Why configurations failed, by index."""
        return {i: result.message for i, result in sorted(self.results.items()) if result.message}

    @property
    def coordinates(self) -> dict[str, Array]:
        """Swept parameters."""
        return {path: coordinate_array(labels) for path, labels in self.study.coordinates.items()}

    def metrics(self, metrics: Sequence[Metric], level: Level, rows: slice = _ALL_ROWS) -> list[Array]:
        """Compute metrics."""
        begin, end, _ = rows.indices(len(self.context))
        shape = (end - begin, self.n_replications, self.context.n_vms)[: 2 if level == "host" else 3]
        out = [np.empty(shape, dtype=metric.dtype) for metric in metrics]
        for own, block in self._blocks(begin, end):
            for array, metric in zip(out, metrics, strict=True):
                array[own] = block.metric(metric, level)
        return out

    def first_half(self, metric: Metric, rows: slice = _ALL_ROWS) -> Array:
        """Compute a metric in the first half of the window."""
        begin, end, _ = rows.indices(len(self.context))
        out = np.empty((end - begin, self.n_replications), dtype=metric.dtype)
        for own, block in self._blocks(begin, end):
            out[own] = block.first_half(metric)
        return out

    def _blocks(self, begin: int, end: int) -> Iterator[tuple[slice, Block]]:
        """Yield configurations block by block, and where they are, counted from `begin`."""
        for first in range(begin, end, self._BLOCK):
            last = min(first + self._BLOCK, end)
            here = [self.results[i] for i in range(first, last) if i in self.results]
            context = self.context.part(slice(first, last))
            yield (
                slice(first - begin, last - begin),
                Block(context, first, here, self.n_replications, self.context.n_vms),
            )

    def histogram(self, name: str, rows: slice = _ALL_ROWS) -> Array:
        """Return a histogram of each configuration."""
        begin, end, _ = rows.indices(len(self.context))
        out = np.full((end - begin, N_BINS), -1, dtype=np.int64)
        for i in range(begin, end):
            if i in self.results and self.results[i].status == Status.OK:
                out[i - begin] = self.results[i].histogram[HISTOGRAMS[name]]
        return out


class Results:
    """What a study gave.

    Made by `fastlhp.run` and `fastlhp.open`. ``results["lhp_probability"]`` is an array of shape
    (configuration, replication); names are listed by `metrics`.
    """

    def __init__(self, data: ResultData) -> None:
        self._data = data

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self._data.status)

    def __repr__(self) -> str:
        """Return a short description."""
        about = self._data.attributes
        swept = len(self.configurations)
        where = f", from {about.source}" if about.source else ""
        return (
            f"<fastlhp.Results of '{about.title}': {len(self)} configurations x {self.n_replications} "
            f"replications, {swept} swept parameter{'' if swept == 1 else 's'}{where}>"
        )

    def _repr_html_(self) -> str:
        """Return what the results are of, and the head of their table, for notebooks."""
        from fastlhp.view.notebook import results_card

        return results_card(self)

    def __contains__(self, metric: object) -> bool:
        """Say whether there is a metric of that name."""
        return metric in METRICS or metric in CONFIGURATION_METRICS

    def __iter__(self) -> Any:
        """Iterate over the names of the metrics."""
        return iter(self.metrics)

    def part(self, rows: slice) -> "Results":
        """Return neighbouring configurations, without reading more of a file than is asked for later."""
        return Results(PartData(self._data, rows))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics: those with a value per replication, then those with one per configuration."""
        return (*METRICS, *CONFIGURATION_METRICS)

    @property
    def keeps_replications(self) -> bool:
        """Whether there are values of each replication; a file of summaries has estimates only."""
        return self._data.moments is None

    @property
    def n_replications(self) -> int:
        """Number of replications of each configuration; of the one with the most, if they differ."""
        return self._data.n_replications

    @property
    def configurations(self) -> dict[str, Array]:
        """Swept parameters as columns: dotted path to an array of shape (configuration,)."""
        return self._data.coordinates

    @property
    def status(self) -> Array:
        """Status of each configuration: 0 ok, 1 failed, 2 not run."""
        return self._data.status

    @property
    def messages(self) -> dict[int, str]:
        """Why configurations failed, by index."""
        return self._data.messages

    @property
    def attributes(self) -> Attributes:
        """Title, seed, study text, versions."""
        return self._data.attributes

    @property
    def timing(self) -> dict[str, float]:
        """What the simulation took: ``events``, ``engine_seconds``, ``threads``; empty if unknown."""
        return dict(self._data.attributes.timing)

    @property
    def context(self) -> Context:
        """pCPUs, frequency and duration of each configuration; names, vCPUs and weights of its VMs."""
        return self._data.context

    def units(self, metric: str) -> str:
        """Return the unit of a metric."""
        self._require(metric)
        return METRICS[metric].units if metric in METRICS else CONFIGURATION_METRICS[metric].units

    def long_name(self, metric: str) -> str:
        """Return the meaning of a metric."""
        self._require(metric)
        return METRICS[metric].long_name if metric in METRICS else CONFIGURATION_METRICS[metric].long_name

    def __getitem__(self, metric: str) -> MetricArray:
        """Return a metric.

        Parameters
        ----------
        metric : str
            Its name.

        Returns
        -------
        MetricArray
            Shape (configuration, replication), or (configuration,) for those with one value per
            configuration. Missing values are NaN, of counts -1.

        Raises
        ------
        UnknownMetricError
            If there is no such metric; also a KeyError.
        """
        self._require(metric)
        if metric in METRICS:
            return MetricArray(self._data.metrics([METRICS[metric]], "host")[0], METRICS[metric].units)
        return MetricArray(self._per_configuration(metric), CONFIGURATION_METRICS[metric].units)

    def vm(self, metric: str) -> MetricArray:
        """Return a metric of each VM.

        Parameters
        ----------
        metric : str
            Its name.

        Returns
        -------
        MetricArray
            Shape (configuration, replication, vm), padded with NaN (-1 for counts) where a configuration has
            fewer VMs; ``context.names`` has their names.

        Raises
        ------
        UnknownMetricError
            If there is no such metric of a VM; also a KeyError.
        """
        self._require(metric, "vm")
        return MetricArray(self._data.metrics([METRICS[metric]], "vm")[0], METRICS[metric].units)

    def first_half(self, metric: str) -> MetricArray:
        """Return a metric in the first half of the measured window, to see whether it has settled.

        Parameters
        ----------
        metric : str
            ``acquisitions``, ``lhp_acquisitions`` or ``spin_time``.

        Returns
        -------
        MetricArray
            Shape (configuration, replication). Missing values, also in files of versions that did not keep it, are NaN,
            of counts -1.

        Raises
        ------
        UnknownMetricError
            If it is another metric; also a KeyError.
        """
        if metric not in EARLY:
            raise UnknownMetricError(f"the first half has no {metric!r}; choose from: {', '.join(EARLY)}")
        return MetricArray(self._data.first_half(METRICS[metric]), METRICS[metric].units)

    def histogram(self, name: str) -> tuple[Array, Array]:
        """Return the histograms of contended lock waits ("wait") or of off-CPU holders ("holder_off").

        Returns
        -------
        counts : ndarray of int64, shape (configuration, bin)
            Pooled over VMs and replications; -1 for a configuration without results.
        edges : ndarray of float64, shape (bin + 1,)
            In s. Bin 0 holds 0 as well, the last bin everything above its lower edge.

        Raises
        ------
        UnknownMetricError
            If `name` is neither; also a KeyError.
        """
        if name not in HISTOGRAMS:
            raise UnknownMetricError(f"unknown histogram {name!r}; choose from: {', '.join(HISTOGRAMS)}")
        return self._data.histogram(name), bin_edges_ns() / NS

    def summary(self, metric: str, confidence: float = 0.95, method: "Method" = "student") -> Summary:
        """Estimate a metric of each configuration from its replications.

        Parameters
        ----------
        metric : str
            Its name.
        confidence : float, optional
            Probability that an interval covers the true value; in (0, 1).
        method : {"student", "bca"}, optional
            How intervals are made, see `fastlhp.analysis.estimates.summarize`.

        Returns
        -------
        Summary
            All arrays of shape (configuration,).

        Raises
        ------
        UnknownMetricError
            If there is no such metric; also a KeyError.
        ValueError
            If `confidence` is not in (0, 1), or there is no such method.
        """
        from fastlhp.analysis.estimates import summarize

        return summarize(self, metric, confidence, method)

    def moments(self, metric: str) -> Moments:
        """Return what `summary` makes estimates and intervals of.

        Raises
        ------
        UnknownMetricError
            If there is no such metric with a value per replication; also a KeyError.
        """
        if metric not in METRICS:
            self._require(metric)
            raise UnknownMetricError(f"{metric!r} has one value per configuration, and no moments")
        if self._data.moments is not None:
            return self._data.moments(METRICS[metric], _ALL_ROWS)
        from fastlhp.analysis.estimates import moments

        return moments(METRICS[metric], self.__getitem__)

    def save(self, path: str | PathLike[str], force: bool = False) -> None:
        """Write the results to a file.

        Parameters
        ----------
        path : path-like
            The file; see ``docs/results.md`` for its format.
        force : bool, optional
            Overwrite an existing file.

        Raises
        ------
        FastlhpError
            If the file exists and `force` is not given, or cannot be written, or these results are a file
            already.
        """
        from fastlhp.results.file import ResultWriter

        data = self._data
        if not isinstance(data, MemoryData):
            raise FastlhpError(f"these results are already in a file, {data.attributes.source}; copy that")
        about = data.attributes
        with ResultWriter(
            path,
            data.study,
            force=force,
            replications=data.n_replications,
            provenance=about.provenance,
            created=about.created,
        ) as writer:
            for index in sorted(data.results):
                writer.write(data.results[index])
            writer.close(timing=about.timing)

    def to_xarray(self, level: Level | Literal["histogram"] = "host") -> "xarray.Dataset":
        """Return the results as an xarray Dataset.

        Parameters
        ----------
        level : {"host", "vm", "histogram"}, optional
            Metrics of the host, of each VM, or the histograms.

        Returns
        -------
        xarray.Dataset
            In memory, with the swept parameters as coordinates.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise MissingExtraError("to_xarray needs xarray: pip install 'fastlhp[xarray]'") from error
        coordinates: dict[str, Any] = {"configuration": np.arange(len(self))}
        coordinates |= {path: ("configuration", values) for path, values in self.configurations.items()}
        variables: dict[str, Any] = {}
        about = self.attributes
        attributes = {
            "title": about.title,
            "seed": about.seed,
            "created": about.created,
            "study": about.study,
        }
        if level == "histogram":
            edges = bin_edges_ns() / NS
            coordinates |= {
                "bin": ("bin", edges[:-1], {"units": "s"}),
                "bin_upper": ("bin", edges[1:], {"units": "s"}),
            }
            for name in HISTOGRAMS:
                variables[name] = (("configuration", "bin"), self._data.histogram(name), {"units": "1"})
            return xarray.Dataset(variables, coordinates, attributes)
        coordinates["replication"] = np.arange(self.n_replications)
        dimensions: tuple[str, ...] = ("configuration", "replication")
        if level == "vm":
            dimensions = (*dimensions, "vm")
            coordinates |= {
                "vm": np.arange(self.context.n_vms),
                "name": (("configuration", "vm"), self.context.names),
                "vcpus": (("configuration", "vm"), self.context.vcpus),
                "weight": (("configuration", "vm"), self.context.weight),
            }
        metrics = [metric for metric in METRICS.values() if level in metric.levels]
        for metric, values in zip(metrics, self._data.metrics(metrics, level), strict=True):
            meaning = metric.vm_long_name if level == "vm" and metric.vm_long_name else metric.long_name
            variables[metric.name] = (dimensions, values, {"units": metric.units, "long_name": meaning})
        if level == "host":
            for single in CONFIGURATION_METRICS.values():
                about_it = {"units": single.units, "long_name": single.long_name}
                variables[single.name] = ("configuration", self._per_configuration(single.name), about_it)
        return xarray.Dataset(variables, coordinates, attributes)

    def to_dataframe(self, metrics: Sequence[str] | None = None) -> "pandas.DataFrame":
        """Return the results as a pandas DataFrame, one row per configuration and replication.

        Parameters
        ----------
        metrics : sequence of str, optional
            Which metrics; by default all that have a value per replication. Those with one value per
            configuration are repeated.

        Returns
        -------
        pandas.DataFrame
            Columns ``configuration``, ``replication``, the swept parameters, the metrics.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        UnknownMetricError
            If there is no such metric.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("to_dataframe needs pandas: pip install 'fastlhp[xarray]'") from error
        names = list(METRICS) if metrics is None else list(metrics)
        for name in names:
            self._require(name)
        n, r = len(self), self.n_replications
        columns: dict[str, Any] = {
            "configuration": np.repeat(np.arange(n), r),
            "replication": np.tile(np.arange(r), n),
        }
        columns |= {path: np.repeat(values, r) for path, values in self.configurations.items()}
        several = [name for name in names if name in METRICS]
        loaded = dict(zip(several, self._data.metrics([METRICS[m] for m in several], "host"), strict=True))
        for name in names:
            values = loaded[name].ravel() if name in METRICS else np.repeat(self._per_configuration(name), r)
            columns[name] = values
        return pandas.DataFrame(columns)

    def _require(self, metric: str, level: Level = "host") -> None:
        known = [m.name for m in METRICS.values() if level in m.levels]
        if level == "host":
            known += CONFIGURATION_METRICS
        if metric in known:
            return
        what = "metric" if level == "host" else "metric of a VM"
        close = difflib.get_close_matches(str(metric), known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(known)}"
        raise UnknownMetricError(f"unknown {what} {metric!r}; {hint}")

    def _per_configuration(self, name: str) -> Array:
        if name == "status":
            return self.status
        if name == "replications":
            return self._data.replications
        if name == "warmup_time":
            return self._data.warmup_s
        single = CONFIGURATION_METRICS[name]
        return histogram_quantile(self._data.histogram(single.histogram), single.quantile)
