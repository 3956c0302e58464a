"""The reverse of reading: recipes to plain values that TOML can hold."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..plugin import Recipe


def plain(value: Any) -> Any:
    """Recipes to plain values, all defaults written out, None left out."""
    if attrs.has(type(value)):
        return _table(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def recipes_in(value: Any) -> list[Recipe]:
    """All recipes in a configuration, or in a part of it."""
    found = [value] if isinstance(value, Recipe) else []
    if attrs.has(type(value)):
        parts = [getattr(value, field.name) for field in attrs.fields(type(value))]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    else:
        parts = list(value) if isinstance(value, tuple | list) else []
    return found + [recipe for part in parts for recipe in recipes_in(part)]


def _table(value: Any) -> dict[str, Any]:
    table = {"type": value.name} if isinstance(value, Recipe) else {}
    extra = getattr(type(value), "extra_keys", None)
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if field.init and field.alias == extra:
            table |= plain(item)
        elif field.init and item is not None:
            table[field.alias] = plain(item)
    return table
