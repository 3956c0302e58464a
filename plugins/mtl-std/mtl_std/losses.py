"""Losses against the ground truth, for the heads of this package; each is masked and given per unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_toolkit import ConfigError, Head, HeadOutput, Loss, hookimpl
from mtl_toolkit.validators import above, at_least, between, each

from .layers import blank, masked_mean
from .meaning import names_of

LiveLoss = Callable[[HeadOutput, Any, Tensor], Tensor]


@attrs.frozen(kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy with class ids or soft targets (votes).

    With `class_weights` it is the plain mean over the rows of their weighted losses; torch's own divides by
    the sum of the weights. Label smoothing is that of Szegedy et al. (CVPR 2016), votes are those of Barsoum
    et al. (ICMI 2016).
    """

    name: ClassVar[str] = "cross-entropy"
    label_smoothing: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata={"doc": "share of the target spread over all classes"}
    )
    class_weights: tuple[float, ...] = attrs.field(
        default=(),
        validator=each(at_least(0)),
        metadata={"doc": "factor per class, in the head's order; none: all 1"},
    )

    def build(self, head: Head) -> LiveLoss:
        """For heads with one categorical distribution: values [rows, classes]."""
        classes = len(names_of(head, "classes", self.name))
        if len(self.class_weights) not in (0, classes):
            raise ConfigError(
                f"cross-entropy: class_weights must have {classes} values (got {len(self.class_weights)})"
            )
        return _WeightedCrossEntropy(self.class_weights, self.label_smoothing)


class _Weighted(nn.Module):
    """Holds weights where the objective is, so that no step copies them to the device."""

    weights: Tensor | None

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        held = torch.tensor(weights, dtype=torch.float32) if weights else None
        self.register_buffer("weights", held, persistent=False)


class _WeightedCrossEntropy(_Weighted):
    def __init__(self, weights: Sequence[float], label_smoothing: float) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def forward(self, output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
        rows = mask if mask.ndim == 1 else mask.all(1)
        losses = F.cross_entropy(
            blank(output.values, rows),
            blank(target, rows),
            weight=self.weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return masked_mean(losses[:, None], rows[:, None])


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


@attrs.frozen(kw_only=True)
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each unit, with a weight for the positives."""

    name: ClassVar[str] = "binary-cross-entropy"
    positive_weights: tuple[float, ...] = attrs.field(
        default=(),
        validator=each(at_least(0)),
        metadata={"doc": "factor on positives per unit; none: all 1"},
    )

    def build(self, head: Head) -> LiveLoss:
        """For multi-label heads: values, targets and mask [rows, units]."""
        units = len(names_of(head, "units", self.name))
        if len(self.positive_weights) not in (0, units):
            raise ConfigError(
                f"binary-cross-entropy: positive_weights must have {units} values "
                f"(got {len(self.positive_weights)})"
            )
        return _WeightedBinaryCrossEntropy(self.positive_weights)


class _WeightedBinaryCrossEntropy(_Weighted):
    def forward(self, output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(
            blank(output.values, mask), blank(target, mask), pos_weight=self.weights, reduction="none"
        )
        return masked_mean(losses, mask)


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
