"""The task of counting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
from mtl_std.metrics import ConcordanceCorrelation
from mtl_toolkit import Head, HeadOutput, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import at_least
from torch import Tensor, nn
from torch.distributions import Poisson

from .poisson import PoissonLikelihood


@attrs.frozen(kw_only=True)
class Count(Head):
    """How many there are, as a Poisson distribution."""

    name: ClassVar[str] = "count"
    largest: int = attrs.field(
        default=100, validator=at_least(1), metadata={"doc": "labels above it are refused"}
    )

    units = ("count",)
    target_shape = (1,)  # and target_dtype is float32 unless you say otherwise

    def meaning(self) -> dict[str, Any]:
        """What a teacher must agree with."""
        return {"kind": "count", "axes": ["count"]}

    def check_labels(self, labels: Labels) -> str | None:
        """Counts must be in range; written so that NaN, which is in no range, is refused too."""
        values = labels.values[labels.valid]
        wrong = values[~((values >= 0) & (values <= self.largest))]
        return f"counts must be from 0 to {self.largest} (got {wrong[0]:g})" if len(wrong) else None

    def strata(self, labels: Labels) -> np.ndarray:
        """The count, for the balanced sampler; -1 where it is missing."""
        return np.where(labels.complete(), labels.values[:, 0], -1).astype(np.int64)

    def build(self, features: int) -> nn.Module:
        """One layer."""
        return CountLayers(features)

    def estimate(self, values: Tensor) -> Tensor:
        """The rate: float [rows, 1]."""
        return values.exp()

    def average(self, values: Tensor, weights: Tensor) -> Tensor:
        """The logarithm of the mean rate, for ensembles; the mean of the logarithms would be another."""
        return (values.float() + weights.log()[:, None, None]).logsumexp(0)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Poisson:
        """For distillation; batch shape [rows, 1]."""
        return Poisson((values.float() / temperature).exp(), validate_args=False)

    def default_losses(self) -> tuple[Loss, ...]:
        """The likelihood."""
        return (PoissonLikelihood(),)

    def default_metrics(self) -> tuple[Metric, ...]:
        """CCC of the rate."""
        return (ConcordanceCorrelation(),)

    def default_selection(self) -> Mapping[str, float]:
        """The epoch with the highest CCC is the best."""
        return {"ccc": 1.0}


class CountLayers(nn.Module):
    """Maps [rows, features] to the logarithm of the rate [rows, 1]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> HeadOutput:
        """The output, and the features under the last layer."""
        return HeadOutput(self.last(features), features)


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The heads of this module."""
    return [Count]
