"""``fastlhp rerun``: one configuration once more, from a result file alone."""

import click

from fastlhp.errors import FastlhpError, StudyError

__all__ = ["command"]

_FAILED, _BAD_INPUT = 1, 2


@click.command()
@click.argument("results", metavar="OUT.h5", type=click.Path())
@click.option("--configuration", type=int, required=True, help="Its number, as fastlhp show has it.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.pass_context
def command(context: click.Context, results: str, configuration: int, threads: int) -> None:
    """Simulate a configuration again, from the file alone, and say whether every bit is as in the file."""
    from fastlhp.run.rerun import rerun

    try:
        done = rerun(results, configuration, threads=threads)
    except StudyError:
        raise
    except FastlhpError as error:
        click.echo(f"fastlhp: {error}", err=True)
        context.exit(_BAD_INPUT)
    n = len(done.result.host)
    where = f"configuration {configuration} of {results}, {n} replication{'' if n == 1 else 's'}"
    if done.differing:
        click.echo(f"fastlhp: {where}: not as in the file: {', '.join(done.differing)}", err=True)
        context.exit(_FAILED)
    click.echo(f"{where}: all {done.n_compared} variables are the same, bit for bit")
