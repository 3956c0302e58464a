"""Pictures of dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import numpy as np
import torch
from mtl_toolkit import DataError, DataFacts, Dataset, Labels, Samples, hookimpl
from mtl_toolkit.validators import at_least, between
from torch import Tensor

MOST = 9  # dots in a picture
CELL = 4  # side in pixels of the square that a dot has for itself


@attrs.frozen(kw_only=True)
class Dots(Dataset):
    """Pictures of up to nine dots, drawn in memory."""

    name: ClassVar[str] = "dots"
    samples: int = attrs.field(default=1000, validator=at_least(1), metadata={"doc": "number of pictures"})
    seed: int = attrs.field(
        default=0, validator=at_least(0), metadata={"doc": "another seed draws other pictures"}
    )
    missing: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata={"doc": "share of pictures without a label"}
    )

    def build(self, facts: DataFacts) -> Samples:
        """Draw the labels; pictures are drawn when they are read.

        Raises:
            DataError: if the pictures have no room for the dots.
        """
        smallest = CELL * 3
        if facts.image_size < smallest:
            raise DataError(
                f"dots: pictures must be at least {smallest} pixels wide (got {facts.image_size})"
            )
        return DotSamples(self, facts)


class DotSamples(Samples):
    """The samples of a recipe."""

    def __init__(self, recipe: Dots, facts: DataFacts) -> None:
        random = np.random.default_rng(recipe.seed)
        self.seed, self.size = recipe.seed, facts.image_size
        self.numbers = random.integers(0, MOST + 1, recipe.samples)
        values = self.numbers[:, None].astype(np.float32)
        valid = random.random(values.shape) >= recipe.missing
        tasks = [task for task, head in facts.tasks.items() if head.label == "count"]
        self._labels = {task: Labels(values, valid) for task in tasks}

    def __len__(self) -> int:
        return len(self.numbers)

    def labels(self) -> Mapping[str, Labels]:
        """The labels of all samples, without drawing a picture."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Draw some pictures: uint8 [n, 3, size, size]."""
        return torch.stack([self.draw(int(index)) for index in indices])

    def draw(self, index: int) -> Tensor:
        """A picture is a function of seed and index, whoever draws it: uint8 [3, size, size]."""
        random = np.random.default_rng([self.seed, index])
        picture = torch.zeros(3, self.size, self.size, dtype=torch.uint8)
        cells = self.size // CELL
        for cell in random.choice(cells**2, self.numbers[index], replace=False):
            y, x = CELL * np.array(divmod(cell, cells)) + random.integers(0, 2, 2)
            picture[:, y : y + 2, x : x + 2] = 255
        return picture


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The datasets of this module."""
    return [Dots]
