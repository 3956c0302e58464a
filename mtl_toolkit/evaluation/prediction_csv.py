"""The default file of predictions: a CSV table, a row per picture, a column per class, axis or unit."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import ConfigError
from ..files import replacing_file
from ..plugin import Head, Predictions
from .prediction_csv_reader import ROW_COLUMNS, class_names, decided_names, read_predictions

__all__ = ["PredictionCsv", "csv_columns", "read_predictions"]

BLOCK = 16384  # rows held as text at a time


class PredictionCsv:
    """Writes predictions block by block; the file appears, whole, when the `with` block ends.

    The columns are `name`, `video`, `frame`, `face` (1 or 0), then of each task its columns as
    `<task>.<column>`, before them `<task>` with the name of the decided class where it has classes. Numbers
    have six digits, or nine in the few rows that six would decide otherwise. Cells are empty where there is
    no prediction.

    Args:
        path: the file; one that is there stays until the new one is complete.
        heads: the tasks to write, by name.

    Raises:
        ConfigError: if two columns would have the same name.
        RunError: if it cannot be written.
    """

    def __init__(self, path: Path, heads: Mapping[str, Head]) -> None:
        self.path = path
        self.heads = dict(heads)
        self.columns = csv_columns(heads)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> PredictionCsv:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(replacing_file(self.path))
            # A file's name may hold bytes that are not UTF-8; they are written as they are.
            file: TextIO = temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            stack.enter_context(file)
            self._writer = csv.writer(file)
            self._writer.writerow(self.columns)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, predictions: Predictions) -> None:
        """Add rows; `predictions` has the tasks that this file has.

        Raises:
            ValueError: if it has other tasks.
        """
        if set(predictions.values) != set(self.heads):
            raise ValueError(f"predictions must be of {list(self.heads)} (got {list(predictions.values)})")
        for start in range(0, len(predictions), BLOCK):
            block = predictions.take(np.arange(start, min(start + BLOCK, len(predictions))))
            self._writer.writerows(zip(*self._cells(block), strict=True))

    def _cells(self, block: Predictions) -> Iterator[Sequence[Any]]:
        yield block.names.tolist()
        yield block.videos.tolist()
        yield block.frames.tolist()
        yield block.faces.astype(np.int64).tolist()
        for task, head in self.heads.items():
            yield from task_cells(head, block.values[task])


def csv_columns(heads: Mapping[str, Head]) -> list[str]:
    """The columns of the file, in order.

    Raises:
        ConfigError: if two would have the same name.
    """
    found = list(ROW_COLUMNS)
    for task, head in heads.items():
        for column in ([task] if class_names(head) else []) + [f"{task}.{name}" for name in head.columns]:
            if column in found:
                raise ConfigError(
                    f"task {task!r}: must have columns of its own in the file (got {column!r} twice)"
                )
            found.append(column)
    return found


def task_cells(head: Head, values: np.ndarray) -> Iterator[list[str]]:
    """The text of a task's columns; `values` is float32 [rows, columns]."""
    if class_names(head):
        yield decided_names(head, values).tolist()
    predicted = np.flatnonzero(~np.isnan(values).any(axis=1))
    exact = predicted[decided_otherwise(head, values[predicted])]
    for column in values.T:
        texts = list(map("%.6g".__mod__, column.tolist()))
        for row in np.flatnonzero(np.isnan(column)):
            texts[row] = ""
        for row in exact:
            texts[row] = f"{column[row]:.9g}"  # gives back every float32
        yield texts


def decided_otherwise(head: Head, values: np.ndarray) -> np.ndarray:
    """Rows that six digits decide otherwise: two classes then tie, or a threshold is met: bool [rows]."""
    changed = np.asarray(head.decide(six_digits(values)) != six_digits(head.decide(values)))
    return np.asarray(changed.any(axis=tuple(range(1, changed.ndim))))


def six_digits(values: np.ndarray) -> np.ndarray:
    """Round to six significant digits, as `%.6g` does; the type stays."""
    wide = values.astype(np.float64)
    usual = np.isfinite(wide) & (wide != 0)
    scale = 10.0 ** (5 - np.floor(np.log10(np.abs(np.where(usual, wide, 1.0)))))
    return np.where(usual, np.rint(wide * scale) / scale, wide).astype(values.dtype)
