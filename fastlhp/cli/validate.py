"""``fastlhp validate``: predictions beside closed forms, measurements and published results."""

import contextlib

import click

from fastlhp.cli import _options
from fastlhp.validation import PARTS

__all__ = ["command"]

_FAILED = 1


@click.command()
@click.option(
    "--part",
    "parts",
    type=click.Choice(list(PARTS)),
    multiple=True,
    help="Run this part only (may be repeated).",
)
@click.option("--quick", is_flag=True, help="Fewer replications: in seconds, with wider errors.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: the CPUs this process may use.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@_options.form
@click.pass_context
def command(
    context: click.Context,
    parts: tuple[str, ...],
    quick: bool,
    threads: int | None,
    quiet: bool,
    kind: str | None,
) -> None:
    """Compare fastlhp with closed forms (a), measurements on a real host (c) and published results (d).

    Exit code 1 if more cases of a part miss than may.
    """
    from fastlhp.cli.show import print_results, screen
    from fastlhp.run.progress import ProgressReporter
    from fastlhp.validation.checks import validate
    from fastlhp.validation.report import as_csv, as_json, as_table

    finished = []
    with contextlib.nullcontext() if quiet else ProgressReporter() as reporter:
        letters = [letter for letter in PARTS if letter in parts or not parts]
        for part in validate(letters, quick=quick, threads=threads, progress=reporter):
            finished.append(part)
    if kind is None:
        text = "\n".join(as_table(part, ascii_only=screen()["ascii_only"]) for part in finished)
    else:
        text = as_csv(finished) if kind == "csv" else as_json(finished)
    print_results(text)
    if not all(part.passes for part in finished):
        context.exit(_FAILED)
