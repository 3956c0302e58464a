"""The order in which a stream's samples come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs
import numpy as np

from mtl_toolkit import DataError, Head, Labels, Sampler, hookimpl

Draw = Callable[[np.random.Generator], np.ndarray]


@attrs.frozen(kw_only=True)
class Shuffle(Sampler):
    """Every sample once a pass, in random order."""

    name: ClassVar[str] = "shuffle"

    def build(self, length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> Draw:
        """A random permutation a pass."""
        return lambda generator: generator.permutation(length)


@attrs.frozen(kw_only=True)
class Sequential(Sampler):
    """Every sample once a pass, in the dataset's order."""

    name: ClassVar[str] = "sequential"

    def build(self, length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> Draw:
        """The same order in every pass."""
        return lambda _generator: np.arange(length)


@attrs.frozen(kw_only=True)
class Balanced(Sampler):
    """Draws with replacement, each stratum of the stream's task as often as the others.

    As in Vu et al. (ICCV Workshops 2021): a sample's weight is 1 / size of its stratum (class, or cell of
    the valence-arousal grid); for a combined task the weights of its members are added. A label that is
    missing, in whole or in part, adds nothing.
    """

    name: ClassVar[str] = "balanced"

    def build(self, length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> Draw:
        """As many draws a pass as there are samples."""
        weights = balanced_weights(length, labels, heads)
        if not weights.any():
            raise DataError("sampler 'balanced': no sample has a label of the stream's task")
        ladder = np.cumsum(weights)

        def draw(generator: np.random.Generator) -> np.ndarray:
            drawn: np.ndarray = np.searchsorted(ladder, generator.random(length) * ladder[-1], side="right")
            return drawn

        return draw


def balanced_weights(length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> np.ndarray:
    """The weight of each sample: float64 [length]; the sum of several tasks is scaled to a maximum of 1."""
    total = np.zeros(length)
    for task, head in heads.items():
        if task in labels:
            strata = head.strata(labels[task])
            known = strata >= 0
            _, inverse, counts = np.unique(strata[known], return_inverse=True, return_counts=True)
            total[known] += 1 / counts[inverse]
    return total / total.max() if len(heads) > 1 and total.any() else total


@hookimpl
def mtl_samplers() -> list[type[Sampler]]:
    """The samplers of this package."""
    return [Shuffle, Sequential, Balanced]
