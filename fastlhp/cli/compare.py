"""``fastlhp compare``: which policy is better, by how much, how sure, and where."""

import click

from fastlhp.errors import FastlhpError

__all__ = ["command"]

_BAD_INPUT = 2


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
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Probability that an interval covers the true value.",
)
@click.option("--csv", "kind", flag_value="csv", help="Print CSV in full precision.")
@click.option("--json", "kind", flag_value="json", help="Print JSON in full precision.")
@click.pass_context
def command(
    context: click.Context,
    results: str,
    by: str,
    baseline: str | None,
    metrics: tuple[str, ...],
    confidence: float,
    kind: str | None,
) -> None:
    """Compare configurations that differ in their policy only, replication by replication."""
    from fastlhp.analysis import text
    from fastlhp.analysis.comparison import COMPARED, compare
    from fastlhp.cli.show import print_results, screen
    from fastlhp.results.file import open as open_results

    try:
        found = compare(
            open_results(results), by, metrics or COMPARED, baseline=baseline, confidence=confidence
        )
    except FastlhpError as error:
        click.echo(f"fastlhp: {error}", err=True)
        context.exit(_BAD_INPUT)
    if kind == "csv":
        answer = text.comparison_csv(found)
    elif kind == "json":
        answer = text.comparison_json(found)
    else:
        answer = text.comparison_table(found, **screen())
    print_results(answer)
