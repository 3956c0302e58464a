"""The metrics of predictions, pooled over all rows that have a label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
import numpy as np
import torch

from ..batch import HeadOutput, Labels
from ..errors import ConfigError, DataError, suggestion
from ..plugin import Head, Metric, Predictions
from .metric_states import parts_of
from .predicted_head import AsPredicted

BLOCK = 1 << 17  # rows given to a metric at a time

Missing = Literal["error", "skip"]
Metrics = Mapping[str, Sequence[Metric]]


@attrs.frozen(eq=False)
class TaskRows:
    """Predictions and labels of one task, only for rows that have both.

    Attributes:
        values: float32 [rows, columns], as `Head.predictions` has them.
        target: [rows, ...] in the head's target type; what lies where the mask is false is never read.
        mask: bool, the shape of `target`.
    """

    values: np.ndarray
    target: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray | slice) -> TaskRows:
        """Some rows, in the order given."""
        return TaskRows(self.values[rows], self.target[rows], self.mask[rows])


class LiveScore:
    """One metric of one task, on predictions instead of raw outputs."""

    def __init__(self, metric: Metric, head: Head) -> None:
        self.name = metric.name
        self.metric = metric.build(AsPredicted(head=head, wanted_by=f"metric {metric.name!r}"))
        for part in parts_of(self.metric):
            part.compute_with_cache = False  # the bootstrap changes states between two computations

    def of(self, rows: TaskRows) -> dict[str, float]:
        """The values on these rows alone."""
        self.feed(rows)
        return self.compute()

    def feed(self, rows: TaskRows) -> None:
        """Forget everything, then read these rows."""
        self.metric.reset()
        for start in range(0, len(rows), BLOCK):
            block = rows.take(slice(start, start + BLOCK))
            values = torch.from_numpy(block.values)
            output = HeadOutput(values, values.new_zeros(len(values), 0))
            self.metric.update(output, torch.from_numpy(block.target), torch.from_numpy(block.mask))

    def of_some(self, rows: TaskRows, names: Sequence[str]) -> dict[str, float]:
        """As `of`, with NaN for each of the names where the metric is not defined on so few rows."""
        self.feed(rows)
        return self.compute_some(names)

    def compute_some(self, names: Sequence[str]) -> dict[str, float]:
        """As `compute`, with NaN for each of the names where the metric is not defined on so few rows."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a video without this or that class is no news
            try:
                return self.compute()
            except ValueError:
                return dict.fromkeys(names, float("nan"))

    def compute(self) -> dict[str, float]:
        """The values, by name."""
        found = self.metric.compute()
        named = found if isinstance(found, Mapping) else {self.name: found}
        return {name: float(value) for name, value in named.items()}


def score(
    predictions: Predictions,
    labels: Mapping[str, Labels],
    metrics: Metrics | None = None,
    *,
    missing: Missing = "error",
) -> dict[str, dict[str, float]]:
    """The metrics of each task, pooled over all rows that have its label.

    Args:
        predictions: of some tasks; NaN in a row means that it has no prediction.
        labels: by task, for the same rows; a task without predictions is passed over.
        metrics: by task; a task not named has its head's default metrics.
        missing: what to do about labelled rows without a prediction: "skip" leaves them out.

    Returns:
        By task and name; a task without a labelled row is not in it.

    Raises:
        ConfigError: if a metric does not fit its task or needs raw outputs, or a task is unknown.
        DataError: if no row can be scored, labelled rows have no prediction, or a label is invalid.
    """
    chosen = choose_metrics(predictions, metrics)
    found: dict[str, dict[str, float]] = {}
    for task, places in scored_rows(predictions, labels, missing).items():
        rows = rows_at(predictions.values[task], labels[task], places)
        found[task] = {}
        for metric in chosen[task]:
            found[task] |= LiveScore(metric, predictions.heads[task]).of(rows)
    return found


def choose_metrics(predictions: Predictions, metrics: Metrics | None) -> dict[str, tuple[Metric, ...]]:
    """The metrics of every predicted task: those given, else its head's default ones.

    Raises:
        ConfigError: if metrics are given for a task that is not predicted.
    """
    given = metrics or {}
    unknown = [task for task in given if task not in predictions.values]
    if unknown:
        raise ConfigError(
            *(
                f"metrics: there are no predictions of {task!r}{suggestion(task, predictions.values)}"
                for task in unknown
            )
        )
    return {
        task: tuple(given.get(task) or predictions.heads[task].default_metrics())
        for task in predictions.values
    }


def scored_rows(
    predictions: Predictions, labels: Mapping[str, Labels], missing: Missing
) -> dict[str, np.ndarray]:
    """The rows of each task that have a label, at least in part, and a prediction: int64 [rows], ascending.

    Raises:
        DataError: if there are none, labelled rows have no prediction and may not be left out, or a label is
            invalid.
    """
    tasks = [task for task in predictions.values if task in labels]
    if not tasks:
        raise DataError(
            f"labels and predictions must share a task (got labels of {_listed(labels)}, "
            f"predictions of {_listed(predictions.values)})"
        )
    found, problems = {}, []
    for task in tasks:
        if problem := predictions.heads[task].check_labels(labels[task]):
            problems.append(f"task {task!r}: {problem}")
            continue
        labelled = np.flatnonzero(has_label(labels[task], len(predictions)))
        predicted = has_prediction(predictions.values[task][labelled])
        if missing == "error" and not predicted.all():
            without = labelled[~predicted]
            problems.append(
                f"task {task!r}: each of the {len(labelled)} labelled rows must have a prediction "
                f"(got none for {len(without)}, such as {row_title(predictions, int(without[0]))})"
            )
        if predicted.any():
            found[task] = labelled[predicted]
    if not found and not problems:
        problems.append(f"there must be a row with a label and a prediction (got none for {_listed(tasks)})")
    if problems:
        raise DataError(*problems)
    return found


def rows_at(values: np.ndarray, labels: Labels, places: np.ndarray) -> TaskRows:
    """Copy the predictions and labels of some rows."""
    return TaskRows(
        values[places].astype(np.float32, copy=False), labels.values[places], labels.valid[places]
    )


def has_label(labels: Labels, rows: int) -> np.ndarray:
    """Rows that have a label, at least in part: bool [rows]."""
    if len(labels) != rows:
        raise ValueError(f"labels must have {rows} rows, as the predictions (got {len(labels)})")
    return np.asarray(labels.valid.reshape(rows, -1).any(axis=1))


def has_prediction(values: np.ndarray) -> np.ndarray:
    """Rows whose predictions [rows, columns] are all there: bool [rows]."""
    return np.asarray(~np.isnan(values).any(axis=1))


def row_title(predictions: Predictions, row: int) -> str:
    """Name a row in a message: its picture, else its frame, else its number."""
    if predictions.names[row]:
        return repr(str(predictions.names[row]))
    if predictions.videos[row]:
        return f"frame {predictions.frames[row]} of {str(predictions.videos[row])!r}"
    return f"row {row}"


def _listed(tasks: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(map(repr, tasks)) or "no task"
