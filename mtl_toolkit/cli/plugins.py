"""`mtl plugins`: what is installed, what failed to load and why, and the fields of one plugin."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click
import tomli_w

from ..config import fields_of, plain
from ..config.typewords import words
from ..errors import PluginError, suggestion
from ..fields import Field, default_of, input_type
from ..registry import Listener, Registry, Source, conflict

if TYPE_CHECKING:
    from rich.console import Console

HOOKS = "hooks"  # the kind under which an entry point with lifecycle hooks is listed, by its own name
LONG = 60  # characters of a default that a column has room for
Row = dict[str, Any]


@click.command()
@click.argument("plugin", metavar="[KIND/NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--disable-plugin", "disable", multiple=True, metavar="DIST:EP", help="Leave out this entry point."
)
def plugins(plugin: str | None, as_json: bool, disable: tuple[str, ...]) -> None:
    """List the plugins that are installed, or describe one of them: KIND/NAME."""
    registry = Registry.load(disable)
    if plugin is None:
        rows = listing(registry)
        _print_json(rows) if as_json else _print_listing(rows, registry)
    else:
        about = description(registry, plugin)
        _print_json(about) if as_json else _print_description(about)


def listing(registry: Registry) -> list[Row]:
    """One row per plugin, per entry point with lifecycle hooks ("hooks"), and per failure."""
    errors = {id(plugin): conflict(group) for group in registry.conflicts() for plugin in group}
    rows = [_row(p.source, p.kind, p.name, p.doc, errors.get(id(p))) for p in registry.plugins]
    for source, listeners in _by_source(registry).items():
        rows.append(_row(source, HOOKS, source.entry_point, _hooks_doc(listeners), None))
    rows += [_row(f.source, f.kind, f.name, "", f.error) for f in registry.failures]
    return sorted(rows, key=_order)


def description(registry: Registry, reference: str) -> Row:
    """What a plugin is, where it comes from, and its fields.

    Raises:
        PluginError: if it is unknown, failed to load, or is brought by two distributions.
    """
    kind, slash, name = reference.partition("/")
    if not slash or not name:
        raise PluginError(f"{reference!r} must be KIND/NAME, as `mtl plugins` lists them")
    if kind == HOOKS:
        return _hooks_description(registry, name)
    plugin = registry.plugin(kind, name)
    fields = fields_of(plugin.recipe).items()
    return _row(plugin.source, kind, name, inspect.getdoc(plugin.recipe) or "", None) | {
        "fields": [_field_row(key, field) for key, field in fields]
    }


def _hooks_description(registry: Registry, name: str) -> Row:
    sources = {source.entry_point: source for source in _by_source(registry)}
    if name not in sources:
        raise PluginError(f"no plugin with lifecycle hooks is called {name!r}{suggestion(name, sources)}")
    source = sources[name]
    listeners = _by_source(registry)[source]
    row = _row(source, HOOKS, name, inspect.getdoc(listeners[0].impl.plugin) or "", None)
    return row | {"hooks": [listener.hook for listener in listeners]}


def _row(source: Source, kind: str | None, name: str | None, doc: str, error: str | None) -> Row:
    row: Row = {
        "kind": kind,
        "name": name,
        "distribution": source.distribution,
        "version": source.version,
        "entry_point": source.entry_point,
        "doc": doc,
    }
    return row if error is None else row | {"error": error}


def _field_row(key: str, field: Field) -> Row:
    default = field.metadata.get("toml_default", default_of(field))
    return {
        "name": key,
        "type": words(input_type(field)),
        "required": field.default is attrs.NOTHING and "toml_default" not in field.metadata,
        "default": None if default is attrs.NOTHING or default is None else _as_toml(plain(default)),
        "rule": _rule(field.validator),
        "doc": field.metadata.get("doc", ""),
    }


def _as_toml(value: Any) -> str:
    """On one line; a table is written inline."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_as_key(key)} = {_as_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    try:
        return tomli_w.dumps({"x": value}).strip().removeprefix("x = ")
    except TypeError:
        return repr(value)  # a default that a file cannot give


