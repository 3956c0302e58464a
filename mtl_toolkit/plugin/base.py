"""The base of all recipes.

A recipe is a frozen attrs class. Its typed fields are its TOML schema; `build` takes the facts known at run
time and returns the live object. Recipes are cheap: `mtl plugins` builds nothing, and
`mtl check` each network once, without weights.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import attrs


@attrs.frozen(kw_only=True)
class Recipe(abc.ABC):
    """The base of all recipes; `name` is what `type = "..."` says in the TOML file."""

    kind: ClassVar[str]
    name: ClassVar[str]
