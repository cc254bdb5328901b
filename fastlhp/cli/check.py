"""``fastlhp check``: validate a study and say what it would take to run it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fastlhp.model.study import Study

__all__ = ["command"]

_SHOWN = 8


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
    of = f" of {loaded.n_combinations} combinations" if loaded.dropped else ""
    warmup = f"{format_duration(loaded.warmup_ns)} of warm-up"
    if loaded.configurations[0].has_auto_warmup:
        warmup = "a warm-up that pilots find, at most half of that"
    for name, value in (
        ("configurations", f"{loaded.n_configurations}{of}"),
        *_dropped(loaded),
        *_replications(loaded),
        ("simulated time", f"{format_duration(loaded.duration_ns)} after {warmup}"),
        ("seed", f"{loaded.seed}"),
        *([] if loaded.keeps_replications else [("file", "summaries of configurations, no replications")]),
        *_plan(loaded),
        *(("warning", warning) for warning in loaded.warnings),
    ):
        click.echo(f"{name:<15} {value}")

    events = estimate_events(loaded)
    speed = read_speed()
    if calibrate:
        from fastlhp.run.execute import calibrate as measure

        speed = Speed(measure(), speed.threads if speed else 1)
    about = "about" if loaded.precision is None else "at most about"
    click.echo(f"{'events':<15} {about} {events:.2g}")
    if speed is None:
        click.echo(
            f"{'run time':<15} not known: this machine's speed is not known yet; --calibrate measures it"
        )
    else:
        click.echo(
            f"{'run time':<15} {about} {_in_words(events / speed.events_per_second)} "
            f"at {speed.events_per_second:.2g} events per second, compilation not counted"
        )


def _replications(study: "Study") -> Iterator[tuple[str, str]]:
    n, rule = study.replications, study.precision
    if rule is None:
        yield "replications", f"{n} of each, {study.n_configurations * n} in all"
        return
    yield "replications", f"{rule.minimum} to {n} of each, at most {study.n_configurations * n} in all"
    yield from (("precision", target.describe()) for target in rule.targets)


def _dropped(study: "Study") -> Iterator[tuple[str, str]]:
    """Yield what is dropped, and why."""
    reasons = [f"{count}: {reason}" for reason, count in study.dropped.items()]
    if len(reasons) > _SHOWN:
        rest = sum(list(study.dropped.values())[_SHOWN:])
        reasons[_SHOWN:] = [f"{rest}: for {len(reasons) - _SHOWN} other reasons"]
    yield from (("dropped", reason) for reason in reasons)


def _plan(study: "Study") -> Iterator[tuple[str, str]]:
    """Yield what is swept, and how."""
    for axis in study.axes:
        sampled = [column for column in axis.columns if column.range is not None]
        if sampled and study.design is not None:
            design = study.design
            less = f", {len(axis)} of them different" if len(axis) < design.points else ""
            yield "design", f"{design.kind}, {design.points} points{less}, seed {design.seed}"
            yield from (("sampled", f"{column.path}: {column.range}") for column in sampled)
            continue
        paths = ", ".join(column.path for column in axis.columns)
        rows = zip(*(column.labels[:_SHOWN] for column in axis.columns), strict=True)
        shown = ", ".join(_row([str(label) for label in row]) for row in rows)
        more = f", ... ({len(axis)} values)" if len(axis) > _SHOWN else ""
        yield "swept" if len(axis.columns) == 1 else "zipped", f"{paths}: {shown}{more}"


def _row(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"({', '.join(labels)})"


def _in_words(seconds: float) -> str:
    """Return a run time as people say it."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{max(seconds, 0.1):.2g} seconds"
