"""Metrics for the heads of this package, exact over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs
import torch
from torch import Tensor

from mtl_toolkit import Head, Metric, hookimpl

from .meaning import names_of

if TYPE_CHECKING:
    from torchmetrics import Metric as LiveMetric

Values = Tensor | dict[str, Tensor]


@attrs.frozen(kw_only=True)
class MacroF1(Metric):
    """Mean F1 over all classes of the head; a class that never occurs counts as 0."""

    name: ClassVar[str] = "macro_f1"

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is a class id."""
        return from_counts(self, head, "classes", lambda counts: f1_of(counts).mean())


@attrs.frozen(kw_only=True)
class Accuracy(Metric):
    """Share of samples whose class is right."""

    name: ClassVar[str] = "accuracy"

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is a class id."""
        return from_counts(self, head, "classes", accuracy_of, together=True)


@attrs.frozen(kw_only=True)
class UnitF1(Metric):
    """F1 of each unit, and their mean over all units; a unit that never occurs counts as 0."""

    name: ClassVar[str] = "f1"

    def outputs(self, head: Head) -> tuple[str, ...]:
        """One name per unit, and `mean_f1`."""
        return (*(f"f1_{unit}" for unit in head.units), "mean_f1")

    def build(self, head: Head) -> LiveMetric:
        """For multi-label heads."""

        def named(counts: Tensor) -> Values:
            f1 = f1_of(counts)
            return {f"f1_{unit}": f1[place] for place, unit in enumerate(head.units)} | {"mean_f1": f1.mean()}

        return from_counts(self, head, "units", named)


@attrs.frozen(kw_only=True)
class ConcordanceCorrelation(Metric):
    """CCC of each axis, pooled over all samples, with population moments; and their mean (Lin, 1989)."""

    name: ClassVar[str] = "ccc"
    each: bool = attrs.field(
        default=True, metadata={"doc": "report the axes too, and not only the mean over them"}
    )

    def outputs(self, head: Head) -> tuple[str, ...]:
        """One name per axis, and `ccc`."""
        axes = head.units if self.each and len(head.units) > 1 else ()
        return (*(f"ccc_{axis}" for axis in axes), "ccc")

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is continuous."""
        from .live_metrics import PooledConcordance

        names_of(head, "axes", self.name)
        return PooledConcordance(head, self.each)


def from_counts(
    metric: Metric,
    head: Head,
    per: Literal["classes", "units"],
    reduce: Callable[[Tensor], Values],
    *,
    together: bool = False,
) -> LiveMetric:
    """A metric made of the counts [n, (tp, fp, tn, fn, support)] per class, or unit of a multi-label head.

    Args:
        metric: the recipe, for the message where the head does not fit.
        head: turns raw outputs into class ids [rows], or zeros and ones [rows, units].
        per: what is counted.
        reduce: turns the counts over all samples into the reported values.
        together: count over all classes together, [1, 5], whose cost does not grow with their number.
    """
    from .live_metrics import ValidCounts

    return ValidCounts(head, per, len(names_of(head, per, metric.name)), reduce, together)


def f1_of(counts: Tensor) -> Tensor:
    """F1 per class from counts [classes, (tp, fp, tn, fn, support)]; 0 where nothing is there."""
    tp, fp, _, fn, _ = counts.double().unbind(-1)
    return 2 * tp / (2 * tp + fp + fn).clamp(min=1)


def accuracy_of(counts: Tensor) -> Tensor:
    """Share of right classes from counts [classes, (tp, fp, tn, fn, support)]; 0 without samples."""
    return counts[:, 0].sum().double() / counts[:, 4].sum().clamp(min=1)


def concordance(sums: Tensor) -> Tensor:
    """CCC per axis with population moments, from the sums of (1, x, y, x*x, y*y, x*y): [6, axes] to [axes].

    0 without rows; two constant sides that agree give 1, as CCC(x, x) does.
    """
    rows, x, y, xx, yy, xy = sums
    count = rows.clamp(min=1)
    mean_x, mean_y = x / count, y / count
    spread = (xx / count - mean_x**2) + (yy / count - mean_y**2) + (mean_x - mean_y) ** 2
    covariance = xy / count - mean_x * mean_y
    agree = (rows > 0).to(spread.dtype)
    return torch.where(spread > 0, 2 * covariance / torch.where(spread > 0, spread, 1.0), agree)


@hookimpl
def mtl_metrics() -> list[type[Metric]]:
    """The metrics of this package."""
    return [MacroF1, Accuracy, UnitF1, ConcordanceCorrelation]
