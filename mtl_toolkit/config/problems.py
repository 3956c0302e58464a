"""What is wrong in a configuration: where, and which rule is broken."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from ..errors import UserError, shown, suggestion
from .typewords import rule_of

Key = str | int
Found = tuple[tuple[Key, ...], str]
BOUNDS = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}


class Problems(Exception):  # noqa: N818 - it carries several
    """What is wrong in a value: (path below it, message) pairs."""

    def __init__(self, found: Sequence[Found]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = list(found)

    @classmethod
    def one(cls, message: str) -> Problems:
        """A single problem with the value itself."""
        return cls([((), message)])

    def below(self, key: Key) -> list[Found]:
        """The same problems seen from one level up."""
        return [((key, *path), message) for path, message in self.found]


class UnsupportedType(Problems):
    """The field's type is none that TOML can express."""


def readable(error: Exception) -> str:
    """Say an attrs validator's message as rule and value found."""
    if isinstance(error, UserError):
        return "; ".join(error.problems)
    if len(error.args) == 4:  # attrs: (message, attribute, what is allowed, value found)
        rule = _allowed(error.args[2], error.args[3])
        if rule:
            return rule
    text = str(error.args[0]) if error.args else type(error).__name__
    bound = re.fullmatch(r"'\w+' must be (>=|>|<=|<) (.+): (.+)", text, re.DOTALL)
    if bound:
        return f"must be {BOUNDS[bound[1]]} {bound[2]} (got {bound[3]})"
    length = re.fullmatch(r"Length of '\w+' must be (>=|<=) (\d+): (\d+)", text)
    if length:
        return f"must have {BOUNDS[length[1]]} {length[2]} items (got {length[3]})"
    return re.sub(r"^'\w+' (?=must )", "", text)


def _allowed(rule: Any, value: Any) -> str | None:
    if isinstance(rule, re.Pattern):
        return f"must match {rule.pattern} (got {shown(value)})"
    types = rule if isinstance(rule, tuple) else (rule,)
    if types and all(isinstance(one, type) for one in types):
        return f"must be {' or '.join(map(rule_of, types))} (got {shown(value)})"
    if isinstance(rule, Collection) and not isinstance(rule, str | type):
        listed = ", ".join(map(shown, rule))
        near = suggestion(value, map(str, rule)) if isinstance(value, str) else ""
        return f"must be one of {listed} (got {shown(value)}){near if 'mean' in near else ''}"
    return None
