"""A head on trial, and what can be read off its distributions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from ..batch import Features, Labels
from ..plugin import Head
from .examples import FEATURES, Examples, head_output
from .modules import ModuleTrial, named

INTERVAL: Any = type(constraints.integer_interval(0, 1))  # torch has no public name for it


class HeadTrial:
    """A head, and rows to try it on."""

    def __init__(self, recipe: Head, labels: Labels | None = None, inputs: Tensor | None = None) -> None:
        self.recipe = recipe
        self._inputs = pictures(40) if inputs is None else inputs
        self.given = self._own_labels() if labels is None and recipe.self_supervised else labels
        self.examples = Examples(recipe, self.given)

    def inputs(self, rows: int) -> Tensor:
        """What a self-supervised head makes its targets of."""
        return self._inputs[:rows].clone()

    def _own_labels(self) -> Labels | None:
        """Those that a self-supervised head makes; None where its mistake is told by a check of its own."""
        try:
            values = self.recipe.target_of(self._inputs.clone()).numpy()
        except Exception:
            return None  # the check of `target_of` raises it again
        fits = values.shape[1:] == self.recipe.target_shape and values.dtype == self.recipe.target_dtype
        return Labels(values, np.ones(values.shape, np.bool_)) if fits else None

    def layers(self) -> ModuleTrial:
        """Its layers."""

        def inputs(rows: int) -> Tensor:
            return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(rows))

        def call(module: nn.Module, given: Tensor) -> Mapping[str, Tensor]:
            output = head_output(module(given))
            return {"values": output.values, **named("features", Features(output.features, output.extras))}

        return ModuleTrial(lambda: self.recipe.build(FEATURES), inputs, call, learns=("values",))

    def values(self, rows: int, scale: float = 1.0, seed: int = 0) -> Tensor:
        """Random outputs."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(rows, *self.examples.shape(), generator=generator) * scale

    @cached_property
    def labels(self) -> Labels:
        """Labels of twelve samples, some of which are missing."""
        rows = self.examples.some_missing(12)
        return Labels(rows.target.numpy(), rows.mask.numpy())


def pictures(rows: int) -> Tensor:
    """Random pictures, uint8 [rows, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8, generator=generator)


def parameters_of(distribution: Distribution) -> Tensor:
    """All parameters of a distribution, one row after the other: [rows, ...]."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    found = []
    for name in distribution.arg_constraints:
        value = getattr(distribution, name, None)
        if isinstance(value, Tensor) and value.ndim:
            found.append(value.reshape(len(value), -1).float())
    return torch.cat(found, 1)


def support_of(distribution: Distribution) -> object:
    """What it is a distribution over, as torch says it; None if it does not."""
    try:
        return distribution.support
    except NotImplementedError:
        return None
