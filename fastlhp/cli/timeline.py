"""``fastlhp timeline``: one replication as a picture, or as a trace file."""

from pathlib import Path

import click

from fastlhp.errors import FastlhpError, StudyError

__all__ = ["command"]

_BAD_INPUT = 2
_READY = "timelines"


@click.command()
@click.argument("study", metavar="STUDY.toml", required=False)
@click.option("--configuration", metavar="I", type=int, default=0, show_default=True, help="Its number.")
@click.option("--replication", metavar="R", type=int, default=0, show_default=True, help="Its number.")
@click.option(
    "--window",
    metavar="BEGIN:END",
    help="Simulated time, warm-up included, such as 200ms:250ms; by default the measured window, at most 100 ms of it.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="A picture (.png, .svg, .pdf), or a trace for Perfetto and chrome://tracing (.json); "
    "by default a .png in the current folder, with the name of the study file.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--list", "is_list", is_flag=True, help="List the ready studies, which can be given by name.")
@click.pass_context
def command(
    context: click.Context,
    study: str | None,
    configuration: int,
    replication: int,
    window: str | None,
    output: str | None,
    force: bool,
    is_list: bool,
) -> None:
    """Show what happens in one replication: who has which pCPU, who holds a lock, who spins, who waits."""
    if is_list:
        _print_list()
        return
    if study is None:
        raise click.UsageError("give a study file, or the name of a ready study (--list)")
    target = Path(output or f"{Path(study).stem}.png")
    try:
        _write(_source(study), configuration, replication, window, target, force)
    except StudyError:
        raise
    except FastlhpError as error:
        click.echo(f"fastlhp: {error}", err=True)
        context.exit(_BAD_INPUT)
    click.echo(target)


def _print_list() -> None:
    from fastlhp.data_files import toml_names, toml_text

    names = toml_names(_READY)
    width = max(map(len, names))
    for name in names:
        first = toml_text(_READY, name).partition("\n")[0]
        click.echo(f"{name:{width}}  {first.removeprefix('# ').rstrip('.')}")


def _source(study: str) -> Path:
    """The study file; a file of that name comes before a ready study."""
    from fastlhp.data_files import data_path, toml_names

    if study in toml_names(_READY) and not Path(study).exists():
        return data_path(_READY, f"{study}.toml")
    return Path(study)


def _write(
    source: Path, configuration: int, replication: int, window: str | None, target: Path, force: bool
) -> None:
    # What cannot be read, written or drawn is said before anything is simulated.
    from fastlhp.model.study import load
    from fastlhp.results.file import check_target

    study = load(source)
    kind = target.suffix.lower()
    if kind not in (".png", ".svg", ".pdf", ".json"):
        raise FastlhpError(f"{target} must end in .png, .svg, .pdf or .json")
    check_target(target, force)
    if kind != ".json":
        from fastlhp.view.style import matplotlib

        matplotlib()
    from fastlhp.run.record import record

    span = None if window is None else _window(window)
    trace = record(study, configuration=configuration, replication=replication, window=span)
    if kind == ".json":
        from fastlhp.view.trace_file import write_trace

        write_trace(trace, target, force)
    else:
        from fastlhp.view.style import save
        from fastlhp.view.timeline import timeline

        save(timeline(trace), target, force)


def _window(text: str) -> tuple[int, int]:
    from fastlhp.model.units import UnitError, parse_duration, round_ns

    parts = text.split(":")
    try:
        begin, end = (round_ns(parse_duration(part)) for part in parts)
    except (UnitError, ValueError):
        raise FastlhpError(
            f"--window takes two durations with units, such as 200ms:250ms; found {text}"
        ) from None
    return begin, end
