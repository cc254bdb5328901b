"""Studies and results as notebooks show them."""

import numpy as np

from fastlhp.model.study import Study
from fastlhp.results.results import Results
from fastlhp.results.table import MAIN_METRICS
from fastlhp.view.markup import Markup, element
from fastlhp.view.tables import configurations_table, lines, sweep_table
from fastlhp.view.words import plural, what_is_simulated

__all__ = ["results_card", "study_card"]

_HEAD = 8
_STYLE = Markup(
    ".fastlhp .scroll { overflow-x: auto } "
    ".fastlhp caption, .fastlhp th, .fastlhp td { text-align: left; vertical-align: top; padding: 1px 8px 1px 0 } "
    ".fastlhp .number { text-align: right; white-space: nowrap }"
)


def study_card(study: Study) -> Markup:
    """Return what a study will run."""
    n = study.n_configurations
    most = "up to " if study.precision else ""
    text = f"{plural(n, 'configuration')} of {most}{plural(study.replications, 'replication')}, seed {study.seed}"
    rows = [
        element(
            "tr",
            None if number else element("th", thing, scope="rowgroup", rowspan=len(properties)),
            element("td", name),
            element("td", lines(values)),
        )
        for thing, properties in what_is_simulated(study).items()
        for number, (name, values) in enumerate(properties.items())
    ]
    return _card(
        f"Study {study.name}",
        text,
        element("table", element("caption", "What is simulated"), element("tbody", *rows)),
        sweep_table(study.coordinates) if study.swept else None,
    )


def results_card(results: Results) -> Markup:
    """Return what results are of, and the head of their table."""
    n, about = len(results), results.attributes
    text = (
        f"{plural(n, 'configuration')} of {plural(results.n_replications, 'replication')}, seed {about.seed}"
    )
    caption = f"The first {_HEAD} of {n:,} configurations" if n > _HEAD else "All configurations"
    rows = np.arange(min(n, _HEAD))
    where = f", from {about.source}" if about.source else ""
    return _card(
        f"Results of {about.title}",
        f"{text}{where}",
        configurations_table(results, rows, MAIN_METRICS, f"{caption}, with 95 % intervals"),
    )


def _card(title: str, text: str, *tables: Markup | None) -> Markup:
    """Return a heading and tables, without colours of their own: notebooks are light or dark."""
    return element(
        "div",
        element("style", _STYLE),
        element("strong", title),
        element("div", text),
        *tables,
        class_="fastlhp",
    )
