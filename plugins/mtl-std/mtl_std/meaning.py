"""Which heads a loss or a metric fits, by what their output stands for."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_toolkit import ConfigError, Head


def names_of(head: Head, key: str, wanted_by: str) -> Sequence[str]:
    """The names of a head's classes, axes or units.

    Raises:
        ConfigError: if the head's output stands for something else.
    """
    names: Sequence[str] = head.meaning().get(key, ())
    if not names:
        raise ConfigError(f"{wanted_by}: needs a head with {key} (got {head.name!r})")
    return names
