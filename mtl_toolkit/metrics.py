"""The metrics of a validation feed, accumulated on the device and named as the report names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric as LiveMetric

from .batch import Batch, HeadOutput
from .plugin import Head, Metric


class FeedMetrics:
    """All metrics of the tasks of one validation feed.

    Args:
        title: the feed's name, first part of the metrics' names.
        heads: the tasks with outputs that the feed validates.
        metrics: their metrics; a task not named has its head's default metrics.
        device: where the states live; on a device without float64 they live on the CPU.

    Attributes:
        heads: as given.
        names: what `compute` reports, as "<feed>/<task>/<metric>".
    """

    def __init__(
        self,
        title: str,
        heads: Mapping[str, Head],
        metrics: Mapping[str, Sequence[Metric]] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device("cpu" if torch.device(device).type == "mps" else device)
        self.heads = dict(heads)
        self.tasks = tuple(heads)
        chosen = [
            (task, head, metric)
            for task, head in heads.items()
            for metric in (metrics or {}).get(task) or head.default_metrics()
        ]
        self.names = tuple(
            f"{title}/{task}/{name}" for task, head, metric in chosen for name in metric.outputs(head)
        )
        self._live = [
            _Live(task, f"{title}/{task}", metric.name, metric.build(head).to(self.device))
            for task, head, metric in chosen
        ]

    def update(self, outputs: Mapping[str, HeadOutput], batch: Batch) -> None:
        """Add a batch."""
        for one in self._live:
            output = outputs[one.task].map(lambda tensor: tensor.float().to(self.device))
            target, mask = batch.targets[one.task], batch.masks[one.task]
            one.metric.update(output, target.to(self.device), mask.to(self.device))

    def compute(self) -> dict[str, float]:
        """The values over all processes, by "<feed>/<task>/<metric>"."""
        found: dict[str, float] = {}
        for one in self._live:
            values: Mapping[str, Tensor] | Tensor = one.metric.compute()
            named = values if isinstance(values, Mapping) else {one.name: values}
            found |= {f"{one.prefix}/{name}": float(value) for name, value in named.items()}
        return found

    def reset(self) -> None:
        """Forget everything, for the next epoch."""
        for one in self._live:
            one.metric.reset()


class _Live(NamedTuple):
    task: str
    prefix: str
    name: str
    metric: LiveMetric
