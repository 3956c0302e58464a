"""Balancers that look at the losses alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from mtl_toolkit import Balancer, ConfigError, HeadOutput, hookimpl


@attrs.frozen(kw_only=True)
class Sum(Balancer):
    """The sum of the tasks' losses, each with a fixed weight."""

    name: ClassVar[str] = "sum"
    weights: Mapping[str, float] = attrs.field(
        factory=dict, metadata={"doc": "factor per task; a task not named has 1"}
    )

    def build(self, tasks: Sequence[str]) -> WeightedSum:
        """Check the names."""
        unknown = sorted(set(self.weights) - set(tasks))
        if unknown:
            raise ConfigError(f"balancer 'sum': weights must name tasks {list(tasks)} (got {unknown[0]!r})")
        return WeightedSum(self.weights)


class WeightedSum:
    """Adds the gradient of the weighted sum."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights

    def backward(
        self,
        losses: Mapping[str, Tensor],
        outputs: Mapping[str, HeadOutput],
        scale: Tensor | float = 1.0,
    ) -> None:
        """One backward pass."""
        terms = [self.weights.get(task, 1.0) * loss for task, loss in losses.items()]
        (torch.stack(terms).sum() * scale).backward()


@hookimpl
def mtl_balancers() -> list[type[Balancer]]:
    """The balancers of this package."""
    return [Sum]
