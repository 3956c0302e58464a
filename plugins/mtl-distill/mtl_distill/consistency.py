"""Consistency: the student predicts what its teacher predicts, often an average of the student itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution

from mtl_toolkit import Head, HeadOutput, Loss, TeacherLoss, hookimpl

from .masked import blank, masked_mean


@attrs.frozen(kw_only=True)
class Consistency(TeacherLoss):
    """Mean squared difference of the predictive probabilities of student and teacher.

    With `teacher = "ema"` it is that of the mean teacher (Tarvainen and Valpola, NeurIPS 2017); the loss is
    that of Laine and Aila (ICLR 2017). For any head: the probabilities of the classes, of the bins of an
    axis, or of a unit; the mean, where the distribution has no probabilities, as of a regression.
    """

    name: ClassVar[str] = "consistency"

    def build(self, head: Head) -> Callable[[HeadOutput, HeadOutput, Tensor], Tensor]:
        """The squared difference per unit, the mean over its probabilities and the masked rows."""

        def loss(output: HeadOutput, teacher: HeadOutput, mask: Tensor) -> Tensor:
            goal = probabilities(head.distribution(blank(teacher.values.detach().float(), mask)))
            ours = probabilities(head.distribution(blank(output.values.float(), mask)))
            losses = (ours - goal).square()
            return masked_mean(
                losses.flatten(mask.ndim).mean(-1) if losses.ndim > mask.ndim else losses, mask
            )

        return loss


def probabilities(distribution: Distribution) -> Tensor:
    """Of the classes [..., classes] or of a unit [...]; the mean [...] of other distributions."""
    if isinstance(distribution, Categorical | Bernoulli):
        found: Tensor = distribution.probs
        return found
    return distribution.mean


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The consistency loss."""
    return [Consistency]
