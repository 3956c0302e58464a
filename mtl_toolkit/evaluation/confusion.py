"""Which classes are taken for which, and hits and misses of units."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from ..plugin import Head
from .scoring import TaskRows

OUTCOMES = ("tp", "fp", "fn", "tn")


@attrs.frozen(eq=False)
class Confusion:
    """The confusion matrix of a task with classes.

    Attributes:
        classes: their names.
        counts: rows by true class and predicted class: int64 [classes, classes].
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The counts over those of the true class: float64 [classes, classes], NaN where it is not there."""
        return row_shares(self.counts)

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types; the shares of a class that is not there are null."""
        shares = [None if np.isnan(row).any() else row.tolist() for row in self.shares]
        return {"classes": list(self.classes), "counts": self.counts.tolist(), "shares": shares}


@attrs.frozen(eq=False)
class UnitCounts:
    """Hits and misses of a task with several yes-or-no units.

    Attributes:
        units: their names.
        counts: rows by unit and outcome (tp, fp, fn, tn), where the unit is labelled: int64 [units, 4].
    """

    units: tuple[str, ...]
    counts: np.ndarray

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        rows = zip(self.units, self.counts.tolist(), strict=True)
        return {"units": {unit: dict(zip(OUTCOMES, row, strict=True)) for unit, row in rows}}


def confusion_of(head: Head, rows: TaskRows) -> Confusion | UnitCounts | None:
    """Count decisions against labels; None for a task with neither classes nor yes-or-no units.

    A head may use these words of its meaning for something else, such as a count per unit.
    Then its labels are no class ids, shares of classes, or zeros and ones, and nothing is counted.
    """
    meaning = head.meaning()
    classes, units = tuple(meaning.get("classes", ())), tuple(meaning.get("units", ()))
    if classes and head.target_shape in ((), (len(classes),)):
        return Confusion(classes, class_counts(head, rows, len(classes)))
    if units and head.target_shape == (len(units),) and np.isin(rows.target[rows.mask], (0, 1)).all():
        return UnitCounts(units, unit_counts(head, rows))
    return None


def class_counts(head: Head, rows: TaskRows, classes: int) -> np.ndarray:
    """Rows by true and predicted class: int64 [classes, classes]; shares count as their largest."""
    known = rows.take(np.flatnonzero(rows.mask.reshape(len(rows), -1).all(axis=1)))
    truth = known.target.argmax(1) if known.target.ndim == 2 else known.target
    pairs = truth.astype(np.int64) * classes + head.decide(known.values)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def unit_counts(head: Head, rows: TaskRows) -> np.ndarray:
    """Labelled rows by unit and outcome (tp, fp, fn, tn): int64 [units, 4]."""
    decided, truth = head.decide(rows.values) > 0.5, rows.target > 0.5
    outcomes = (decided & truth, decided & ~truth, ~decided & truth, ~decided & ~truth)
    return np.stack([(outcome & rows.mask).sum(0) for outcome in outcomes], axis=1)


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Divide each row by its sum; NaN where that is zero."""
    totals = counts.sum(1, keepdims=True)
    result = np.full(counts.shape, np.nan)
    np.divide(counts, totals, out=result, where=totals > 0)
    return result
