"""Temporal networks with one mistake each."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import nn

from mtl_toolkit import Temporal
from mtl_toolkit.testing import Check, check_temporal
from tests.mutants import broken, maker, of_any_kind
from tests.mutants.networks import Detach, with_parts


class Average(nn.Module):
    """Each frame beside the mean of its window's frames, with one more part before."""

    def __init__(self, features, part):
        super().__init__()
        self.num_features, self.part = 8, part
        self.layer = nn.Linear(2 * features, 8)

    def forward(self, inputs, mask=None):
        frames = self.part(inputs)
        if mask is None:
            mask = torch.ones_like(frames[..., 0], dtype=torch.bool)
        frames = torch.where(mask[..., None], frames, 0.0)
        return self.layer(torch.cat([frames, self.mean(frames, mask).expand_as(frames)], -1))

    def mean(self, frames, mask):
        return frames.sum(1, keepdim=True) / mask.sum(1)[:, None, None]


class LastFrame(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, mask)[:, -1]


class NoWidth(Average):
    def __init__(self, features, part):
        super().__init__(features, part)
        del self.num_features


class Whole(Average):
    def forward(self, inputs, mask=None):
        return (100 * super().forward(inputs, mask)).to(torch.int64)


class LargeOffset(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, mask) + 300 - 300


class MeanOverTheBatchsFrames(Average):
    """Divides by the frames of the longest window of the batch."""

    def mean(self, frames, mask):
        return frames.mean(1, keepdim=True)


class IgnoresLengths(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, None)


class IgnoresLengthsInTraining(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, None if self.training else mask)


class IgnoresLengthsInEvalMode(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, mask if self.training else None)


class SixteenPositions(Average):
    """Longer windows have no positions."""

    def forward(self, inputs, mask=None):
        return super().forward(inputs + torch.arange(16.0)[: inputs.shape[1], None], mask)


class ZeroTimesOutside(Average):
    """Nothing outside is seen, and its gradient is a little more than none."""

    def forward(self, inputs, mask=None):
        return super().forward(inputs, mask) + 1e-3 * (inputs - inputs.detach()).sum()


class FrameByFrame(Average):
    def mean(self, frames, mask):
        return frames


@attrs.frozen(kw_only=True)
class Averages(Temporal):
    """Means over windows, sound."""

    name: ClassVar[str] = "averages"
    part: ClassVar[type[nn.Module]] = nn.Identity
    layers: ClassVar[type[Average]] = Average

    def build(self, features):
        return self.layers(features, self.part())


of_layers = maker(check_temporal, Averages, "layers")

MUTANTS = [
    *of_any_kind(check_temporal, Averages),
    *with_parts(check_temporal, Averages, in_front=True),
    of_layers("no num_features", NoWidth, "shape", told="num_features is None"),
    of_layers("the last frame only", LastFrame, "shape"),
    of_layers("positions of sixteen frames", SixteenPositions, "shape", raises=RuntimeError),
    of_layers("whole numbers", Whole, "shape"),
    of_layers("a large number is added and taken away", LargeOffset, "bf16-autocast"),
    of_layers("ignores the mask", IgnoresLengths, "frames-outside-change-nothing"),
    of_layers("ignores the mask in training", IgnoresLengthsInTraining, "frames-outside-change-nothing"),
    of_layers("ignores the mask in eval mode", IgnoresLengthsInEvalMode, "frames-outside-change-nothing"),
    of_layers("a mean over too many frames", MeanOverTheBatchsFrames, "frames-outside-change-nothing"),
    of_layers("detaches the frames", broken(Averages, part=Detach), "masked-gradient"),
    of_layers("a gradient outside the mask", ZeroTimesOutside, "masked-gradient"),
    of_layers("looks at single frames", FrameByFrame, "frames-are-seen-together"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return check_temporal(Averages())
