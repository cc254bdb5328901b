"""The result file: netCDF4-style HDF5, written at once or not at all.

The format is described in ``docs/results.md``.
"""

import builtins
import contextlib
import itertools
import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from fastlhp.errors import FastlhpError
from fastlhp.results.counters import (
    HISTOGRAMS,
    N_BINS,
    VM_COUNTERS,
    ConfigurationResult,
    Status,
    bin_edges_ns,
)
from fastlhp.results.metrics import (
    CONFIGURATION_METRICS,
    EARLY,
    METRICS,
    NS,
    Block,
    Context,
    Level,
    Metric,
    VmTable,
    missing_value,
)
from fastlhp.results.results import Attributes, Member, Moments, Results, coordinate_array, now
from fastlhp.results.target import ResultFileError, Target, cause, check_target, writing

__all__ = [
    "FORMAT_VERSION",
    "FileData",
    "NoReplicationsError",
    "ResultFileError",
    "ResultWriter",
    "check_target",
    "open",
]

FORMAT_VERSION = 2
"""Raised when a reader of the format before would misunderstand a file; files with replications still are of 1."""

Array = npt.NDArray[Any]


class NoReplicationsError(FastlhpError):
    """A file of summaries does not have what is asked for."""


FIRST_HALF = "first_half"
SUMMARY = "summary"
_GZIP_LEVEL = 4
# A chunk of a host variable has about this size; smaller chunks make many small reads, larger ones long
# blocks.
_CHUNK_BYTES = 128 * 1024
_MAX_CHUNK_BYTES = 1024**2
# Limits of the counters of one block, and of all that wait for their block to be complete.
_BLOCK_BYTES = 32 * 1024**2
_PENDING_BYTES = 192 * 1024**2
# Configurations whose VMs are written at a time.
_ROWS_AT_A_TIME = 2**16
_STRING = h5py.string_dtype()
_ZLIB_HEADER = b"\x78\x5e"
_ZLIB_EMPTY_LAST_BLOCK = b"\x03\x00"


