"""attrs validators whose messages read well in a configuration error: the rule, then what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import attrs

from .errors import shown

Validator = Callable[[Any, Any, Any], None]


def at_least(bound: float) -> Rule:
    """The value must be at least `bound`."""
    return Rule(f"must be at least {bound}", lambda value: value >= bound)


def above(bound: float) -> Rule:
    """The value must be greater than `bound`."""
    return Rule(f"must be above {bound}", lambda value: value > bound)


def between(low: float, high: float) -> Rule:
    """The value must lie in the closed interval."""
    return Rule(f"must be between {low} and {high}", lambda value: low <= value <= high)


def inside(low: float, high: float) -> Rule:
    """The value must lie between the bounds, and be neither of them."""
    return Rule(f"must be above {low} and below {high}", lambda value: low < value < high)


def one_of(choices: Collection[str]) -> Rule:
    """The value must be one of the given names."""
    listed = ", ".join(repr(choice) for choice in choices)
    return Rule(f"must be one of {listed}", lambda value: value in choices)


def not_empty() -> Rule:
    """The value must hold at least one item."""
    return Rule("must not be empty", lambda value: len(value) > 0)


def unique() -> Rule:
    """No item may occur twice."""
    return Rule("must not name anything twice", lambda value: len(set(value)) == len(value))


def each(rule: Rule) -> Rule:
    """Every item must keep the rule."""
    return Rule(f"every item {rule.rule}", lambda value: all(rule.holds(item) for item in value))


@attrs.frozen
class Rule:
    """A validator that can say its rule; None, "left out", is always allowed."""

    rule: str
    holds: Callable[[Any], bool]

    def __call__(self, _instance: Any, _attribute: Any, value: Any) -> None:
        """Raise a ValueError if the value breaks the rule."""
        if value is None:
            return
        finite = not (isinstance(value, float) and math.isnan(value))
        if not (finite and self.holds(value)):
            raise ValueError(f"{self.rule} (got {shown(value)})")
