"""`mtl submission check`: whether a challenge will accept a file of predictions."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def submission() -> None:
    """Look at files of predictions for challenges."""


@submission.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--list",
    "listing",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Test list: pictures or videos, one a line.",
)
@click.option("--format", "format_", metavar="WRITER", required=True, help="Writer plugin: the challenge.")
@click.option(
    "--disable-plugin", "disabled", multiple=True, metavar="DIST:EP", help="Switch off an entry point."
)
@click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
def check(
    file: Path,
    listing: Path,
    format_: str,
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
) -> int:
    """Check that FILE (or folder) has every listed frame once, the right header, and values in range.

    Leaves with 1 and a line for each problem if it has not.
    """
    from ..plugin import Writer
    from ..prediction import parse_listing
    from ..registry import Registry
    from .trained import parse_plugin

    writer = parse_plugin("--format", format_, Writer, Registry.load(disabled))  # type: ignore[type-abstract]
    wanted = parse_listing(listing)
    problems = writer.check(file, wanted)
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if problems:
        return 1
    count = len(wanted.names or wanted.videos)
    what = "picture" if wanted.names else "video"
    click.echo(f"{file}: complete, {count:,} {what}{'' if count == 1 else 's'} of the list")
    return 0
