"""Answers as text: tables, maps and sentences for people, CSV and JSON for programs."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastlhp.analysis.comparison import Comparison, MetricComparison
from fastlhp.analysis.sensitivity import Curve, Sensitivity
from fastlhp.analysis.sweep import groups, row_names, short_names
from fastlhp.analysis.thresholds import Reach
from fastlhp.results.metrics import METRICS
from fastlhp.results.table import Column, format_estimate, format_with_error, label_text, laid_out, plain

__all__ = [
    "comparison_csv",
    "comparison_json",
    "comparison_sentences",
    "comparison_table",
    "enumeration",
    "letters",
    "reach_csv",
    "reach_json",
    "reach_sentences",
    "reach_table",
    "sensitivity_csv",
    "sensitivity_json",
    "sensitivity_sentence",
    "sensitivity_table",
]

Array = npt.NDArray[Any]

_MOST_NAMES = 3
_MOST_MAP_ROWS, _MOST_MAP_COLUMNS = 60, 100
_MOST_LEVELS = 60


def percent(confidence: float) -> str:
    """Return a probability as percent."""
    return f"{100 * confidence:g} %"


def interval(low: float, high: float, form: Callable[[float], str] = "{:.4g}".format) -> str:
    """Return an interval in brackets."""
    return f"[{form(low)}, {form(high)}]"


def as_csv(head: Sequence[str], rows: Iterator[Sequence[Any]]) -> str:
    """Return rows as CSV; a missing value is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([plain(value) for value in row] for row in rows)
    return out.getvalue()


