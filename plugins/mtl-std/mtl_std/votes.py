"""The arithmetic of votes that heads share: each network decides for itself, and the votes are counted."""

from __future__ import annotations

from torch import Tensor

TIE = 1e-6  # shares of votes that differ by less are equal: weights are rounded
LEAST = 1e-6  # probability of what nobody voted for: its logarithm stays finite
NUDGE = 1e-3  # of all votes, given to the decision, so that a tie is seen in the shares too


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """[members, rows, ...] and [members] to float32 [rows, ...]."""
    return (values.float() * weights.float().reshape(-1, *[1] * (values.ndim - 1))).sum(0)


def decided(shares: Tensor, decision: Tensor) -> Tensor:
    """Shares of votes moved a little towards the decision, which is 1 or 0 in the same shape."""
    return shares.lerp(decision, NUDGE)
