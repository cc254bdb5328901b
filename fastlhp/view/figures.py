"""The figures of a study; each is a function of its results that returns a matplotlib figure."""

from functools import partial
from typing import TYPE_CHECKING

from fastlhp.analysis.sweep import AnalysisError
from fastlhp.results.results import Results
from fastlhp.view.arrangement import parameters, require_results
from fastlhp.view.bars import time_split
from fastlhp.view.curves import curve
from fastlhp.view.distributions import lock_waits
from fastlhp.view.maps import heat_map, winner_map
from fastlhp.view.style import drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure

__all__ = ["curve", "default_figures", "heat_map", "lock_waits", "time_split", "winner_map"]


@drawing()
def default_figures(results: Results) -> "list[tuple[str, str, Figure]]":
    """Draw what is interesting in a study.

    Parameters
    ----------
    results : Results
        What a study gave.

    Returns
    -------
    list of tuple of str, str, matplotlib.figure.Figure
        At most six: how a file may be called, without an ending; a sentence that says what is seen; the figure.

    Raises
    ------
    AnalysisError
        If there are no results.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_results(results)
    found = []
    for stem, draw in _interesting(results):
        try:
            made = draw()
        except AnalysisError:
            # There is nothing of the kind, such as waits where no lock is contended.
            continue
        found.append((stem, str(made.get_label()), made))
    return found


def _interesting(results: Results) -> "Iterator[tuple[str, Callable[[], Figure]]]":
    for metric in ("wasted_fraction", "lhp_probability"):
        yield f"curve-{metric}", partial(curve, results, metric)
    yield "time-split", partial(time_split, results)
    yield "lock-waits", partial(lock_waits, results)
    if sum(it.values is not None for it in parameters(results).values()) > 1:
        yield "heat-map-wasted_fraction", partial(heat_map, results, "wasted_fraction")
    yield "winner-map-wasted_fraction", partial(winner_map, results, "wasted_fraction")
