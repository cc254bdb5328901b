"""The answer that results give, and the configurations that show it best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.comparison import Comparison, compare
from fastlhp.analysis.sensitivity import sensitivity
from fastlhp.analysis.sweep import AnalysisError, row_names
from fastlhp.analysis.text import comparison_sentences, sensitivity_sentence
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Results
from fastlhp.results.table import format_estimate

__all__ = ["Answer", "answer", "name_of"]

_SENTENCES = 3


@dataclass(frozen=True, eq=False)
class Answer:
    """What results say.

    Attributes
    ----------
    sentences : list of str
        At most three, about the first metric.
    comparison : Comparison or None
        Of the policies; None if there is nothing to compare.
    without : str
        Why there is no comparison.
    worst, best : int or None
        The configuration with the worst estimate of the first metric, and the best one in the same setting; of
        all, if nothing is compared. None if there are no estimates, `best` also if it is the worst one too.
    """

    sentences: list[str]
    comparison: Comparison | None
    without: str
    worst: int | None
    best: int | None


def name_of(results: Results, index: int) -> str:
    """Return number and labels of a configuration."""
    columns = {path: labels[index : index + 1] for path, labels in results.configurations.items()}
    labels = f" ({row_names(columns, 1, columns, always=True)[0]})" if columns else ""
    return f"#{index}{labels}"


def answer(
    results: Results, by: str | None, metrics: Sequence[str], baseline: str | None, confidence: float
) -> Answer:
    """Find what results say.

    Parameters
    ----------
    results : Results
        What a study gave.
    by : str or None
        What is compared, see `fastlhp.analysis.compare`. With None policies, if any are swept.
    metrics : sequence of str
        In which metrics, the most important one first.
    baseline : str or None
        What the others are compared with.
    confidence : float
        Of the intervals.

    Raises
    ------
    AnalysisError
        If what is asked for cannot be compared.
    UnknownMetricError
        If there is no such metric.
    """
    worst, best = _extremes(results, metrics[0], confidence)
    try:
        compared = compare(results, by or "policy", metrics, baseline=baseline, confidence=confidence)
    except AnalysisError as error:
        if by is not None or baseline is not None:
            raise
        sentences = _without_comparison(results, metrics, worst, best, confidence)
        return Answer(sentences, None, str(error), worst, best)
    if worst is not None:
        rows = compared.layout.index
        setting = rows[np.any(rows == worst, axis=1)][0]
        best = _extremes(results, metrics[0], confidence, setting[setting >= 0])[1]
    sentences = comparison_sentences(compared, compared.metrics[0])
    return Answer(sentences[:_SENTENCES], compared, "", worst, best)


def _extremes(
    results: Results, metric: str, confidence: float, among: npt.NDArray[np.int64] | None = None
) -> tuple[int | None, int | None]:
    """Return the worst and the best configuration."""
    mean = results.summary(metric, confidence).mean
    some = np.arange(len(mean)) if among is None else among
    some = some[np.isfinite(mean[some])]
    if not len(some):
        return None, None
    lowest, highest = int(some[np.argmin(mean[some])]), int(some[np.argmax(mean[some])])
    worst, best = (lowest, highest) if METRICS[metric].higher_is_better else (highest, lowest)
    return worst, best if best != worst else None


def _without_comparison(
    results: Results, metrics: Sequence[str], worst: int | None, best: int | None, confidence: float
) -> list[str]:
    """Say the most important of results in which no policies are compared."""
    if worst is None:
        return [f"There is no {metrics[0]} of any configuration."]
    shown = best if best is not None else worst
    if len(results) == 1 or best is None:
        estimates = [results.summary(metric, confidence) for metric in metrics[:_SENTENCES]]
        return [
            f"{it.metric} is {format_estimate(it, shown)}: {METRICS[it.metric].long_name}."
            for it in estimates
        ]
    it = results.summary(metrics[0], confidence)
    sentences = [
        f"The {which} {it.metric}, {format_estimate(it, i)}, has configuration {name_of(results, i)}."
        for which, i in (("best", best), ("worst", worst))
    ]
    try:
        sentences.append(sensitivity_sentence(sensitivity(results, metrics[0], confidence=confidence)))
    except AnalysisError as error:
        sentences.append(f"Which parameter decides is not known: {error}.")
    return sentences
