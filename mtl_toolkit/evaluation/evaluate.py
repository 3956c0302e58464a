"""Everything that is said of predictions that have labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np

from ..batch import Labels
from ..plugin import Head, Metric, Predictions
from .bootstrap import Interval, UnitRows, by_unit, score_units
from .confusion import Confusion, UnitCounts, confusion_of
from .scoring import LiveScore, Metrics, Missing, choose_metrics, has_label, rows_at, scored_rows

DRAWS = 1000

V = TypeVar("V")


@attrs.frozen(eq=False)
class VideoScores:
    """The metrics of one video, a diagnostic: most are not means over videos."""

    rows: int
    values: Mapping[str, float]

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {"rows": self.rows, "metrics": dict(self.values)}


@attrs.frozen(eq=False)
class TaskEvaluation:
    """The predictions of one task against its labels.

    Attributes:
        rows: rows scored.
        unpredicted: labelled rows that were left out because they have no prediction.
        without_face: rows scored although no face was found in them.
        values: by metric, pooled over all rows scored.
        intervals: by metric, the 95 % interval over videos; None where there is none.
        videos: by video, the same metrics.
        confusion: of classes or units; None for a task that has neither.
    """

    rows: int
    unpredicted: int
    without_face: int
    values: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    videos: Mapping[str, VideoScores]
    confusion: Confusion | UnitCounts | None

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {
            "rows": self.rows,
            "unpredicted": self.unpredicted,
            "without_face": self.without_face,
            "metrics": {
                name: {"value": value, "interval": _list_or_none(self.intervals[name])}
                for name, value in self.values.items()
            },
            "videos": {video: scores.to_plain() for video, scores in self.videos.items()},
            "confusion": None if self.confusion is None else self.confusion.to_plain(),
        }


@attrs.frozen(eq=False)
class Evaluation:
    """Predictions of several tasks against their labels.

    Attributes:
        rows: rows predicted, labelled or not.
        draws: draws of the bootstrap.
        tasks: by task, for those that have a labelled row.
        warnings: one line each.
    """

    rows: int
    draws: int
    tasks: Mapping[str, TaskEvaluation]
    warnings: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """The pooled metrics, by task and name."""
        return {task: dict(found.values) for task, found in self.tasks.items()}

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {
            "rows": self.rows,
            "draws": self.draws,
            "tasks": {task: found.to_plain() for task, found in self.tasks.items()},
            "warnings": list(self.warnings),
        }


def evaluate(
    predictions: Predictions,
    labels: Mapping[str, Labels],
    metrics: Metrics | None = None,
    *,
    missing: Missing = "error",
    draws: int = DRAWS,
    seed: int = 0,
) -> Evaluation:
    """Judge predictions: pooled, video by video, with intervals over videos, and by confusion.

    The intervals are percentiles over `draws` resamplings of the videos; single pictures are drawn one by
    one, or in groups where they are many. Arguments and errors are otherwise those of `score`.
    """
    chosen = choose_metrics(predictions, metrics)
    tasks, told = {}, []
    for task, places in scored_rows(predictions, labels, missing).items():
        rows = rows_at(predictions.values[task], labels[task], places)
        units = by_unit(rows, predictions.videos[places], seed)
        labelled = int(has_label(labels[task], len(predictions)).sum())
        facts = {
            "rows": len(places),
            "unpredicted": labelled - len(places),
            "without_face": int((~predictions.faces[places]).sum()),
        }
        tasks[task], warnings = _judge(predictions.heads[task], chosen[task], units, draws, seed, facts)
        told += [f"task {task!r}: {line}" for line in warnings]
    return Evaluation(len(predictions), draws, tasks, tuple(told))


def _judge(
    head: Head, metrics: Sequence[Metric], units: UnitRows, draws: int, seed: int, facts: Mapping[str, int]
) -> tuple[TaskEvaluation, list[str]]:
    found = [score_units(LiveScore(metric, head), units, draws, seed) for metric in metrics]
    lengths = np.diff(units.bounds).tolist()
    videos = {
        video: VideoScores(rows, _merged(one.videos[video] for one in found))
        for video, rows in zip(units.names, lengths, strict=True)
        if video
    }
    evaluation = TaskEvaluation(
        **facts,
        values=_merged(one.pooled for one in found),
        intervals=_merged(one.intervals for one in found),
        videos=videos,
        confusion=confusion_of(head, units.rows),
    )
    return evaluation, [line for one in found for line in one.warnings]


def _merged(parts: Iterable[Mapping[str, V]]) -> dict[str, V]:
    return {name: value for part in parts for name, value in part.items()}


def _list_or_none(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
