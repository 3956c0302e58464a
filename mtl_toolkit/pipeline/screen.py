"""Who shows a run's or a trainer's progress; this one shows nothing, as in a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import AnyStage, EnsembleStage, ExtractStage, Stage
from ..trainer import Progress


class Screen:
    """Hears of a run's progress; subclasses show it.

    It is an observer of `Trainer` too. `run` calls every method but `improved` and `save`, `Trainer` those
    that are not about stages.
    """

    def stage_started(self, stage: Stage, progress: Progress) -> None:
        """A stage begins, or goes on from `progress`."""

    def stage_skipped(self, stage: AnyStage) -> None:
        """A stage is already finished."""

    def step_done(self, progress: Progress, steps: int, rows: int) -> None:
        """A batch is done."""

    def log(self, progress: Progress, losses: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """The means of the loss terms since the last call."""

    def improved(self, progress: Progress) -> None:
        """The epoch just done is the best so far."""

    def save(self, progress: Progress) -> None:
        """A point from which training can go on."""

    def epoch_done(self, progress: Progress, record: Mapping[str, Any]) -> None:
        """An epoch is done."""

    def stage_finished(self, stage: Stage, progress: Progress) -> None:
        """A stage is done."""

    def extracting(self, stage: ExtractStage, dataset: str, done: int, total: int) -> None:
        """The features of `done` of a dataset's `total` samples have been made."""

    def combining(self, stage: EnsembleStage, members: Sequence[str]) -> None:
        """An ensemble of these networks begins."""

    def combined(
        self, stage: EnsembleStage, metrics: Mapping[str, float], select: Mapping[str, float]
    ) -> None:
        """An ensemble is done; `select` are the weights of the metrics that count, by name."""

    def warn(self, message: str) -> None:
        """Something is wrong that does not stop the run."""
