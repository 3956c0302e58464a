"""The fields of attrs classes as Markdown tables: configuration tables and plugins."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import attrs

from mtl_toolkit import Registry, hookspecs
from mtl_toolkit.cli.plugins import _field_row
from mtl_toolkit.config import (
    Augmentation,
    Config,
    EnsembleStage,
    ExtractStage,
    Model,
    Optimizer,
    Plugins,
    Scheduler,
    Stage,
    Stream,
    Task,
    Tracker,
    TrainerOptions,
    Validation,
    Windows,
)
from mtl_toolkit.fields import Field, fields_of, input_type
from mtl_toolkit.plugin import KINDS, Recipe

from .docstrings import docstring, escaped

REPOSITORY = Path(__file__).parents[2]
TABLES: Mapping[str, type] = {
    "Top level": Config,
    "[plugins]": Plugins,
    "[trainer]": TrainerOptions,
    "trainer.trackers": Tracker,
    "[tasks.NAME]": Task,
    "[model]": Model,
    "[[stages]]": Stage,
    "[[stages]] with kind = extract": ExtractStage,
    "[[stages]] with kind = ensemble": EnsembleStage,
    "stages.streams": Stream,
    "stages.validation": Validation,
    "stages.windows": Windows,
    "stages.optimizer": Optimizer,
    "stages.scheduler": Scheduler,
    "stages.augmentation": Augmentation,
}


def first_party() -> Registry:
    """The plugins of this repository, whatever else is installed."""
    own = {path.parent.name for path in REPOSITORY.glob("plugins/*/pyproject.toml")}
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
        text += f"## {title}\n\n" if cls is Config else f"## `{title}`\n\n"
        text += f"{docstring(cls)}\n\n{fields_table(cls)}\n"
        if getattr(cls, "extra_keys", None):
            text += "Any other key is an option, passed on as it is.\n\n"
    return text


def kind_page(registry: Registry, kind: str, title: str) -> str:
    """All plugins of a kind."""
    text = f"# {title}\n\n{docstring(KINDS[kind])}\n\n"
    for plugin in registry.of_kind(kind):
        text += f"## `{plugin.name}`\n\n{docstring(plugin.recipe)}\n\nEntry point `{plugin.source}`.\n\n"
        text += fields_table(plugin.recipe) + "\n"
        for key, inner in inner_tables(plugin.recipe):
            text += f"### Tables in `{key}`\n\n{docstring(inner)}\n\n{fields_table(inner)}\n"
    return text


def all_plugins_page(registry: Registry, pages: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """Every plugin on one page: its kind, name, what it is, and the page that has its fields."""
    text = "# All plugins\n\nWhat this repository brings; `mtl plugins` lists what is installed.\n\n"
    for kind, page in pages.items():
        text += f"## {titles.get(page, page.capitalize())}\n\n| `type` | what | from |\n|---|---|---|\n"
        for plugin in registry.of_kind(kind):
            link = f"[`{plugin.name}`]({page}.md#{anchor(plugin.name)})"
            text += f"| {link} | {escaped(plugin.doc)} | `{plugin.source.distribution}` |\n"
        text += "\n"
    return text


def anchor(heading: str) -> str:
    """The place of a heading in its page, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def fields_table(cls: type) -> str:
    """The fields of an attrs class as a table."""
    extra = getattr(cls, "extra_keys", None)
    rows = [(field, _field_row(key, field)) for key, field in fields_of(cls).items() if key != extra]
    if not rows:
        return "It has no fields.\n"
    text = "| field | type | default | rule | meaning |\n|---|---|---|---|---|\n"
    for field, row in rows:
        kind = re.sub(r" \((?!a plugin)\w+\)", "", row["type"])  # the class's name says nothing to a reader
        kind = re.sub(r"'([\w-]+)'", r"`\1`", kind)
        cells = (f"`{row['name']}`", kind, default_cell(field, row), row["rule"], escaped(row["doc"]))
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
