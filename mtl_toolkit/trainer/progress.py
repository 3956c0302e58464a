"""Where training stands: counters, sums of loss terms, history; all of it in plain JSON types."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from ..errors import RunError, suggestion


@attrs.define(eq=False)
class Progress:
    """Counters that a resumed run takes up again.

    Attributes:
        epoch: the epoch being trained, from 0.
        step: batches done in it.
        updates: optimizer steps done in the stage.
        best_epoch: the best epoch so far, from 1; 0 before the first.
        best_score: its score.
        best_metrics: its metrics.
        history: a record per finished epoch.
        sums: per term, the sum and the count of its values in this epoch.
        recent: the same since the last log line.
        seconds: time spent in training and validation.
        training_seconds: time spent in training.
        samples: rows trained on.
        skipped: rows left out because they could not be read.
        finished: whether the stage is done.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_metrics: dict[str, float] = attrs.field(factory=dict)
    history: list[dict[str, Any]] = attrs.field(factory=list)
    sums: dict[str, list[float]] = attrs.field(factory=dict)
    recent: dict[str, list[float]] = attrs.field(factory=dict)
    seconds: float = 0.0
    training_seconds: float = 0.0
    samples: int = 0
    skipped: int = 0
    finished: bool = False

    def add(self, values: Mapping[str, float]) -> None:
        """Add a step's terms."""
        for name, value in values.items():
            for sums in (self.sums, self.recent):
                entry = sums.setdefault(name, [0.0, 0])
                entry[0] += value
                entry[1] += 1

    def take_recent(self) -> dict[str, float]:
        """Means since the last call."""
        means, self.recent = means_of(self.recent), {}
        return means

    def next_epoch(self) -> None:
        """Start the next epoch."""
        self.epoch += 1
        self.step = 0
        self.sums = {}

    @property
    def stale_epochs(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - self.best_epoch


def means_of(sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Means from (sum, count) pairs."""
    return {name: total / count for name, (total, count) in sums.items() if count}


def check_selection(select: Iterable[str], metrics: Collection[str]) -> None:
    """Raise a ValueError for a name in `select` that no metric has, with the nearest that one has."""
    for name in select:
        if name not in metrics:
            raise ValueError(f"select: there is no metric {name!r}{suggestion(name, metrics)}")


class PendingTerms:
    """Loss terms still on the device, fetched together so that no step waits for its values."""

    def __init__(self, streams: Sequence[str]) -> None:
        self._streams = streams
        self._steps: list[tuple[list[str], list[Tensor], tuple[str, ...]]] = []

    def add(self, total: Tensor | None, terms: Mapping[str, Tensor], ids: tuple[str, ...]) -> None:
        """Remember a step's total and terms, and which samples it had."""
        names = ["total"] if total is not None else []
        values = [total.detach()] if total is not None else []
        self._steps.append(([*names, *terms], [*values, *terms.values()], ids))

    def fetch(self) -> list[dict[str, float]]:
        """The values of all steps since the last call.

        Raises:
            RunError: if a loss is not finite, naming its stream and the step's samples.
        """
        steps, self._steps = self._steps, []
        tensors = [value for _, values, _ in steps for value in values]
        numbers = iter(torch.stack([t.float() for t in tensors]).tolist() if tensors else [])
        fetched = []
        for names, _, ids in steps:
            found = {name: next(numbers) for name in names}
            if not all(math.isfinite(value) for value in found.values()):
                raise RunError(self._complaint(found, ids))
            fetched.append(found)
        return fetched

    def _complaint(self, found: Mapping[str, float], ids: Sequence[str]) -> str:
        bad = [name for name, value in found.items() if not math.isfinite(value)]
        terms = [name for name in bad if name != "total"]
        # A term of a combined task, "<task>/<loss>", is of all streams.
        of_streams = {name.partition("/")[0] for name in terms if name.count("/") > 1}
        streams = [stream for stream in self._streams if stream in of_streams]
        samples = [name for name in ids if not streams or name.partition(":")[0] in streams]
        shown = ", ".join(samples[:20]) + (f" and {len(samples) - 20} more" if len(samples) > 20 else "")
        named = ", ".join(f"{name} = {found[name]}" for name in (terms or bad))
        return f"the loss is not finite: {named}; samples of the step: {shown or 'unnamed'}"
