"""A small self-supervised head, as a plugin: it draws the picture that it is given, much smaller."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torchmetrics import MeanMetric

from mtl_toolkit import Head, HeadOutput, Loss, Metric, hookimpl


def row_errors(values, target, mask):
    """The mean squared error of each valid row."""
    there = mask.flatten(1).all(1)
    return (values[there] - target[there]).square().flatten(1).mean(1)


@attrs.frozen(kw_only=True)
class ThumbnailError(Loss):
    """Mean squared error."""

    name: ClassVar[str] = "thumbnail-error"

    def build(self, head):
        def loss(output, target, mask):
            errors = row_errors(output.values, target, mask)
            return errors.mean() if len(errors) else output.values[:0].sum()

        return loss


class MeanError(MeanMetric):
    def update(self, output, target, mask):
        super().update(row_errors(output.values, target, mask))

    def compute(self):
        return self.mean_value / self.weight.clamp(min=1)


@attrs.frozen(kw_only=True)
class ThumbnailMetric(Metric):
    """Mean squared error over all rows."""

    name: ClassVar[str] = "thumbnail_error"

    def build(self, head):
        return MeanError()


class Draw(nn.Module):
    def __init__(self, features, side):
        super().__init__()
        self.layer = nn.Linear(features, 3 * side * side)
        self.side = side

    def forward(self, features):
        return HeadOutput(self.layer(features).reshape(-1, 3, self.side, self.side), features)


@attrs.frozen(kw_only=True)
class Thumbnail(Head):
    """The picture itself, as a square of few pixels."""

    name: ClassVar[str] = "thumbnail"
    side: int = attrs.field(default=2, metadata={"doc": "pixels"})
    units = ("picture",)
    columns = ()
    self_supervised = True

    @property
    def target_shape(self):
        return (3, self.side, self.side)

    def target_of(self, inputs):
        pictures = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        return F.adaptive_avg_pool2d(pictures, self.side)

    def meaning(self) -> dict[str, Any]:
        return {"kind": "thumbnail", "side": self.side}

    def check_labels(self, labels):
        return None if np.isfinite(labels.values[labels.valid]).all() else "pixels must be finite"

    def unit_mask(self, mask):
        return mask.flatten(1).all(1, keepdim=True)

    def build(self, features):
        return Draw(features, self.side)

    def estimate(self, values: Tensor) -> Tensor:
        return values

    def predictions(self, values: Tensor) -> Tensor:
        return torch.zeros(len(values), 0)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Independent:
        return Independent(Normal(values[:, None].float(), temperature), 3)

    def default_losses(self):
        return (ThumbnailError(),)

    def default_metrics(self):
        return (ThumbnailMetric(),)

    def default_selection(self):
        return {}


@hookimpl
def mtl_heads():
    return [Thumbnail]


@hookimpl
def mtl_losses():
    return [ThumbnailError]


@hookimpl
def mtl_metrics():
    return [ThumbnailMetric]
