"""Read a TOML file into a checked configuration, all of its problems at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from ..entrypoints import find, unknown_disabled
from ..errors import ConfigError, PluginError, shown
from ..fields import fields_of
from ..registry import Registry, Source
from .convert import make_converter
from .crosscheck import cross_check, loose_names
from .overrides import apply_override
from .plain import plain, recipes_in
from .problems import Found, Problems
from .report import problem_lines
from .resolve import resolve
from .schema import Config
from .stages import NETWORK_KEYS, AnyStage, Stage
from .table import structure_table
from .typewords import tables_by_kind

__all__ = ["Loaded", "apply_override", "check_config", "config_from", "load_config", "read_toml"]


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
        found = {self.registry.source_of(type(recipe)) for recipe in recipes_in(self.config)}
        return sorted((source for source in found if source is not None), key=str)


def load_config(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    disable_plugins: Sequence[str] = (),
    entry_points: Iterable[EntryPoint] | None = None,
) -> Loaded:
    """Read, override, convert and check a TOML file.

    Args:
        path: the TOML file; relative paths in it are taken from its folder.
        overrides: "key.path=value" texts; the value is TOML, or else a plain string.
        disable_plugins: "distribution:entry-point" names to switch off.
        entry_points: take the plugins from these instead of the installed ones.

    Raises:
        ConfigError: with one line per problem, in file order.
        PluginError: if a plugin to switch off is not installed.
    """
    path = Path(path)
    points = None if entry_points is None else list(entry_points)
    raw = read_toml(path)
    for override in overrides:
        apply_override(raw, override, path.name)
    if disable_plugins:
        _disable(raw, disable_plugins, points)
    return config_from(raw, base=path.parent, title=path.name, entry_points=points)


def config_from(
    raw: Mapping[str, Any],
    *,
    base: Path,
    title: str = "config",
    entry_points: Iterable[EntryPoint] | None = None,
) -> Loaded:
    """Convert and check plain tables; `base` is where relative paths start."""
    base = Path(base).absolute()
    registry, found = _registry(raw, entry_points)
    merged, wrong = _with_defaults(raw)
    found += wrong
    try:
        config = structure_table(Config, merged, make_converter(registry, base))
        cross_check(config, base)
    except Problems as problems:
        found += problems.found
        # The checks between tables wait for sound tables, but a misspelt name shows at once.
        found += loose_names(merged)
    if found:
        raise ConfigError(*problem_lines(found, raw, title))
    return Loaded(resolve(config, base), registry)


def check_config(
    config: Config,
    *,
    base: Path | str = ".",
    title: str = "config",
    registry: Registry | None = None,
) -> Loaded:
    """Check a configuration that was put together in Python, and fill in its defaults.

    Raises:
        ConfigError: with one line per problem.
    """
    base = Path(base).absolute()
    try:
        cross_check(config, base)
    except Problems as problems:
        raise ConfigError(*problem_lines(problems.found, plain(config), title)) from None
    return Loaded(resolve(config, base), registry or Registry.load(config.plugins.disable))


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: if it is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: not valid TOML: it is not UTF-8 (byte {error.start})") from None
    except ValueError as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}") from None


def _registry(
    raw: Mapping[str, Any], entry_points: Iterable[EntryPoint] | None
) -> tuple[Registry, list[Found]]:
    """The plugins but those switched off; names that are not installed are problems like others."""
    points = None if entry_points is None else list(entry_points)
    named = _disabled(raw)
    unknown = unknown_disabled(named, [source for source, _ in find(points)]) if named else {}
    found: list[Found] = [
        (("plugins", "disable", index), unknown[name]) for index, name in enumerate(named) if name in unknown
    ]
    return Registry.load([name for name in named if name not in unknown], points), found


def _disabled(raw: Mapping[str, Any]) -> list[str]:
    """The names to switch off, if that much of the table is sound."""
    plugins = raw.get("plugins")
    names = plugins.get("disable") if isinstance(plugins, Mapping) else None
    sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(names) if sound and names else []


def _disable(raw: dict[str, Any], names: Sequence[str], points: Iterable[EntryPoint] | None) -> None:
    """Add names from the command line to those in the file."""
    unknown = unknown_disabled(names, [source for source, _ in find(points)])
    if unknown:
        raise PluginError(*(f"--disable-plugin {name}: {problem}" for name, problem in unknown.items()))
    plugins = raw.setdefault("plugins", {})
    if isinstance(plugins, dict) and isinstance(plugins.setdefault("disable", []), list):
        plugins["disable"] += [name for name in dict.fromkeys(names) if name not in plugins["disable"]]


def _with_defaults(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Found]]:
    """Give every stage the keys of [defaults] that it does not set itself."""
    merged = {key: value for key, value in raw.items() if key != "defaults"}
    defaults = raw.get("defaults", {})
    if not isinstance(defaults, Mapping):
        return merged, [(("defaults",), f"must be a table (got {shown(defaults)})")]
    found: list[Found] = []
    if "kind" in defaults:
        found.append((("defaults", "kind"), "must be given by the stages themselves"))
    stages = merged.get("stages")
    if isinstance(stages, list):
        tables = [_table_of(stage) for stage in stages]
        takers = {key: _takers(key, set(tables)) for key in defaults if key != "kind"}
        merged["stages"] = [
            {**{key: defaults[key] for key in takers if table in takers[key]}, **stage}
            if isinstance(stage, Mapping)
            else stage
            for stage, table in zip(stages, tables, strict=True)
        ]
        _drop_networks(merged["stages"], stages)
    return merged, found


def _drop_networks(merged: Sequence[Any], own: Sequence[Any]) -> None:
    """Take inherited networks from stages on features, unless no other stage trains: then that is told."""
    trainings = [
        (stage, table)
        for stage, table in zip(merged, own, strict=True)
        if isinstance(stage, dict) and _table_of(stage) is Stage
    ]
    if all("features" in stage for stage, _ in trainings):
        return
    for stage, table in trainings:
        for key in NETWORK_KEYS if "features" in stage else ():
            if key not in table:
                stage.pop(key, None)


def _table_of(stage: Any) -> type:
    """The table that a stage's kind asks for; a kind that is wrong is told elsewhere."""
    kind = stage.get("kind", "train") if isinstance(stage, Mapping) else "train"
    return tables_by_kind(AnyStage).get(kind, Stage) if isinstance(kind, str) else Stage


def _takers(key: str, tables: set[type]) -> set[type]:
    """The tables, of those there are, that get a default: those that know the key.

    A key that none knows goes to the stages that train, where it is told, unless it only waits for one.
    """
    knowing = {table for table in tables if key in fields_of(table)}
    if knowing or key in fields_of(Stage):
        return knowing
    return tables & {Stage} or tables
