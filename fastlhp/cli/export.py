"""``fastlhp export``: a result file as a table, CSV or Parquet."""

from typing import Literal

import click

from fastlhp.cli import _options
from fastlhp.cli._errors import bad_input

__all__ = ["command"]


@click.command()
@click.argument("results", metavar="OUT.h5", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="TABLE",
    type=click.Path(),
    required=True,
    help="The file to write; its name ends in .csv or .parquet.",
)
@click.option(
    "--per",
    type=click.Choice(["replication", "configuration"]),
    default="replication",
    show_default=True,
    help="What a row is; a configuration has its estimates.",
)
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Only this metric (may be repeated)."
)
@_options.confidence
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    results: str,
    output: str,
    per: Literal["replication", "configuration"],
    metrics: tuple[str, ...],
    confidence: float,
    force: bool,
) -> None:
    """Write a result file as one long table, with swept parameters and metrics as columns."""
    from fastlhp.results.export import export
    from fastlhp.results.file import open as open_results

    chosen = tuple(dict.fromkeys(metrics)) or None
    with bad_input():
        export(open_results(results), output, per=per, metrics=chosen, confidence=confidence, force=force)
