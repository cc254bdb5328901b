"""Figures made of panels side by side, and what is said about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastlhp.results.counters import Status
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Results
from fastlhp.view.arrangement import Arrangement, Groups
from fastlhp.view.style import fitted, matplotlib, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panels", "legend_of", "replications_note", "what_is_shown"]

_ALONE, _SEVERAL, _COLUMNS = 7.4, 9.6, 3
_GAP = 0.3


@dataclass(frozen=True, eq=False)
class Panels:
    """A figure with a panel for each group.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    axes : list of matplotlib.axes.Axes
        The panels, which share their y axes, and all or those of a column their x axes.
    width : float
        About the width of a panel's axis, in inches.
    columns : int
        Panels beside each other.
    """

    figure: "Figure"
    axes: "list[Axes]"
    width: float
    columns: int

    @classmethod
    def of(
        cls, groups: Groups, height: float, *, labels: float = 0.9, columns: int | None = None
    ) -> "Panels":
        """Make a figure whose panels are so high, and whose labels at the y axis take so many inches.

        Panels have the same x axis; if `columns` are given, those of a column have.
        """
        n = len(groups)
        shared: Literal["all", "col"] = "col" if columns else "all"
        columns = columns or (2 if n == 4 else min(n, _COLUMNS))
        rows = -(-n // columns)
        width = _ALONE if n == 1 else _SEVERAL
        made = matplotlib().figure.Figure(figsize=(width, rows * height))
        grid = made.subplots(rows, columns, sharex=shared, sharey=True, squeeze=False)
        for axes in grid.flat[n:]:
            axes.remove()
        inner = (width - labels) / columns - _GAP
        used = list(grid.flat[:n])
        for i, (axes, name) in enumerate(zip(used, groups.names, strict=True)):
            axes.set_title(fitted(name, inner))
            axes.tick_params(labelbottom=i + columns >= n)
        return cls(made, used, inner, columns)

    def label(self, x: str, y: str) -> None:
        """Label the axes that have tick labels: those of the lowest panels and of the first column."""
        for i, axes in enumerate(self.axes):
            if i + self.columns >= len(self.axes):
                axes.set_xlabel(x)
            if i % self.columns == 0:
                axes.set_ylabel(y)


def legend_of(lines: Groups, handles: Sequence[Any]) -> tuple[Sequence[Any], Sequence[str], str]:
    """Return handles, labels and title of a legend of lines; empty if there is one line only."""
    if len(lines) == 1:
        return (), (), ""
    return handles, [shortened(name, 60) for name in lines.names], lines.title


def replications_note(results: Results, metric: str, confidence: float, what: str) -> str:
    """Return how sure the numbers are: `what` from how many replications."""
    run = results["replications"][results.status == Status.OK]
    least, most = int(run.min(initial=results.n_replications)), results.n_replications
    if metric not in METRICS:
        return f"pooled over {most} replications, without intervals"
    if most == 1:
        return "one replication, so there are no intervals"
    number = f"{most}" if least == most else f"{least} to {most}"
    return f"{100 * confidence:g} % {what} from {number} replications"


def what_is_shown(plan: Arrangement, lines: str) -> str:
    """Return what the lines and the panels are of, as the end of a sentence."""
    parts = []
    for count, thing, title in (
        (len(plan.lines), lines, plan.lines.title),
        (len(plan.panels), "panels", plan.panels.title),
    ):
        if count > 1:
            parts.append(f"{count} {thing} by {title}")
    return "".join(f", {part}" for part in parts)
