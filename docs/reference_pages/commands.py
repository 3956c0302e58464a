"""The command line's help."""

from __future__ import annotations

import click

from mtl_toolkit.cli import COMMANDS, main


def command_page() -> str:
    """The help of every command."""
    text = (
        "# Command line\n\n`python -m mtl_toolkit` is the same as `mtl`; `torchrun` needs that form.\n\n"
        "Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration, 130 interrupted, "
        "143 terminated. After the last two the state is saved and the same command goes on.\n\n"
    )
    context = click.Context(main, info_name="mtl")
    text += help_of(main, "mtl", context)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        text += help_of(command, f"mtl {name}", context)
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                text += help_of(one, f"mtl {name} {inner}", context)
    return text


def help_of(command: click.Command, name: str, parent: click.Context) -> str:
    """A section with the help of a command."""
    settings = parent.command.context_settings
    context = click.Context(command, info_name=name, terminal_width=90, **settings)
    return f"## `{name}`\n\n```text\n{command.get_help(context)}\n```\n\n"
