"""The command ``fastlhp``: finds its subcommands, and turns errors into messages and exit codes.

Every other module of this folder is a subcommand of the same name; it has a click command called ``command``.
Exit codes: 0 done, 1 a run failed, 2 bad input, 130 interrupted.
"""

import importlib
import pkgutil
from typing import Any

import click

from fastlhp.errors import FastlhpError, StudyError

__all__ = ["main"]

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


class _Commands(click.Group):
    """A group that imports a subcommand when it is needed; what is heavy is imported inside functions."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        package = importlib.import_module("fastlhp.cli")
        names = (module.name for module in pkgutil.iter_modules(package.__path__))
        return sorted(name.replace("_", "-") for name in names if name != "main" and not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"fastlhp.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            # click names the unknown command only.
            raise click.UsageError(
                f"No such command {args[0]!r}; choose from: {', '.join(self.list_commands(ctx))}.", ctx
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StudyError as error:
            click.echo(str(error), err=True)
            ctx.exit(_BAD_INPUT)
        except FastlhpError as error:
            click.echo(f"fastlhp: {error}", err=True)
            ctx.exit(_FAILED)
        except KeyboardInterrupt:
            click.echo("fastlhp: interrupted", err=True)
            ctx.exit(_INTERRUPTED)


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from fastlhp import __version__

        click.echo(f"fastlhp {__version__}")
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def main() -> None:
    """Simulate lock-holder preemption under hypervisors: how often, and what it costs, under which remedy."""
