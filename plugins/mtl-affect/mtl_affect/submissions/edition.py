"""What the writers of all editions share."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from mtl_toolkit import ConfigError, Head, Metric, Predictions, RunError, Writer

from .parts import Part


@attrs.frozen(kw_only=True)
class EditionWriter(Writer):
    """Writes the tasks whose labels an edition of a challenge has."""

    @abc.abstractmethod
    def chosen(self, heads: Mapping[str, Head]) -> tuple[dict[str, Part], list[str]]:
        """The tasks to write, each with what it is written as; and what keeps them from being written."""

    @abc.abstractmethod
    def judged_by(self) -> Mapping[str, Metric]:
        """The edition's metric of each kind of label."""

    def problems(self, heads: Mapping[str, Head]) -> list[str]:
        """A task that is not there or not the only one, or other classes, axes or units."""
        return [f"{self.name}: {problem}" for problem in self.chosen(heads)[1]]

    def metrics(self, head: Head) -> Sequence[Metric]:
        """The edition's, over the classes or units of the task.

        A task that lacks classes of the edition is judged by its own, which flatters it.
        """
        metric = self.judged_by().get(head.label)
        return head.default_metrics() if metric is None else (metric,)

    def ready(self, path: Path, predictions: Predictions) -> dict[str, Part]:
        """The tasks to write, all of whose predictions are there.

        Raises:
            ConfigError: if tasks cannot be written.
            RunError: if a prediction is missing.
        """
        heads = {task: predictions.heads[task] for task in predictions.values}
        if problems := self.problems(heads):
            raise ConfigError(*problems)
        tasks, _ = self.chosen(heads)
        for task in tasks:
            gaps = np.flatnonzero(np.isnan(predictions.values[task]).any(axis=1))
            if len(gaps):
                raise RunError(
                    f"{path}: every row must have a prediction of task {task!r} "
                    f"({len(gaps)} have none, the first is {str(predictions.names[gaps[0]])!r})"
                )
        return tasks

    def refuse(self, problems: Sequence[str]) -> None:
        """Go on only if there are no problems.

        Raises:
            ConfigError: with all of them.
        """
        if problems:
            raise ConfigError(*(f"{self.name}: {problem}" for problem in problems))
