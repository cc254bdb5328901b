"""The report: one HTML page with a study's question, its answer, and how sure that is.

The page needs nothing but itself. It consists of sections, one function each; `fastlhp.view.markup` escapes.
"""

import base64
import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.comparison import COMPARED, MetricComparison
from fastlhp.analysis.sweep import AnalysisError
from fastlhp.analysis.text import comparison_sentences, interval, p_text, percent
from fastlhp.errors import FastlhpError, StudyError
from fastlhp.model.study import DICTIONARY, Study, load
from fastlhp.results.counters import Status
from fastlhp.results.metrics import METRICS
from fastlhp.results.results import Results
from fastlhp.results.table import MAIN_METRICS, format_with_error, warnings_of
from fastlhp.view.answer import Answer, answer, name_of
from fastlhp.view.markup import Cell, Content, Head, Markup, element, fragment, table
from fastlhp.view.style import matplotlib, svg
from fastlhp.view.tables import configurations_table, number, sweep_table
from fastlhp.view.words import plural, what_is_simulated

__all__ = ["report"]

# Rows of a table; a person reads fewer, and a browser sorts so many at once.
_MOST_ROWS = 400
_MOST_MESSAGES = 20


@dataclass(frozen=True, eq=False)
class _Subject:
    """What the sections are about."""

    results: Results
    study: Study | None
    why_no_study: str
    answer: Answer
    metrics: tuple[str, ...]
    confidence: float
    file: str


def report(
    results: Results,
    *,
    by: str | None = None,
    metrics: Sequence[str] = COMPARED,
    baseline: str | None = None,
    confidence: float = 0.95,
    timelines: bool = True,
) -> str:
    """Return a report as one HTML page.

    Parameters
    ----------
    results : Results
        What a study gave.
    by : str, optional
        What is compared, see `fastlhp.analysis.compare`; by default the policies, if any are swept.
    metrics : sequence of str, optional
        In which metrics, the most important one first.
    baseline : str, optional
        What the others are compared with; by default the first of the study.
    confidence : float, optional
        Of the intervals; in (0, 1).
    timelines : bool, optional
        Whether to simulate the worst and the best configuration again, and draw them.

    Returns
    -------
    str
        The page. It depends on nothing but the results: the same results give the same page.

    Raises
    ------
    AnalysisError
        If what is asked for cannot be compared.
    UnknownMetricError
        If there is no such metric.
    FastlhpError
        If matplotlib is not installed.
    """
    about = results.attributes
    metrics = tuple(dict.fromkeys(metrics))
    study, why_no_study = None, ""
    try:
        study = load(DICTIONARY, text=about.study)
    except StudyError as error:
        why_no_study = str(error)
    it = _Subject(
        results,
        study,
        why_no_study,
        answer(results, by, metrics, baseline, confidence),
        metrics,
        confidence,
        os.path.basename(about.source) or "results.h5",
    )
    sections = [
        ("question", "What was asked", _question(it)),
        ("answer", "The answer", _answer(it)),
        ("comparison", "The alternatives", _comparison(it)),
        ("figures", "Figures", _figures(it)),
        ("timelines", "The worst and the best, as they ran", _timelines(it) if timelines else None),
        ("configurations", "All configurations", _configurations(it)),
        ("certainty", "How sure", _certainty(it)),
        ("again", "How to do it again", _again(it)),
    ]
    return _page(about.title, _summary(it), [section for section in sections if section[2]])


def _page(title: str, summary: Markup, sections: Sequence[tuple[str, str, Markup | None]]) -> str:
    folder = files("fastlhp.view")
    style, script = (Markup(folder.joinpath(f"report.{kind}").read_text("utf-8")) for kind in ("css", "js"))
    # Only the page's own script runs, whatever else might get in, and nothing is loaded from anywhere.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content="fastlhp"),
        element("title", f"{title} - fastlhp report"),
        element("style", style),
    )
    contents = element(
        "nav",
        element("ul", *(element("li", element("a", name, href=f"#{id_}")) for id_, name, _ in sections)),
        aria_label="Contents",
    )
    body = element(
        "body",
        element("header", element("h1", title), summary, contents),
        "\n",
        element(
            "main",
            *(
                fragment(element("section", element("h2", name, id=id_), content, aria_labelledby=id_), "\n")
                for id_, name, content in sections
            ),
        ),
        element("script", script),
    )
    return fragment(Markup("<!DOCTYPE html>\n"), element("html", head, "\n", body, lang="en"), "\n")


