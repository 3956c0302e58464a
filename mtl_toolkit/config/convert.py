"""Turn plain TOML values into typed recipes, strictly, and report every problem with its key path.

cattrs dispatches on types; the hooks here take its place where it would stop at the first error of a table,
name no key, or turn 5 into "5".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs
import cattrs

from ..errors import PluginError, shown, suggestion
from ..fields import fields_of
from ..plugin import Recipe
from ..registry import Registry
from .paths import expand_path
from .problems import Found, Key, Problems, UnsupportedType
from .table import structure, structure_table
from .typewords import (
    SCALARS,
    choices_of,
    is_choice,
    is_enum,
    is_mapping,
    is_recipe,
    is_sequence,
    is_union,
    rule_of,
    tables_by_kind,
    words,
)


def make_converter(registry: Registry, base: Path) -> cattrs.Converter:
    """A strict converter; relative paths are taken from `base`, plugins from `registry`."""
    converter = cattrs.Converter()

    def register(applies: Callable[[Any], bool], function: Callable[[Any, Any], Any]) -> None:
        """Of several that apply, cattrs takes the one registered last."""

        def factory(cls: Any) -> Callable[[Any, Any], Any]:
            return lambda value, _type: function(cls, value)

        converter.register_structure_hook_factory(applies, factory)

    register(attrs.has, lambda cls, value: structure_table(cls, value, converter))
    register(is_recipe, lambda cls, value: _structure_recipe(cls, value, converter, registry))
    register(is_mapping, lambda cls, value: _structure_mapping(cls, value, converter))
    register(is_sequence, lambda cls, value: _structure_sequence(cls, value, converter))
    register(is_union, lambda cls, value: _structure_union(cls, value, converter))
    register(
        lambda cls: bool(tables_by_kind(cls)), lambda cls, value: _structure_tagged(cls, value, converter)
    )
    register(is_choice, _structure_choice)
    # cattrs looks for hooks by type first, and has its own for these and their subclasses (as an IntEnum).
    for kind in SCALARS:
        converter.register_structure_hook(
            kind, lambda value, cls: (_structure_choice if is_choice(cls) else _structure_scalar)(cls, value)
        )
    converter.register_structure_hook(Path, lambda value, _: expand_path(_structure_scalar(str, value), base))
    return converter


def _structure_recipe(
    base: type[Recipe], value: Any, converter: cattrs.Converter, registry: Registry
) -> Recipe:
    if isinstance(value, base):
        return value
    place: tuple[Key, ...] = ("type",)
    if isinstance(value, str):
        value, place = {"type": value}, ()
    if not isinstance(value, Mapping):
        raise Problems.one(f"must be {rule_of(base)} (got {shown(value)})")
    name = value.get("type")
    if not isinstance(name, str):
        names = [plugin.name for plugin in registry.of_kind(base.kind)]
        got = "" if name is None else f" (got {shown(name)})"
        message = f'must name a {base.kind}, as in type = "..."{got}{suggestion("", names)}'
        raise Problems([(place, message)])
    try:
        recipe = registry.recipe(base.kind, name, base)
    except PluginError as error:
        raise Problems([(place, str(error))]) from None
    return structure_table(recipe, {key: item for key, item in value.items() if key != "type"}, converter)


def _structure_mapping(cls: Any, value: Any, converter: cattrs.Converter) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise Problems.one(f"must be a table (got {shown(value)})")
    key_type, item_type = get_args(cls) or (str, Any)
    return dict(_each(((key, item, item_type) for key, item in value.items()), converter, key_type))


def _structure_sequence(cls: Any, value: Any, converter: cattrs.Converter) -> Any:
    if not isinstance(value, list | tuple):
        raise Problems.one(f"must be a list [...] (got {shown(value)})")
    container = get_origin(cls) or cls
    types = get_args(cls)
    if container is tuple and types and Ellipsis not in types:
        if len(value) != len(types):
            raise Problems.one(f"must have {len(types)} items (got {len(value)})")
    else:
        types = (types[0] if types else Any,) * len(value)
    numbered = ((index, item, kind) for index, (item, kind) in enumerate(zip(value, types, strict=True)))
    items = [item for _, item in _each(numbered, converter)]
    return container(items) if container in (list, set, frozenset) else tuple(items)


def _each(
    items: Iterable[tuple[Key, Any, Any]], converter: cattrs.Converter, key_type: Any = Any
) -> list[tuple[Any, Any]]:
    """Structure (key, value, type) triples, all of them, before telling what is wrong."""
    result = []
    found: list[Found] = []
    for key, item, kind in items:
        try:
            name = structure(_key(key, key_type), key_type, converter)
            result.append((name, structure(item, kind, converter)))
        except Problems as problems:
            found += problems.below(key)
    if found:
        raise Problems(found)
    return result


def _key(key: Key, kind: Any) -> Any:
    """TOML has no keys but strings."""
    return int(key) if kind is int and isinstance(key, str) and key.isdecimal() else key


def _structure_union(cls: Any, value: Any, converter: cattrs.Converter) -> Any:
    """Take the member of the value's own type, else the first that fits.

    Where none fits, problems inside the value say more than "must be a table or a list".
    """
    members = [member for member in get_args(cls) if member is not type(None)]
    tried: list[Problems] = []
    for member in sorted(members, key=lambda member: member is not type(value)):
        try:
            return structure(value, member, converter)
        except Problems as problems:
            tried.append(problems)
    nested = [problems for problems in tried if any(path for path, _ in problems.found)]
    if nested or len(tried) == 1:
        raise (nested or tried)[0]
    raise Problems.one(f"must be {rule_of(cls)} (got {shown(value)})")


def _structure_tagged(cls: Any, value: Any, converter: cattrs.Converter) -> Any:
    """Take the member that the table's `kind` names; the first where it names none."""
    tables = tables_by_kind(cls)
    if isinstance(value, tuple(tables.values())):
        return value
    kind = value.get("kind", next(iter(tables))) if isinstance(value, Mapping) else next(iter(tables))
    if not isinstance(kind, str) or kind not in tables:
        listed = " or ".join(map(shown, tables))
        near = suggestion(kind, tables) if isinstance(kind, str) else ""
        raise Problems([(("kind",), f"must be {listed} (got {shown(kind)}){near if 'mean' in near else ''}")])
    try:
        return structure_table(tables[kind], value, converter)
    except Problems as problems:
        raise Problems([_of_which_kind(found, kind, tables) for found in problems.found]) from None


def _of_which_kind(found: Found, kind: str, tables: Mapping[str, type]) -> Found:
    """Say of an unknown key that a table of another kind has it: the kind may be what is wrong."""
    path, message = found
    others = [other for other, table in tables.items() if path[0] in fields_of(table)] if path else []
    if len(path) == 1 and message.startswith("unknown key") and others:
        listed = " or ".join(map(shown, others))
        return path, f"unknown key for kind = {shown(kind)}; kind = {listed} has it"
    return found


def _structure_choice(cls: Any, value: Any) -> Any:
    choices = choices_of(cls)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return cls(choice) if is_enum(cls) else choice
    near = suggestion(value, map(str, choices)) if isinstance(value, str) else ""
    raise Problems.one(f"must be {rule_of(cls)} (got {shown(value)}){near if 'mean' in near else ''}")


def _structure_scalar(kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if kind not in SCALARS:
        raise UnsupportedType.one(f"cannot be given in TOML (its type is {words(kind)})")
    if type(value) is not kind:
        raise Problems.one(f"must be {SCALARS[kind][1]} (got {shown(value)})")
    return value
