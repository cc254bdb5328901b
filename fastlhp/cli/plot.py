"""``fastlhp plot``: figures of a result file."""

import os
from typing import TYPE_CHECKING, Any

import click

from fastlhp.errors import FastlhpError

if TYPE_CHECKING:
    from fastlhp.results.results import Results

__all__ = ["command"]

_BAD_INPUT = 2
_KINDS = ("curve", "time-split", "lock-waits", "heat-map", "winner-map")
_OF_METRICS = ("curve", "heat-map", "winner-map")
_METRICS = ("wasted_fraction", "lhp_probability")
_FORMATS = ("png", "svg", "pdf")


@click.command()
@click.argument("results", metavar="OUT.h5", type=click.Path())
@click.option(
    "--kind", "kinds", type=click.Choice(_KINDS), multiple=True, help="Draw this kind (may be repeated)."
)
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Draw this metric (may be repeated)."
)
@click.option(
    "--along", metavar="PATH", multiple=True, help="The swept path of the x axis; of a map also that of y."
)
@click.option(
    "-o", "--output", metavar="FOLDER|FILE", type=click.Path(), help="Where; default: NAME-figures here."
)
@click.option("--format", "form", type=click.Choice(_FORMATS), help="Default: png, or what FILE ends in.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.pass_context
def command(
    context: click.Context,
    results: str,
    kinds: tuple[str, ...],
    metrics: tuple[str, ...],
    along: tuple[str, ...],
    output: str | None,
    form: str | None,
    force: bool,
) -> None:
    """Draw figures of a result file; without options those that its sweep makes interesting, at most six."""
    if len(along) > 2:
        raise click.UsageError("--along may be given twice at most, for the axes of a map")
    if kinds and (metrics or along) and not set(kinds) & set(_OF_METRICS):
        raise click.UsageError(f"--metric and --along go with {', '.join(_OF_METRICS)} only")
    if not kinds and (metrics or along):
        kinds = ("curve",) if len(along) < 2 else ("heat-map",)

    from fastlhp.results.file import check_target
    from fastlhp.results.file import open as open_results
    from fastlhp.view.figures import default_figures
    from fastlhp.view.style import save

    try:
        opened = open_results(results)
        stem = os.path.splitext(os.path.basename(results))[0]
        folder, ending = output or f"{stem}-figures", ""
        if output is not None:
            ending = os.path.splitext(output)[1].removeprefix(".").lower()
        found = _chosen(opened, kinds, metrics, along) if kinds else default_figures(opened)
        if ending in _FORMATS:
            if form not in (None, ending):
                raise FastlhpError(f"{folder} is no name of a {form} file")
            if len(found) > 1:
                raise FastlhpError(f"there are {len(found)} figures for one file; give a folder, or a --kind")
            targets = [folder]
        else:
            os.makedirs(folder, exist_ok=True)
            targets = [os.path.join(folder, f"{name}.{form or 'png'}") for name, _, _ in found]
        for target in targets:
            check_target(target, force)
        for target, (_, says, figure) in zip(targets, found, strict=True):
            save(figure, target, force)
            click.echo(f"{target}: {says}")
    except OSError as error:
        click.echo(f"fastlhp: cannot write {error.filename}: {error.strerror}", err=True)
        context.exit(_BAD_INPUT)
    except FastlhpError as error:
        click.echo(f"fastlhp: {error}", err=True)
        context.exit(_BAD_INPUT)


def _chosen(
    results: "Results", kinds: tuple[str, ...], metrics: tuple[str, ...], along: tuple[str, ...]
) -> list[tuple[str, str, Any]]:
    """Draw what was asked for."""
    from fastlhp.view import figures

    found = []
    for kind in dict.fromkeys(kinds):
        draw = getattr(figures, kind.replace("-", "_"))
        if kind not in _OF_METRICS:
            found.append((kind, draw(results)))
            continue
        axes = along[:1] if kind == "curve" else along
        for metric in dict.fromkeys(metrics or _METRICS[: 2 if kind == "curve" else 1]):
            found.append((f"{kind}-{metric}", draw(results, metric, *axes)))
    return [(stem, figure.get_label(), figure) for stem, figure in found]