def _summary(it: _Subject) -> Markup:
    about, n = it.results.attributes, len(it.results)
    text = f"{plural(n, 'configuration')}, {_replications(it.results)} of each, seed {about.seed}. "
    text += f"Simulated by fastlhp {about.fastlhp_version} on {about.created[:10]}."
    return element("p", text, class_="soft")


def _replications(results: Results) -> str:
    run = results["replications"][results.status == Status.OK]
    least = int(run.min(initial=results.n_replications))
    return (
        plural(least, "replication")
        if least == results.n_replications
        else f"{least} to {plural(results.n_replications, 'replication')}"
    )


def _question(it: _Subject) -> Markup:
    columns = {path: labels.tolist() for path, labels in it.results.configurations.items()}
    if it.study is None:
        things = element(
            "p",
            "The study in the file cannot be read here, so hosts and VMs are not described: ",
            it.why_no_study,
        )
    else:
        things = element(
            "div",
            *(
                element("div", element("h3", thing), _properties(properties))
                for thing, properties in what_is_simulated(it.study).items()
            ),
            class_="things",
        )
    if not columns:
        return fragment(things, element("p", "Nothing is swept: there is one configuration."))
    return fragment(things, sweep_table(columns))


def _properties(properties: "dict[str, list[str]]") -> Markup:
    return element(
        "dl",
        *(
            fragment(element("dt", name), *(element("dd", value) for value in values))
            for name, values in properties.items()
        ),
    )


def _answer(it: _Subject) -> Markup:
    first = METRICS[it.metrics[0]]
    meaning = f"{first.long_name}; {'higher' if first.higher_is_better else 'lower'} is better."
    return fragment(
        element("ol", *(element("li", text) for text in it.answer.sentences), class_="answer"),
        element("p", element("code", first.name), f": {meaning}", class_="soft"),
    )


def _comparison(it: _Subject) -> Markup:
    compared = it.answer.comparison
    if compared is None:
        return element("p", f"No policies are compared: {it.answer.without}.")
    baseline = compared.layout.names[compared.baseline]
    text = (
        f"Averages over the settings in which all alternatives have an estimate, beside {baseline}, the baseline. "
        f"Intervals are {percent(it.confidence)} intervals; p is Holm-corrected; an alternative is among the best "
        "if it cannot be told from the best one."
    )
    return fragment(
        element("p", text),
        *(
            fragment(
                element("h3", metric.metric),
                element("p", " ".join(comparison_sentences(compared, metric))),
                _comparison_table(it, metric),
            )
            for metric in compared.metrics
        ),
    )


