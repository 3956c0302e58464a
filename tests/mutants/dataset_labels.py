"""Datasets with one mistake each, in labels, names, columns and single samples."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from mtl_toolkit import Labels, Sample
from tests.mutants.squares import Squares, of_dataset


class Empty(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, 0)


class OtherTasks(Squares):
    def labels(self):
        return {"expression": self.known["expr"]}


@attrs.frozen
class OwnLabels:
    values: np.ndarray
    valid: np.ndarray


class LabelsOfItsOwn(Squares):
    def labels(self):
        return {task: OwnLabels(found.values, found.valid) for task, found in self.known.items()}


class TwoDimensions(Squares):
    def labels(self):
        found = self.known["expr"]
        return {"expr": Labels(found.values[:, None], found.valid[:, None])}


class MinusOne(Squares):
    def labels(self):
        found = self.known["expr"]
        return {"expr": Labels(np.where(found.valid, found.values, -1), np.ones(len(self), bool))}


class MinusFive(Squares):
    def labels(self):
        found = self.known["va"]
        values = np.where(found.valid, found.values, -5).astype(np.float32)
        return {"va": Labels(values, np.ones_like(found.valid))}


class Int32(Squares):
    def labels(self):
        found = self.known["expr"]
        return {"expr": Labels(found.values.astype(np.int32), found.valid)}


class OffByOne(Squares):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        other = super().__getitem__((index + 1) % len(self))
        return attrs.evolve(sample, targets=other.targets, masks=other.masks)


class WholeMasks(Squares):
    """Single samples are labelled in full or not at all."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return attrs.evolve(sample, masks={task: torch.ones_like(m) for task, m in sample.masks.items()})


class CountsFromOne(Squares):
    """Single samples have classes from 1."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return attrs.evolve(sample, targets={task: found + 1 for task, found in sample.targets.items()})


class FillsIn(Squares):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        missing = {task: torch.as_tensor(found.values[index]) for task, found in self.known.items()}
        return attrs.evolve(sample, targets=missing | dict(sample.targets))


class AllMasks(Squares):
    def __getitem__(self, index: int) -> Sample:
        masks = {task: torch.as_tensor(found.valid[index]) for task, found in self.known.items()}
        return attrs.evolve(super().__getitem__(index), masks=masks)


class Unnamed(Squares):
    def __getitem__(self, index: int) -> Sample:
        return attrs.evolve(super().__getitem__(index), id="")


class Flips(Squares):
    """Augments single samples."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return attrs.evolve(sample, inputs=255 - sample.inputs)


class Endless(Squares):
    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index % len(self))


class FromTheEnd(Squares):
    """Takes negative indices, as a list does."""

    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index + len(self) if index < 0 else index)


class NumberNames(Squares):
    def id(self, index):
        return index


class SameNames(Squares):
    def id(self, index: int) -> str:
        return f"frame {index % 5}"


class ListColumn(Squares):
    def column(self, name):
        found = super().column(name)
        return found if found is None else found.tolist()


class ColumnOfVideos(Squares):
    def column(self, name):
        found = super().column(name)
        return found if found is None else found[::5]


class NoVideos(Squares):
    def column(self, name):
        return super().column(name) if name == "frame" else None


class AnyColumn(Squares):
    def column(self, name):
        found = super().column(name)
        return np.full(self.count, "") if found is None else found


class FramesTwice(Squares):
    def column(self, name):
        return super().column(name) if name != "frame" else np.arange(self.count, dtype=np.int64) % 2


class FloatFrames(Squares):
    def column(self, name):
        return super().column(name) if name != "frame" else np.arange(self.count, dtype=np.float64)


LABELS = [
    of_dataset("no samples", Empty, "labels-fit-heads", told="it has no samples"),
    of_dataset("labels by the heads' names", OtherTasks, "labels-fit-heads"),
    of_dataset("labels of a class of its own", LabelsOfItsOwn, "labels-fit-heads"),
    of_dataset("class ids with two dimensions", TwoDimensions, "labels-fit-heads"),
    of_dataset("class ids of another type", Int32, "labels-fit-heads"),
    of_dataset("-1 as a class", MinusOne, "labels-fit-heads"),
    of_dataset("-5 as a valence", MinusFive, "labels-fit-heads"),
    of_dataset("fills missing labels in", FillsIn, "labels-agree-with-samples"),
    of_dataset("masks of missing labels", AllMasks, "labels-agree-with-samples"),
    of_dataset("labels of the next sample", OffByOne, "labels-agree-with-samples"),
    of_dataset("masks of a half missing label", WholeMasks, "labels-agree-with-samples"),
    of_dataset("single samples have classes from 1", CountsFromOne, "labels-agree-with-samples"),
    of_dataset("samples without a name", Unnamed, "labels-agree-with-samples"),
    of_dataset("flips single samples", Flips, "labels-agree-with-samples"),
    of_dataset("counts from the end", FromTheEnd, "ends"),
    of_dataset("never ends", Endless, "ends"),
    of_dataset("names that are numbers", NumberNames, "ids"),
    of_dataset("names that come again", SameNames, "ids"),
    of_dataset("columns are lists", ListColumn, "columns"),
    of_dataset("columns of the videos", ColumnOfVideos, "columns"),
    of_dataset("frames that are no whole numbers", FloatFrames, "columns"),
    of_dataset("frames of no videos", NoVideos, "columns"),
    of_dataset("a frame that comes again", FramesTwice, "columns"),
    of_dataset("a column of any name", AnyColumn, "columns"),
]
