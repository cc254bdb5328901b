"""``fastlhp presets``: list the real systems, or print one."""

import click

__all__ = ["command"]


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the real systems, or print one as TOML with its sources."""
    from fastlhp.model.presets import preset, preset_names, preset_text

    if name is None:
        width = max(map(len, preset_names()), default=0)
        for each in preset_names():
            click.echo(f"{each:{width}}  {preset(each)['description']}")
    elif name in preset_names():
        click.echo(preset_text(name), nl=False)
    else:
        raise click.UsageError(f"unknown preset {name!r}; choose from: {', '.join(preset_names())}")
