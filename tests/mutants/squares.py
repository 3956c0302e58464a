"""A sound dataset, for the mutants of datasets to change a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import numpy as np
import torch
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit import DataFacts, Dataset, Labels, Samples
from mtl_toolkit.testing import Check, check_dataset
from mtl_toolkit.validators import at_least
from tests.mutants import maker

TASKS = {"expr": Expression(), "va": ValenceArousal()}


class Squares(Samples):
    """Pictures of one colour each, sound; the mutants below change a part."""

    def __init__(self, facts: DataFacts, count: int) -> None:
        self.count, self.size = count, facts.image_size
        classes = np.arange(count) % 7
        affect = np.linspace(-1, 1, 2 * count, dtype=np.float32).reshape(count, 2)
        there = np.arange(count) % 3 > 0
        self.known = {
            "expr": Labels(np.where(there, classes, 0), there),
            "va": Labels(affect, np.stack([~there, np.ones(count, bool)], 1)),
        }
        self.known = {task: self.known[task] for task in facts.tasks}

    def __len__(self) -> int:
        return self.count

    def labels(self) -> Mapping[str, Labels]:
        return self.known

    def read(self, indices):
        colours = torch.as_tensor(np.asarray(indices) * 9 % 256, dtype=torch.uint8)
        return colours[:, None, None, None].expand(-1, 3, self.size, self.size).clone()

    def column(self, name: str) -> np.ndarray | None:
        columns = {"video": np.arange(self.count) // 5, "frame": np.arange(self.count, dtype=np.int64)}
        return {"video": columns["video"].astype(np.bytes_), "frame": columns["frame"]}.get(name)


@attrs.frozen(kw_only=True)
class Drawn(Dataset):
    """Drawn squares, sound."""

    name: ClassVar[str] = "drawn"
    live: ClassVar[type[Squares]] = Squares
    samples: int = attrs.field(default=20, validator=at_least(1), metadata={"doc": "how many"})

    def build(self, facts: DataFacts) -> Samples:
        return self.live(facts, self.samples)


def checks_of(recipe: Dataset) -> list[Check]:
    return check_dataset(recipe, TASKS)


of_dataset = maker(checks_of, Drawn, "live")