def _as_key(key: str) -> str:
    return tomli_w.dumps({key: 0}).strip().removesuffix(" = 0")


def _rule(validator: Any) -> str:
    """What a validator of ours, or one of the common ones of attrs, asks for; '' if it cannot say."""
    parts = getattr(validator, "_validators", None)  # attrs: and_(...)
    if parts is not None:
        return "; ".join(filter(None, map(_rule, parts)))
    for inside in ("validator", "member_validator"):  # attrs: optional(...), deep_iterable(...)
        if hasattr(validator, inside):
            return _rule(getattr(validator, inside))
    if hasattr(validator, "compare_op"):
        return f"must be {validator.compare_op} {validator.bound}"
    if hasattr(validator, "options"):
        return f"must be one of {', '.join(map(repr, validator.options))}"
    return str(getattr(validator, "rule", ""))


def _by_source(registry: Registry) -> dict[Source, list[Listener]]:
    found: dict[Source, list[Listener]] = {}
    for listener in registry.listeners:
        found.setdefault(listener.source, []).append(listener)
    return found


def _hooks_doc(listeners: list[Listener]) -> str:
    hooks = ", ".join(sorted({listener.hook for listener in listeners}))
    doc = listeners[0].doc
    return f"{doc} ({hooks})" if doc else hooks


def _order(row: Row) -> tuple[Any, ...]:
    """By kind and name; what has neither comes last."""
    known = (row["kind"] is None, row["kind"] or "", row["name"] is None, row["name"] or "")
    return (*known, row["distribution"].casefold(), row["entry_point"], row.get("error", ""))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_listing(rows: list[Row], registry: Registry) -> None:
    from rich.table import Table

    console = _console()
    failed = [row for row in rows if "error" in row]
    good = [row for row in rows if "error" not in row]
    for kind in dict.fromkeys(row["kind"] for row in good):
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for row in good:
            if row["kind"] == kind:
                source = f"{row['distribution']}:{row['entry_point']}"
                table.add_row(f"  {row['name']}", row["doc"], row["version"], source)
        console.print(kind, style="bold", end="\n")
        console.print(table)
    if failed:
        console.print("cannot be used", style="bold red")
    for row in failed:
        # Not in a table: a reason is long, and it must be readable to its end and easy to search for.
        what = "/".join(filter(None, (row["kind"], row["name"])))
        source = f"{row['distribution']}:{row['entry_point']} {row['version']}"
        console.print(f"  {what + ': ' if what else ''}{source}: {row['error']}", soft_wrap=True)
    if registry.disabled:
        console.print(f"switched off: {', '.join(map(str, registry.disabled))}", soft_wrap=True)
    if not rows:
        console.print("no plugins are installed")


def _print_description(about: Row) -> None:
    from rich.table import Table

    console = _console()
    console.print(f"{about['kind']}/{about['name']}", style="bold")
    console.print(f"from {about['distribution']} {about['version']}, entry point {about['entry_point']}")
    if about["doc"]:
        console.print(f"\n{about['doc']}", soft_wrap=True)
    if "hooks" in about:
        console.print(f"\nlistens to {', '.join(about['hooks'])}", soft_wrap=True)
    fields = about.get("fields", [])
    if fields:
        console.print()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("field", "type", "default", "rule", "meaning"):
            table.add_column(title, overflow="fold")
        long = [field for field in fields if len(field["default"] or "") > LONG]
        for field in fields:
            default = "see below" if field in long else field["default"] or "-"
            default = "required" if field["required"] else default
            table.add_row(field["name"], field["type"], default, field["rule"], field["doc"])
        console.print(table)
        for field in long:
            # Not in the table: it would take the room of the other columns.
            console.print(f"\n{field['name']} = {field['default']}", soft_wrap=True)


def _console() -> Console:
    """As wide as the terminal; where there is none, as wide as the text, so that nothing is folded."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 1000
    return Console(width=width, markup=False, highlight=False, emoji=False)
