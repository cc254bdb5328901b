"""What several commands do about errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from fastlhp.errors import FastlhpError

__all__ = ["bad_input"]

_BAD_INPUT = 2


@contextmanager
def bad_input() -> Iterator[None]:
    """End the command with exit code 2 if the block fails: in a command that simulates nothing, only its input can."""
    try:
        yield
    except FastlhpError as error:
        click.echo(f"fastlhp: {error}", err=True)
        click.get_current_context().exit(_BAD_INPUT)
