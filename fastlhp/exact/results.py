"""Exact results: one value of each metric per configuration, and how they are shown."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.model.study import Study
from fastlhp.results.counters import HOST_COUNTERS, VM_COUNTERS
from fastlhp.results.metrics import METRICS, Context, Level, Totals
from fastlhp.results.results import MetricArray, UnknownMetricError, coordinate_array
from fastlhp.results.table import MAIN_METRICS, Column, format_value, laid_out, plain

__all__ = ["EXACT_METRICS", "ExactResults", "as_csv", "as_json", "as_table"]

Array = npt.NDArray[Any]

# Maxima depend on the length of the window, and fairness is a ratio within a replication; the number of simulated
# events is the simulator's, not the model's.
_NOT_EXACT = ("wait_max", "holder_off_max", "fairness", "events")

EXACT_METRICS: tuple[str, ...] = tuple(name for name in METRICS if name not in _NOT_EXACT)
"""The metrics that are rates, averages over time, or ratios of these."""


class ExactResults:
    """What a study gives in equilibrium; made by `fastlhp.exact`.

    ``results["throughput"]`` is an array of shape (configuration,). Counts and times are expected values over
    a window of the study's duration that begins in equilibrium; a ratio is that of the expected values, which is
    what the pooled ratios of a simulation estimate.

    Parameters
    ----------
    study : Study
        What was solved.
    states : ndarray of int64, shape (configuration,)
        Number of states of each chain.
    counters : sequence of ndarray of float64
        Of each configuration: the counters of each VM, then those of the host.

    Attributes
    ----------
    study : Study
        What was solved.
    states : ndarray of int64, shape (configuration,)
        Number of states of each configuration's chain.
    """

    def __init__(self, study: Study, states: Array, counters: Sequence[Array]) -> None:
        self.study = study
        self.states = states
        context = Context.of(study.configurations, study.n_configurations)
        vm = np.zeros((len(VM_COUNTERS), len(context), 1, context.n_vms))
        host = np.zeros((len(HOST_COUNTERS), len(context), 1))
        for i, values in enumerate(counters):
            n_vm = int(np.count_nonzero(context.vcpus[i] >= 0))
            vm[:, i, 0, :n_vm] = values[: n_vm * len(VM_COUNTERS)].reshape(n_vm, -1).T
            host[:, i, 0] = values[n_vm * len(VM_COUNTERS) :]
        self._present = context.vcpus >= 0
        levels: tuple[Level, ...] = ("host", "vm")
        self._totals = {level: Totals(level, context, vm, host) for level in levels}

    def __len__(self) -> int:
        """Return the number of configurations."""
        return len(self.states)

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<fastlhp.ExactResults of '{self.study.name}': {len(self)} configurations>"

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the metrics."""
        return iter(self.metrics)

    def __contains__(self, metric: object) -> bool:
        """Say whether there is a metric of that name."""
        return metric in self.metrics

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return EXACT_METRICS

    @property
    def configurations(self) -> dict[str, Array]:
        """Swept parameters as columns: dotted path to an array of shape (configuration,)."""
        return {path: coordinate_array(labels) for path, labels in self.study.coordinates.items()}

    def __getitem__(self, metric: str) -> MetricArray:
        """Return a metric of the host.

        Parameters
        ----------
        metric : str
            Its name.

        Returns
        -------
        MetricArray
            Shape (configuration,), float64; NaN for a ratio to nothing.

        Raises
        ------
        UnknownMetricError
            If there is no such metric, or it has no exact value; also a KeyError.
        """
        return MetricArray(self._value(metric, "host")[:, 0], METRICS[metric].units)

    def vm(self, metric: str) -> MetricArray:
        """Return a metric of each VM.

        Parameters
        ----------
        metric : str
            Its name.

        Returns
        -------
        MetricArray
            Shape (configuration, vm), padded with NaN where a configuration has fewer VMs.

        Raises
        ------
        UnknownMetricError
            If there is no such metric of a VM, or it has no exact value; also a KeyError.
        """
        values = np.where(self._present, self._value(metric, "vm")[:, 0], np.nan)
        return MetricArray(values, METRICS[metric].units)

    def _value(self, metric: str, level: Level) -> Array:
        known = [name for name in EXACT_METRICS if level in METRICS[name].levels]
        if metric not in known:
            raise UnknownMetricError(f"no exact value of {metric!r}; choose from: {', '.join(known)}")
        return np.asarray(METRICS[metric].formula(self._totals[level]), dtype=np.float64)


def as_table(
    results: ExactResults,
    metrics: Sequence[str] = MAIN_METRICS,
    *,
    width: int = 120,
    ascii_only: bool = False,
) -> str:
    """Return a table with one row per configuration.

    Parameters
    ----------
    results : ExactResults
        What to show.
    metrics : sequence of str, optional
        Which metrics.
    width : int, optional
        Columns of the screen.
    ascii_only : bool, optional
        Write ``~`` for an ellipsis.
    """
    rows = range(len(results))
    left = [Column("#", [str(i) for i in rows], right=True)]
    for path, values in results.configurations.items():
        left.append(Column.of_labels(path, values))
    left.append(Column("states", [str(n) for n in results.states], right=True))
    right = [
        Column.of_metric(
            name, METRICS[name].units, [format_value(x, METRICS[name].units) for x in results[name]]
        )
        for name in metrics
    ]
    return laid_out(left, right, width, ascii_only) + "\nExact, in equilibrium\n"


def as_csv(results: ExactResults, metrics: Sequence[str] = MAIN_METRICS) -> str:
    """Return the values in full precision as CSV, in the metrics' own units.

    Columns are ``configuration``, the swept parameters, ``states`` and the metrics. A missing value is an empty
    field.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    coordinates = results.configurations
    writer.writerow(["configuration", *coordinates, "states", *metrics])
    columns = [*coordinates.values(), results.states, *(results[name] for name in metrics)]
    for i in range(len(results)):
        writer.writerow([i, *(plain(column[i]) for column in columns)])
    return out.getvalue()


def as_json(results: ExactResults, metrics: Sequence[str] = MAIN_METRICS) -> str:
    """Return the values in full precision as a JSON object, in the metrics' own units.

    Its ``configurations`` is a list of objects with ``configuration``, ``states``, ``parameters`` and ``metrics``.
    A missing value is null.
    """
    from fastlhp import __version__

    coordinates = results.configurations
    columns = {name: results[name] for name in metrics}
    document = {
        "study": results.study.name,
        "fastlhp_version": __version__,
        "units": {name: METRICS[name].units for name in metrics},
        "configurations": [
            {
                "configuration": i,
                "states": int(results.states[i]),
                "parameters": {path: plain(values[i]) for path, values in coordinates.items()},
                "metrics": {name: plain(values[i]) for name, values in columns.items()},
            }
            for i in range(len(results))
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
