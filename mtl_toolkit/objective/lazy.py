"""Losses whose parameters get their sizes from a dry run: outputs of some rows, none of them labelled."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..plugin import Head


def has_lazy(live: Any) -> bool:
    """Whether a live loss has parameters or buffers without a size yet."""
    if not isinstance(live, nn.Module):
        return False
    return any(is_lazy(tensor) for tensor in itertools.chain(live.parameters(), live.buffers()))


def no_labels(head: Head, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Target and mask of rows that have no label: zeros in the head's target type, and false."""
    shape = (rows, *head.target_shape)
    dtype = getattr(torch, head.target_dtype.name)
    target = torch.zeros(shape, dtype=dtype, device=device)
    return target, torch.zeros(shape, dtype=torch.bool, device=device)
