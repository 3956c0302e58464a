"""Plugins with one mistake each, which the conformance kit must catch: a module for each kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from mtl_toolkit import Recipe
from mtl_toolkit.testing import Check, ConformanceError

Checks = Callable[..., list[Check]]


@attrs.frozen(eq=False)
class Mutant:
    """A plugin with one mistake.

    Attributes:
        mistake: what is wrong with it.
        checks: makes its checks.
        caught_by: the name of the check that must fail.
        told: what the check must say, where another assertion of it would catch the mistake too.
        raises: what it raises: a check lets through what is raised inside a plugin.
    """

    mistake: str
    checks: Callable[[], list[Check]]
    caught_by: str
    told: str = ""
    raises: type[Exception] = ConformanceError

    def check(self) -> Check:
        """The check that must fail."""
        (found,) = [check for check in self.checks() if check.name == self.caught_by]
        return found


def broken(base: type[Recipe], **members: Any) -> Any:
    """A recipe that differs from a sound one in some members."""
    return attrs.frozen(type("Broken", (base,), {"__doc__": "Broken.", **members}), kw_only=True)()


def maker(checks: Checks, base: type[Recipe], part: str) -> Callable[..., Mutant]:
    """Makes the mutants of a kind, from a recipe or from what takes the place of one part of a sound one.

    Args:
        checks: makes the checks of a recipe.
        base: the class of the sound recipe.
        part: the name of its member that others take the place of.
    """

    def make(mistake: str, wrong: Any, caught_by: str, *arguments: Any, **how: Any) -> Mutant:
        recipe = wrong if isinstance(wrong, Recipe) else broken(base, **{part: staticmethod(wrong)})
        return Mutant(mistake, partial(checks, recipe, *arguments), caught_by, **how)

    return make


def of_any_kind(checks: Checks, base: type[Recipe]) -> list[Mutant]:
    """The mistakes that recipes of every kind can have."""
    made = (
        ("its class is not decorated", type("Undecorated", (base,), {"__doc__": "Broken."})(), "loadable"),
        ("no docstring", broken(base, __doc__=None), "documented"),
        ("a field without a doc", _with_field(base, int, default=1), "documented"),
        ("a converter changes what was converted", _counts_down(base), "toml-round-trip"),
        ("its class cannot be found by name", broken(base), "pickles"),
    )
    return [Mutant(mistake, partial(checks, recipe), name) for mistake, recipe, name in made]


def _with_field(base: type[Recipe], kind: type, **field: Any) -> Any:
    return broken(base, __annotations__={"x": kind}, x=attrs.field(**field))


def _counts_down(base: type[Recipe]) -> Any:
    doc = {"doc": "rounds"}
    return _with_field(base, int, default=2, converter=lambda value: max(value - 1, 0), metadata=doc)
