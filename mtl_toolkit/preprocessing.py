"""What is done to pictures before the network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn


@attrs.frozen
class Preprocessing:
    """What is done to a picture before the network sees it; part of every checkpoint.

    Attributes:
        image_size: side in pixels of the square that the network sees.
        read_size: side of the picture that it is cut from, around the centre.
        channels: colour order.
        resize: filter used to bring pictures to `read_size`.
        mean: per channel, of pictures scaled to [0, 1].
        std: likewise.
    """

    image_size: int
    read_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str = "RGB"
    resize: str = "bilinear, antialiased"


class CentreCrop(nn.Module):
    """Cut the centre out of pictures larger than `size`; other inputs pass as they are.

    Training cuts its squares before the network, at random. Both see faces at one scale (Touvron et al.,
    "Fixing the train-test resolution discrepancy", NeurIPS 2019).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, channels, height, width] to [rows, channels, size, size]."""
        if inputs.ndim != 4 or min(inputs.shape[2:]) < self.size:
            return inputs
        top, left = ((side - self.size) // 2 for side in inputs.shape[2:])
        return inputs[:, :, top : top + self.size, left : left + self.size]


class Normalise(nn.Module):
    """Scale uint8 pictures to [0, 1], or take floats in [0, 1], and normalise their channels.

    Floats that are no pictures (not [rows, channels, height, width]) pass as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, channels, height, width] to the same, normalised."""
        if inputs.dtype != torch.uint8:
            return (inputs - self.mean) / self.std if inputs.ndim == 4 else inputs
        scale, shift = 1 / (255 * self.std), self.mean / self.std
        # In place, on the copy: torch's addcmul takes several times as long over a broadcast scale.
        if not inputs.is_contiguous(memory_format=torch.channels_last):
            return inputs.to(self.mean.dtype).mul_(scale).sub_(shift)
        # The colours of a pixel lie together; whole lines at a time take less than half as long.
        rows, channels, height, width = inputs.shape
        lines = inputs.permute(0, 2, 3, 1).to(self.mean.dtype).contiguous()
        scale, shift = (one.reshape(-1).repeat(width) for one in (scale, shift))
        lines.view(rows, height, width * channels).mul_(scale).sub_(shift)
        return lines.permute(0, 3, 1, 2)


def dtype_problem(inputs: Tensor) -> str | None:
    """What is wrong with the type of pictures, or None: integers other than uint8 have no known scale."""
    if inputs.ndim != 4 or inputs.dtype == torch.uint8 or inputs.is_floating_point():
        return None
    found = str(inputs.dtype).removeprefix("torch.")
    return f"pictures must be uint8, or floats in [0, 1] (got {found})"


def seen_by(model: nn.Module, inputs: Tensor) -> Tensor:
    """The part of the inputs that a network sees, before it normalises them."""
    cut = next((module for module in model.modules() if isinstance(module, CentreCrop)), None)
    return inputs if cut is None else cut(inputs)
