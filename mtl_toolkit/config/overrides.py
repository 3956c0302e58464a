"""`--set stages.teacher.epochs=3`: change one value of a configuration before it is read."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, suggestion


def apply_override(raw: dict[str, Any], override: str, title: str = "config") -> None:
    """Set one value, "stages.teacher.epochs=3"; array tables are addressed by name or number.

    Raises:
        ConfigError: if the text has no "=" or the path leads nowhere.
    """
    path, equals, text = override.partition("=")
    keys = _keys(path)
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: must be KEY.PATH=VALUE")
    target: Any = raw
    for depth, key in enumerate(keys[:-1]):
        inherited = raw.get("defaults", {}) if depth == 2 and keys[0] == "stages" else {}
        target = _step(target, key, inherited, f"--set {override}: {'.'.join(keys[: depth + 1])}")
    if isinstance(target, list):
        target[_position(target, keys[-1], f"--set {override}: {path}")] = _parse_value(text)
    elif isinstance(target, dict):
        target[keys[-1]] = _parse_value(text)
    else:
        raise ConfigError(f"--set {override}: {'.'.join(keys[:-1])} is not a table (in {title})")


def _keys(path: str) -> list[str]:
    """Split at the dots, quoted keys as in TOML; `streams[0]`, as problems are told, is `streams.0`."""
    path = re.sub(r"\[(\d+)\]", r".\1", path)
    try:
        table: Any = tomllib.loads(f"{path} = 0")
    except tomllib.TOMLDecodeError:
        return path.strip().split(".")
    keys = []
    while isinstance(table, dict):
        key, table = next(iter(table.items()))
        keys.append(key)
    return keys


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _step(target: Any, key: str, inherited: Any, where: str) -> Any:
    if isinstance(target, list):
        return target[_position(target, key, where)]
    if not isinstance(target, dict):
        raise ConfigError(f"{where}: is not in a table")
    if key not in target:
        # A stage's own table takes the place of the inherited one, so it starts as a copy.
        target[key] = copy.deepcopy(inherited.get(key, {})) if isinstance(inherited, Mapping) else {}
    if isinstance(target[key], str):
        target[key] = {"type": target[key]}  # a plugin by its name alone
    return target[key]


def _position(items: list[Any], key: str, where: str) -> int:
    names = [item.get("name", item.get("dataset")) if isinstance(item, dict) else None for item in items]
    if names.count(key) > 1:
        raise ConfigError(f"{where}: several items have this name; use their number, from 0")
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    known = [name for name in names if isinstance(name, str)]
    raise ConfigError(f"{where}: no such item{suggestion(key, known)}")
