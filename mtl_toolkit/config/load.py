"""Read a TOML file into a checked configuration, all of its problems at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from ..errors import ConfigError, suggestion
from ..plugin import Recipe
from ..registry import Registry, Source
from .convert import Key, Problems, make_converter, plain, structure_table
from .crosscheck import cross_check
from .resolve import resolve
from .schema import Config


@attrs.frozen(eq=False)
class Loaded:
    """A configuration with all defaults filled in, and the plugins it was read with."""

    config: Config
    registry: Registry

    def to_toml(self) -> str:
        """The resolved configuration; running it again gives the same run."""
        return tomli_w.dumps(plain(self.config))

    def sources(self) -> list[Source]:
        """Where the plugins that the configuration uses come from."""
        used = {source for recipe in recipes_in(self.config) if (source := self.registry.source_of(type(recipe)))}
        return sorted(used, key=str)


def load_config(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    disable_plugins: Sequence[str] = (),
) -> Loaded:
    """Read, override, convert and check a TOML file.

    Args:
        path: the TOML file; relative paths in it are taken from its folder.
        overrides: "key.path=value" texts; the value is TOML, or else a plain string.
        disable_plugins: "distribution:entry-point" names to switch off.

    Raises:
        ConfigError: with one line per problem, in file order.
        PluginError: if a plugin to switch off is not installed.
    """
    raw = read_toml(path)
    for override in overrides:
        apply_override(raw, override, path.name)
    if disable_plugins:
        table = raw.setdefault("plugins", {})
        table["disable"] = list(dict.fromkeys([*table.get("disable", []), *disable_plugins]))
    return config_from(raw, base=path.parent, title=path.name)


def config_from(raw: Mapping[str, Any], *, base: Path, title: str = "config") -> Loaded:
    """Convert and check plain tables; `base` is where relative paths start."""
    disable = raw.get("plugins", {}).get("disable", []) if isinstance(raw.get("plugins"), dict) else []
    registry = Registry.load(disable=[name for name in disable if isinstance(name, str)])
    try:
        merged = _with_defaults(raw)
        config = structure_table(Config, merged, make_converter(registry, Path(os.path.abspath(base))))
        cross_check(config, Path(base))
    except Problems as problems:
        raise ConfigError(*_lines(problems, raw, title)) from None
    return Loaded(resolve(config, Path(os.path.abspath(base))), registry)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: if it is missing, unreadable or not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}") from None


def apply_override(raw: dict[str, Any], override: str, title: str = "config") -> None:
    """Set one value, "stages.teacher.epochs=3"; array tables are addressed by name or number.

    Raises:
        ConfigError: if the text has no "=" or the path leads nowhere.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: must be KEY.PATH=VALUE")
    target: Any = raw
    for depth, key in enumerate(keys[:-1]):
        target = _step(target, key, f"--set {override}: {'.'.join(keys[: depth + 1])}")
    value = _parse_value(text)
    if isinstance(target, list):
        target[_position(target, keys[-1], f"--set {override}: {path}")] = value
    elif isinstance(target, dict):
        target[keys[-1]] = value
    else:
        raise ConfigError(f"--set {override}: {'.'.join(keys[:-1])} is not a table (in {title})")


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


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _step(target: Any, key: str, where: str) -> Any:
    if isinstance(target, list):
        return target[_position(target, key, where)]
    if not isinstance(target, dict):
        raise ConfigError(f"{where}: is not in a table")
    return target.setdefault(key, {})


def _position(items: list[Any], key: str, where: str) -> int:
    names = [item.get("name", item.get("dataset")) if isinstance(item, dict) else None for item in items]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(items):
        return int(key)
    known = [name for name in names if isinstance(name, str)]
    raise ConfigError(f"{where}: no such item{suggestion(key, known)}")


def _with_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Give every stage the keys of [defaults] that it does not set itself."""
    defaults = raw.get("defaults", {})
    if not isinstance(defaults, Mapping):
        raise Problems([(("defaults",), f"must be a table (got {defaults!r})")])
    merged = {key: value for key, value in raw.items() if key != "defaults"}
    stages = merged.get("stages")
    if isinstance(stages, list):
        merged["stages"] = [
            {**defaults, **stage} if isinstance(stage, Mapping) else stage for stage in stages
        ]
    return merged


def _lines(problems: Problems, raw: Mapping[str, Any], title: str) -> list[str]:
    seen: dict[str, None] = {}
    for path, message in sorted(problems.found, key=lambda found: _file_order(found[0], raw)):
        shown, message = _source_path(path, raw), message
        seen.setdefault(f"{title}: {shown}: {message}" if shown else f"{title}: {message}")
    return list(seen)


def _source_path(path: tuple[Key, ...], raw: Mapping[str, Any]) -> str:
    """Write a path as the file has it: stages by name, a stage's inherited key under `defaults`."""
    in_stage = len(path) > 2 and path[0] == "stages" and isinstance(path[1], int)
    if in_stage:
        stage = raw["stages"][path[1]]
        inherited = isinstance(stage, Mapping) and path[2] not in stage and path[2] in raw.get("defaults", {})
        if inherited:
            path = ("defaults", *path[2:])
    text = ""
    value: Any = raw
    for key in path:
        value = _descend(value, key)
        named = isinstance(key, int) and isinstance(value, Mapping) and isinstance(value.get("name"), str)
        if named:
            text += f".{value['name']}"
        else:
            text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def _descend(value: Any, key: Key) -> Any:
    if isinstance(value, Mapping):
        return value.get(str(key))
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _file_order(path: tuple[Key, ...], raw: Mapping[str, Any]) -> tuple[int, ...]:
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
