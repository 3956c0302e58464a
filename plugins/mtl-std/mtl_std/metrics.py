"""Metrics for the heads of this package, exact over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor
from torchmetrics import Metric as LiveMetric
from torchmetrics.classification import MulticlassStatScores, MultilabelStatScores
from torchmetrics.wrappers.abstract import WrapperMetric

from mtl_toolkit import Head, HeadOutput, Metric, hookimpl

Values = Tensor | dict[str, Tensor]


class OnValidRows(WrapperMetric):
    """Feeds a torchmetrics metric with the estimates and targets of the valid rows.

    Args:
        head: turns raw outputs into estimates.
        metric: what accumulates.
        reduce: turns what it computes into the reported values.
    """

    def __init__(self, head: Head, metric: LiveMetric, reduce: Callable[[Any], Values]) -> None:
        super().__init__()
        self.head = head
        self.metric = metric
        self.reduce = reduce

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        """Add a batch; rows without a valid unit are left out."""
        estimate = self.head.estimate(output.values)
        if estimate.ndim == 1:
            rows = self.head.unit_mask(mask)[:, 0]
            ids = target.argmax(-1) if target.ndim == 2 else target
            self.metric.update(estimate[rows], ids[rows])
        else:
            # -1 is the ignore_index of the multi-label metrics.
            self.metric.update(estimate.long(), torch.where(mask, target, -1.0).long())

    def compute(self) -> Values:
        """The reported values."""
        return self.reduce(self.metric.compute())

    def reset(self) -> None:
        """Forget everything."""
        self.metric.reset()
        super().reset()


@attrs.frozen(kw_only=True)
class MacroF1(Metric):
    """Mean F1 over all classes of the head; a class that never occurs counts as 0."""

    name: ClassVar[str] = "macro_f1"

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is a class id."""
        return OnValidRows(head, class_counts(head), lambda counts: f1_of(counts).mean())


@attrs.frozen(kw_only=True)
class Accuracy(Metric):
    """Share of samples whose class is right."""

    name: ClassVar[str] = "accuracy"

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is a class id."""
        return OnValidRows(head, class_counts(head), accuracy_of)


@attrs.frozen(kw_only=True)
class UnitF1(Metric):
    """F1 of each unit, and their mean over all units; a unit that never occurs counts as 0."""

    name: ClassVar[str] = "f1"

    def outputs(self, head: Head) -> tuple[str, ...]:
        """One name per unit, and `mean_f1`."""
        return (*(f"f1_{unit}" for unit in head.units), "mean_f1")

    def build(self, head: Head) -> LiveMetric:
        """For multi-label heads."""
        counts = MultilabelStatScores(len(head.units), average=None, ignore_index=-1, validate_args=False)

        def reduce(found: Tensor) -> Values:
            f1 = f1_of(found.reshape(len(head.units), 5))
            return {f"f1_{unit}": f1[place] for place, unit in enumerate(head.units)} | {"mean_f1": f1.mean()}

        return OnValidRows(head, counts, reduce)


@attrs.frozen(kw_only=True)
class ConcordanceCorrelation(Metric):
    """CCC of each axis, pooled over all samples, with population moments; and their mean (Lin, 1989)."""

    name: ClassVar[str] = "ccc"

    def outputs(self, head: Head) -> tuple[str, ...]:
        """One name per axis, and `ccc`."""
        return (*(f"ccc_{axis}" for axis in head.units), "ccc") if len(head.units) > 1 else ("ccc",)

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is continuous."""
        return PooledConcordance(head)


class PooledConcordance(LiveMetric):
    """CCC from sums in float64, so that CCC(x, x) is 1 and shards add up."""

    full_state_update = False
    sums: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.add_state("sums", torch.zeros(6, len(head.units), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        """Add a batch; rows that are missing on an axis are left out there."""
        x = torch.where(mask, self.head.estimate(output.values), 0.0).double()
        y = torch.where(mask, target, 0.0).double()
        self.sums += torch.stack([mask.double(), x, y, x * x, y * y, x * y]).sum(1)

    def compute(self) -> dict[str, Tensor] | Tensor:
        """CCC per axis, and the mean."""
        values = concordance(*self.sums)
        if len(values) == 1:
            return values[0]
        named = {f"ccc_{axis}": values[place] for place, axis in enumerate(self.head.units)}
        return named | {"ccc": values.mean()}


def concordance(
    rows: Tensor, x: Tensor, y: Tensor, xx: Tensor, yy: Tensor, xy: Tensor
) -> Tensor:
    """CCC with population moments from sums over the rows, per axis; 0 without rows.

    Two constant sides that agree give 1, as CCC(x, x) does.
    """
    count = rows.clamp(min=1)
    mean_x, mean_y = x / count, y / count
    spread = (xx / count - mean_x**2) + (yy / count - mean_y**2) + (mean_x - mean_y) ** 2
    covariance = xy / count - mean_x * mean_y
    agree = torch.where(rows > 0, 1.0, 0.0).to(spread.dtype)
    return torch.where(spread > 0, 2 * covariance / torch.where(spread > 0, spread, 1.0), agree)


def class_counts(head: Head) -> LiveMetric:
    """True and false positives and negatives per class: [classes, 5]."""
    return MulticlassStatScores(len(head.meaning()["classes"]), average=None, validate_args=False)


def f1_of(counts: Tensor) -> Tensor:
    """F1 per class from counts [classes, (tp, fp, tn, fn, support)]; 0 where nothing is there."""
    tp, fp, _, fn, _ = counts.double().unbind(-1)
    return 2 * tp / (2 * tp + fp + fn).clamp(min=1)


def accuracy_of(counts: Tensor) -> Tensor:
    """Share of right classes from counts [classes, (tp, fp, tn, fn, support)]."""
    return counts[:, 0].sum().double() / counts[:, 4].sum().clamp(min=1)


@hookimpl
def mtl_metrics() -> list[type[Metric]]:
    """The metrics of this package."""
    return [MacroF1, Accuracy, UnitF1, ConcordanceCorrelation]


