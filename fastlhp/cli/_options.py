"""Options that several commands have."""

from collections.abc import Callable
from typing import Any

import click

__all__ = ["confidence", "form"]

confidence = click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Probability that an interval covers the true value.",
)


def form(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--csv`` and ``--json``, which make the parameter ``kind`` "csv" or "json"; it is None without."""
    for kind in ("json", "csv"):
        what = f"Print {kind.upper()} in full precision."
        command = click.option(f"--{kind}", "kind", flag_value=kind, help=what)(command)
    return command
