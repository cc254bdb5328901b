"""``fastlhp status``: how far a run is."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from fastlhp.cli._errors import bad_input

__all__ = ["command"]


@click.command()
@click.argument("path", metavar="OUT.h5", type=click.Path())
def command(path: str) -> None:
    """Say how far a run is, from another terminal: of its result file or of the folder OUT.h5.partial."""
    from fastlhp.run.job import partial_folder

    with bad_input():
        folder = path if os.path.isdir(path) else partial_folder(path)
        if os.path.isdir(folder):
            _show_folder(folder)
        else:
            _show_file(path)


def _show(name: str, value: str) -> None:
    click.echo(f"{name:<15} {value}")


def _show_folder(folder: str) -> None:
    from fastlhp.run.progress import format_elapsed, si
    from fastlhp.run.store import survey

    found = survey(folder)
    run = found.manifest.run
    n = len(found.manifest.indices)
    wanted = n * run["replications"]
    _show(
        "study", f"{found.manifest.about.get('source', '')}, begun {found.manifest.about.get('created', '')}"
    )
    if run["shard"]:
        _show("shard", run["shard"])
    running = {True: "running", False: "not running; --resume goes on", None: "not known"}
    _show("state", running[found.is_running])
    if run.get("precision"):
        # Whether a configuration is precise enough only its results can tell.
        _show("replications", f"{found.replications} of {n} configurations, at most {wanted} in all")
    else:
        _show("configurations", f"{found.configurations} of {n}")
        share = 100 * found.replications / max(wanted, 1)
        _show("replications", f"{found.replications} of {wanted} ({share:.1f} %)")
    rate = ""
    if found.per_second and found.replications:
        rate = f", about {si(found.events / found.replications * found.per_second)}events/s"
    _show("events", f"{si(found.events).rstrip()}{rate}")
    if found.last is not None:
        _show("last shard", f"{format_elapsed(time.time() - found.last)} ago")
    if found.is_running and found.per_second and not run.get("precision"):
        _show("left", f"about {format_elapsed((wanted - found.replications) / found.per_second)}")
    _show_sessions([session.described() for session in found.sessions])
    for path in found.damaged:
        _show("damaged", path)
    _show("folder", folder)


def _show_file(path: str) -> None:
    from fastlhp.results.counters import Status
    from fastlhp.results.file import FileData
    from fastlhp.run.progress import si

    data = FileData(path)
    _show("study", f"{data.attributes.title}, begun {data.attributes.created}")
    for status in Status:
        count = int((data.status == status).sum())
        if count or status == Status.OK:
            _show(status.name.lower().replace("_", " "), f"{count} of {len(data.status)} configurations")
    timing = data.attributes.timing
    if timing.get("engine_seconds"):
        rate = timing["events"] / timing["engine_seconds"]
        _show("events", f"{si(timing['events']).rstrip()}, {si(rate)}events/s")
    _show_sessions(data.attributes.provenance.get("sessions", []))
    _show("file", path)


def _show_sessions(sessions: Sequence[Mapping[str, Any]]) -> None:
    """Say who did what; not of a run in one go."""
    from fastlhp.run.progress import format_elapsed, si

    for number, it in enumerate(sessions if len(sessions) > 1 else (), 1):
        threads = f", {it['threads']} threads" if it.get("threads") else ""
        host = f" on {it['host']}" if it.get("host") else ""
        what = (
            f"{it['replications']} replications, {si(it['events'])}events in {format_elapsed(it['seconds'])}"
        )
        _show(f"session {number}", f"{it['created']}{host}{threads}: {what}")