class ResultWriter:
    """Writes a result file beside its final place and moves it there when it is complete.

    Parameters
    ----------
    path : path-like
        The file.
    study : Study
        The study that is run.
    force : bool, optional
        Overwrite an existing file. It stays as it is until the new one is complete.
    replications : int, optional
        Replications of each configuration; the study's by default.
    provenance : mapping, optional
        How the results are made, see `fastlhp.results.results.provenance`.
    created : str, optional
        When, ISO 8601; now by default.
    fingerprint : str, optional
        Hash of all that the results depend on: files that share it can be merged.
    folder : path-like, optional
        Where the file is made, on the same file system; by default where it will be.
    context : Context, optional
        Of the study's configurations, if it is known already.
    members : sequence of Member, optional
        The studies that are in the file, if there are several.

    Raises
    ------
    ResultFileError
        If the file exists and `force` is not given, or nothing can be written there.

    Notes
    -----
    `write` takes configurations in any order, one call each, from any thread. The counters are kept until a
    block of neighbours is complete, and its metrics are then computed and written at once. A crash leaves at
    most a hidden file ``.NAME.*.tmp``. As a context manager it removes that unless `close` was reached.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        study: Any,
        *,
        force: bool = False,
        replications: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        created: str | None = None,
        fingerprint: str = "",
        folder: str | PathLike[str] | None = None,
        context: Context | None = None,
        members: Sequence[Member] = (),
    ) -> None:
        self.path = os.fspath(path)
        self._study = study
        self._n_replications = int(study.replications if replications is None else replications)
        self._lock = threading.Lock()
        self._pending: dict[int, list[ConfigurationResult]] = {}
        self._pending_bytes = 0
        self._started: set[int] = set()
        self._zeros: dict[tuple[int, ...], bytes] = {}
        self._messages: dict[int, str] = {}
        self._file: h5py.File | None = None
        self._datasets: dict[
            tuple[Level | Literal["first_half", "histogram", "summary"], str], h5py.Dataset
        ] = {}
        self._target = Target(path, force=force, folder=folder)
        try:
            self._context = context or Context.of(study.configurations, study.n_configurations)
            self._status = np.full(len(self._context), Status.NOT_RUN, dtype=np.int64)
            self._replications = np.full(len(self._context), -1, dtype=np.int64)
            self._warmup_s = np.full(len(self._context), np.nan)
            self._block_size = self._choose_block_size()
            with writing(self.path):
                # Without a chunk cache: chunks are written whole, and a cache per variable would add up.
                self._file = h5py.File(
                    self._target.temporary, "w", track_order=True, rdcc_nbytes=0, locking="best-effort"
                )
                self._create(self._file, provenance or {}, created or now(), fingerprint)
                if members:
                    self._create_members(self._file, members)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> "ResultWriter":
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not closed."""
        self.abort()

    @property
    def finished(self) -> int:
        """Number of configurations that were written and had not failed."""
        return int(np.count_nonzero(self._status == Status.OK))

    @property
    def written(self) -> int:
        """Number of configurations that were written, also failed ones."""
        return int(np.count_nonzero(self._status != Status.NOT_RUN))

    @property
    def failures(self) -> dict[int, str]:
        """Why configurations failed, by index."""
        return dict(sorted(self._messages.items()))

    @property
    def temporary(self) -> str:
        """Where the file is until it is closed."""
        return self._target.temporary

    def write(self, result: ConfigurationResult) -> None:
        """Take the result of a configuration.

        Raises
        ------
        ResultFileError
            If the file cannot be written; nothing is kept of it then.
        """
        with self._lock:
            if self._file is None:
                raise ResultFileError(f"{self.path} is closed")
            if self._status[result.index] != Status.NOT_RUN:
                raise ValueError(f"configuration {result.index} was written before")
            self._status[result.index] = result.status
            if result.status != Status.OK:
                self._messages[result.index] = result.message or "failed"
            else:
                self._replications[result.index] = len(result.host)
                self._warmup_s[result.index] = result.warmup_ns / NS
            number = result.index // self._block_size
            block = self._pending.setdefault(number, [])
            block.append(result)
            self._pending_bytes += result.vm.nbytes + result.host.nbytes + result.histogram.nbytes
            if len(block) == len(self._rows(number)):
                self._flush(number)
            elif self._pending_bytes > _PENDING_BYTES:
                self._flush(max(self._pending, key=lambda other: len(self._pending[other])))

    def copy(self, sources: Sequence["FileData"], origin: Array, row: Array) -> None:
        """Take all that is to be in the file from other result files.

        Parameters
        ----------
        sources : sequence of FileData
            The files.
        origin : ndarray of int, shape (configuration,)
            Which of them has a configuration; -1 if none has.
        row : ndarray of int, shape (configuration,)
            Its number there.
        """
        assert self._file is not None and not self._started
        for number, source in enumerate(sources):
            its = origin == number
            self._status[its] = source.status[row[its]]
            self._replications[its] = source.replications[row[its]]
            self._warmup_s[its] = source.warmup_s[row[its]]
            self._messages |= {
                int(i): source.messages[row[i]] for i in np.flatnonzero(its) if row[i] in source.messages
            }
        singles = {
            ("", single.name): self._file[single.name]
            for single in CONFIGURATION_METRICS.values()
            if single.histogram
        }
        groups = {
            "host": "",
            "vm": "vm",
            "first_half": FIRST_HALF,
            "histogram": "histogram",
            "summary": SUMMARY,
        }
        pairs = {
            (groups[level], name): dataset for (level, name), dataset in self._datasets.items()
        } | singles
        with contextlib.ExitStack() as stack, writing(self.path):
            files = [stack.enter_context(source._open()) for source in sources]
            for first in range(0, len(origin), self._block_size):
                here, there = origin[first : first + self._block_size], row[first : first + self._block_size]
                for (group, name), dataset in pairs.items():
                    shape = (len(here), *dataset.shape[1:])
                    values = np.full(shape, missing_value(dataset.dtype), dtype=dataset.dtype)
                    for number in np.unique(here[here >= 0]):
                        chosen = np.flatnonzero(here == number)
                        low, high = there[chosen].min(), there[chosen].max() + 1
                        if group == FIRST_HALF and group not in files[number]:
                            continue  # of an older version
                        with _reading(sources[number].path):
                            found = files[number][f"{group}/{name}"][low:high][there[chosen] - low]
                        place: tuple[Any, ...] = (chosen, *(slice(size) for size in found.shape[1:]))
                        values[place] = found
                    self._put(dataset, first, values, np.flatnonzero(here >= 0), True)

    def close(self, timing: Mapping[str, float] | None = None) -> None:
        """Finish the file and move it to its place.

        Configurations that were not written are marked as not run.

        Parameters
        ----------
        timing : mapping, optional
            ``events``, ``engine_seconds``, ``threads``; kept as attributes.

        Raises
        ------
        ResultFileError
            If the file cannot be written, or another one has taken its place meanwhile.
        """
        with self._lock:
            if self._file is None:
                raise ResultFileError(f"{self.path} is closed")
            try:
                with writing(self.path):
                    for number in sorted(self._pending):
                        self._flush(number)
                    self._file["status"][...] = self._status
                    self._file["replications"][...] = self._replications
                    self._file["warmup_time"][...] = self._warmup_s
                    for index, message in self._messages.items():
                        self._file["message"][index] = message
                    for key, value in (timing or {}).items():
                        self._file.attrs[f"timing_{key}"] = value
                    self._file.flush()
                    self._file.close()
                    self._file = None
                self._target.publish()
            finally:
                self._remove()

    def abort(self) -> None:
        """Remove what was written; nothing happens after `close`."""
        self._remove()

    def _remove(self) -> None:
        if self._file is not None:
            # Closing flushes, which fails again on a full disk.
            with contextlib.suppress(Exception):
                self._file.close()
            self._file = None
        self._datasets.clear()
        self._pending.clear()
        self._target.remove()

    def _choose_block_size(self) -> int:
        n_vms = max(self._context.n_vms, 1)
        host_chunk = self._n_replications * 8
        counters = host_chunk * n_vms * len(VM_COUNTERS)
        histogram = _MAX_CHUNK_BYTES // (N_BINS * 8)
        return max(
            1, min(_CHUNK_BYTES // host_chunk, _BLOCK_BYTES // counters, histogram, len(self._context))
        )

    def _rows(self, number: int) -> range:
        first = number * self._block_size
        return range(first, min(first + self._block_size, len(self._context)))

    def _chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the chunk of a variable: a block of configurations, in parts if one has very much to say."""
        chunk = [self._block_size, *shape[1:]]
        for axis in range(1, len(chunk)):
            while int(np.prod(chunk)) * 8 > _MAX_CHUNK_BYTES and chunk[axis] > 64:
                chunk[axis] = -(-chunk[axis] // 2)
        return tuple(max(1, c) for c in chunk)

    def _variable(
        self,
        group: h5py.Group,
        name: str,
        dimensions: Sequence[h5py.Dataset],
        dtype: np.dtype[Any],
        attributes: Mapping[str, str],
    ) -> h5py.Dataset:
        shape = tuple(len(scale) for scale in dimensions)
        options: dict[str, Any] = {}
        if dtype.kind in "if":
            options["fillvalue"] = missing_value(dtype)
        if len(shape) > 1 and dtype.kind in "if" and all(shape):
            options |= {
                "chunks": self._chunks(shape),
                "compression": "gzip",
                "compression_opts": _GZIP_LEVEL,
                "shuffle": True,
            }
        dataset = group.create_dataset(name, shape, dtype=dtype, **options)
        for axis, scale in enumerate(dimensions):
            dataset.dims[axis].attach_scale(scale)
        for key, value in attributes.items():
            dataset.attrs[key] = value
        return dataset

    def _scale(
        self, group: h5py.Group, name: str, values: Array, attributes: Mapping[str, str]
    ) -> h5py.Dataset:
        dataset = group.create_dataset(name, data=values, dtype=values.dtype)
        dataset.make_scale(name)
        for key, value in attributes.items():
            dataset.attrs[key] = value
        return dataset

    def _create(self, file: h5py.File, made: Mapping[str, Any], created: str, fingerprint: str) -> None:
        from fastlhp import __version__

        context, study = self._context, self._study
        seed = int(study.seed)
        root: dict[str, Any] = {
            "Conventions": "CF-1.8",
            "title": study.name,
            "created": created,
            "fastlhp_version": __version__,
            "format_version": 1 if study.keeps_replications else FORMAT_VERSION,
            "seed": seed if seed < 2**63 else np.uint64(seed),
            "study": study.text,
            "fingerprint": fingerprint,
            "provenance": json.dumps(dict(made)),
        }
        for key, value in root.items():
            file.attrs[key] = value

        configuration = self._scale(
            file,
            "configuration",
            np.arange(len(context)),
            {"units": "1", "long_name": "Number of the configuration"},
        )
        replication = self._scale(
            file,
            "replication",
            np.arange(self._n_replications),
            {"units": "1", "long_name": "Number of the replication"},
        )
        names: list[str] = []
        for path, labels in study.coordinates.items():
            values = coordinate_array(labels)
            dtype = _STRING if values.dtype.kind == "O" else values.dtype
            name = _coordinate_name(path, names)
            about = {"units": "1", "long_name": f"Swept parameter {path}", "swept_path": path}
            self._variable(file, name, [configuration], dtype, about)[...] = values
            names.append(name)
        swept = {"coordinates": " ".join(names)} if names else {}

        for name, units, long_name, values in (
            ("pcpus", "1", "pCPUs of the host", context.pcpus),
            ("frequency", "s-1", "Cycles per second of a pCPU", context.frequency_hz),
            ("duration", "s", "Length of the measured window", context.duration_s),
        ):
            about = {"units": units, "long_name": long_name, **swept}
            self._variable(file, name, [configuration], values.dtype, about)[...] = values
        for single in CONFIGURATION_METRICS.values():
            about = {"units": single.units, "long_name": single.long_name, **swept}
            self._variable(file, single.name, [configuration], single.dtype, about)
        about = {"units": "1", "long_name": "Why the configuration failed; empty if it did not", **swept}
        self._variable(file, "message", [configuration], _STRING, about)
        for metric in METRICS.values() if study.keeps_replications else ():
            about = {"units": metric.units, "long_name": metric.long_name, **swept}
            dataset = self._variable(file, metric.name, [configuration, replication], metric.dtype, about)
            self._datasets["host", metric.name] = dataset

        # track_order is not inherited; netCDF wants it in every group.
        group = file.create_group("vm", track_order=True)
        vm = self._scale(
            group,
            "vm",
            np.arange(context.n_vms),
            {"units": "1", "long_name": "Number of the VM in its configuration"},
        )
        own = {"coordinates": "name vcpus weight"}
        for name, dtype, long_name, values in (
            ("name", _STRING, "Name of the VM", context.kinds.names),
            ("vcpus", context.kinds.vcpus.dtype, "vCPUs of the VM", context.kinds.vcpus),
            ("weight", context.kinds.weight.dtype, "Weight of the VM", context.kinds.weight),
        ):
            about = {"units": "1", "long_name": long_name}
            dataset = self._variable(group, name, [configuration, vm], dtype, about)
            for first in range(0, len(context) if values.size else 0, _ROWS_AT_A_TIME):
                rows = slice(first, first + _ROWS_AT_A_TIME)
                dataset[rows] = values[context.kind[rows]]
        for metric in METRICS.values() if study.keeps_replications else ():
            if "vm" in metric.levels:
                about = {"units": metric.units, "long_name": metric.vm_long_name or metric.long_name, **own}
                dataset = self._variable(
                    group, metric.name, [configuration, replication, vm], metric.dtype, about
                )
                self._datasets["vm", metric.name] = dataset

        if study.keeps_replications:
            group = file.create_group(FIRST_HALF, track_order=True)
            for metric in map(METRICS.__getitem__, EARLY):
                about = {
                    "units": metric.units,
                    "long_name": f"{metric.long_name}; in the first half of the window",
                }
                dataset = self._variable(
                    group, metric.name, [configuration, replication], metric.dtype, about
                )
                self._datasets["first_half", metric.name] = dataset
        else:
            self._create_summary(file, configuration)

        group = file.create_group("histogram", track_order=True)
        edges = bin_edges_ns() / NS
        about = {"units": "s", "long_name": "Lower edge of the bin; the first also holds 0"}
        bins = self._scale(group, "bin", edges[:-1], about)
        about = {"units": "s", "long_name": "Upper edge of the bin; the last has none"}
        self._variable(group, "bin_upper", [bins], edges.dtype, about)[...] = edges[1:]
        for name, long_name in (
            ("wait", "Contended lock waits, pooled over VMs and replications"),
            ("holder_off", "Off-CPU spells of preempted lock holders, pooled over VMs and replications"),
        ):
            about = {"units": "1", "long_name": long_name, "coordinates": "bin_upper"}
            dataset = self._variable(group, name, [configuration, bins], np.dtype(np.int64), about)
            self._datasets["histogram", name] = dataset

    def _create_summary(self, file: h5py.File, configuration: h5py.Dataset) -> None:
        group = file.create_group(SUMMARY, track_order=True)
        about = {"units": "1", "long_name": "Name of the metric"}
        metric = group.create_dataset("metric", data=list(METRICS), dtype=_STRING)
        metric.make_scale("metric")
        metric.attrs.update(about)
        for name, values in (
            ("unit", [it.units for it in METRICS.values()]),
            ("meaning", [it.long_name for it in METRICS.values()]),
        ):
            about = {"units": "1", "long_name": f"{name.capitalize()} of the metric"}
            self._variable(group, name, [metric], _STRING, about)[...] = values
        for name, long_name in _MOMENTS.items():
            dtype = np.dtype(np.int64 if name == "n" else np.float64)
            about = {"units": "1", "long_name": long_name}
            self._datasets["summary", name] = self._variable(
                group, name, [configuration, metric], dtype, about
            )

    def _create_members(self, file: h5py.File, members: Sequence[Member]) -> None:
        group = file.create_group("studies", track_order=True)
        scale = self._scale(
            group,
            "number",
            np.arange(len(members)),
            {"units": "1", "long_name": "Number of the study"},
        )
        for name, (value_of, long_name) in _MEMBER.items():
            values = [value_of(member) for member in members]
            kind = {int: np.dtype(np.uint64 if name == "seed" else np.int64), str: _STRING}[type(values[0])]
            about = {"units": "1", "long_name": long_name}
            self._variable(group, name, [scale], kind, about)[...] = values

    def _flush(self, number: int) -> None:
        """Compute and write what is known of a block."""
        results = self._pending.pop(number)
        for result in results:
            self._pending_bytes -= result.vm.nbytes + result.host.nbytes + result.histogram.nbytes
        rows = self._rows(number)
        context = self._context.part(slice(rows.start, rows.stop))
        block = Block(context, rows.start, results, self._n_replications, self._context.n_vms)
        # A chunk is written as a whole, with missing values, as long as nothing is in it yet.
        whole = number not in self._started
        self._started.add(number)
        part = np.sort([result.index - rows.start for result in results])
        moments = {} if self._study.keeps_replications else _moments_of(block)
        file = self._file
        assert file is not None
        with writing(self.path):
            for (level, name), dataset in self._datasets.items():
                if level == "histogram":
                    values = block.histogram[:, HISTOGRAMS[name]]
                elif level == "summary":
                    values = moments[name]
                elif level == "first_half":
                    values = block.first_half(METRICS[name])
                else:
                    values = block.metric(METRICS[name], level)
                self._put(dataset, rows.start, values, part, whole)
            for single in CONFIGURATION_METRICS.values():
                if single.histogram:
                    file[single.name][rows.start + part] = block.quantile(single)[part]

    def _put(self, dataset: h5py.Dataset, first: int, values: Array, part: Array, whole: bool) -> None:
        chunk = dataset.chunks
        if whole and chunk is not None and chunk[1:] == values.shape[1:]:
            dataset.id.write_direct_chunk((first, *[0] * (values.ndim - 1)), self._compress(values, chunk))
        elif values.size and part.size:
            # Runs of neighbours, since each access packs the chunk anew.
            for run in np.split(part, np.flatnonzero(np.diff(part) != 1) + 1):
                dataset[first + run[0] : first + run[-1] + 1] = values[run[0] : run[-1] + 1]

    def _compress(self, values: Array, chunk: tuple[int, ...]) -> bytes:
        """Return a chunk as HDF5's shuffle and gzip filters might have made it."""
        rows = chunk[0]
        if not values.any():
            if chunk not in self._zeros:
                self._zeros[chunk] = _deflate(np.zeros(chunk, dtype="<i8"))
            return self._zeros[chunk]
        if len(values) < rows:
            full = np.full(chunk, missing_value(values.dtype), dtype=values.dtype)
            full[: len(values)] = values
            values = full
        return _deflate(values.astype(values.dtype.newbyteorder("<"), copy=False))


def _moments_of(block: Block) -> dict[str, Array]:
    from fastlhp.analysis.estimates import block_moments  # SciPy, which takes a quarter of a second to load

    return block_moments(block)


def _deflate(values: Array) -> bytes:
    """Shuffle and deflate, as any zlib reads it but in a third of the time that HDF5's own filters take.

    Shuffling puts first bytes beside first bytes, and so on. Most such planes of a measured time are noise,
    on which deflate wastes its time: they are stored. Of the others runs are all that there is to find.
    """
    planes = np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize).T.copy()
    parts = [_ZLIB_HEADER]
    for noise, group in itertools.groupby(planes, _is_noise):
        # Raw deflate blocks that end at a byte can be put behind each other.
        compressor = zlib.compressobj(
            0 if noise else _GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE
        )
        parts += [compressor.compress(plane.data) for plane in group]
        parts.append(compressor.flush(zlib.Z_FULL_FLUSH))
    parts += [_ZLIB_EMPTY_LAST_BLOCK, zlib.adler32(planes.data).to_bytes(4, "big")]
    return b"".join(parts)


