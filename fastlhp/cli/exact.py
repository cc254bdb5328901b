"""``fastlhp exact``: solve small configurations with exponential times as Markov chains."""

import click

from fastlhp.cli import _options

__all__ = ["command"]

_BAD_INPUT = 2


@click.command()
@click.argument("study", metavar="STUDY.toml", type=click.Path())
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Show this metric (may be repeated)."
)
@_options.form
@click.option(
    "--max-states",
    type=click.IntRange(min=1),
    default=200_000,
    show_default=True,
    help="Largest number of states of a configuration.",
)
@click.pass_context
def command(
    context: click.Context, study: str, metrics: tuple[str, ...], kind: str | None, max_states: int
) -> None:
    """Solve a study of small configurations exactly, without simulation; all its times must be exponential."""
    from fastlhp import exact
    from fastlhp.cli.show import print_results, screen
    from fastlhp.exact.results import EXACT_METRICS, as_csv, as_json, as_table
    from fastlhp.results.table import MAIN_METRICS

    chosen = tuple(dict.fromkeys(metrics)) or MAIN_METRICS
    if unknown := [name for name in chosen if name not in EXACT_METRICS]:
        click.echo(
            f"fastlhp: no exact value of {', '.join(map(repr, unknown))}; choose from: {', '.join(EXACT_METRICS)}",
            err=True,
        )
        context.exit(_BAD_INPUT)
    results = exact(study, max_states=max_states)
    if kind == "csv":
        text = as_csv(results, chosen)
    elif kind == "json":
        text = as_json(results, chosen)
    else:
        text = as_table(results, chosen, **screen())
    print_results(text)
