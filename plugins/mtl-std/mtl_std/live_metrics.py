"""What the recipes of `metrics` build; a module of its own because torchmetrics takes seconds to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric as LiveMetric
from torchmetrics.classification import MulticlassStatScores, MultilabelStatScores
from torchmetrics.wrappers.abstract import WrapperMetric

from mtl_toolkit import Head, HeadOutput

from .metrics import Values, concordance

MISSING = -1


class ValidCounts(WrapperMetric):
    """Counts per class or unit [n, (tp, fp, tn, fn, support)] of a head's estimates, where there is a label.

    Args:
        head: turns raw outputs into class ids [rows], or zeros and ones [rows, units].
        per: what is counted.
        count: how many of them there are.
        reduce: turns the counts into the reported values.
        together: count over all of them together, [1, 5].
    """

    def __init__(
        self,
        head: Head,
        per: Literal["classes", "units"],
        count: int,
        reduce: Callable[[Tensor], Values],
        together: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self.per = per
        self.reduce = reduce
        kind = MulticlassStatScores if per == "classes" else MultilabelStatScores
        average: Literal["micro"] | None = "micro" if together else None
        self.counts: LiveMetric = kind(count, average=average, ignore_index=MISSING, validate_args=False)

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        estimate = self.head.estimate(output.values).long()
        if self.per == "classes":
            mask = self.head.unit_mask(mask)[:, 0]
            target = target.argmax(-1) if target.ndim == 2 else target
        self.counts.update(estimate, torch.where(mask, target, MISSING).long())

    def compute(self) -> Values:
        """The reported values."""
        return self.reduce(self.counts.compute().reshape(-1, 5))

    def reset(self) -> None:
        """Forget everything."""
        self.counts.reset()
        super().reset()


class PooledConcordance(LiveMetric):
    """CCC from sums in float64, so that CCC(x, x) is 1 and shards add up.

    Args:
        head: turns raw outputs into values per axis.
        each: report the axes too, and not only their mean.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, head: Head, each: bool = True) -> None:
        super().__init__()
        self.head = head
        self.each = each
        self.add_state("sums", torch.zeros(6, len(head.units), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        """Add a batch; rows that are missing on an axis are left out there."""
        x = torch.where(mask, self.head.estimate(output.values), 0.0).double()
        y = torch.where(mask, target, 0.0).double()
        # Not `+=`: float64 wins even where the metric was moved with `.to(torch.float32)`.
        self.sums = self.sums + torch.stack([mask.double(), x, y, x * x, y * y, x * y]).sum(1)

    def compute(self) -> Values:
        """CCC per axis, and the mean."""
        values = concordance(self.sums)
        if len(values) == 1 or not self.each:
            return values.mean()
        named = {f"ccc_{axis}": values[place] for place, axis in enumerate(self.head.units)}
        return named | {"ccc": values.mean()}


class PooledPixels(LiveMetric):
    """PSNR from sums in float64; torchmetrics' own is infinite or NaN for equal pictures, or none."""

    full_state_update = False
    sums: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        """Add a batch; rows that are missing in part are left out."""
        rows = self.head.unit_mask(mask)[:, :, None, None].expand(target.shape)
        errors = torch.where(rows, self.head.estimate(output.values) - target, 0.0).double()
        self.sums = self.sums + torch.stack([rows.double().sum(), (errors**2).sum()])

    def compute(self) -> Tensor:
        """PSNR in decibels."""
        pixels, errors = self.sums
        decibels = -10 * (errors / pixels.clamp(min=1)).clamp(min=1e-10).log10()
        return torch.where(pixels > 0, decibels, 0.0)
