"""Continuous values predicted as a distribution over bins."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor
from torch.distributions import Categorical

from mtl_toolkit import Head, Loss, hookimpl
from mtl_toolkit.validators import at_least

from .layers import HeadLayers
from .losses import BinCrossEntropy, Concordance
from .regression import AxesHead


@attrs.frozen(kw_only=True)
class BinnedRegression(AxesHead):
    """Continuous values as one distribution over bins per axis; the estimate is its expectation.

    As in Vu et al. (ICCV Workshops 2021): bin edges at linspace(low, high, bins + 1), values of the bins at
    linspace(low, high, bins); the highest value falls in the last bin.
    """

    name: ClassVar[str] = "binned-regression"
    bins: int = attrs.field(default=20, validator=at_least(2), metadata={"doc": "bins per axis"})
    range: tuple[float, float] = attrs.field(
        default=(-1.0, 1.0), metadata={"doc": "lowest and highest target; the bins' range"}
    )

    def meaning(self) -> dict[str, Any]:
        """The axes, their range and bins."""
        return {
            "kind": "binned-regression",
            "axes": list(self.axes),
            "bins": self.bins,
            "range": list(self.range),
        }

    def bin_of(self, targets: Tensor) -> Tensor:
        """The bin each value falls in, edges found in float64: int64, the shape of the targets."""
        # As numpy's linspace has them, but made on the device: a copy from the host would wait for it.
        low, high = self.range
        edges = torch.arange(self.bins + 1, dtype=torch.float64, device=targets.device)
        edges = edges * ((high - low) / self.bins) + low
        return (torch.bucketize(targets.double(), edges, right=True) - 1).clamp(0, self.bins - 1)

    def build(self, features: int) -> HeadLayers:
        """Logits [rows, axes, bins]."""
        return self.layers(features, len(self.axes), self.bins)

    def build_last(self, features: int) -> HeadLayers:
        """One layer to logits [rows, axes, bins]."""
        return self.last_layer(features, len(self.axes), self.bins)

    def estimate(self, values: Tensor) -> Tensor:
        """The expectation over the bins' values: [rows, axes]."""
        centres = torch.linspace(*self.range, self.bins, device=values.device)
        return (values.float().softmax(-1) * centres).sum(-1)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Categorical:
        """Categorical over the bins with batch shape [rows, axes]."""
        return Categorical(logits=values.float() / temperature, validate_args=False)

    def default_losses(self) -> tuple[Loss, ...]:
        """Cross-entropy on the bin, and 1 - CCC."""
        return (BinCrossEntropy(), Concordance())


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The binned-regression head."""
    return [BinnedRegression]
