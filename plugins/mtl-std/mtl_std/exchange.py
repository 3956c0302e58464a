"""What one of two branches takes over from the other's feature map."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def tokens_of(maps: Tensor) -> Tensor:
    """[rows, channels, height, width] to a token for each place: [rows, height * width, channels]."""
    return maps.flatten(2).transpose(1, 2)


def maps_of(tokens: Tensor, like: Tensor) -> Tensor:
    """Tokens, as `tokens_of` makes them, to maps of the shape of another."""
    return tokens.transpose(1, 2).reshape(like.shape)


def positions(height: int, width: int, channels: int) -> Tensor:
    """Sines and cosines that tell places apart: [height * width, channels].

    A quarter of the channels each has the sine and cosine of the row and of the column, numbered from 0, at
    frequencies from 1 down towards 1/10000 (Vaswani et al., 2017; for both axes Carion et al., ECCV 2020, who
    scale the numbers). What is left of the channels is zero.
    """
    count = channels // 4
    frequencies = torch.exp(-math.log(10000) * torch.arange(count) / max(count, 1))
    rows = (torch.arange(height)[:, None] * frequencies)[:, None].expand(-1, width, -1)
    columns = (torch.arange(width)[:, None] * frequencies)[None].expand(height, -1, -1)
    parts = [rows.sin(), rows.cos(), columns.sin(), columns.cos()]
    parts.append(torch.zeros(height, width, channels - 4 * count))
    return torch.cat(parts, dim=2).flatten(0, 1)


class CrossAttention(nn.Module):
    """Every place of the own map attends to all places of the other (Vaswani et al., 2017), and adds it up.

    own + attention(query = norm(own) + place, key = norm(other) + place, value = norm(other)), with layer
    normalisation first (Xiong et al., ICML 2020). The output projection begins at zero, so that training
    starts from the own map alone.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.own_norm = nn.LayerNorm(channels)
        self.other_norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)
        nn.init.zeros_(self.attention.out_proj.bias)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two maps [rows, channels, height, width] to one of the same shape."""
        query, value = self.own_norm(tokens_of(own)), self.other_norm(tokens_of(other))
        place = positions(own.shape[2], own.shape[3], own.shape[1]).to(query)
        found, _ = self.attention(query + place, value + place, value, need_weights=False)
        return own + maps_of(found, own)


class Gated(nn.Module):
    """Adds the other map through a gate that is learnt, for each channel at each place.

    own + tanh(W [own, other] + b) * other. The gate begins at zero, so that training starts from the own map
    alone. It belongs to the family of cross-stitch units (Misra et al., CVPR 2016), whose share of the other
    branch is a number, and of NDDR layers (Gao et al., CVPR 2019), which mix the channels of both with a 1x1
    convolution; here such a convolution makes the shares.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two maps [rows, channels, height, width] to one of the same shape."""
        both = torch.cat([tokens_of(own), tokens_of(other)], dim=2)
        return own + maps_of(torch.tanh(self.gate(both)), own) * other
