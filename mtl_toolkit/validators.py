"""attrs validators whose messages read well in a configuration error: the rule, then what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

Validator = Callable[[Any, Any, Any], None]


def at_least(bound: float) -> Validator:
    """The value must be at least `bound`."""
    return _rule(f"must be at least {bound}", lambda value: value >= bound)


def above(bound: float) -> Validator:
    """The value must be greater than `bound`."""
    return _rule(f"must be above {bound}", lambda value: value > bound)


def between(low: float, high: float) -> Validator:
    """The value must lie in the closed interval."""
    return _rule(f"must be between {low} and {high}", lambda value: low <= value <= high)


def one_of(choices: Collection[str]) -> Validator:
    """The value must be one of the given names."""
    listed = ", ".join(repr(choice) for choice in choices)
    return _rule(f"must be one of {listed}", lambda value: value in choices)


def not_empty() -> Validator:
    """The value must hold at least one item."""
    return _rule("must not be empty", lambda value: len(value) > 0)


def unique() -> Validator:
    """No item may occur twice."""
    return _rule("must not name anything twice", lambda value: len(set(value)) == len(value))


def _rule(rule: str, holds: Callable[[Any], bool]) -> Validator:
    def validate(_instance: Any, _attribute: Any, value: Any) -> None:
        if value is None:
            return
        finite = not (isinstance(value, float) and math.isnan(value))
        if not (finite and holds(value)):
            raise ValueError(f"{rule} (got {value!r})")

    return validate
