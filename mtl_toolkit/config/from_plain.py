"""Single records and recipes from plain values, such as a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError
from ..registry import Registry
from .convert import make_converter
from .problems import Problems
from .table import structure

T = TypeVar("T")


def from_plain(cls: type[T], value: Any, registry: Registry, base: Path) -> T:
    """Build a record or recipe; the reverse of `plain`.

    Raises:
        ConfigError: with one line per problem.
    """
    try:
        built: T = structure(value, cls, make_converter(registry, base))
    except Problems as problems:
        lines = [f"{'.'.join(map(str, path))}: {message}" for path, message in problems.found]
        raise ConfigError(*lines) from None
    return built
