"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..config import Loaded

F = TypeVar("F", bound=Callable[..., Any])


def config_options(command: F) -> F:
    """CONFIG, --set, --disable-plugin, --traceback."""
    decorators = (
        click.argument("config", type=click.Path(path_type=Path)),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override one value: --set stages.teacher.epochs=3.",
        ),
        click.option(
            "--disable-plugin",
            "disabled",
            multiple=True,
            metavar="DIST:EP",
            help="Switch off an entry point.",
        ),
        click.option("--traceback", is_flag=True, help="Show the traceback of an error."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


PICTURES = (".png", ".jpg", ".pdf", ".svg")


def picture_name(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that is no picture by its name, before anything is read."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"must end in {', '.join(PICTURES)} (got {str(path)!r})")
    return path


def load(config: Path, overrides: tuple[str, ...], disabled: tuple[str, ...]) -> Loaded:
    """Read the configuration; warn of plugins that did not load, as hooks would be silent about it."""
    from ..config import load_config
    from ..registry import unloaded

    loaded = load_config(config, overrides=overrides, disable_plugins=disabled)
    first = os.environ.get("RANK", "0") == "0"  # of several processes
    for problem in unloaded(loaded.registry) if first else ():
        click.echo(f"warning: {problem}", err=True)
    return loaded
