"""The attention of DAN: heads that each look at a place and at channels, and how they are fused."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_toolkit import Features

POOLED, HEADS = "pooled", "heads"  # the extras, by name


class SpatialAttention(nn.Module):
    """Weighs the places of a map by convolutions over both axes, one, and the other, summed over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.reduce = _convolution(channels, inner, (1, 1))
        self.square = _convolution(inner, channels, (3, 3))
        self.row = _convolution(inner, channels, (1, 3))
        self.column = _convolution(inner, channels, (3, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """[rows, channels, height, width] to the same, weighted."""
        inner = self.reduce(maps)
        found = torch.relu(self.square(inner) + self.row(inner) + self.column(inner))
        return maps * found.sum(1, keepdim=True)


class ChannelAttention(nn.Module):
    """Weighs the channels of a pooled map by a network with a narrow middle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 16, 1)
        self.weigh = nn.Sequential(
            nn.Linear(channels, inner),
            nn.BatchNorm1d(inner),
            nn.ReLU(),
            nn.Linear(inner, channels),
            nn.Sigmoid(),
        )
        for layer in self.weigh:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.001)
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """[rows, channels, height, width] to [rows, channels]."""
        pooled = maps.mean((2, 3))
        weighted: Tensor = pooled * self.weigh(pooled)
        return weighted


class AttentionHeads(nn.Module):
    """Several heads of spatial, then channel attention; log-softmax across the heads, then their sum.

    Its extras are what the losses of the method look at: `pooled`, the mean of the map before the attention,
    [rows, channels]; and `heads`, the vectors of the heads after the log-softmax, [rows, heads, channels].
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        layers = (nn.Sequential(SpatialAttention(channels), ChannelAttention(channels)) for _ in range(heads))
        self.heads = nn.ModuleList(layers)

    def forward(self, maps: Tensor) -> Features:
        """[rows, channels, height, width] to features [rows, channels]."""
        heads = torch.stack([head(maps) for head in self.heads], dim=1)
        if len(self.heads) > 1:  # of a single one the softmax would be 1
            heads = heads.log_softmax(1)
        return Features(heads.sum(1), {POOLED: maps.mean((2, 3)), HEADS: heads})


def _convolution(channels: int, outputs: int, kernel: tuple[int, int]) -> nn.Sequential:
    """A convolution that keeps the size, and batch normalisation; He et al.'s initial values (ICCV 2015)."""
    convolution = nn.Conv2d(channels, outputs, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type] # it has one
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
