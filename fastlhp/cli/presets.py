"""``fastlhp presets``: list the real systems and the workload profiles, or print one."""

import click

__all__ = ["command"]


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the real systems and the locks of real guests, or print one as TOML with its sources."""
    from fastlhp.model.presets import preset, preset_names, preset_text
    from fastlhp.model.profiles import profile, profile_names, profile_text

    if name is None:
        width = max(map(len, (*preset_names(), *profile_names())), default=0)
        click.echo("Systems (policy.preset):")
        for each in preset_names():
            click.echo(f"{each:{width}}  {preset(each)['description']}")
        click.echo("\nLocks of guests (vm.profile):")
        for each in profile_names():
            click.echo(f"{each:{width}}  {profile(each)['description']}")
    elif name in preset_names():
        click.echo(preset_text(name), nl=False)
    elif name in profile_names():
        click.echo(profile_text(name), nl=False)
    else:
        choices = ", ".join((*preset_names(), *profile_names()))
        raise click.UsageError(f"unknown preset or profile {name!r}; choose from: {choices}")
