"""``fastlhp report``: a study's question and answer as one HTML page."""

import os

import click

from fastlhp.cli import _options
from fastlhp.cli._errors import bad_input
from fastlhp.errors import FastlhpError

__all__ = ["command"]


@click.command()
@click.argument("results", metavar="OUT.h5", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="REPORT.html",
    type=click.Path(),
    help="The page; default: OUT.html beside OUT.h5.",
)
@click.option("--by", metavar="PATH", help="What is compared, as in compare; default: the policies.")
@click.option("--baseline", metavar="NAME", help="Compare with this one; default: the study's first.")
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Compare this metric (may be repeated)."
)
@_options.confidence
@click.option("--no-timelines", "timelines", flag_value=False, default=True, help="Simulate nothing again.")
@click.option("--force", is_flag=True, help="Overwrite an existing page.")
def command(
    results: str,
    output: str | None,
    by: str | None,
    baseline: str | None,
    metrics: tuple[str, ...],
    confidence: float,
    timelines: bool,
    force: bool,
) -> None:
    """Write a report that can be read anywhere: one HTML page, with all it needs in it."""
    from fastlhp.analysis.comparison import COMPARED
    from fastlhp.results.file import check_target
    from fastlhp.results.file import open as open_results
    from fastlhp.view.files import write
    from fastlhp.view.report import report

    target = output or f"{os.path.splitext(results)[0]}.html"
    with bad_input():
        opened = open_results(results)
        if os.path.realpath(target) == os.path.realpath(results):
            raise FastlhpError(
                f"the report would take the place of the results, {results}; give another name"
            )
        check_target(target, force)
        page = report(
            opened,
            by=by,
            metrics=metrics or COMPARED,
            baseline=baseline,
            confidence=confidence,
            timelines=timelines,
        )
    write(page, target, force)
    click.echo(f"{target} is written; open it in a browser", err=True)
