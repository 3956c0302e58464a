"""From columns of text to the labels of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs
import numpy as np

from mtl_toolkit import DataError, Head, Labels
from mtl_toolkit.validators import unique

from .cells import Cells, ProblemList, nearest, parse_numbers

LabelKind = Literal["class", "shares", "yes-no", "values"]
Parser = Callable[[Mapping[str, Cells], ProblemList], np.ndarray]
Span = tuple[float, float]

UNUSED: Mapping[LabelKind, tuple[str, ...]] = {  # options that mean nothing for a kind of label
    "class": ("range",),
    "shares": ("classes", "order", "range"),
    "yes-no": ("classes", "order"),
    "values": ("classes", "order"),
}


@attrs.frozen(kw_only=True)
class LabelColumns:
    """Which columns hold the label of a task, and how to read them; an empty field is a missing label."""

    column: str | None = attrs.field(
        default=None, metadata={"doc": "the column of a class, or of a task with one value"}
    )
    columns: tuple[str, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={"doc": "the columns of a task with several values"},
    )
    classes: Mapping[str, str] = attrs.field(
        factory=dict, metadata={"doc": "the task's class name of a value that differs from it"}
    )
    order: tuple[str, ...] = attrs.field(
        default=(), validator=unique(), metadata={"doc": "class names by number, for a column of numbers"}
    )
    missing: tuple[str, ...] = attrs.field(
        default=(), metadata={"doc": "values (or class names) that stand for a missing label"}
    )
    range: tuple[float, float] | None = attrs.field(
        default=None, metadata={"doc": "the columns' own range, scaled to that of the task; none: as it is"}
    )

    def __attrs_post_init__(self) -> None:
        if (self.column is None) == (not self.columns):
            raise ValueError("must name either a column or columns")
        if self.classes and self.order:
            raise ValueError("must have either classes or order, not both")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range must go from low to high (got {list(self.range)})")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return self.columns if self.column is None else (self.column,)

    def parser(self, head: Head) -> Parser:
        """Return a function from the columns to values [rows, ...] in the target's shape, NaN where missing.

        Raises:
            ValueError: if the columns or options do not fit the task; the message says why.
        """
        kind = label_kind(head)
        if len(head.target_shape) > 1:
            raise ValueError(f"targets of shape {head.target_shape} cannot be read from columns")
        wanted = head.target_shape[0] if head.target_shape else 1
        if len(self.names) != wanted:
            raise ValueError(f"the task needs {wanted} columns (got {len(self.names)})")
        for option in UNUSED[kind]:
            if getattr(self, option):
                raise ValueError(f"the task's labels are of the kind {kind!r}, which has no {option}")
        if kind == "class":
            return self._class_parser(head.meaning()["classes"])
        if kind == "shares":
            return self._share_parser()
        target = (0.0, 1.0) if kind == "yes-no" else task_range(head)
        if self.range is not None and target is None:
            raise ValueError("the task has no range that the columns' could be scaled to")
        return self._value_parser(target)

    def _class_parser(self, names: Sequence[str]) -> Parser:
        ids = self._ids(names)
        return lambda columns, problems: parse_classes(columns[self.names[0]], ids, problems)

    def _share_parser(self) -> Parser:
        def parse(columns: Mapping[str, Cells], problems: ProblemList) -> np.ndarray:
            parts = [
                parse_numbers(columns[name], problems, span=(0, np.inf), missing=self.missing)
                for name in self.names
            ]
            return shares(np.stack(parts, axis=1))

        return parse

    def _value_parser(self, target: Span | None) -> Parser:
        source = self.range or target

        def parse(columns: Mapping[str, Cells], problems: ProblemList) -> np.ndarray:
            parts = [
                parse_numbers(columns[name], problems, span=source, missing=self.missing)
                for name in self.names
            ]
            return rescale(np.stack(parts, axis=1), source, target)

        return parse

    def _ids(self, names: Sequence[str]) -> dict[str, int]:
        """The class id of each text that may stand in the column, -1 where it means a missing label."""
        if self.order:
            # Tables written by pandas hold 3.0 for 3 where some fields of the column are empty.
            texts = {f"{number}{tail}": name for number, name in enumerate(self.order) for tail in ("", ".0")}
        else:
            texts = {name: name for name in names} | dict(self.classes)
        ids = {name: number for number, name in enumerate(names)} | dict.fromkeys(self.missing, -1)
        for name in texts.values():
            if name not in ids:
                raise ValueError(f"the task has no class {name!r}{nearest(name, names)}")
        return {text: ids[name] for text, name in texts.items()} | dict.fromkeys(("", *self.missing), -1)


def label_kind(head: Head) -> LabelKind:
    """What a task's targets are: a class id, a share of every class, yes or no per unit, or plain values."""
    meaning = head.meaning()
    if head.target_shape == () and head.target_dtype.kind == "i":
        return "class"
    if meaning.get("kind") == "multi-label":
        return "yes-no"
    return "shares" if "classes" in meaning else "values"


def task_range(head: Head) -> Span | None:
    """The range of a task's values, if it has one."""
    found = head.meaning().get("range")
    return None if found is None else (float(found[0]), float(found[1]))


def parse_classes(cells: Cells, ids: Mapping[str, int], problems: ProblemList) -> np.ndarray:
    """Read a column of classes by the id of each text: float64 [rows], NaN where the id is -1."""
    unknown = -2
    found = np.fromiter((ids.get(text, unknown) for text in cells.texts), np.int64, len(cells.texts))
    known = [text for text, number in ids.items() if number >= 0]
    problems.add_cells(cells, np.flatnonzero(found == unknown), lambda text: _class_rule(text, known))
    return np.where(found < 0, np.nan, found.astype(np.float64))


def shares(counts: np.ndarray) -> np.ndarray:
    """Turn votes [rows, classes] into shares that add up to 1, NaN where votes are missing or all zero."""
    total = counts.sum(axis=1, keepdims=True)
    total[np.abs(total - 1) < 1e-6] = 1  # shares already, but for rounding: they stay as they are
    result = np.full_like(counts, np.nan)
    np.divide(counts, total, out=result, where=total > 0)
    return result


def rescale(values: np.ndarray, source: Span | None, target: Span | None) -> np.ndarray:
    """Map `source` to `target` linearly; values inside one end up inside the other, whatever the rounding."""
    if source is None or target is None or source == target:
        return values
    step = (target[1] - target[0]) / (source[1] - source[0])
    scaled: np.ndarray = np.clip(target[0] + (values - source[0]) * step, *target)
    return scaled


def to_labels(values: np.ndarray, head: Head, task: str, source: str) -> Labels:
    """Make a task's labels of values that are NaN where they are missing.

    Raises:
        DataError: if they break the task's own rule.
    """
    valid = ~np.isnan(values)
    labels = Labels(np.where(valid, values, 0).astype(head.target_dtype), valid)
    broken = head.check_labels(labels)
    if broken is not None:
        raise DataError(f"{source}: task {task!r}: {broken}")
    return labels


def _class_rule(text: str, known: Sequence[str]) -> str:
    if text.lower() == "nan":
        return "must be a class; leave the field empty for a missing label"
    hint = "; give the names with order = [...]" if text.isdigit() and not known[0].isdigit() else ""
    return f"must be a class of the task{hint or nearest(text, known)}"
