"""``fastlhp init``: a study to start from."""

from pathlib import Path

import click

from fastlhp.errors import FastlhpError

__all__ = ["command"]

_BAD_INPUT = 2


@click.command()
@click.argument("study", metavar="[STUDY.toml]", type=click.Path(path_type=Path), default="study.toml")
@click.option("--preset", metavar="NAME", help="The real system to study (fastlhp presets lists them).")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_context
def command(context: click.Context, study: Path, preset: str | None, force: bool) -> None:
    """Write a study to start from, with comments; it runs as it is, in seconds."""
    from fastlhp.model.presets import preset_names
    from fastlhp.model.start import DEFAULT_PRESET, start_study
    from fastlhp.model.validation import one_of

    if preset is not None and preset not in preset_names():
        raise click.UsageError(f"unknown preset {preset!r}; choose {one_of(preset_names(), preset)}")
    file = study.name if study.name.isprintable() else "study.toml"
    text = start_study(file, preset or DEFAULT_PRESET)
    try:
        with study.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        click.echo(f"fastlhp: {study} exists; --force overwrites it", err=True)
        context.exit(_BAD_INPUT)
    except OSError as error:
        raise FastlhpError(f"cannot write {study}: {error.strerror or error}") from None
    click.echo(f"wrote {study}; next: fastlhp check {study}")
