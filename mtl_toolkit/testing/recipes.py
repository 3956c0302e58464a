"""What holds for recipes of every kind."""

from __future__ import annotations

import os
import pickle
import tomllib
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from ..config import plain, recipes_in
from ..config.from_plain import from_plain
from ..entrypoints import Plugin, Source, recipe_problem
from ..errors import UserError
from ..fields import fields_of
from ..plugin import KINDS, Recipe
from ..registry import Registry
from .check import Broken, Check, Rule, checks_of, expect


def check_recipe(recipe: Recipe) -> list[Check]:
    """What holds for a recipe of any kind; the checks of its kind begin with these."""
    return checks_of(recipe, recipe, RULES, "recipe")


def loadable(recipe: Recipe) -> None:
    """A recipe is a named class decorated with `@attrs.frozen(kw_only=True)`, no abstract method left."""
    for one in recipes_in(recipe):
        problem = recipe_problem(type(one), one.kind)
        expect(problem is None, str(problem))


def documented(recipe: Recipe) -> None:
    """The class has a docstring, and each field says what it means in `metadata={"doc": ...}`.

    Say the unit too. `mtl plugins KIND/NAME` and the reference show nothing else.
    """
    doc = vars(type(recipe)).get("__doc__")
    expect(doc and doc.strip(), f"{type(recipe).__name__} has no docstring")
    for key, field in fields_of(type(recipe)).items():
        text = field.metadata.get("doc")
        expect(isinstance(text, str) and text.strip(), f"field {key!r} has no doc")


def toml_round_trip(recipe: Recipe) -> None:
    """Written to TOML and read again, a recipe is the same.

    The config.toml of a run directory and the checkpoints depend on it.
    """
    once = read_again(recipe)
    for key, found in _values(once).items():
        wanted = _values(recipe)[key]
        expect(found == wanted, f"{key}: {wanted!r} came back as {found!r}")
    expect(read_again(once) == once, "read twice, it is not equal to itself; does a field hold an array?")


def pickles(recipe: Recipe) -> None:
    """A recipe can be pickled, for loader processes that are spawned."""
    try:
        again = pickle.loads(pickle.dumps(recipe))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Broken(f"pickle: {error}") from None
    expect(again == recipe, "it comes back as another one")


RULES: tuple[Rule[Recipe], ...] = (loadable, documented, toml_round_trip, pickles)


def read_again(recipe: Recipe) -> Recipe:
    """A recipe, through TOML."""
    for key, value in plain(recipe).items():
        try:
            tomli_w.dumps({key: value})
        except (TypeError, ValueError) as error:
            raise Broken(f"{key}: {error}") from None
    text = tomli_w.dumps({"it": plain(recipe)})
    kinds = {type(one): Plugin(type(one), Source("checked", "0", "checked")) for one in recipes_in(recipe)}
    registry = Registry(tuple(kinds.values()), ())
    try:
        return from_plain(KINDS[recipe.kind], tomllib.loads(text)["it"], registry, Path())
    except UserError as error:
        raise Broken(
            f"it cannot be read again: {'; '.join(one.lstrip(': ') for one in error.problems)}"
        ) from None


def _values(recipe: Recipe) -> dict[str, Any]:
    """The fields' values, with paths as a file would have them read: whole."""

    def whole(_recipe: Any, _field: Any, value: Any) -> Any:
        return Path(os.path.normpath(value.expanduser().absolute())) if isinstance(value, Path) else value

    return attrs.asdict(recipe, value_serializer=whole)
