"""``fastlhp compare``: which policy is better, by how much, how sure, and where."""

from typing import TYPE_CHECKING, Any

import click

from fastlhp.cli import _options
from fastlhp.cli._errors import bad_input

if TYPE_CHECKING:
    from fastlhp.results.results import Results

__all__ = ["command"]


@click.command()
@click.argument("results", metavar="OUT.h5", type=click.Path())
@click.option(
    "--by",
    metavar="PATH",
    default="policy",
    show_default=True,
    help="What is compared: a swept path or its end, or policy: all swept paths below policy and lock.",
)
@click.option("--baseline", metavar="NAME", help="Compare with this one; default: the study's first.")
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Compare this metric (may be repeated)."
)
@click.option(
    "--until",
    metavar="CONDITION",
    help="Find how far a condition holds, such as 'wasted_fraction < 0.05'; needs --along.",
)
@click.option("--along", metavar="PATH", help="The swept path along which it holds.")
@click.option(
    "--sensitivity", is_flag=True, help="Find which swept parameter decides: shares of the variance."
)
@_options.confidence
@_options.form
def command(
    results: str,
    by: str,
    baseline: str | None,
    metrics: tuple[str, ...],
    until: str | None,
    along: str | None,
    sensitivity: bool,
    confidence: float,
    kind: str | None,
) -> None:
    """Compare configurations that differ in their policy only, replication by replication."""
    if (until is None) != (along is None):
        raise click.UsageError("--until and --along go together")
    if until is not None and (metrics or baseline is not None):
        raise click.UsageError("--until goes with neither --metric nor --baseline")
    if sensitivity and (until is not None or baseline is not None):
        raise click.UsageError("--sensitivity goes with neither --until nor --baseline")

    from fastlhp.cli.show import print_results, screen
    from fastlhp.results.file import open as open_results

    with bad_input():
        opened = open_results(results)
        if until is not None and along is not None:
            answer = _until(opened, until, along, by, confidence, kind, screen())
        elif sensitivity:
            answer = _sensitivity(opened, metrics, confidence, kind, screen())
        else:
            answer = _compare(opened, by, metrics, baseline, confidence, kind, screen())
    print_results(answer)


def _compare(
    results: "Results",
    by: str,
    metrics: tuple[str, ...],
    baseline: str | None,
    confidence: float,
    kind: str | None,
    on: dict[str, Any],
) -> str:
    from fastlhp.analysis.comparison import COMPARED, compare
    from fastlhp.analysis.text import comparison_csv, comparison_json, comparison_table

    found = compare(results, by, metrics or COMPARED, baseline=baseline, confidence=confidence)
    if kind == "csv":
        return comparison_csv(found)
    return comparison_json(found) if kind == "json" else comparison_table(found, **on)


def _until(
    results: "Results",
    condition: str,
    along: str,
    by: str,
    confidence: float,
    kind: str | None,
    on: dict[str, Any],
) -> str:
    from fastlhp.analysis.text import reach_csv, reach_json, reach_table
    from fastlhp.analysis.thresholds import until

    found = until(results, condition, along, by=by, confidence=confidence)
    if kind == "csv":
        return reach_csv(found)
    return reach_json(found) if kind == "json" else reach_table(found, **on)


def _sensitivity(
    results: "Results", metrics: tuple[str, ...], confidence: float, kind: str | None, on: dict[str, Any]
) -> str:
    from fastlhp.analysis.comparison import COMPARED
    from fastlhp.analysis.sensitivity import sensitivity
    from fastlhp.analysis.text import sensitivity_csv, sensitivity_json, sensitivity_table

    chosen = dict.fromkeys(metrics or COMPARED)
    found = [sensitivity(results, metric, confidence=confidence) for metric in chosen]
    if kind == "csv":
        return sensitivity_csv(found)
    return sensitivity_json(found) if kind == "json" else sensitivity_table(found, **on)
