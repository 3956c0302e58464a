"""The modules of the temporal networks; all map [windows, frames, features] to [..., num_features].

A mask is bool [windows, frames], true for a window's frames, which come first; None where all are full.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .layers import blank


class RecurrentLayers(nn.Module):
    """GRU, ReLU, dropout: to [windows, frames, hidden x directions].

    With a mask the lengths are copied to the host, where torch wants them; that waits for the device.
    """

    def __init__(
        self, features: int, hidden: int, layers: int, dropout: float, *, bidirectional: bool
    ) -> None:
        super().__init__()
        self.num_features = hidden * (2 if bidirectional else 1)
        self.gru = nn.GRU(
            features,
            hidden,
            layers,
            batch_first=True,
            # Between the layers; torch warns where there is only one.
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """[windows, frames, features] to the same frames; float32 under autocast."""
        # Not in bf16: the state is rounded at every frame, and the errors add up.
        with torch.autocast(inputs.device.type, enabled=False):
            frames = outside_blanked(inputs, mask).to(next(self.parameters()).dtype)
            states = self.gru(frames)[0] if mask is None else self._packed(frames, mask)
            outputs: Tensor = self.dropout(states.relu())
        return outside_blanked(outputs, mask)

    def _packed(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Read each window up to its end, where the backward direction starts."""
        lengths = first_kept(mask).sum(1).cpu()
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=frames.shape[1])
        return states


class ConvolutionLayers(nn.Module):
    """Residual blocks of dilated convolutions: to [windows, frames, channels]."""

    def __init__(
        self, features: int, channels: int, layers: int, kernel: int, dropout: float, *, causal: bool
    ) -> None:
        super().__init__()
        self.num_features = channels
        sizes = [features] + [channels] * layers
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs, outputs, kernel, 2**level, dropout, causal=causal)
            for level, (inputs, outputs) in enumerate(pairwise(sizes))
        )

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """[windows, frames, features] to the same frames."""
        outputs = outside_blanked(inputs, mask)
        for block in self.blocks:
            outputs = block(outputs, mask)
        return outside_blanked(outputs, mask)


class ResidualBlock(nn.Module):
    """Two dilated convolutions beside a shortcut, which is a linear layer where the sizes differ."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float, *, causal: bool
    ) -> None:
        super().__init__()
        self.first = DilatedConvolution(inputs, outputs, kernel, dilation, dropout, causal=causal)
        self.second = DilatedConvolution(outputs, outputs, kernel, dilation, dropout, causal=causal)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """[windows, frames, inputs] to [windows, frames, outputs]."""
        inner = self.second(self.first(inputs, mask), mask)
        outputs: Tensor = (inner + self.shortcut(inputs)).relu()
        return outputs


class DilatedConvolution(nn.Module):
    """Dilated convolution, layer norm, ReLU, dropout.

    The norm is over a frame's channels. Statistics over frames (batch, group or instance norm) would count
    the padding, and a frame would depend on how long the other windows of its batch are.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float, *, causal: bool
    ) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.padding = (reach, 0) if causal else (reach // 2, reach // 2)
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.norm = nn.LayerNorm(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """[windows, frames, inputs] to [windows, frames, outputs]."""
        # Beyond its end a window is zero, as if it were alone; the bias has filled the padding.
        rows = outside_blanked(inputs, mask).transpose(1, 2)
        convolved = self.convolution(F.pad(rows, self.padding)).transpose(1, 2)
        outputs: Tensor = self.dropout(self.norm(convolved).relu())
        return outputs


class TransformerLayers(nn.Module):
    """Linear layer, positions, encoder layers, norm: to [windows, frames, width]."""

    def __init__(
        self, features: int, width: int, heads: int, layers: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_features = width
        self.project = nn.Linear(features, width)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, heads, feedforward, dropout, batch_first=True, norm_first=True
        )
        # With its norms first, a layer leaves the sum unnormed; hence one at the end.
        self.encoder = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        # Torch's layers are copies of one; without this all would start from the same weights.
        for parameter in self.encoder.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """[windows, frames, features] to the same frames."""
        frames = self.project(outside_blanked(inputs, mask))
        places = sinusoids(inputs.shape[1], self.num_features, inputs.device)
        frames = self.dropout(frames + places.to(self.project.weight.dtype))
        padding = None if mask is None else ~first_kept(mask)
        return outside_blanked(self.encoder(frames, src_key_padding_mask=padding), mask)


def sinusoids(frames: int, width: int, device: torch.device | None = None) -> Tensor:
    """Positions as sines and cosines in turn (Vaswani et al., 2017, section 3.5): float32 [frames, width]."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


def outside_blanked(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Put zeros outside the mask; [windows, frames, features] to the same."""
    return tensor if mask is None else blank(tensor, mask)


def first_kept(mask: Tensor) -> Tensor:
    """Count the first frame of every window in.

    A window without frames, which can be neither packed nor attended to, thus stays finite.
    """
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | first
