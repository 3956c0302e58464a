"""The layers of a head, and the arithmetic that masked losses share."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from mtl_toolkit import Head, HeadOutput
from mtl_toolkit.validators import at_least, between


@attrs.frozen(kw_only=True)
class LayeredHead(Head):
    """A head of BN, FC, ReLU, BN, dropout, FC (Vu et al., ICCV Workshops 2021), or of one layer."""

    hidden: int = attrs.field(
        default=128, validator=at_least(0), metadata={"doc": "width of the hidden layer; 0: one linear layer"}
    )
    dropout: float = attrs.field(
        default=0.5, validator=between(0, 1), metadata={"doc": "probability of dropout before the last layer"}
    )
    output_norm: bool = attrs.field(
        default=False, metadata={"doc": "batch normalisation of the outputs, after the last layer"}
    )

    def layers(self, features: int, *shape: int) -> HeadLayers:
        """The module from [rows, features] to values of [rows, *shape]."""
        return HeadLayers(features, shape, self.hidden, self.dropout, self.output_norm)

    def last_layer(self, features: int, *shape: int) -> HeadLayers:
        """As `layers`, without a hidden layer and dropout."""
        return HeadLayers(features, shape, hidden=0, dropout=0.0, output_norm=self.output_norm)


class HeadLayers(nn.Module):
    """Maps [rows, features] to values [rows, *shape], and gives the features under the last layer too."""

    def __init__(
        self,
        features: int,
        shape: tuple[int, ...],
        hidden: int,
        dropout: float,
        output_norm: bool = False,
    ) -> None:
        super().__init__()
        self.shape = shape
        outputs = int(torch.Size(shape).numel())
        self.hidden = (
            nn.Sequential(
                nn.BatchNorm1d(features), nn.Linear(features, hidden), nn.ReLU(), nn.BatchNorm1d(hidden)
            )
            if hidden
            else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(hidden or features, outputs)
        self.output_norm = nn.BatchNorm1d(outputs) if output_norm else nn.Identity()

    def forward(self, inputs: Tensor) -> HeadOutput:
        """[rows, features] to a `HeadOutput`."""
        features = self.hidden(inputs)
        values = self.output_norm(self.last(self.dropout(features)))
        return HeadOutput(values.reshape(inputs.shape[0], *self.shape), features)


def blank(tensor: Tensor, mask: Tensor) -> Tensor:
    """Put zeros where the mask is false, so that whatever lies there reaches neither value nor gradient.

    The mask is broadcast over the trailing dimensions that it lacks.
    """
    mask = mask.reshape(mask.shape + (1,) * (tensor.ndim - mask.ndim))
    return torch.where(mask, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid rows of each column: [rows, units] to [units]; zero where nothing is valid."""
    return blank(values, mask).sum(0) / mask.sum(0).clamp(min=1)
