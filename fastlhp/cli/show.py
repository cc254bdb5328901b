"""``fastlhp show``: the estimates of a result file as a table, CSV or JSON."""

import os
import shutil
import sys
from typing import Any, Literal

import click

from fastlhp.cli import _options
from fastlhp.cli._errors import bad_input

__all__ = ["command", "print_results", "screen"]

_BAD_INPUT = 2
_NARROWEST, _WIDEST, _NO_SCREEN = 80, 200, 120


@click.command()
@click.argument("results", metavar="OUT.h5", type=click.Path())
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Show this metric (may be repeated)."
)
@_options.confidence
@click.option(
    "--interval",
    type=click.Choice(["student", "bca"]),
    default="student",
    show_default=True,
    help="Student's t, or the BCa bootstrap.",
)
@click.option(
    "--rare", is_flag=True, help="Show lock-holder preemptions per acquisition, counted and expected."
)
@_options.form
def command(
    results: str,
    metrics: tuple[str, ...],
    confidence: float,
    interval: Literal["student", "bca"],
    rare: bool,
    kind: str | None,
) -> None:
    """Show the main metrics of a result file, one row per configuration, with confidence intervals."""
    from fastlhp.results.file import open as open_results
    from fastlhp.results.results import Summary
    from fastlhp.results.table import MAIN_METRICS, as_csv, as_json, as_table

    chosen: tuple[str | Summary, ...] = tuple(dict.fromkeys(metrics)) or MAIN_METRICS
    with bad_input():
        opened = open_results(results)
        if rare:
            from fastlhp.analysis.rare import rare_lhp

            found = rare_lhp(opened, confidence)
            chosen = (*dict.fromkeys(metrics), found.counted, found.expected, found.gain)
            for refusal in found.refusals:
                click.echo(refusal, err=True)
        if kind == "csv":
            text = as_csv(opened, chosen, confidence=confidence, method=interval)
        elif kind == "json":
            text = as_json(opened, chosen, confidence=confidence, method=interval)
        else:
            text = as_table(opened, chosen, confidence=confidence, method=interval, **screen())
    print_results(text)


def screen() -> dict[str, Any]:
    """Return how wide a table may be and whether it must be ASCII."""
    width = shutil.get_terminal_size((_NO_SCREEN, 24)).columns
    try:
        "±…".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        ascii_only = True
    else:
        ascii_only = False
    return {"width": min(max(width, _NARROWEST), _WIDEST), "ascii_only": ascii_only}


def print_results(text: str) -> None:
    """Write to standard output; a reader such as ``head`` may stop early."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would make the interpreter complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
