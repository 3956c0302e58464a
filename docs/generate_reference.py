"""Write the reference pages from the code: configuration tables, plugins, hooks, public names, command line.

`python docs/generate_reference.py` writes them, `--check` only says which are out of date.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import attrs
import click

import mtl_toolkit
from mtl_toolkit import Registry, hookspecs
from mtl_toolkit.cli import COMMANDS, main
from mtl_toolkit.cli.plugins import _field_row
from mtl_toolkit.config import (
    Augmentation,
    Config,
    ExtractStage,
    Model,
    Optimizer,
    Plugins,
    Scheduler,
    Stage,
    Stream,
    Task,
    TrainerOptions,
    Validation,
    Windows,
)
from mtl_toolkit.fields import Field, fields_of, input_type
from mtl_toolkit.plugin import KINDS, Recipe

DOCS = Path(__file__).parent
WRITTEN = "<!-- Written by docs/generate_reference.py: change the code, not this page. -->\n\n"
PLURALS = {kind: f"{kind}es" if kind.endswith("s") else f"{kind}s" for kind in KINDS}

TABLES: Mapping[str, type] = {
    "Top level": Config,
    "[plugins]": Plugins,
    "[trainer]": TrainerOptions,
    "[tasks.NAME]": Task,
    "[model]": Model,
    "[[stages]]": Stage,
    "[[stages]] with kind = extract": ExtractStage,
    "stages.streams": Stream,
    "stages.validation": Validation,
    "stages.windows": Windows,
    "stages.optimizer": Optimizer,
    "stages.scheduler": Scheduler,
    "stages.augmentation": Augmentation,
}


def pages() -> dict[Path, str]:
    """All generated pages by their path."""
    registry = first_party()
    found = {Path("reference/configuration.md"): configuration_page()}
    for kind, plural in PLURALS.items():
        found[Path(f"reference/{plural}.md")] = kind_page(registry, kind, plural)
    found[Path("reference/hooks.md")] = hooks_page()
    found[Path("reference/public-names.md")] = names_page()
    found[Path("cli.md")] = command_page()
    found[Path("reference/index.md")] = index_page(found)
    return {DOCS / path: WRITTEN + text.rstrip() + "\n" for path, text in found.items()}


def first_party() -> Registry:
    """The plugins of this repository, whatever else is installed."""
    own = {path.parent.name for path in DOCS.parent.glob("plugins/*/pyproject.toml")}
    points = metadata.entry_points(group=hookspecs.GROUP)
    return Registry.load(entry_points=[point for point in points if point.dist and point.dist.name in own])


def configuration_page() -> str:
    """The tables of a configuration."""
    text = (
        "# Tables of a configuration\n\n"
        "[Configuration](../configuration.md) says how they fit together. "
        "`[datasets.NAME]` holds the fields of its [dataset plugin](datasets.md). "
        "`[defaults]` takes the keys of `[[stages]]`.\n\n"
    )
    for title, cls in TABLES.items():
        text += f"## `{title}`\n\n" if title.startswith(("[", "stages")) else f"## {title}\n\n"
        text += f"{inspect.getdoc(cls)}\n\n{fields_table(cls)}\n"
        if getattr(cls, "extra_keys", None):
            text += "Any other key is an option, passed on as it is.\n\n"
    return text


def kind_page(registry: Registry, kind: str, plural: str) -> str:
    """All plugins of a kind."""
    base = inspect.getdoc(KINDS[kind]) or ""
    text = f"# {plural.capitalize()}\n\n{base}\n\n"
    for plugin in registry.of_kind(kind):
        text += f"## `{plugin.name}`\n\n{inspect.getdoc(plugin.recipe)}\n\nEntry point `{plugin.source}`.\n\n"
        text += fields_table(plugin.recipe) + "\n"
        for key, inner in inner_tables(plugin.recipe):
            text += f"### Tables in `{key}`\n\n{inspect.getdoc(inner)}\n\n{fields_table(inner)}\n"
    return text


def fields_table(cls: type) -> str:
    """The fields of an attrs class as a table."""
    extra = getattr(cls, "extra_keys", None)
    rows = [(field, _field_row(key, field)) for key, field in fields_of(cls).items() if key != extra]
    if not rows:
        return "It has no fields.\n"
    text = "| field | type | default | rule | meaning |\n|---|---|---|---|---|\n"
    for field, row in rows:
        kind = re.sub(r" \((?!a plugin)\w+\)", "", row["type"])  # the class's name says nothing to a reader
        cells = (f"`{row['name']}`", kind, default_cell(field, row), row["rule"], row["doc"])
        text += f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
    return text


def default_cell(field: Field, row: Mapping[str, Any]) -> str:
    """What the table says of a field's default."""
    if row["required"]:
        return "*required*"
    if is_table(input_type(field)):
        return "its own defaults"
    return "none" if row["default"] is None else f"`{row['default']}`"