def _is_noise(plane: Array) -> bool:
    """Say whether bytes look evenly distributed, by how often two of a sample are equal."""
    sample = plane[:: max(1, len(plane) // 2048)]
    n = len(sample)
    counts = np.bincount(sample, minlength=256)
    return bool(256 * np.dot(counts, counts) < 1.25 * n * n)


def _coordinate_name(path: str, taken: Sequence[str]) -> str:
    """Return a name for a swept path that HDF5 and the space-separated ``coordinates`` attribute can bear."""
    name = unique = re.sub(r"[\s/]", "_", path)
    number = 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except FastlhpError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ResultFileError(f"{path} is damaged: {cause(error)}") from error


_MEMBER: dict[str, tuple[Callable[[Member], Any], str]] = {
    "name": (lambda member: member.name, "Name of the study, unique here"),
    "title": (lambda member: member.attributes.title, "Name of the study"),
    "first": (lambda member: member.first, "Its first configuration"),
    "configurations": (lambda member: member.n_configurations, "Number of its configurations"),
    "replications": (lambda member: member.n_replications, "Replications of each of them, at most"),
    "seed": (lambda member: member.attributes.seed, "Its seed"),
    "study": (lambda member: member.attributes.study, "The whole study file"),
    "created": (lambda member: member.attributes.created, "When its run was begun"),
    "fastlhp_version": (lambda member: member.attributes.fastlhp_version, "What simulated it"),
    "fingerprint": (lambda member: member.attributes.fingerprint, "Hash of all that its results depend on"),
    "provenance": (lambda member: json.dumps(dict(member.attributes.provenance)), "How it was run, JSON"),
    "timing": (lambda member: json.dumps(dict(member.attributes.timing)), "What that took, JSON"),
}
"""What the group ``studies`` has of each study: a variable's name, its value and its meaning."""


_MOMENTS: dict[str, str] = {
    "mean": "Mean over the replications; of a ratio the pooled one, numerator / denominator",
    "standard_error": "Standard error of the mean",
    "n": "Number of replications with a value",
    "numerator": "Sum over these of the metric, of a ratio of its numerator",
    "denominator": "Sum of the denominator of a ratio; of others n",
    "trials": "Trials behind a probability at least, for intervals where nothing was seen; infinite if not known",
}
"""What the group ``summary`` has: the fields of `Moments`, and their meaning."""


class FileData:
    """Results that are read from a file as they are asked for.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    ResultFileError
        If there is no such file, or it is damaged, of another kind, or too new.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)
        if not os.path.exists(self.path):
            raise ResultFileError(f"there is no file {self.path}")
        if not os.path.isfile(self.path):
            raise ResultFileError(f"{self.path} is not a file")
        try:
            with builtins.open(self.path, "rb"):
                pass
        except OSError as error:
            raise ResultFileError(f"cannot read {self.path}: {cause(error)}") from error
        if not h5py.is_hdf5(self.path):
            raise ResultFileError(f"{self.path} is not an HDF5 file, so it is no result of fastlhp")
        with self._open() as file:
            self._check_kind(file)
            with _reading(self.path):
                self.attributes = self._read_attributes(file)
                self._n_configurations = len(file["configuration"])
                self.moments = self._moments if SUMMARY in file else None
                self.n_replications = len(file["replication"])
                self.status: Array = file["status"][...]
                self.replications: Array = np.where(self.status == Status.OK, self.n_replications, -1)
                if "replications" in file:  # not in files of versions in which all had the same number
                    self.replications = file["replications"][...]
                self.warmup_s: Array = np.full(self._n_configurations, np.nan)
                if "warmup_time" in file:  # nor that
                    self.warmup_s = file["warmup_time"][...]
                texts = file["message"].asstr()[...]
                self.messages = {int(i): texts[i] for i in np.flatnonzero(self.status == Status.FAILED)}
                self.coordinates = {
                    dataset.attrs["swept_path"]: _column(dataset)
                    for dataset in file.values()
                    if isinstance(dataset, h5py.Dataset) and "swept_path" in dataset.attrs
                }
                self._check_shapes(file)
                self.members = self._read_members(file)
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """What is known about the configurations."""
        if self._context is None:
            with self._open() as file, _reading(self.path):
                self._context = Context(
                    duration_s=file["duration"][...],
                    pcpus=file["pcpus"][...],
                    frequency_hz=file["frequency"][...],
                    kinds=VmTable(
                        vcpus=file["vm/vcpus"][...],
                        weight=file["vm/weight"][...],
                        names=file["vm/name"].asstr()[...],
                    ),
                    kind=np.arange(self._n_configurations),
                )
        return self._context

    def _moments(self, metric: Metric, rows: slice) -> Moments:
        with self._open() as file, _reading(self.path):
            group = file[SUMMARY]
            column = _column(group["metric"]).tolist().index(metric.name)
            its = {name: group[name][rows, column] for name in _MOMENTS}
            return Moments(**its | {"n": np.maximum(its["n"], 0)})

    def metrics(self, metrics: Sequence[Metric], level: Level, rows: slice = slice(None)) -> list[Array]:
        """Read metrics."""
        self._require_replications()
        with self._open() as file, _reading(self.path):
            group = file if level == "host" else file["vm"]
            return [group[metric.name][rows] for metric in metrics]

    def first_half(self, metric: Metric, rows: slice = slice(None)) -> Array:
        """Read a metric in the first half of the window."""
        self._require_replications()
        with self._open() as file, _reading(self.path):
            if FIRST_HALF not in file:  # of an older version
                n = len(self.status[rows])
                return np.full((n, self.n_replications), missing_value(metric.dtype), dtype=metric.dtype)
            return np.asarray(file[FIRST_HALF][metric.name][rows])

    def histogram(self, name: str, rows: slice = slice(None)) -> Array:
        """Read a histogram."""
        with self._open() as file, _reading(self.path):
            return np.asarray(file["histogram"][name][rows])

    def _require_replications(self) -> None:
        if self.moments is not None:
            raise NoReplicationsError(
                f'{self.path} has summaries only, since its study says store = "summaries": what compares or resamples '
                "replications, or asks for their values, needs the study run without that"
            )

    def _open(self) -> Any:
        try:
            try:
                return h5py.File(self.path, "r")
            except OSError as error:
                if "lock" not in str(error):
                    raise
                # Some network file systems have no locks, and none is needed: a finished file is not written
                # to. Not without locks from the start: another reader in this process, such as xarray, uses
                # them.
                return h5py.File(self.path, "r", locking=False)
        except (OSError, RuntimeError) as error:
            raise ResultFileError(f"{self.path} is truncated or damaged: {cause(error)}") from error

    def _check_kind(self, file: h5py.File) -> None:
        try:
            version = int(file.attrs["format_version"])
            writer = str(file.attrs["fastlhp_version"])
        except (KeyError, TypeError, ValueError, OSError, RuntimeError):
            raise ResultFileError(f"{self.path} is an HDF5 file, but no result of fastlhp") from None
        if version > FORMAT_VERSION:
            raise ResultFileError(
                f"{self.path} was written by fastlhp {writer} in format {version}; this version reads up to "
                f"format {FORMAT_VERSION}: upgrade fastlhp to read it"
            )

    def _check_shapes(self, file: h5py.File) -> None:
        table = (self._n_configurations, len(METRICS))
        if self.moments is not None and any(file[SUMMARY][name].shape != table for name in _MOMENTS):
            raise ValueError("its summaries have a wrong shape")
        host = (self._n_configurations, self.n_replications)
        vm = (*host, len(file["vm"]["vm"]))
        for metric in METRICS.values() if self.moments is None else ():
            if file[metric.name].shape != host or (
                "vm" in metric.levels and file["vm"][metric.name].shape != vm
            ):
                raise ValueError(f"variable {metric.name} has a wrong shape")
        for name in HISTOGRAMS:
            if file["histogram"][name].shape != (self._n_configurations, N_BINS):
                raise ValueError(f"histogram {name} has a wrong shape")

    def _read_attributes(self, file: h5py.File) -> Attributes:
        attributes = dict(file.attrs)
        timing = {
            key.removeprefix("timing_"): value.item() if isinstance(value, np.generic) else value
            for key, value in attributes.items()
            if key.startswith("timing_")
        }
        return Attributes(
            title=str(attributes["title"]),
            seed=int(attributes["seed"]),
            study=str(attributes["study"]),
            created=str(attributes["created"]),
            fastlhp_version=str(attributes["fastlhp_version"]),
            provenance=json.loads(attributes["provenance"]),
            timing=timing,
            source=self.path,
            fingerprint=str(attributes.get("fingerprint", "")),
        )

    def _read_members(self, file: h5py.File) -> list[Member]:
        about = self.attributes
        if "studies" not in file:
            return [Member(about.title, 0, self._n_configurations, self.n_replications, about)]
        group = file["studies"]
        columns = {name: _column(group[name]).tolist() for name in _MEMBER}
        members = []
        for values in zip(*columns.values(), strict=True):
            it = dict(zip(columns, values, strict=True))
            own = Attributes(
                title=it["title"],
                seed=it["seed"],
                study=it["study"],
                created=it["created"],
                fastlhp_version=it["fastlhp_version"],
                provenance=json.loads(it["provenance"]),
                timing=json.loads(it["timing"]),
                source=self.path,
                fingerprint=it["fingerprint"],
            )
            members.append(Member(it["name"], it["first"], it["configurations"], it["replications"], own))
        if sum(member.n_configurations for member in members) != self._n_configurations:
            raise ValueError("its studies have other configurations than it has")
        return members


def _column(dataset: h5py.Dataset) -> Array:
    return np.asarray(dataset.asstr()[...] if h5py.check_string_dtype(dataset.dtype) else dataset[...])


def open(path: str | PathLike[str]) -> Results:  # noqa: A001
    """Open a result file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Results
        Reads from the file what it is asked for.

    Raises
    ------
    ResultFileError
        If there is no such file, or it is damaged, of another kind, or too new.
    """
    return Results(FileData(path))
