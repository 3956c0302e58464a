"""Heads with one mistake each in their layers."""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from mtl_affect.expression import Expression
from torch import Tensor, nn

from mtl_toolkit import HeadOutput
from mtl_toolkit.testing import check_head
from tests.mutants import broken, maker


class Linear(nn.Module):
    """A sound layer, for others to break."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(features, 7)

    def forward(self, features: Tensor) -> HeadOutput:
        return HeadOutput(self.last(features), features)


class Squeezed(Linear):
    def forward(self, features):
        values, features, _ = super().forward(features)
        return HeadOutput(values.squeeze(0), features)


class PlainTuple(Linear):
    def forward(self, features):
        return tuple(super().forward(features))


class Decided(Linear):
    def forward(self, features):
        values, features, _ = super().forward(features)
        return HeadOutput(values.argmax(-1), features)


class Pictures(Linear):
    def forward(self, features):
        values, features, _ = super().forward(features)
        return HeadOutput(values, features[:, :, None, None])


class WithoutGradient(Linear):
    @torch.no_grad()
    def forward(self, features):
        return super().forward(features)


class NumpyWeights(Linear):
    def __init__(self, features):
        super().__init__(features)
        random = np.random.default_rng()
        with torch.no_grad():
            self.last.weight.copy_(torch.from_numpy(random.normal(size=(7, features))))


class AlwaysDropout(Linear):
    def forward(self, features):
        return super().forward(F.dropout(features, 0.5, training=True))


class BatchStatistics(Linear):
    def forward(self, features):
        return super().forward(features - features.mean(0))


class UnusedLayer(Linear):
    def __init__(self, features):
        super().__init__(features)
        self.forgotten = nn.Linear(features, features)


class Detached(Linear):
    def forward(self, features):
        return super().forward(features.detach())


class StateOutsideBuffers(Linear):
    def __init__(self, features):
        super().__init__(features)
        self.mean = torch.zeros(features)

    def forward(self, features):
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * features.detach().mean(0)
        return super().forward(features - self.mean)


class LargeOffset(Linear):
    def forward(self, features):
        values, features, _ = super().forward(features)
        return HeadOutput(values + 300 - 300, features)


class CountsWithLen(Linear):
    def forward(self, features):
        values, features, _ = super().forward(features)
        return HeadOutput(values.reshape(len(features), 7), features)


@attrs.frozen(kw_only=True)
class Layered(Expression):
    """Expression with other layers."""

    layer: ClassVar[type[nn.Module]] = Linear

    def build(self, features):
        return self.layer(features)


of_head = maker(check_head, Layered, "layer")

LAYERS = [
    of_head("a plain tuple", PlainTuple, "shape"),
    of_head(
        "a plain tuple of the last layer alone",
        broken(Layered, build_last=lambda _, features: PlainTuple(features)),
        "shape",
    ),
    of_head("a plain tuple, which has no values", PlainTuple, "unit-mask"),
    of_head("computes without gradients", WithoutGradient, "gradient-reaches-parameters"),
    of_head("class ids instead of logits", Decided, "shape"),
    of_head("a batch of one loses its dimension", Squeezed, "shape"),
    of_head("features are pictures", Pictures, "shape"),
    of_head("weights from numpy", NumpyWeights, "built-alike"),
    of_head("dropout in eval mode", AlwaysDropout, "same-in-eval-mode"),
    of_head("statistics of the batch in eval mode", BatchStatistics, "rows-apart"),
    of_head("a layer that nothing uses", UnusedLayer, "gradient-reaches-parameters"),
    of_head("detaches the features", Detached, "gradient-reaches-inputs"),
    of_head("state that is no buffer", StateOutsideBuffers, "state-round-trip"),
    of_head("a large number is added and taken away", LargeOffset, "bf16-autocast"),
    of_head("len() of a tensor", CountsWithLen, "exports"),
]
