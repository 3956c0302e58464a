"""Problems as lines: where in the file each is, in the file's order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .problems import Found, Key

BARE_KEY = re.compile(r"[A-Za-z0-9_+-]+")


def problem_lines(found: Iterable[Found], raw: Mapping[str, Any], title: str) -> list[str]:
    """One line per problem; what several stages inherit from `[defaults]` is told once."""
    located = [(_in_file(path, raw), message) for path, message in found]
    located.sort(key=lambda problem: _file_order(problem[0], raw))
    lines: dict[str, None] = {}
    for path, message in located:
        place = written(path, raw)
        lines[f"{title}: {place}: {message}" if place else f"{title}: {message}"] = None
    return list(lines)


def written(path: tuple[Key, ...], raw: Any) -> str:
    """Write a path as `--set` takes it: items of a list by their name, if they have one, else by number."""
    text = ""
    value = raw
    for key in path:
        value = _descend(value, key)
        name = value.get("name") if isinstance(key, int) and isinstance(value, Mapping) else None
        if isinstance(name, str) and name:
            text += f".{_quoted(name)}"
        else:
            text += f"[{key}]" if isinstance(key, int) else f".{_quoted(key)}"
    return text.removeprefix(".")


def _quoted(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _in_file(path: tuple[Key, ...], raw: Mapping[str, Any]) -> tuple[Key, ...]:
    """Where a stage's key stands that it inherits."""
    if len(path) > 2 and path[0] == "stages" and isinstance(path[1], int):
        stage, defaults = _descend(raw.get("stages"), path[1]), raw.get("defaults")
        own = isinstance(stage, Mapping) and path[2] in stage
        if not own and isinstance(defaults, Mapping) and path[2] in defaults:
            return ("defaults", *path[2:])
    return path


def _descend(value: Any, key: Key) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _file_order(path: tuple[Key, ...], raw: Mapping[str, Any]) -> tuple[int, ...]:
    """Positions, level by level; what is missing comes after all that is there."""
    order = []
    value: Any = raw
    for key in path:
        if isinstance(value, Mapping):
            keys = list(value)
            order.append(keys.index(key) if key in keys else len(keys))
        else:
            order.append(key if isinstance(key, int) else 0)
        value = _descend(value, key)
    return tuple(order)
