"""What a metric would say of predictions that are right throughout."""

from __future__ import annotations

import attrs
import numpy as np

from ..plugin import Head
from .scoring import TaskRows


def right_throughout(head: Head, rows: TaskRows) -> TaskRows | None:
    """The rows with their labels for predictions; None where that cannot be said of the head's labels.

    A metric's value on them is its ceiling: below 1 for macro F1 where a class has no row.
    """
    target = np.where(rows.mask, rows.target, 0)
    columns = len(head.columns)
    values: np.ndarray
    if target.ndim == 1 and len(head.meaning().get("classes", ())) == columns:
        values = np.eye(columns)[target.astype(np.int64)]
    elif target.size == len(rows) * columns:
        values = target.reshape(len(rows), columns)
    else:
        return None
    values = values.astype(np.float32)
    decided = head.decide(values)
    if decided.shape == target.shape and not np.allclose(decided[rows.mask], target[rows.mask], atol=1e-6):
        return None
    return attrs.evolve(rows, values=values)
