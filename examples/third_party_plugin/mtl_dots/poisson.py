"""The loss of counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
import torch
import torch.nn.functional as F
from mtl_toolkit import Head, HeadOutput, Loss, hookimpl
from torch import Tensor


@attrs.frozen(kw_only=True)
class PoissonLikelihood(Loss):
    """Minus the log-likelihood of a count; the output is the logarithm of its rate."""

    name: ClassVar[str] = "poisson"
    constant: bool = attrs.field(
        default=False, metadata={"doc": "add log(count!), which changes no gradient"}
    )

    def build(self, head: Head) -> Callable[[HeadOutput, Tensor, Tensor], Tensor]:
        """For heads with values and targets [rows, units]."""

        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            log_rate = torch.where(mask, output.values, 0.0)
            count = torch.where(mask, target, 0.0)
            losses = F.poisson_nll_loss(log_rate, count, log_input=True, reduction="none")
            if self.constant:
                losses = losses + torch.lgamma(count + 1)
            return torch.where(mask, losses, 0.0).sum(0) / mask.sum(0).clamp(min=1)

        return loss


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The losses of this module."""
    return [PoissonLikelihood]
