"""Results made of arrays, without a simulation."""

import numpy as np

from fastlhp.results.counters import N_BINS, Status
from fastlhp.results.results import Attributes, Results, coordinate_array


class Arrays:
    """Data of `Results`: the metrics that are given, zeros for the others."""

    moments = None

    def __init__(self, coordinates, metrics, status=None, pcpus=4, first_half=None):
        some = np.asarray(next(iter(metrics.values())))
        self._shape = some.shape
        self._metrics = metrics
        self._first_half = first_half
        self.n_replications = some.shape[1]
        self.coordinates = {path: coordinate_array(list(labels)) for path, labels in coordinates.items()}
        self.status = np.zeros(len(some), dtype=np.int64) if status is None else np.asarray(status)
        self.replications = np.where(self.status == Status.OK, self.n_replications, -1)
        self.warmup_s = np.zeros(len(some))
        self.messages = {int(i): "too bad" for i in np.flatnonzero(self.status == Status.FAILED)}
        self.attributes = Attributes("made-up", 1, "", "2026-01-01T00:00:00+00:00", "0.1.0", {}, {})
        context = {"pcpus": np.full(len(some), pcpus), "duration_s": np.ones(len(some))}
        self.context = type("Context", (), context)()

    def metrics(self, metrics, level):
        out = []
        for metric in metrics:
            values = np.array(self._metrics.get(metric.name, np.zeros(self._shape)), dtype=metric.dtype)
            values[self.status != Status.OK] = -1 if metric.is_count else np.nan
            out.append(values)
        return out

    def first_half(self, metric):
        """Half of the whole, unless something else is given."""
        return (self._first_half or {}).get(metric.name, self.metrics([metric], "host")[0] / 2)

    def histogram(self, name):
        return np.zeros((len(self.status), N_BINS), dtype=np.int64)


def results_of(coordinates, status=None, first_half=None, **metrics):
    """Make results of arrays of shape (configuration, replication)."""
    return Results(Arrays(coordinates, metrics, status, first_half=first_half))


def grid(**axes):
    """Return the columns of a full grid, the first axis slowest; underscores stand for dots."""
    columns = np.meshgrid(*(np.array(values, dtype=object) for values in axes.values()), indexing="ij")
    return {path.replace("__", "."): list(column.ravel()) for path, column in zip(axes, columns, strict=True)}
