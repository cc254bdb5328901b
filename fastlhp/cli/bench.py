"""``fastlhp bench``: the speed of this machine, beside that of a C program and of other simulators."""

import json
import sys
import tempfile
from pathlib import Path

import click

from fastlhp.errors import FastlhpError

__all__ = ["command"]

_FAILED, _BAD_INPUT = 1, 2


@click.command()
@click.option("--case", "names", metavar="NAME", multiple=True, help="Only this case (may be repeated).")
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, help="Rounds per case.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=0.3,
    show_default=True,
    help="About how long a contender runs in a round.",
)
@click.option(
    "--cimba",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also Cimba Python, from an environment in this folder, which is made if it is not there.",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write bench.txt, bench.md, bench.json and, with matplotlib, bench.svg there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    cimba: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure the speed of fastlhp beside a C program, SimPy and Cimba Python, in under two minutes.

    Each contender's answers stand next to its speed; exit code 1 if two of them disagree. A contender that is not
    installed is left out.
    """
    from fastlhp.bench.compare import as_markdown, as_table, disagreeing, machine, measure
    from fastlhp.bench.contenders import CASES, available_contenders, install_cimba

    if unknown := [name for name in names if name not in CASES]:
        click.echo(f"fastlhp: unknown case {unknown[0]!r}; choose from: {', '.join(CASES)}", err=True)
        context.exit(_BAD_INPUT)
    is_seen = sys.stderr.isatty()

    def report(text: str) -> None:
        if is_seen:
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    measured, tables = [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            contenders = available_contenders(Path(folder), install_cimba(cimba) if cimba else None)
            for name in names or CASES:
                able = [c for c in contenders if c.can_run(CASES[name])]
                measured.append(measure(name, able, rounds=rounds, seconds=seconds, report=report))
                tables.append(as_table(measured[-1]))
                report("")
                if not as_json:
                    click.echo(tables[-1])
        document = json.dumps({"machine": machine(), "cases": measured}, indent=1) + "\n"
        if as_json:
            click.echo(document, nl=False)
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            (output / "bench.txt").write_text("\n".join(tables), encoding="utf-8")
            (output / "bench.md").write_text(as_markdown(measured), encoding="utf-8")
            (output / "bench.json").write_text(document, encoding="utf-8")
            try:
                from fastlhp.bench.compare import figure
                from fastlhp.view.style import save

                save(figure(measured), output / "bench.svg", force=True)
            except ImportError:
                click.echo("no bench.svg: it needs matplotlib; pip install 'fastlhp[report]'", err=True)
    except (FastlhpError, OSError) as error:
        click.echo(f"fastlhp: {error}", err=True)
        context.exit(_FAILED)
    if wrong := disagreeing(measured):
        click.echo(f"answers disagree: {'; '.join(wrong)}", err=True)
        context.exit(_FAILED)
