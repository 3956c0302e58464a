"""Datasets of a stream drawn more evenly than their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
import numpy as np

from mtl_toolkit import DataError, Head, Labels, Sampler, hookimpl
from mtl_toolkit.validators import at_least

from .samplers import Balanced, Draw


@attrs.frozen(kw_only=True)
class Temperature(Sampler):
    """Draws each dataset of a stream in proportion to its size to the power of 1 / temperature.

    At 1 datasets come as they are; the higher, the more alike their shares (Arivazhagan et al., "Massively
    multilingual neural machine translation in the wild", 2019, section 4; with 1/0.7, multilingual BERT). A
    pass has as many draws as the stream has samples, and each dataset its exact share of them, rounded by
    largest remainder. Within a dataset every sample comes once before any comes twice.
    """

    name: ClassVar[str] = "temperature"
    temperature: float = attrs.field(
        default=5.0, validator=at_least(1), metadata={"doc": "1: as they are; inf: all alike"}
    )
    within: Literal["shuffle", "balanced"] = attrs.field(
        default="shuffle",
        metadata={"doc": "order in a dataset: every sample in turn, or its strata as often as each other"},
    )

    def build(self, length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> Draw:
        """As `build_over`, for a single dataset."""
        return self.build_over(np.zeros(length, np.int64), labels, heads)

    def build_over(
        self, datasets: np.ndarray, labels: Mapping[str, Labels], heads: Mapping[str, Head]
    ) -> Draw:
        """As many draws a pass as there are samples, by the dataset of each."""
        numbers, sizes = np.unique(datasets, return_counts=True)
        shares = quotas(sizes, self.temperature, len(datasets))
        parts = [np.flatnonzero(datasets == number) for number in numbers]
        draws = [self._inside(part, labels, heads) for part in parts]
        places = np.repeat(np.arange(len(parts)), shares)

        def draw(generator: np.random.Generator) -> np.ndarray:
            order = generator.permutation(places)
            drawn = np.empty(len(order), np.int64)
            for place, (part, inside) in enumerate(zip(parts, draws, strict=True)):
                drawn[order == place] = part[cycled(inside, int(shares[place]), generator)]
            return drawn

        return draw

    def _inside(self, part: np.ndarray, labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> Draw:
        """The order of the samples of one dataset, by their places in it."""
        if self.within == "shuffle":
            return lambda generator: generator.permutation(len(part))
        own = {task: Labels(one.values[part], one.valid[part]) for task, one in labels.items()}
        try:
            return Balanced().build(len(part), own, heads)
        except DataError as error:
            rule = "every dataset must have labels of the stream's task"
            raise DataError(f"sampler 'temperature': within: {rule} to be balanced inside") from error


def quotas(sizes: np.ndarray, temperature: float, total: int) -> np.ndarray:
    """How often to draw each dataset: int64, adding up to `total`.

    The shares are in proportion to sizes ** (1 / temperature), rounded by largest remainder; of equal ones
    the first dataset is rounded up.
    """
    weights = (sizes / sizes.max(initial=1)) ** (1 / temperature)
    exact = total * weights / weights.sum()
    whole: np.ndarray = np.floor(exact).astype(np.int64)
    # Rounding noise must not decide between remainders that are the same.
    left = np.argsort(-(exact - whole).round(9), kind="stable")[: total - whole.sum()]
    whole[left] += 1
    return whole


def cycled(draw: Draw, count: int, generator: np.random.Generator) -> np.ndarray:
    """The first `count` of pass after pass: int64 [count]."""
    passes: list[np.ndarray] = []
    have = 0
    while have < count:
        passes.append(draw(generator))
        have += len(passes[-1])
    return np.concatenate(passes)[:count] if passes else np.zeros(0, np.int64)


@hookimpl
def mtl_samplers() -> list[type[Sampler]]:
    """The samplers of this module."""
    return [Temperature]