def is_table(kind: Any) -> bool:
    """Whether it is an attrs class, but no plugin."""
    return inspect.isclass(kind) and attrs.has(kind) and not issubclass(kind, Recipe)


def inner_tables(cls: type) -> Iterator[tuple[str, type]]:
    """The tables in the fields of a class: the field's key, and the attrs class."""
    for key, field in fields_of(cls).items():
        kind = input_type(field)
        yield from ((key, one) for one in (kind, *get_args(kind)) if is_table(one))


def hooks_page() -> str:
    """The hooks, and the records that lifecycle hooks receive."""
    text = "# Hooks\n\nImplement any of these with `@hookimpl` in the module of an entry point.\n\n"
    records = {}
    for name, hook in vars(hookspecs).items():
        if name.startswith("mtl_"):
            text += f"## `{name}{inspect.signature(hook)}`\n\n{inspect.getdoc(hook)}\n\n".replace("'", "")
            for parameter in inspect.signature(hook).parameters.values():
                record = getattr(hookspecs, str(parameter.annotation))
                records[record.__name__] = record
    for name, record in records.items():
        text += f"## {name}\n\n{inspect.getdoc(record)}\n\n| attribute | type |\n|---|---|\n"
        text += "".join(f"| `{field.name}` | `{field.type}` |\n" for field in attrs.fields(record)) + "\n"
    return text


def names_page() -> str:
    """The public names of the core, by module."""
    text = (
        "# Public names\n\nWhat `mtl_toolkit` offers to plugins and programs. "
        "The docstrings say more: `help(mtl_toolkit.Objective)`.\n\n"
    )
    modules: dict[str, list[tuple[str, str]]] = {}
    for name in mtl_toolkit.__all__:
        value = getattr(mtl_toolkit, name)
        if inspect.ismodule(value):
            module, doc = name, inspect.getdoc(value) or ""
        else:
            module = getattr(value, "__module__", "").removeprefix("mtl_toolkit.").partition(".")[0]
            doc = inspect.getdoc(value) or ""
        modules.setdefault("hookspecs" if name == "hookimpl" else module, []).append((name, doc))
    for module, names in modules.items():
        about = (inspect.getdoc(importlib.import_module(f"mtl_toolkit.{module}")) or "").partition("\n\n")[0]
        text += f"## {module}\n\n{about}\n\n| name | what |\n|---|---|\n"
        for name, doc in names:
            first = "Marks a hook implementation." if name == "hookimpl" else doc.partition("\n")[0]
            text += f"| `{name}` | {first} |\n"
        text += "\n"
    return text


def command_page() -> str:
    """The command line's help."""
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


def index_page(found: Mapping[Path, str]) -> str:
    """The list of the pages in this folder."""
    names = [path.stem for path in found if path.parent.name == "reference"]
    listed = "\n".join(f"- [{name.replace('-', ' ').capitalize()}]({name}.md)" for name in names)
    tree = "\n".join(names)
    return (
        "# Reference\n\nThese pages are made from the code, as is [the command line](../cli.md).\n\n"
        f"{listed}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )


def out_of_date(wanted: Mapping[Path, str]) -> list[Path]:
    """Pages whose text differs, and files in the folder that no page belongs to."""
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return wrong + [path for path in (DOCS / "reference").glob("*") if path not in wanted]


def run(arguments: list[str]) -> int:
    """Write or check the pages; 1 if a check fails."""
    wanted = pages()
    wrong = out_of_date(wanted)
    for path in wrong:
        if "--check" in arguments:
            print(f"{path.relative_to(DOCS.parent)} is out of date: run python docs/generate_reference.py")
        elif path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 1 if wrong and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