def as_json(document: Mapping[str, Any]) -> str:
    """Return JSON; a missing value is null."""
    return json.dumps(_plain(document), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    return plain(value)


def enumeration(names: Sequence[str]) -> str:
    """Return a few names as people list them."""
    shown = [*names[:_MOST_NAMES], f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else names
    return shown[0] if len(shown) == 1 else f"{'; '.join(shown[:-1])} and {shown[-1]}"


def letters(i: int) -> str:
    """Return A to Z, then AA, AB, ...."""
    return (letters(i // 26 - 1) if i >= 26 else "") + chr(ord("A") + i % 26)


def comparison_table(comparison: Comparison, *, width: int = 120, ascii_only: bool = False) -> str:
    """Return a comparison as tables, maps and sentences.

    Parameters
    ----------
    comparison : Comparison
        What `compare` found.
    width : int, optional
        Columns of the screen.
    ascii_only : bool, optional
        Write ``+-`` for the plus-minus sign and ``~`` for an ellipsis.
    """
    b = comparison.baseline
    legend = [
        f"{letters(k)}  {name}{'  (the baseline)' if k == b else ''}\n"
        for k, name in enumerate(comparison.layout.names)
    ]
    parts = ["".join(legend)]
    for it in comparison.metrics:
        better = "higher" if it.higher_is_better else "lower"
        parts += [
            f"{it.metric}: {METRICS[it.metric].long_name}; {better} is better\n",
            _effects_table(comparison, it, width, ascii_only),
            _map(comparison, it, width, ascii_only),
            "".join(f"{sentence}\n" for sentence in comparison_sentences(comparison, it)),
        ]
    parts.append(
        f"Differences and ratios are to {letters(b)}, with {percent(comparison.confidence)} intervals; p is "
        "Holm-corrected; gain is what pairing by common\nrandom numbers divided the variance by; ~best cannot be "
        "told from the best\n"
    )
    return "\n".join(part for part in parts if part)


def _effects_table(comparison: Comparison, it: MetricComparison, width: int, ascii_only: bool) -> str:
    layout, effects, pm = comparison.layout, it.effects, "+-" if ascii_only else "±"
    cells = layout.cells
    settings = [s for s, _, _ in cells]
    left = [Column.of_labels(path, labels[settings]) for path, labels in layout.settings.items()]
    left.append(Column("", [letters(k) for _, k, _ in cells]))
    half = effects.difference_high - effects.difference
    texts: dict[str, list[str]] = {name: [] for name in (it.metric, "difference", "ratio", "p", "gain", "")}
    for s, k, i in cells:
        ends = effects.ratio_low[s, k], effects.ratio_high[s, k]
        row = [format_estimate(it.summary, i, pm)]
        row += (
            [""] * 4
            if k == comparison.baseline
            else [
                format_with_error(effects.difference[s, k], half[s, k], it.units, pm),
                _finite(effects.ratio[s, k], f"{{:.4g}} {interval(*ends)}"),
                p_text(effects.p[s, k]),
                _finite(effects.gain[s, k], "{:.2g}"),
            ]
        )
        row.append(("best" if k == effects.winner[s] else "~best") if effects.best[s, k] else "")
        for column, text in zip(texts.values(), row, strict=True):
            column.append(text)
    right = [Column(name, column, right=bool(name)) for name, column in texts.items()]
    return laid_out(left, right, width, ascii_only)


def _finite(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "-"


def p_text(p: float) -> str:
    """Return a p-value as it is printed."""
    return "-" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _map(comparison: Comparison, it: MetricComparison, width: int, ascii_only: bool) -> str:
    """Return which alternative wins where; empty if there is one setting only."""
    layout, effects = comparison.layout, it.effects
    if len(layout.index) < 2:
        return ""
    *rows, across = layout.settings
    columns = list(dict.fromkeys(layout.settings[across].tolist()))
    lines: dict[tuple[Any, ...], list[str]] = {}
    for s, winner in enumerate(effects.winner):
        mark = letters(int(winner)) if winner >= 0 else "-"
        if np.count_nonzero(effects.best[s]) > 1:
            mark = mark.lower()
        key = tuple(layout.settings[path][s] for path in rows)
        lines.setdefault(key, [""] * len(columns))[columns.index(layout.settings[across][s])] = mark
    shown = list(lines.items())[:_MOST_MAP_ROWS]
    left = [Column(path, [label_text(key[j]) for key, _ in shown], right=True) for j, path in enumerate(rows)]
    left.append(Column(f"{across}:", [""] * len(shown)))
    right = [
        Column(label_text(label), [line[j] for _, line in shown], right=True)
        for j, label in enumerate(columns[:_MOST_MAP_COLUMNS])
    ]
    text = "Who is best where (a small letter: others cannot be told from it)\n"
    text += laid_out(left, right, width, ascii_only)
    hidden = len(effects.winner) - len(shown) * len(right)
    return text + (f"... and {hidden} more settings: see --csv or --json\n" if hidden > 0 else "")


def comparison_sentences(comparison: Comparison, it: MetricComparison) -> list[str]:
    """Return what a person can quote of a comparison in one metric."""
    layout, effects, overall = comparison.layout, it.effects, it.overall
    names, b = layout.names, comparison.baseline
    n_settings, n_averaged = len(layout.index), int(np.count_nonzero(it.averaged))
    winner = int(overall.winner[0])
    if winner < 0:
        some = np.isfinite(effects.estimate).any()
        nothing = f"No setting has {it.metric} of all alternatives, so there is no average."
        sentences = [nothing if some else f"There is no {it.metric} to compare."]
    else:
        all_or_some = f"all {n_settings}" if n_averaged == n_settings else f"{n_averaged} of {n_settings}"
        where = f"Averaged over {all_or_some} settings, " if n_settings > 1 else ""
        extreme = "highest" if it.higher_is_better else "lowest"
        value, base = (
            format_with_error(float(overall.estimate[0, k]), math.nan, it.units) for k in (winner, b)
        )
        text = f"{where}{names[winner]} has the {extreme} {it.metric}, {value}"
        if winner == b:
            text += "; it is the baseline itself"
        elif math.isfinite(overall.ratio[0, winner]):
            text += f", which is {overall.ratio[0, winner]:.3g} times the {base} of {names[b]}"
            low, high = overall.ratio_low[0, winner], overall.ratio_high[0, winner]
            if math.isfinite(low):
                p = overall.p[0, winner]
                text += (
                    f" ({percent(comparison.confidence)} interval {low:.3g} to {high:.3g}, "
                    f"p {'<' if p < 0.001 else '='} {max(p, 0.001):.2g})"
                )
        sentences = [f"{text}."]
        others = [names[k] for k in np.flatnonzero(overall.best[0]) if k != winner]
        if comparison.n_replications < 2:
            sentences.append("With one replication nothing can be told apart.")
        elif others:
            sentences.append(f"What cannot be told from it: {enumeration(others)}.")
        else:
            sentences.append("It can be told from all others.")
    sentences += _reversal(comparison, it)
    gains = effects.gain[np.isfinite(effects.gain)]
    if len(gains):
        sentences.append(
            "Pairing by common random numbers divided the variance of the differences by "
            f"{np.median(gains):.2g} (median; {gains.min():.2g} to {gains.max():.2g})."
        )
    return sentences


def _reversal(comparison: Comparison, it: MetricComparison) -> list[str]:
    """Say whether the best depends on the setting."""
    effects, names = it.effects, comparison.layout.names
    known = effects.winner >= 0
    if comparison.n_replications < 2 or np.count_nonzero(known) < 2:
        return []
    everywhere = np.flatnonzero(effects.best[known].all(axis=0))
    if len(everywhere):
        which = enumeration([names[k] for k in everywhere])
        return [f"Best, or not to be told from the best, in every setting: {which}."]
    winners, counts = np.unique(effects.winner[known], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    which = enumeration([f"{names[winners[i]]} in {counts[i]}" for i in order])
    return [f"The best depends on the setting; nothing is among the best in all of them: {which}."]


_CELL = (
    "difference",
    "difference_low",
    "difference_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "p",
    "gain",
)


def comparison_csv(comparison: Comparison) -> str:
    """Return a comparison as CSV, one row for each metric and configuration, in the metrics' own units."""
    layout = comparison.layout
    head = ["metric", "configuration", *layout.settings, *layout.alternatives]
    head += ["estimate", "low", "high", *_CELL, "best", "baseline"]

    def rows() -> Iterator[list[Any]]:
        for it in comparison.metrics:
            for s, k, i in layout.cells:
                yield [
                    it.metric,
                    i,
                    *(labels[s] for labels in layout.settings.values()),
                    *(labels[k] for labels in layout.alternatives.values()),
                    *(values[i] for values in (it.summary.mean, it.summary.low, it.summary.high)),
                    *(getattr(it.effects, name)[s, k] for name in _CELL),
                    int(it.effects.best[s, k]),
                    int(k == comparison.baseline),
                ]

    return as_csv(head, rows())


def comparison_json(comparison: Comparison) -> str:
    """Return a comparison as a JSON object."""
    layout, names = comparison.layout, comparison.layout.names

    def cells(it: MetricComparison) -> Iterator[dict[str, Any]]:
        for s, k, i in layout.cells:
            yield {
                "configuration": i,
                "setting": {path: labels[s] for path, labels in layout.settings.items()},
                "alternative": names[k],
                "estimate": it.summary.mean[i],
                "low": it.summary.low[i],
                "high": it.summary.high[i],
                **{name: getattr(it.effects, name)[s, k] for name in _CELL},
                "best": bool(it.effects.best[s, k]),
            }

    def overall(it: MetricComparison) -> Iterator[dict[str, Any]]:
        for k, name in enumerate(names):
            yield {
                "alternative": name,
                "estimate": it.overall.estimate[0, k],
                **{cell: getattr(it.overall, cell)[0, k] for cell in _CELL},
                "best": bool(it.overall.best[0, k]),
            }

    return as_json(
        {
            "by": list(layout.alternatives),
            "baseline": names[comparison.baseline],
            "confidence": comparison.confidence,
            "replications": comparison.n_replications,
            "alternatives": [
                {"name": name, **{path: labels[k] for path, labels in layout.alternatives.items()}}
                for k, name in enumerate(names)
            ],
            "metrics": {
                it.metric: {
                    "units": it.units,
                    "higher_is_better": it.higher_is_better,
                    "text": " ".join(comparison_sentences(comparison, it)),
                    "averaged_settings": int(np.count_nonzero(it.averaged)),
                    "overall": list(overall(it)),
                    "configurations": list(cells(it)),
                }
                for it in comparison.metrics
            },
        }
    )


def reach_table(reach: Reach, *, width: int = 120, ascii_only: bool = False) -> str:
    """Return how far a condition holds as a table and sentences."""
    n = len(reach.answer)
    place = _place_of(reach)
    answers, intervals = [], []
    for c, answer in enumerate(reach.answer):
        valued = answer in ("up to", "from")
        answers.append(f"{answer} {place(reach.value[c])}" if valued else answer)
        intervals.append("" if math.isnan(reach.low[c]) else interval(reach.low[c], reach.high[c], place))
    left = [Column.of_labels(path, labels) for path, labels in reach.curves.items()]
    right = [
        Column(reach.along, answers, right=True),
        Column(f"{percent(reach.confidence)} interval", intervals, right=True),
        Column("largest", [_finite(x, place(x)) for x in reach.largest], right=True),
    ]
    text = f"Where {reach.condition.text} holds, along {reach.along}\n\n"
    text += laid_out(left or [Column("", [""] * n)], right, width, ascii_only)
    text += "".join(f"{sentence}\n" for sentence in ["", *reach_sentences(reach)])
    return (
        f"{text}\nInterpolated between the values of the axis, {place(reach.axis[0])} to "
        f"{place(reach.axis[-1])}; largest: the largest of them at which it holds\n"
    )


def _place_of(reach: Reach) -> Callable[[float], str]:
    """Return how places on the axis are written."""

    def place(x: float) -> str:
        if math.isinf(x):
            return f"< {place(reach.axis[0])}" if x < 0 else f"> {place(reach.axis[-1])}"
        return f"{x:.4g}" if reach.units == "1" else format_with_error(x, math.nan, reach.units)

    return place


def reach_sentences(reach: Reach) -> list[str]:
    """Return what a person can quote: in each setting the alternative with which a condition holds furthest."""
    place, curves, n = _place_of(reach), reach.curves, len(reach.answer)
    paths = list(curves)
    cut = len(paths) - reach.n_compared
    apart, compared = ({path: curves[path] for path in some} for some in (paths[:cut], paths[cut:]))
    names = row_names(compared, n, [*paths, reach.along])
    where = row_names(apart, n, [*paths, reach.along], always=True)
    along = short_names([*paths, reach.along])[reach.along]
    setting, first = groups(list(apart.values()), n)
    sentences = []
    for s, c in enumerate(first[:_MOST_NAMES]):
        rows = np.flatnonzero(setting == s).tolist()
        answers = {row: reach.answer[row] for row in rows}
        everywhere = [names[row] for row, answer in answers.items() if answer == "everywhere"]
        upto = [row for row, answer in answers.items() if answer == "up to"]
        if everywhere:
            text = f"holds everywhere up to {place(reach.axis[-1])}"
            text += f" with {enumeration(everywhere)}" if compared else ""
        elif upto:
            row = max(upto, key=lambda row: float(reach.value[row]))
            text = f"holds up to {along} = {place(reach.value[row])}"
            if not math.isnan(reach.low[row]):
                ends = f"{place(reach.low[row])} to {place(reach.high[row])}"
                text += f" ({percent(reach.confidence)} interval {ends})"
            text += f" with {names[row]}, the furthest" if len(rows) > 1 else ""
        elif all(answer == "nowhere" for answer in answers.values()):
            text = "holds nowhere"
        else:
            text = "does not hold up to any value and then cease: see the table"
        sentences.append(f"{where[c] + ': ' if apart else ''}{reach.condition.text} {text}.")
    if len(first) > len(sentences):
        sentences.append(f"... and {len(first) - len(sentences)} more.")
    return sentences


_REACH = ("value", "low", "high", "largest")


def reach_csv(reach: Reach) -> str:
    """Return how far a condition holds as CSV, one row for each curve.

    Infinite ends of an interval, beyond the ends of the axis, are written as ``-inf`` and ``inf``.
    """
    rows = (
        [
            *(labels[c] for labels in reach.curves.values()),
            answer,
            *(_ends_text(getattr(reach, name)[c]) for name in _REACH),
        ]
        for c, answer in enumerate(reach.answer)
    )
    return as_csv([*reach.curves, "answer", *_REACH], rows)


def _ends_text(x: float) -> Any:
    return str(x) if math.isinf(x) else x


def reach_json(reach: Reach) -> str:
    """Return how far a condition holds as a JSON object; infinite ends of an interval are texts."""
    return as_json(
        {
            "condition": reach.condition.text,
            "along": reach.along,
            "units": reach.units,
            "axis": reach.axis,
            "confidence": reach.confidence,
            "text": " ".join(reach_sentences(reach)),
            "curves": [
                {
                    "parameters": {path: labels[c] for path, labels in reach.curves.items()},
                    "answer": answer,
                    **{name: _ends_text(getattr(reach, name)[c]) for name in _REACH},
                }
                for c, answer in enumerate(reach.answer)
            ],
        }
    )


def sensitivity_table(found: Sequence[Sensitivity], *, width: int = 120, ascii_only: bool = False) -> str:
    """Return sensitivity indices and partial dependence as tables and sentences."""
    parts = [_indices_table(it, width, ascii_only) for it in found]
    confidence = percent(found[0].confidence)
    text = f"Shares of the variance over the configurations, with {confidence} intervals: alone, what a parameter "
    text += "explains by itself;\nwith others, what is left if all the others are known\n"
    if any(it.design == "sampled" for it in found):
        text += "The second is that of polynomials fitted to the configurations, which are no full grid; what these "
        text += "leave\nopen is within the intervals\n"
    return "\n".join([*parts, text])


def _indices_table(it: Sensitivity, width: int, ascii_only: bool) -> str:
    pm = "+-" if ascii_only else "±"
    indices = {
        "alone": (it.first, it.first_low, it.first_high),
        "with others": (it.total, it.total_low, it.total_high),
    }
    right = [
        Column(
            head,
            [
                _finite(value, f"{{:.3f}} {interval(low, high, '{:.3f}'.format)}")
                for value, low, high in zip(*arrays, strict=True)
            ],
            right=True,
        )
        for head, arrays in indices.items()
    ]
    spread = format_with_error(it.spread, math.nan, it.units)
    text = f"{it.metric}: {METRICS[it.metric].long_name}\nStandard deviation over the configurations: {spread}\n\n"
    text += laid_out([Column("", it.paths, shrinks=True)], right, width, ascii_only)
    text += f"\n{sensitivity_sentence(it)}\n\nAverages over all the other parameters:\n"
    rows = [(path, level) for path, curve in it.curves.items() for level in range(len(curve.labels))]
    shown = rows[:_MOST_LEVELS]
    left = [
        Column("", [path if level == 0 else "" for path, level in shown], shrinks=True),
        Column("", [_level(it.curves[path], level) for path, level in shown], shrinks=True),
    ]
    means = [
        format_with_error(curve.mean[level], curve.high[level] - curve.mean[level], it.units, pm)
        for curve, level in ((it.curves[path], level) for path, level in shown)
    ]
    text += laid_out(left, [Column(it.metric, means, right=True)], width, ascii_only)
    more = len(rows) - len(shown)
    return text + (f"... {more} more values: see --json\n" if more else "")


def _level(curve: Curve, level: int) -> str:
    """Return a value of a parameter, as in the study; the mean of a bin with its unit."""
    label = curve.labels[level]
    return format_with_error(label, math.nan, "s") if curve.units == "s" else label_text(label)


def sensitivity_sentence(it: Sensitivity) -> str:
    """Return which parameter decides, in words that a person can quote."""
    if not it.decisive:
        return f"No parameter can be seen to change {it.metric}."

    def share(path: str) -> str:
        i = it.paths.index(path)
        text = f"{100 * it.first[i]:.0f} % of its variance by itself"
        if not math.isnan(it.first_low[i]):
            ends = f"{100 * it.first_low[i]:.0f} to {100 * it.first_high[i]:.0f} %"
            text += f" ({percent(it.confidence)} interval {ends})"
        if not math.isnan(it.total[i]):
            text += f", {100 * it.total[i]:.0f} % with its interactions"
        return text

    top, *others = it.decisive
    text = f"{top} decides {it.metric}: {share(top)}."
    if others:
        return f"{text} What cannot be told from it: {enumeration(others)}."
    index = it.total if it.design == "grid" else it.first
    order = [it.paths[i] for i in np.argsort(-index, kind="stable") if it.paths[i] != top]
    return f"{text} Next is {order[0]}: {share(order[0])}." if order else text


_INDICES = ("first", "first_low", "first_high", "total", "total_low", "total_high")


def sensitivity_csv(found: Sequence[Sensitivity]) -> str:
    """Return sensitivity indices as CSV, one row for each metric and swept parameter."""
    rows = (
        [it.metric, path, *(getattr(it, name)[i] for name in _INDICES), int(path in it.decisive)]
        for it in found
        for i, path in enumerate(it.paths)
    )
    return as_csv(["metric", "parameter", *_INDICES, "decisive"], rows)


def sensitivity_json(found: Sequence[Sensitivity]) -> str:
    """Return sensitivity indices and partial dependence as a JSON object."""
    return as_json(
        {
            "confidence": found[0].confidence,
            "metrics": {
                it.metric: {
                    "units": it.units,
                    "design": it.design,
                    "text": sensitivity_sentence(it),
                    "spread": it.spread,
                    "parameters": {
                        path: {
                            **{name: getattr(it, name)[i] for name in _INDICES},
                            "decisive": path in it.decisive,
                            "dependence": {
                                "values": it.curves[path].labels,
                                "mean": it.curves[path].mean,
                                "low": it.curves[path].low,
                                "high": it.curves[path].high,
                            },
                        }
                        for i, path in enumerate(it.paths)
                    },
                }
                for it in found
            },
        }
    )
