"""The losses of DAN: rows near the centre of their class, and attention heads that differ."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import attrs
import torch
import torch.nn.functional as F
from mtl_std.layers import blank, masked_mean
from mtl_std.meaning import names_of
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from mtl_toolkit import ConfigError, Head, HeadOutput, Loss, hookimpl

from .attention import HEADS, POOLED

EPSILON = 1e-6  # keeps logarithm and quotient finite where a variance is zero


@attrs.frozen(kw_only=True)
class Affinity(Loss):
    """Squared distance to the centre of the own class, over the variance between the centres.

    The affinity loss of DAN (Wen et al., arXiv 2109.07270, 2021): |x - c_y|^2 / s_c^2, where x is the mean
    over the last feature map and the centres c are learnt. As in the published code, s_c^2 is the unbiased
    variance between the centres summed over the features, the loss is the mean over the rows, and the centres
    begin as standard normal numbers. Votes weigh the distances to the centres.
    """

    name: ClassVar[str] = "affinity"

    def build(self, head: Head) -> AffinityLoss:
        """For heads with classes, on a backbone that gives its pooled map, such as `dan`."""
        return AffinityLoss(len(names_of(head, "classes", self.name)))


class AffinityLoss(LazyModuleMixin, nn.Module):
    """Holds the centres; they get the size of the features from the first call."""

    cls_to_become = None
    centres: UninitializedParameter

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.centres = UninitializedParameter()

    def initialize_parameters(self, output: HeadOutput, _target: Any, _mask: Tensor) -> None:
        """Draw the centres from torch's global generator."""
        if self.has_uninitialized_params():  # type: ignore[misc] # torch's stub asks for a protocol
            size = extra_of(output, POOLED, Affinity.name).shape[1]
            with torch.no_grad():
                self.centres.materialize((self.classes, size))
                self.centres.normal_()

    def forward(self, output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
        """The mean over the rows that have the label."""
        rows = mask if mask.ndim == 1 else mask.all(1)
        target = blank(target, rows)
        shares = target if target.ndim > 1 else F.one_hot(target, self.classes)
        pooled = blank(extra_of(output, POOLED, Affinity.name), rows)
        return affinity_loss(pooled, shares.to(pooled.dtype), self.centres, rows)


def affinity_loss(features: Tensor, shares: Tensor, centres: Tensor, rows: Tensor) -> Tensor:
    """Distances of rows to their centres over the variance between centres, a scalar.

    Args:
        features: [rows, features].
        shares: of the classes in the label of a row, one-hot or votes: [rows, classes].
        centres: [classes, features].
        rows: bool [rows], those that have a label.
    """
    distances = (features[:, None] - centres).square().sum(2)
    own = (shares * distances).sum(1) / centres.var(0).sum().clamp(min=EPSILON)
    return masked_mean(own[:, None], rows[:, None]).sum()


@attrs.frozen(kw_only=True)
class Partition(Loss):
    """Small where the attention heads of a row differ.

    The partition loss of DAN (Wen et al., arXiv 2109.07270, 2021): log(1 + k / s^2), where k is the number of
    heads and s^2 the unbiased variance between their vectors, over the rows that have a label. The published
    code takes one logarithm, of the mean variance of all rows and features; so does this, as the published
    learning rates and weights go with it. With `mean_of = "logarithms"` each row and feature has a logarithm
    of its own. Features in which the heads hardly differ then weigh most: on a ResNet-18 with random weights
    the loss is ten times as large, and its gradient fifteen times.
    """

    name: ClassVar[str] = "partition"
    mean_of: Literal["variances", "logarithms"] = attrs.field(
        default="variances",
        metadata={"doc": "what the mean over rows and features is taken of; the published code: variances"},
    )

    def build(self, head: Head) -> Any:
        """For any head, on a backbone that gives the vectors of its attention heads, such as `dan`."""

        def loss(output: HeadOutput, _target: Any, mask: Tensor) -> Tensor:
            heads = extra_of(output, HEADS, self.name)
            if heads.shape[1] < 2:
                raise ConfigError(f"{self.name}: needs at least 2 attention heads (got 1)")
            rows = mask.reshape(len(mask), -1).any(1)
            return partition_loss(blank(heads, rows), rows, one_logarithm=self.mean_of == "variances")

        return loss


def partition_loss(heads: Tensor, rows: Tensor, *, one_logarithm: bool) -> Tensor:
    """How alike the heads are, a scalar; zero without rows.

    Args:
        heads: [rows, heads, features].
        rows: bool [rows], those that count.
        one_logarithm: of the mean variance; else the mean of the logarithms of each row and feature.
    """
    variances = heads.var(1)
    if one_logarithm:
        mean = masked_mean(variances, rows[:, None]).mean()
        return torch.where(rows.any(), _alike(mean, heads.shape[1]), 0.0)
    return masked_mean(_alike(variances, heads.shape[1]), rows[:, None]).mean()


def _alike(variance: Tensor, heads: int) -> Tensor:
    return torch.log1p(heads / (variance + EPSILON))


def extra_of(output: HeadOutput, name: str, loss: str) -> Tensor:
    """A tensor that the network gives beside its features.

    Raises:
        ConfigError: if it gives none of that name.
    """
    if name not in output.extras:
        given = ", ".join(output.extras) or "nothing"
        raise ConfigError(
            f"{loss}: needs a backbone that gives {name!r} beside its features, such as 'dan', and no "
            f"temporal network over it (got {given})"
        )
    return output.extras[name]


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The losses of this module."""
    return [Affinity, Partition]
