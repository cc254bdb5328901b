"""``fastlhp check``: validate a study and say what it would take to run it."""

import click

__all__ = ["command"]


@click.command()
@click.argument("study", metavar="STUDY.toml", type=click.Path())
@click.option("--calibrate", is_flag=True, help="Measure the speed of this machine first.")
def command(study: str, calibrate: bool) -> None:
    """Validate a study and estimate its run time; runs nothing."""
    from fastlhp.model.study import load
    from fastlhp.model.units import format_duration
    from fastlhp.run.speed import Speed, estimate_events, read_speed

    loaded = load(study)
    click.echo(f"{loaded.name}: valid")
    for name, value in (
        ("configurations", f"{loaded.n_configurations}"),
        (
            "replications",
            f"{loaded.replications} of each, {loaded.n_configurations * loaded.replications} in all",
        ),
        (
            "simulated time",
            f"{format_duration(loaded.duration_ns)} after {format_duration(loaded.warmup_ns)} of warm-up",
        ),
        ("seed", f"{loaded.seed}"),
    ):
        click.echo(f"{name:<15} {value}")
    for path, labels in loaded.swept.items():
        shown = ", ".join(str(label) for label in labels[:8])
        click.echo(
            f"{'swept':<15} {path}: {shown}{f', ... ({len(labels)} values)' if len(labels) > 8 else ''}"
        )
    for warning in loaded.warnings:
        click.echo(f"{'warning':<15} {warning}")

    events = estimate_events(loaded)
    speed = read_speed()
    if calibrate:
        from fastlhp.run.execute import calibrate as measure

        speed = Speed(measure(), speed.threads if speed else 1)
    click.echo(f"{'events':<15} about {events:.2g}")
    if speed is None:
        click.echo(
            f"{'run time':<15} not known: this machine's speed is not known yet; --calibrate measures it"
        )
    else:
        click.echo(
            f"{'run time':<15} about {_in_words(events / speed.events_per_second)} "
            f"at {speed.events_per_second:.2g} events per second, compilation not counted"
        )


def _in_words(seconds: float) -> str:
    """Return a run time as people say it."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{max(seconds, 0.1):.2g} seconds"
