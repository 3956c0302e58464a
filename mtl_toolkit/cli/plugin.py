"""`mtl plugin new`: the package of a new plugin, complete and working."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..errors import ConfigError
from .scaffold.folder import write_folder
from .scaffold.licenses import license_expression
from .scaffold.names import Names
from .scaffold.package import Package
from .scaffold.templates import KINDS, about


@click.group()
def plugin() -> None:
    """Start a plugin of your own."""


@plugin.command()
@click.argument("name")
@click.option("--kind", required=True, metavar="KIND", help=f"One of {', '.join(KINDS)}.")
@click.option("--plugin-name", metavar="NAME", help="What TOML files call it; by default NAME without mtl-.")
@click.option("--license", default="MIT", show_default=True, metavar="SPDX", help="Licence of the package.")
@click.option("--author", metavar="NAME", help="Author; by default the developers of NAME.")
@click.option("--email", metavar="ADDRESS", help="Address of the author.")
@click.option("--description", metavar="TEXT", help="What the package is, in one line.")
@click.option("--directory", type=click.Path(path_type=Path), help="Folder to make; by default NAME, here.")
@click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
def new(
    name: str,
    kind: str,
    plugin_name: str | None,
    license: str,  # noqa: A002 - click takes the option's name
    author: str | None,
    email: str | None,
    description: str | None,
    directory: Path | None,
    traceback: bool,  # noqa: ARG001 - read by the entry point
) -> None:
    """Write the package of a new plugin, called NAME.

    It works as it is: a plugin of the kind, tests that hold it to the conformance kit, a README, and a
    configuration that trains in seconds. Nothing that exists is overwritten.
    """
    package = Package(
        names=Names.derive(name, plugin_name),
        kind=kind,
        folder=directory or Path(name),
        license=license,
        author=author,
        email=email,
        description=description,
    )
    if problems := package.problems():
        raise ConfigError(*problems)
    if problem := package.name_problem():
        raise ConfigError(problem)
    write_folder(package.folder, package.files())
    click.echo(told(package))


def told(package: Package) -> str:
    """What was written, and the commands to type next."""
    names, folder = package.names, package.folder
    place = folder if folder.is_absolute() else f"./{folder}"
    commands = (
        f"pip install -e {shlex.quote(f'{place}[test]')}",
        f"pytest {shlex.quote(str(folder))}",
        f"mtl plugins {package.kind}/{names.plugin}",
        f"mtl run {shlex.quote(str(folder / 'example.toml'))}",
    )
    source = folder / names.module / f"{package.kind}.py"
    lines = [f"{folder}: {about(package.kind)['what']}, in {source}"]
    if package.license_file() is None:
        text = license_expression(package.license)
        lines.append(f"{folder / 'LICENSE'} is missing: add the text of {text}, and name it in license-files")
    return "\n".join([*lines, "next:", *(f"  {command}" for command in commands)])
