"""What the type of a field says: which shape of TOML it takes, in words for people."""

from __future__ import annotations

import datetime
import enum
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from ..errors import shown
from ..plugin import Recipe

MAPPINGS = (dict, Mapping, MutableMapping)
SEQUENCES = (tuple, list, Sequence, Collection, Iterable, set, frozenset, Set)
# The type, what `mtl plugins` calls it, what a problem says.
SCALARS: Mapping[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("whole number", "a whole number"),
    float: ("number", "a number"),
    str: ("text", "a string"),
    Path: ("path", "a string"),
    datetime.datetime: ("date and time", "a date and time"),
    datetime.date: ("date", "a date"),
    datetime.time: ("time", "a time"),
}


def is_recipe(kind: Any) -> bool:
    """Whether it is filled by a plugin."""
    return inspect.isclass(kind) and issubclass(kind, Recipe)


def is_mapping(kind: Any) -> bool:
    """Whether it is a table with keys of the user's choice."""
    return (get_origin(kind) or kind) in MAPPINGS


def is_sequence(kind: Any) -> bool:
    """Whether it is written as a list."""
    return (get_origin(kind) or kind) in SEQUENCES


def is_union(kind: Any) -> bool:
    """Whether it has alternatives."""
    return get_origin(kind) in (Union, types.UnionType)


def tables_by_kind(kind: Any) -> dict[str, type]:
    """The members of a union of tables that each have a `kind` of one value, by that; {} for other types."""
    members = get_args(kind) if is_union(kind) else ()
    tags = {}
    for member in members:
        field = next((one for one in _fields(member) if one.name == "kind"), None)
        if field is None or field.default is attrs.NOTHING:
            return {}
        tags[field.default] = member
    return tags


def _fields(kind: Any) -> Sequence[Any]:
    return attrs.fields(kind) if attrs.has(kind) else ()


def is_enum(kind: Any) -> bool:
    """Whether it is an enumeration, written by its values."""
    return inspect.isclass(kind) and issubclass(kind, enum.Enum)


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values that a Literal or an enumeration allows."""
    return tuple(member.value for member in kind) if is_enum(kind) else get_args(kind)


def is_choice(kind: Any) -> bool:
    """Whether it lists the values it allows."""
    return get_origin(kind) is Literal or is_enum(kind)


def rule_of(kind: Any) -> str:
    """Say what a value must be, as in "must be ..."."""
    if is_choice(kind):
        return " or ".join(shown(choice) for choice in choices_of(kind))
    if is_recipe(kind):
        return f"a {kind.kind}'s name or a table with a type"
    if is_union(kind):
        return " or ".join(rule_of(member) for member in _members(kind))
    if is_mapping(kind) or attrs.has(kind):
        return "a table"
    if is_sequence(kind):
        return "a list"
    return SCALARS[kind][1] if kind in SCALARS else _name(kind)


def words(kind: Any) -> str:
    """Say the type of a field in plain words: "whole number", "list of text", "loss (a plugin)"."""
    for applies, say in _WORDS:
        if applies(kind):
            return say(kind)
    return SCALARS[kind][0] if kind in SCALARS else _name(kind)


def _list_words(kind: Any) -> str:
    items = get_args(kind)
    if get_origin(kind) is tuple and Ellipsis not in items:
        return f"list of {len(items)}: {', '.join(map(words, items))}"
    return _of("list", items[:1])


def _of(container: str, item: Sequence[Any]) -> str:
    return f"{container} of {words(item[0])}" if item and item[0] is not Any else container


def _members(kind: Any) -> list[Any]:
    return [member for member in get_args(kind) if member is not type(None)]


def _name(kind: Any) -> str:
    if isinstance(kind, typing.NewType):
        return words(kind.__supertype__)
    if get_origin(kind) is typing.Annotated:
        return words(get_args(kind)[0])
    return getattr(kind, "__name__", str(kind))


_WORDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], str]], ...] = (
    (is_choice, rule_of),
    (is_recipe, lambda kind: f"{kind.kind} (a plugin)"),
    (is_union, lambda kind: " or ".join(words(member) for member in _members(kind))),
    (is_mapping, lambda kind: _of("table", get_args(kind)[1:])),
    (is_sequence, _list_words),
    (attrs.has, lambda kind: f"table ({_name(kind)})"),
    (lambda kind: kind is Any, lambda _: "anything"),
)
