"""What the losses of this package do with rows and units that do not count."""

from __future__ import annotations

import torch
from torch import Tensor


def blank(values: Tensor, mask: Tensor) -> Tensor:
    """Zeros in rows (or units, where the values have that axis) outside the mask [rows, units]."""
    keep = mask if values.shape[:2] == mask.shape else mask.any(1)
    keep = keep.reshape(keep.shape + (1,) * (values.ndim - keep.ndim))
    return torch.where(keep, values, 0.0)


def masked_mean(losses: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked rows of each unit: [rows, units] to [units]; zero where there are none."""
    return torch.where(mask, losses, 0.0).sum(0) / mask.sum(0).clamp(min=1)
