"""Results as one long table, CSV or Parquet, written piece by piece: of any size in little memory."""

import contextlib
import csv
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastlhp.results.counters import Status
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import MissingExtraError, Results
from fastlhp.results.target import ResultFileError, Target, check_target, writing

__all__ = ["Per", "export"]

Array = npt.NDArray[Any]
Per = Literal["configuration", "replication"]

_VALUES = 2**16
"""Values of a metric that are in memory at a time."""

_OF_AN_ESTIMATE = ("", "_low", "_high", "_standard_error")


def export(
    results: Results,
    output: str | PathLike[str],
    *,
    per: Per = "replication",
    metrics: Sequence[str] | None = None,
    confidence: float = 0.95,
    force: bool = False,
) -> None:
    """Write results as a table with the swept parameters and metrics as columns.

    Parameters
    ----------
    results : Results
        What to write.
    output : path-like
        The file; its name ends in ``.csv`` or ``.parquet``.
    per : {"replication", "configuration"}, optional
        What a row is: a replication that was run, or a configuration with its estimates.
    metrics : sequence of str, optional
        Which metrics; by default all.
    confidence : float, optional
        Of the estimates' intervals; in (0, 1).
    force : bool, optional
        Overwrite an existing file.

    Raises
    ------
    ResultFileError
        If the file exists and `force` is not given, or cannot be written, or is of another kind.
    UnknownMetricError
        If there is no such metric.
    MissingExtraError
        If pyarrow is needed and not installed.
    """
    path = fspath(output)
    kinds = {".csv": _csv, ".parquet": _parquet}
    write = next((kinds[end] for end in kinds if path.lower().endswith(end)), None)
    if write is None:
        raise ResultFileError(f"cannot write {path}: a table's name ends in .csv or .parquet")
    check_target(path, force)
    chosen = (METRICS if per == "replication" else results.metrics) if metrics is None else metrics
    # A row per configuration has these anyway.
    names = [name for name in chosen if per == "replication" or name not in ("status", "replications")]
    units = {name: results.units(name) for name in names}
    pieces = _replications(results, names) if per == "replication" else _estimates(results, names, confidence)
    first = next(pieces)
    with write(path, first, _units_of(first, units), force) as write_piece:
        for piece in itertools.chain([first], pieces):
            write_piece(piece)


def _parts(results: Results) -> Iterator[tuple[int, Results]]:
    """Yield neighbouring configurations, and the number of the first of them."""
    step = max(1, _VALUES // max(results.n_replications, 1))
    for first in range(0, max(len(results), 1), step):
        yield first, results.part(slice(first, first + step))


def _replications(results: Results, names: Sequence[str]) -> Iterator[dict[str, Array]]:
    for first, part in _parts(results):
        n_replications = np.where(part.status == Status.OK, part["replications"], 0)
        row, replication = np.nonzero(np.arange(part.n_replications) < n_replications[:, None])
        columns = {"configuration": first + row, "replication": replication}
        columns |= {path: values[row] for path, values in part.configurations.items()}
        for name in names:
            values = np.asarray(part[name])
            columns[name] = values[row, replication] if values.ndim == 2 else values[row]
        yield columns


def _estimates(results: Results, names: Sequence[str], confidence: float) -> Iterator[dict[str, Array]]:
    status = np.array([status.name.lower() for status in Status], dtype=object)
    for first, part in _parts(results):
        columns = {"configuration": first + np.arange(len(part)), **part.configurations}
        columns["status"] = status[part.status]
        columns["replications"] = np.maximum(part["replications"], 0)
        for name in names:
            it = part.summary(name, confidence)
            values = (it.mean, it.low, it.high, it.standard_error)
            n = len(_OF_AN_ESTIMATE) if name in METRICS else 1  # of the others no error is known
            columns |= {name + end: array for end, array in zip(_OF_AN_ESTIMATE[:n], values[:n], strict=True)}
        yield columns


def _units_of(columns: Mapping[str, Array], units: Mapping[str, str]) -> dict[str, str]:
    """Return the unit of each column that has one."""
    known = {name + end: unit for name, unit in units.items() for end in _OF_AN_ESTIMATE}
    return {name: known[name] for name in columns if name in known}


@contextlib.contextmanager
def _csv(
    path: str, head: Mapping[str, Array], units: Mapping[str, str], force: bool
) -> Iterator[Callable[[Mapping[str, Array]], None]]:
    with Target(path, force=force) as target, writing(path):
        with open(target.temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            yield lambda piece: writer.writerows(zip(*map(_plain, piece.values()), strict=True))
        target.publish()


def _plain(values: Array) -> list[Any]:
    """Return Python values; None, which CSV writes as nothing, for NaN."""
    if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        values = values.astype(object)
        values[missing] = None
    return values.tolist()  # type: ignore[no-any-return]


@contextlib.contextmanager
def _parquet(
    path: str, head: Mapping[str, Array], units: Mapping[str, str], force: bool
) -> Iterator[Callable[[Mapping[str, Array]], None]]:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'fastlhp[export]'") from error
    kinds = {"i": arrow.int64(), "f": arrow.float64(), "O": arrow.string()}
    fields = []
    for name, values in head.items():
        about = {"units": units[name]} if name in units else None
        fields.append(arrow.field(name, kinds[values.dtype.kind], metadata=about))
    schema = arrow.schema(fields)
    with Target(path, force=force) as target, writing(path):
        with parquet.ParquetWriter(target.temporary, schema) as writer:
            yield lambda piece: writer.write_table(
                arrow.table(
                    [
                        arrow.array(values, field.type, from_pandas=True)
                        for values, field in zip(piece.values(), schema, strict=True)
                    ],
                    schema=schema,
                )
            )
        target.publish()
