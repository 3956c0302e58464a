"""Optimizers of torch by name: what they are handed, and what is refused."""

from __future__ import annotations

import pytest
from torch import nn

from mtl_toolkit import ConfigError, HeadOutput, MultiTaskModel
from mtl_toolkit.config import Optimizer
from mtl_toolkit.trainer import make_optimizer


class Trunk(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, self.layer(inputs))


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, features):
        return HeadOutput(self.layer(features), features)


def model(layer: nn.Module) -> MultiTaskModel:
    return MultiTaskModel(Trunk(layer), {"task": Last()})


def test_a_lazy_layer_is_refused_with_the_part_that_has_it():
    """Each of several processes would draw values of its own for it, and they would stay apart."""
    with pytest.raises(ConfigError, match=r"^backbone: a lazy layer has no size yet"):
        make_optimizer(Optimizer(), model(nn.LazyLinear(4)), nn.Identity())
    with pytest.raises(ConfigError, match=r"^losses: a lazy layer has no size yet"):
        make_optimizer(Optimizer(), model(nn.Linear(4, 4)), nn.LazyLinear(4))


def test_a_network_that_is_frozen_throughout_is_refused():
    frozen = model(nn.Linear(4, 4)).requires_grad_(requires_grad=False)
    with pytest.raises(ConfigError, match="nothing to train"):
        make_optimizer(Optimizer(), frozen, nn.Identity())