def _comparison_table(it: _Subject, metric: MetricComparison) -> Markup:
    assert it.answer.comparison is not None
    layout, baseline = it.answer.comparison.layout, it.answer.comparison.baseline
    names, overall, n_settings = layout.names, metric.overall, len(layout.index)
    estimate = overall.estimate[0]
    order = np.argsort(-estimate if metric.higher_is_better else estimate, kind="stable")
    shown, left_out = _ends(order)
    among_best = np.count_nonzero(metric.effects.best, axis=0)
    better = "higher" if metric.higher_is_better else "lower"
    caption = fragment(
        element("code", metric.metric), f": {METRICS[metric.metric].long_name}; {better} is better", left_out
    )
    if left_out:
        caption = fragment(caption, ". The others: ", element("code", f"fastlhp compare {_file(it)} --csv"))
    heads = [Head("alternative")] + [
        Head(text, True) for text in ("average", "difference", "ratio", "p", "gain", "best in settings")
    ]

    def row(k: int) -> list[Content]:
        cells: list[Content] = [
            fragment(names[k], " (the baseline)" if k == baseline else None),
            number(estimate[k], format_with_error(estimate[k], np.nan, metric.units)),
        ]
        if k == baseline:
            cells += [""] * 4
        else:
            half = overall.difference_high[0, k] - overall.difference[0, k]
            ends = interval(overall.ratio_low[0, k], overall.ratio_high[0, k], "{:.3g}".format)
            ratio, gain = overall.ratio[0, k], overall.gain[0, k]
            cells += [
                number(
                    overall.difference[0, k], format_with_error(overall.difference[0, k], half, metric.units)
                ),
                number(ratio, f"{ratio:.3g} {ends}" if np.isfinite(ratio) else "-"),
                number(overall.p[0, k], p_text(overall.p[0, k])),
                number(gain, f"{gain:.2g}" if np.isfinite(gain) else "-"),
            ]
        word = ("best" if k == overall.winner[0] else "~best") if overall.best[0, k] else ""
        return [
            *cells,
            Cell(fragment(f"{among_best[k]} of {n_settings} ", element("b", word)), among_best[k]),
        ]

    return table(caption, heads, map(row, shown.tolist()))


def _ends(order: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], str]:
    """Return the first and the last of very many, and a text that says how many are left out."""
    n, half = len(order), _MOST_ROWS // 2
    if n <= _MOST_ROWS:
        return order, ""
    return np.concatenate([order[:half], order[-half:]]), f"; the best and the worst {half} of {n:,}"


def _file(it: _Subject) -> str:
    return shlex.quote(it.file)


def _figures(it: _Subject) -> Markup:
    from fastlhp.view.figures import default_figures

    try:
        figures = default_figures(it.results)
    except AnalysisError as error:
        return element("p", f"There is nothing to draw: {error}.")
    return fragment(*(_figure(svg(figure), text) for _, text, figure in figures))


def _figure(picture: str, caption: Content) -> Markup:
    return element(
        "figure",
        element("div", Markup(picture), class_="scroll", tabindex="0", role="img", aria_label=caption),
        element("figcaption", caption),
    )


def _timelines(it: _Subject) -> Markup:
    if it.study is None:
        return element(
            "p", "They cannot be simulated again here, since the study in the file cannot be read."
        )
    # Without it there will be nothing to see, so nothing is simulated.
    matplotlib()
    chosen = {"worst": it.answer.worst, "best": it.answer.best}
    return fragment(*(_timeline(it, it.study, which, i) for which, i in chosen.items() if i is not None))


def _timeline(it: _Subject, study: Study, which: str, configuration: int) -> Markup:
    """Draw a replication of a configuration that is like most of them."""
    from fastlhp.run.record import record
    from fastlhp.view.timeline import timeline

    metric, name = it.metrics[0], name_of(it.results, configuration)
    values = it.results[metric][configuration].astype(np.float64)
    replication = int(np.nanargmin(np.abs(values - np.nanmedian(values))))
    among = " with the same host and VMs" if which == "best" and it.answer.comparison is not None else ""
    typical = f"Replication {replication}, whose {metric} is nearest to the median."
    caption = f"The {which} configuration{among}, {name}. {typical}"
    try:
        trace = record(study, configuration=configuration, replication=replication)
    except FastlhpError as error:
        return element("p", f"The {which} configuration, {name}, cannot be drawn: {error}.")
    return _figure(svg(timeline(trace)), caption)


