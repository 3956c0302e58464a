"""The command line. Commands are imported when they are called, so that `mtl --help` needs no torch."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module

import click

from ..errors import UserError

COMMANDS = {
    "run": "Train the stages of a configuration.",
    "check": "Look at a configuration and its data, without training.",
    "predict": "Predict pictures, folders and videos with a trained stage.",
    "evaluate": "Judge a trained stage, or a file of predictions, on labelled data.",
    "submission": "Check files of predictions for challenges.",
    "plugins": "List the plugins that are installed, or describe one.",
    "plugin": "Start a plugin of your own.",
    "data": "Look at datasets, and pack them into one file each.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say the nearest command for an unknown one."""
        from ..errors import suggestion

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}{suggestion(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mtl-toolkit")
def main() -> None:
    """Train one network for several tasks from several partly labelled datasets."""


def entry() -> None:
    """Run the command line; expected errors are one line per problem on standard error."""
    try:
        code = main(prog_name="mtl", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except UserError as error:
        if "--traceback" in sys.argv:
            traceback.print_exception(error)
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output went away: `mtl plugins | head`
        sys.stderr.close()
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
