"""Recall of each class or unit: of its labelled rows, the share that is found."""

from __future__ import annotations

import attrs
import numpy as np

from ..plugin import Head
from .bootstrap import UnitRows, draw_weights, filled_units
from .confusion import Confusion, UnitCounts, confusion_of
from .scoring import TaskRows


@attrs.frozen(eq=False)
class Recall:
    """Recall by class or unit.

    Attributes:
        names: of the classes or units.
        rows: labelled rows of each: int64 [names].
        values: NaN where there is no row: float64 [names].
        draws: the values in each draw of the bootstrap, [draws, names]; without draws where there is no
            interval.
    """

    names: tuple[str, ...]
    rows: np.ndarray
    values: np.ndarray
    draws: np.ndarray


def recall_of(head: Head, units: UnitRows, draws: int, seed: int) -> Recall | None:
    """Recall over all rows, and in each draw of the resampling units; None where there are no classes."""
    found = positives(head, units.rows)
    if found is None:
        return None
    names, labelled, hits = found
    counts = [_by_unit(units, which) for which in (hits, labelled)]
    weights = draw_weights(len(units), draws if filled_units(units) > 1 else 0, seed)
    return Recall(
        names,
        counts[1].sum(0),
        _share(counts[0].sum(0), counts[1].sum(0)),
        _share(weights @ counts[0], weights @ counts[1]),
    )


def positives(head: Head, rows: TaskRows) -> tuple[tuple[str, ...], np.ndarray, np.ndarray] | None:
    """Names of classes or units; which rows are labelled with each, and which of these are found.

    Both bool [rows, names]; shares of classes count as their largest. None for a task that has neither.
    """
    kind = confusion_of(head, rows)
    if isinstance(kind, UnitCounts):
        labelled = rows.mask & (rows.target > 0.5)
        return kind.units, labelled, labelled & (head.decide(rows.values) > 0.5)
    if isinstance(kind, Confusion):
        truth = rows.target.argmax(1) if rows.target.ndim == 2 else rows.target
        known = np.asarray(rows.mask.reshape(len(rows), -1).all(axis=1))
        of_class = known[:, None] & np.equal(truth[:, None], np.arange(len(kind.classes)))
        right = np.equal(head.decide(rows.values), truth)
        return kind.classes, of_class, of_class & right.reshape(-1, 1)
    return None


def _by_unit(units: UnitRows, which: np.ndarray) -> np.ndarray:
    """Count in each resampling unit: bool [rows, names] to int64 [units, names]."""
    owners = np.repeat(np.arange(len(units)), np.diff(units.bounds))
    return np.stack([np.bincount(owners[column], minlength=len(units)) for column in which.T], axis=1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
