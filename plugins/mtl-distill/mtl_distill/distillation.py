"""Knowledge distillation through predictive distributions: one loss for every head."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, kl_divergence

from mtl_toolkit import Head, HeadOutput, Loss, TeacherLoss, hookimpl
from mtl_toolkit.validators import above, at_least

from .masked import blank, masked_mean


@attrs.frozen(kw_only=True)
class Distillation(TeacherLoss):
    """KL(teacher, student) of the head's predictive distributions at a temperature, times its square.

    Hinton, Vinyals and Dean (2015), for any head: categorical for classes, one categorical per axis for
    binned values, Bernoulli per unit for action units, normal for regression. The weight 0.4 is that of Vu,
    Beurton-Aimar and Marchand (ICCV Workshops 2021).
    """

    name: ClassVar[str] = "distillation"
    weight: float = attrs.field(
        default=0.4, validator=at_least(0), metadata={"doc": "factor on rows that have the label"}
    )
    temperature: float = attrs.field(
        default=1.5,
        validator=above(0),
        metadata={"doc": "logarithms of probabilities are divided by it; above 1 is softer"},
    )

    def build(self, head: Head) -> Callable[[HeadOutput, HeadOutput, Tensor], Tensor]:
        """KL per unit, the mean over the masked rows, times the temperature squared."""
        temperature = self.temperature

        def loss(output: HeadOutput, teacher: HeadOutput, mask: Tensor) -> Tensor:
            goal = head.distribution(blank(teacher.values.detach().float(), mask), temperature)
            ours = head.distribution(blank(output.values.float(), mask), temperature)
            return temperature**2 * masked_mean(divergence(goal, ours), mask)

        return loss


def divergence(goal: Distribution, ours: Distribution) -> Tensor:
    """KL(goal, ours) in the distributions' batch shape, from logits in log space where there are logits.

    Raises:
        NotImplementedError: if torch knows no KL between the two types.
    """
    if isinstance(goal, Categorical) and isinstance(ours, Categorical):
        return F.kl_div(ours.logits, goal.logits, reduction="none", log_target=True).sum(-1)
    if isinstance(goal, Bernoulli) and isinstance(ours, Bernoulli):
        # torch's own divides probabilities that round to 0 or 1 from logit 17 on.
        on = goal.logits.sigmoid() * (F.logsigmoid(goal.logits) - F.logsigmoid(ours.logits))
        off = (-goal.logits).sigmoid() * (F.logsigmoid(-goal.logits) - F.logsigmoid(-ours.logits))
        return on + off
    return kl_divergence(goal, ours)


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The distillation loss."""
    return [Distillation]