def _configurations(it: _Subject) -> Markup:
    results, metric = it.results, it.metrics[0]
    mean = results.summary(metric, it.confidence).mean
    order = np.argsort(-mean if METRICS[metric].higher_is_better else mean, kind="stable")
    shown, left_out = _ends(order[np.isfinite(mean[order])] if len(order) > _MOST_ROWS else order)
    which = f"{metric}, {percent(it.confidence)} intervals{left_out}"
    commands = fragment("Everything: ", element("code", f"fastlhp show {_file(it)} --csv"))
    metrics = tuple(dict.fromkeys([*it.metrics, *MAIN_METRICS]))
    caption = fragment(f"Ordered by {which}" if left_out else f"With {percent(it.confidence)} intervals")
    return fragment(
        configurations_table(results, np.sort(shown), metrics, caption, it.confidence),
        element("p", commands, class_="soft"),
    )


def _certainty(it: _Subject) -> Markup:
    results, n = it.results, len(it.results)
    summary = results.summary(it.metrics[0], it.confidence)
    relative = summary.half_width[summary.mean > 0] / summary.mean[summary.mean > 0]
    relative = relative[np.isfinite(relative)]
    facts: list[Content] = [
        f"Replications are independent, and the sample: {_replications(results)} of each configuration. Intervals "
        f"are Student's with {percent(it.confidence)} confidence, exact ones for fewer than 30 events."
    ]
    if len(relative):
        facts.append(
            f"Half the width of the interval of {summary.metric} is {100 * np.median(relative):.2g} % of the estimate "
            f"in the median configuration and {100 * relative.max():.2g} % in the least precise one."
        )
    if it.study is not None and it.study.precision is not None:
        targets = "; ".join(target.describe() for target in it.study.precision.targets)
        facts.append(f"Replicated until precise enough: {targets}.")
    if it.answer.comparison is not None:
        facts.append(
            "Policies are compared replication by replication, with common random numbers; p-values are corrected for "
            "the number of comparisons."
        )
    facts.append("Intervals are about the model with these parameters, not about a real host.")
    warnings: list[Content] = list(warnings_of(results))
    warnings += it.study.warnings if it.study is not None else []
    if left := int(np.count_nonzero(results.status == Status.NOT_RUN)):
        warnings.append(f"{left:,} of {plural(n, 'configuration')} not run")
    messages = list(results.messages.items())
    warnings += [f"{name_of(results, i)} failed: {message}" for i, message in messages[:_MOST_MESSAGES]]
    if len(messages) > _MOST_MESSAGES:
        warnings.append(f"... and {len(messages) - _MOST_MESSAGES:,} more failed")
    return fragment(
        element("ul", *(element("li", fact) for fact in facts)),
        element("h3", "Warnings"),
        element("ul", *(element("li", text) for text in warnings), class_="warnings")
        if warnings
        else element("p", "None."),
    )


def _again(it: _Subject) -> Markup:
    results, about, file = it.results, it.results.attributes, _file(it)
    replications = (
        "" if it.study is not None and it.study.precision else f" --replications {results.n_replications}"
    )
    commands = [
        f"fastlhp run study.toml -o {file} --seed {about.seed}{replications}",
        f"fastlhp rerun {file} --configuration {it.answer.worst or 0}",
        f"fastlhp compare {file}",
        f"fastlhp show {file} --csv",
    ]
    made = about.provenance
    versions = made.get("versions", {})
    facts = {
        "fastlhp": [about.fastlhp_version],
        "seed": [str(about.seed)],
        "made on": [about.created],
        "command": [shlex.join(map(str, made["command"]))] if made.get("command") else [],
        "platform": [str(made["platform"])] if made.get("platform") else [],
        "versions": [", ".join(f"{name} {version}" for name, version in versions.items())]
        if versions
        else [],
        "fingerprint": [about.fingerprint] if about.fingerprint else [],
    }
    return fragment(
        element(
            "p",
            "The study below, saved as ",
            element("code", "study.toml"),
            ", and the same version of fastlhp give the same numbers to the last bit, on any machine:",
        ),
        _code("\n".join(commands), "Commands"),
        _properties({name: values for name, values in facts.items() if values}),
        element("h3", "The study"),
        _code(about.study, "The study"),
    )


def _code(text: str, name: str) -> Markup:
    return element(
        "pre", element("code", text), class_="scroll", tabindex="0", role="region", aria_label=name
    )
