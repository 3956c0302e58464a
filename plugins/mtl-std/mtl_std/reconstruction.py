"""Reconstruction: a head that draws a small, blurred copy of the picture, for which no label is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from mtl_toolkit import ConfigError, Head, HeadOutput, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import at_least

from .layers import blank, masked_mean
from .losses import LiveLoss

if TYPE_CHECKING:
    from torchmetrics import Metric as LiveMetric

SIZES = (8, 16, 32, 64)
START = 4  # side of the decoder's first map


def _known_size(_instance: Any, _attribute: Any, size: int) -> None:
    if size not in SIZES:
        raise ValueError(f"must be one of {', '.join(map(str, SIZES))} (got {size})")


@attrs.frozen(kw_only=True)
class Reconstruction(Head):
    """Draws what the network saw, small and blurred: a task that every picture has, without a label.

    The target is the network's input in [0, 1], reduced to `size` and blurred, so that it keeps what a face
    looks like and drops fine detail. To learn by putting together again what was taken away is the idea of
    Vincent et al. (ICML 2008); the blurred target and the decoder are ours: a linear layer to a map of
    4x4, then upsampling by 2 and a 3x3 convolution that halves the channels, up to `size`. With the defaults
    it has 0.55 million parameters on 512 features.

    Nothing of it is written by `mtl predict`.
    """

    name: ClassVar[str] = "reconstruction"
    size: int = attrs.field(
        default=32,
        validator=_known_size,
        metadata={"doc": "side of the reconstruction in pixels: 8, 16, 32 or 64"},
    )
    blur: float = attrs.field(
        default=1.0,
        validator=at_least(0),
        metadata={"doc": "standard deviation of the blur, in pixels of the reconstruction; 0: none"},
    )
    channels: int = attrs.field(
        default=64, validator=at_least(1), metadata={"doc": "channels of the decoder's first map, of 4x4"}
    )
    input_norm: bool = attrs.field(
        default=False,
        metadata={
            "doc": "batch normalisation of the features first, which those of `dan` need: they are large"
        },
    )

    @property
    def units(self) -> tuple[str, ...]:
        """One: the picture."""
        return ("picture",)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(3, size, size)."""
        return (3, self.size, self.size)

    @property
    def self_supervised(self) -> bool:
        """The targets are made of the inputs."""
        return True

    def target_of(self, inputs: Tensor) -> Tensor:
        """The inputs, reduced and blurred: [rows, 3, height, width] to float32 [rows, 3, size, size].

        Raises:
            ConfigError: if the inputs are no pictures.
        """
        if inputs.ndim != 4 or inputs.shape[1] != 3:
            raise ConfigError(
                f"reconstruction: needs pictures of three channels (got inputs of {tuple(inputs.shape)})"
            )
        pictures = inputs.float()
        if inputs.dtype == torch.uint8:
            pictures = pictures / 255
        small = F.interpolate(
            pictures, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
        )
        return low_pass(small, self.blur)

    def meaning(self) -> dict[str, Any]:
        """The size and the blur."""
        return {"kind": "reconstruction", "size": self.size, "blur": self.blur}

    def check_labels(self, labels: Labels) -> str | None:
        """Pixels must be finite."""
        wrong = ~np.isfinite(labels.values[labels.valid])
        return "pixels must be finite (got NaN or an infinity)" if wrong.any() else None

    def describe_label(self, values: np.ndarray, valid: np.ndarray) -> str:
        """Nothing: the picture itself is there."""
        return ""

    def build(self, features: int) -> Decoder:
        """Pictures [rows, 3, size, size], in [0, 1] as far as they are right."""
        return Decoder(features, self.size, self.channels, self.input_norm)

    def estimate(self, values: Tensor) -> Tensor:
        """The pictures as they are: [rows, 3, size, size]."""
        return values

    @property
    def columns(self) -> tuple[str, ...]:
        """None: pictures have no place in a table."""
        return ()

    def predictions(self, values: Tensor) -> Tensor:
        """[rows, 0]."""
        return values.new_zeros((len(values), 0), dtype=torch.float32)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Distribution:
        """Normal over all pixels, with batch shape [rows, 1].

        The scale is such that the divergence of two is the mean squared error of their pixels, over T.
        """
        pixels = values[:1].numel() or 1
        scale = torch.full_like(values, (pixels / 2 * temperature) ** 0.5, dtype=torch.float32)
        each = Normal(values.float()[:, None], scale[:, None], validate_args=False)
        return Independent(each, 3, validate_args=False)

    def unit_mask(self, mask: Tensor) -> Tensor:
        """[rows, 1]: a picture is there in full or not at all."""
        return mask.flatten(1).all(1, keepdim=True)

    def default_losses(self) -> tuple[Loss, ...]:
        """Mean squared error of the pixels."""
        return (PixelError(),)

    def default_metrics(self) -> tuple[Metric, ...]:
        """PSNR."""
        return (PeakSignalToNoise(),)

    def default_selection(self) -> Mapping[str, float]:
        """PSNR; a decibel counts as much as a hundredth of a score."""
        return {"psnr": 0.01}


