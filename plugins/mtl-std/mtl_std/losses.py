"""Losses against the ground truth, for the heads of this package; each is masked and given per unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_toolkit import ConfigError, Head, HeadOutput, Loss, hookimpl
from mtl_toolkit.validators import above

from .cross_entropies import BinaryCrossEntropy, CrossEntropy
from .layers import blank, masked_mean
from .meaning import names_of

LiveLoss = Callable[[HeadOutput, Any, Tensor], Tensor]


@attrs.frozen(kw_only=True)
class BinCrossEntropy(Loss):
    """Cross-entropy on the bin that a continuous target falls in, for each axis of a binned head.

    As in Vu et al. (ICCV Workshops 2021).
    """

    name: ClassVar[str] = "bin-cross-entropy"

    def build(self, head: Head) -> LiveLoss:
        """For `binned-regression` and its relatives: values [rows, axes, bins], targets [rows, axes]."""
        from .binned_regression import BinnedRegression

        if not isinstance(head, BinnedRegression):
            raise ConfigError(f"bin-cross-entropy: needs a head with bins (got {head.name!r})")

        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            bins = head.bin_of(blank(target, mask))
            losses = F.cross_entropy(blank(output.values, mask).transpose(1, 2), bins, reduction="none")
            return masked_mean(losses, mask)

        return loss


@attrs.frozen(kw_only=True)
class Concordance(Loss):
    """1 - CCC of each axis, with unbiased (n - 1) moments (Lin, 1989); an axis with one row is left out."""

    name: ClassVar[str] = "ccc"

    def build(self, head: Head) -> LiveLoss:
        """For heads whose estimate is continuous: [rows, axes]."""
        names_of(head, "axes", self.name)

        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            estimate = head.estimate(blank(output.values, mask))
            return concordance_loss(estimate, target, mask)

        return loss


@attrs.frozen(kw_only=True)
class MeanSquaredError(Loss):
    """Squared error of each axis."""

    name: ClassVar[str] = "mse"

    def build(self, head: Head) -> LiveLoss:
        """For heads whose estimate is continuous: [rows, axes]."""
        names_of(head, "axes", self.name)

        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            estimate = head.estimate(blank(output.values, mask))
            return masked_mean((estimate - blank(target, mask)) ** 2, mask)

        return loss


@attrs.frozen(kw_only=True)
class SmoothL1(Loss):
    """Absolute error of each axis, quadratic below `beta` (Girshick, 2015)."""

    name: ClassVar[str] = "smooth-l1"
    beta: float = attrs.field(
        default=1.0,
        validator=above(0),
        metadata={"doc": "the error at which it turns linear, in the target's unit"},
    )

    def build(self, head: Head) -> LiveLoss:
        """For heads whose estimate is continuous: [rows, axes]."""
        names_of(head, "axes", self.name)

        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            estimate = head.estimate(blank(output.values, mask))
            losses = F.smooth_l1_loss(estimate, blank(target, mask), beta=self.beta, reduction="none")
            return masked_mean(losses, mask)

        return loss


def concordance_loss(estimate: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - CCC over the valid rows of each column: [rows, axes] to [axes]; zero with fewer than two rows.

    CCC = 2 rho s_x s_y / (s_x^2 + s_y^2 + (mean_x - mean_y)^2) with n - 1 in the moments; rho s_x s_y is the
    covariance. Where both sides are constant and equal it is taken as 0.
    """
    x, y = blank(estimate, mask), blank(target, mask)
    rows = mask.sum(0)
    mean_x, mean_y = x.sum(0) / rows.clamp(min=1), y.sum(0) / rows.clamp(min=1)
    dx, dy = blank(x - mean_x, mask), blank(y - mean_y, mask)
    less_one = (rows - 1).clamp(min=1)
    spread = (dx**2).sum(0) / less_one + (dy**2).sum(0) / less_one + (mean_x - mean_y) ** 2
    concordance = 2 * (dx * dy).sum(0) / less_one / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    return torch.where(rows >= 2, 1 - concordance, 0.0)


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The losses of this package."""
    return [CrossEntropy, BinCrossEntropy, Concordance, MeanSquaredError, SmoothL1, BinaryCrossEntropy]
