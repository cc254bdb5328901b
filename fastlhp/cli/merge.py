"""``fastlhp merge``: one result file out of those of the shares of a study, or of different studies."""

import click

from fastlhp.cli._errors import bad_input
from fastlhp.errors import first_few

__all__ = ["command"]

_FAILED = 1


@click.command()
@click.argument("parts", metavar="PART.h5...", type=click.Path(), nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT.h5", type=click.Path(), required=True, help="The file to write.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_context
def command(context: click.Context, parts: tuple[str, ...], output: str, force: bool) -> None:
    """Make one result file of several.

    They are of the shares of a study (fastlhp run --shard I/N), or of different studies that sweep the same
    parameters; then the coordinate "study" tells these apart.
    """
    from fastlhp.results.merge import merge

    with bad_input():
        merged = merge(parts, output, force=force)
    for what, indices in (("failed", merged.failed), ("are in none of the files", merged.missing)):
        if indices:
            click.echo(
                f"fastlhp: {len(indices)} of {merged.n_configurations} configurations {what}: {first_few(indices)}",
                err=True,
            )
    if merged.failed or merged.missing:
        context.exit(_FAILED)