class Decoder(nn.Module):
    """From features [rows, features] to pictures [rows, 3, size, size].

    Args:
        features: how many.
        size: side of the pictures, 4 times a power of two.
        channels: of the first map.
        input_norm: whether the features are normalised first.
    """

    def __init__(self, features: int, size: int, channels: int, input_norm: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.BatchNorm1d(features) if input_norm else nn.Identity()
        self.first = nn.Linear(features, channels * START**2)
        steps: list[nn.Module] = [nn.ReLU()]
        while START * 2 ** (len(steps) // 3) < size:
            fewer = max(channels // 2, 1)
            steps += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, fewer, 3, padding=1), nn.ReLU()]
            channels = fewer
        self.steps = nn.Sequential(*steps, nn.Conv2d(channels, 3, 3, padding=1))

    def forward(self, inputs: Tensor) -> HeadOutput:
        """[rows, features] to a `HeadOutput` whose values are pictures."""
        small = self.first(self.norm(inputs)).reshape(inputs.shape[0], self.channels, START, START)
        return HeadOutput(self.steps(small), inputs)


def low_pass(pictures: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of a standard deviation in pixels; the picture is mirrored at its edges."""
    if not sigma:
        return pictures
    # Heavy, and needed in training only.
    from torchvision.transforms.v2.functional import gaussian_blur

    radius = min(int(np.ceil(3 * sigma)), pictures.shape[-1] - 1)
    blurred: Tensor = gaussian_blur(pictures, [2 * radius + 1] * 2, [sigma] * 2)
    return blurred


@attrs.frozen(kw_only=True)
class PixelError(Loss):
    """Mean squared error of the pixels of a picture.

    Pictures are in [0, 1], so it is small: about 0.05 for a grey one. Give it a `weight` of 10 or more to
    count beside a cross-entropy.
    """

    name: ClassVar[str] = "pixel-mse"

    def build(self, head: Head) -> LiveLoss:
        """For heads whose values are pictures: [rows, channels, height, width]."""
        of_pictures(head, self.name)

        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            rows = mask.flatten(1).all(1, keepdim=True)
            errors = (blank(output.values, rows[:, 0]) - blank(target, rows[:, 0])) ** 2
            return masked_mean(errors.flatten(1).mean(1, keepdim=True), rows)

        return loss


@attrs.frozen(kw_only=True)
class PeakSignalToNoise(Metric):
    """PSNR in decibels of pictures in [0, 1]: -10 log10 of the mean squared error over all pixels.

    It is 0 without pictures, and at most 100.
    """

    name: ClassVar[str] = "psnr"

    def build(self, head: Head) -> LiveMetric:
        """For heads whose values are pictures."""
        from .live_metrics import PooledPixels

        of_pictures(head, self.name)
        return PooledPixels(head)


def of_pictures(head: Head, wanted_by: str) -> None:
    """Raise a ConfigError if a head's values are no pictures."""
    if len(head.target_shape) != 3:
        raise ConfigError(f"{wanted_by}: needs a head whose outputs are pictures (got {head.name!r})")


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The reconstruction head."""
    return [Reconstruction]


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The error of pixels."""
    return [PixelError]


@hookimpl
def mtl_metrics() -> list[type[Metric]]:
    """PSNR."""
    return [PeakSignalToNoise]
