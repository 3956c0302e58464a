"""Choosing rows of a table by what their columns hold: the `where` option of the dataset plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from .cells import Cells, ProblemList, nearest, parse_numbers

OPERATORS = ("present", "not", "min", "max")
DOC = (
    "rows to use: per column a value, a list of values, or a table of `present` (true: filled in, false: "
    "empty), `not` (a value or a list), `min` and `max` (an empty field is neither); all must hold"
)


@attrs.frozen
class Rule:
    """What one column must hold in the rows to use."""

    column: str
    values: frozenset[str] | None = None
    excluded: frozenset[str] = frozenset()
    present: bool | None = None
    span: tuple[float, float] | None = None

    def keep(self, cells: Cells, problems: ProblemList) -> np.ndarray:
        """The rows that comply: bool [rows]; a field that `min` and `max` cannot compare is a problem."""
        texts = cells.texts
        kept = np.fromiter((text not in self.excluded for text in texts), np.bool_, len(texts))
        if self.values is not None:
            kept &= np.fromiter((text in self.values for text in texts), np.bool_, len(texts))
        if self.present is not None:
            kept &= np.fromiter(((text != "") == self.present for text in texts), np.bool_, len(texts))
        if self.span is not None:
            numbers = parse_numbers(cells, problems)
            kept &= (numbers >= self.span[0]) & (numbers <= self.span[1])
        return kept


def parse_where(table: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Turn the `where` table into rules.

    Raises:
        ValueError: if a value or an operator is not one; the message names the column.
    """
    return tuple(_rule(column, condition) for column, condition in table.items())


def check_where(_instance: Any, _attribute: Any, value: Mapping[str, Any]) -> None:
    """Validate the `where` field of a recipe; raises ValueError as `parse_where`."""
    parse_where(value)


def select_rows(rules: Sequence[Rule], columns: Mapping[str, Cells], problems: ProblemList) -> np.ndarray:
    """The rows that comply with all rules: bool [rows]."""
    length = len(next(iter(columns.values())).rows)
    kept = np.ones(length, np.bool_)
    for rule in rules:
        kept &= rule.keep(columns[rule.column], problems)
    return kept


def _rule(column: str, condition: Any) -> Rule:
    if not isinstance(condition, Mapping):
        return Rule(column, values=_texts(column, condition))
    for operator in condition:
        if operator not in OPERATORS:
            hint = nearest(operator, OPERATORS)
            raise ValueError(f"column {column!r}: unknown operator {operator!r}{hint}")
    present = condition.get("present")
    if not isinstance(present, bool | None):
        raise ValueError(f"column {column!r}: present must be true or false (got {present!r})")
    low, high = (_bound(column, condition, name) for name in ("min", "max"))
    return Rule(
        column,
        excluded=_texts(column, condition["not"]) if "not" in condition else frozenset(),
        present=present,
        span=(
            None
            if low is None and high is None
            else (-np.inf if low is None else low, np.inf if high is None else high)
        ),
    )


def _texts(column: str, values: Any) -> frozenset[str]:
    listed = [values] if isinstance(values, str | int) else values
    if not isinstance(listed, Sequence) or not all(_is_value(value) for value in listed):
        raise ValueError(
            f"column {column!r}: must be a text, a whole number, a list of these, "
            f"or a table of {', '.join(OPERATORS)} (got {values!r})"
        )
    return frozenset(str(value) for value in listed)


def _is_value(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _bound(column: str, condition: Mapping[str, Any], name: str) -> float | None:
    bound = condition.get(name)
    if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
        raise ValueError(f"column {column!r}: {name} must be a number (got {bound!r})")
    return bound
