"""Backbones with one mistake each."""

from __future__ import annotations

import copy
from typing import ClassVar

import attrs
import torch
from torch import nn

from mtl_toolkit import Backbone, Chain, Features
from mtl_toolkit.testing import Check, check_backbone
from mtl_toolkit.testing.architectures import MeanOverPlaces
from tests.mutants import Mutant, broken, maker, of_any_kind
from tests.mutants.networks import with_parts


class Convolution(nn.Module):
    """A convolution and a mean, with one more part between."""

    num_features = 6

    def __init__(self, part: nn.Module, size: int = 0):
        super().__init__()
        self.layer, self.part = nn.Conv2d(3, 6, 3), part

    def forward(self, inputs):
        return self.part(self.layer(inputs)).mean((2, 3))


class WrongWidth(Convolution):
    num_features = 7


class MemoryOrder(Convolution):
    """Looks at the numbers as they lie in memory."""

    def forward(self, inputs):
        flat = inputs.as_strided((inputs.shape[0], inputs[0].numel()), (inputs[0].numel(), 1))
        return super().forward(flat.reshape(inputs.shape))


class NoWidth(Convolution):
    num_features = None


class Pyramid(Convolution):
    def forward(self, inputs):
        return [super().forward(inputs)]


class Squeezed(Convolution):
    def forward(self, inputs):
        return super().forward(inputs).squeeze()


class Whole(Convolution):
    def forward(self, inputs):
        return (100 * super().forward(inputs)).to(torch.int64)


class MapsOfOneRow(Convolution):
    """Gives a map beside the features that has no dimension for the rows."""

    def forward(self, inputs):
        return Features(super().forward(inputs), {"map": inputs[0, 0]})


class WithMaps(Convolution):
    """Sound: gives a map beside the features."""

    def forward(self, inputs):
        maps = self.part(self.layer(inputs))
        return Features(maps.mean((2, 3)), {"map": maps.sigmoid()})


class BlindMaps(WithMaps):
    """The map depends on the other rows."""

    def forward(self, inputs):
        features, extras = super().forward(inputs)
        return Features(features, {"map": extras["map"] - extras["map"].mean(0)})


class Blind(Convolution):
    def forward(self, inputs):
        return super().forward(torch.ones_like(inputs))


class InParts(Convolution):
    """Can be taken apart, soundly; `part` is a convolution of its own."""

    channels = 6

    def __init__(self, part: nn.Module):
        super().__init__(nn.Conv2d(6, 6, 1))

    def chain(self):
        return Chain({"layer": self.layer, "part": self.part}, MeanOverPlaces(), self.channels)


class WrongChannels(InParts):
    channels = 7


class AnotherOrder(InParts):
    """Blocks that do not follow each other so."""

    def chain(self):
        return super().chain()._replace(blocks={"layer": self.layer, "part": self.part, "again": self.part})


class CopiesABlock(InParts):
    """Gives a copy, which trains apart from the network."""

    def chain(self):
        return super().chain()._replace(blocks={"layer": self.layer, "part": copy.deepcopy(self.part)})


class Thaws(InParts):
    """Keeps a frozen layer in eval mode only as a whole."""

    def __init__(self, part: nn.Module):
        super().__init__(part)
        self.part = nn.Sequential(self.part, nn.BatchNorm2d(6).requires_grad_(False))

    def train(self, mode=True):
        super().train(mode)
        self.part[1].eval()
        return self


@attrs.frozen(kw_only=True)
class Small(Backbone):
    """One convolution, sound."""

    name: ClassVar[str] = "small"
    part: ClassVar[type[nn.Module]] = nn.Identity
    layers: ClassVar[type[Convolution]] = Convolution

    def statistics(self):
        return (0.5,) * 3, (0.25,) * 3

    def build(self, image_size, *, weights=True):
        return self.layers(self.part())


@attrs.frozen(kw_only=True)
class SmallWithMaps(Small):
    """The same, with a map beside the features."""

    name: ClassVar[str] = "small-with-maps"
    layers: ClassVar[type[Convolution]] = WithMaps


@attrs.frozen(kw_only=True)
class Apart(Small):
    """Can be taken apart, sound."""

    name: ClassVar[str] = "apart"
    layers: ClassVar[type[Convolution]] = InParts


def normalised(self, image_size, *, weights=True):
    return Convolution(nn.Identity() if weights else nn.BatchNorm2d(6))


def one_by_one(self, image_size, *, weights=True):
    network = Convolution(nn.Identity())
    network.layer = nn.Conv2d(3, 6, 3 if weights else 1)
    return network


of_layers = maker(check_backbone, Small, "layers")


def of_statistics(mistake: str, mean: float, deviation: float, channels: int = 3) -> Mutant:
    wrong = broken(Small, statistics=lambda _: ((mean,) * channels, (deviation,) * channels))
    return of_layers(mistake, wrong, "statistics")


MUTANTS = [
    *of_any_kind(check_backbone, Small),
    *with_parts(check_backbone, Small),
    of_layers("no num_features", NoWidth, "shape", told="num_features is None"),
    of_layers("num_features is wrong", WrongWidth, "shape"),
    of_layers("a list of features", Pyramid, "shape"),
    of_layers("a batch of one loses its dimension", Squeezed, "shape"),
    of_layers("whole numbers", Whole, "shape"),
    of_layers("an extra without a dimension for rows", MapsOfOneRow, "shape", told="extra 'map'"),
    of_layers("an extra that depends on other rows", BlindMaps, "rows-apart", told="features: map"),
    of_statistics("statistics of grey pictures", 0.5, 0.25, channels=1),
    of_statistics("a mean of 0 to 255", 127.5, 0.25),
    of_statistics("a deviation of 0 to 255", 0.5, 64.0),
    of_layers("complains", broken(Small, problems=lambda _: ["the network is small"]), "problems"),
    of_layers("other layers without weights", broken(Small, build=normalised), "without-weights"),
    of_layers("other shapes without weights", broken(Small, build=one_by_one), "without-weights"),
    of_layers("looks at memory", MemoryOrder, "channels-last"),
    of_layers("does not look", Blind, "look-at-the-picture"),
    of_layers("channels are those of another map", WrongChannels, "chain"),
    of_layers("blocks make another network", AnotherOrder, "chain"),
    of_layers("a block is a copy", CopiesABlock, "chain"),
    of_layers("a frozen layer thaws in a part", Thaws, "chain"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return [one for recipe in (Small(), SmallWithMaps(), Apart()) for one in check_backbone(recipe)]
