"""Datasets with one mistake each, in how they are read and opened."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from mtl_toolkit import Labels
from mtl_toolkit.testing import Check
from tests.mutants import of_any_kind
from tests.mutants.dataset_labels import LABELS
from tests.mutants.squares import Drawn, Squares, checks_of, of_dataset


class NumpyPictures(Squares):
    def read(self, indices):
        return super().read(indices).numpy()


class FirstOnly(Squares):
    def read(self, indices):
        return super().read(indices[:1])


class Int64Pictures(Squares):
    def read(self, indices):
        return super().read(indices).long()


class Standardised(Squares):
    """By the deviation of each picture, which is zero for one colour."""

    def read(self, indices):
        pictures = super().read(indices).float()
        return pictures / (pictures - pictures.mean((1, 2, 3), keepdim=True)).std((1, 2, 3), keepdim=True)


class ListsOnly(Squares):
    """An array with several numbers is neither true nor false."""

    def read(self, indices):
        return super().read(indices or [0])


class ChannelsLast(Squares):
    def read(self, indices):
        return super().read(indices).permute(0, 2, 3, 1)


class OneSize(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, count)
        self.size = 32


class Sorted(Squares):
    """As a file would be read: in ascending order, and each place once."""

    def read(self, indices):
        return super().read(np.unique(np.asarray(indices)))[: len(indices)]


class Dependent(Squares):
    def read(self, indices):
        pictures = super().read(indices)
        return pictures + (pictures.amax() // 9)


class OtherEachTime(Squares):
    """Some other number, order or choice of what is there each time it is opened."""

    opened = itertools.count(1)

    def __init__(self, facts, count):
        self.number = next(self.opened)
        super().__init__(facts, count)


class Grows(OtherEachTime):
    def __len__(self):
        return super().__len__() - self.number % 5


class Renames(OtherEachTime):
    def id(self, index):
        return f"{self.number}-{index}"


class Jitters(OtherEachTime):
    """Augments when it is opened."""

    def read(self, indices):
        return super().read(indices) + self.number


class LosesATask(OtherEachTime):
    def labels(self):
        return dict(list(self.known.items())[self.number % 2 :])


class Guesses(OtherEachTime):
    def labels(self):
        found = self.known["expr"]
        return {"expr": Labels((found.values + self.number) % 7, found.valid)}


class Forgets(OtherEachTime):
    def labels(self):
        found = self.known["expr"]
        return {"expr": Labels(found.values, found.valid & (np.arange(self.count) % 7 != self.number % 7))}


class Draws(Squares):
    """The noise is not seen, as it is zero, but the generator moves."""

    def read(self, indices):
        return super().read(indices) + (torch.rand(()) * 0).to(torch.uint8)


class Seeds(Squares):
    def __init__(self, facts, count):
        np.random.seed(0)
        super().__init__(facts, count)


class OpenFile(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, count)
        self.file = Path(__file__).open("rb")  # noqa: SIM115 - the mistake


class OpenFileLater(Squares):
    """Sound until it has read."""

    def read(self, indices):
        self.reader = lambda: None
        return super().read(indices)


class LosesCache(Squares):
    """Leaves out what it has read, and does not read it again."""

    def __getstate__(self):
        return vars(self) | {"size": 1}


class LosesLabels(Squares):
    def __getstate__(self):
        return vars(self) | {"known": {}}


class LabelledOnly(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, count if facts.tasks else 0)


class SmallForValidation(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, count)
        self.size = facts.image_size // 2 if facts.validation else facts.image_size


class Complains(Squares):
    def problems(self):
        return ["the pictures are dull"]


class ByNumber(Squares):
    def counts(self):
        return {404: 1}


class Shares(Squares):
    def counts(self):
        return {"left out": 0.25}


@attrs.frozen(kw_only=True)
class NotPlain(Drawn):
    """Broken."""

    folder: Any = attrs.field(factory=object, metadata={"doc": "where"})


MUTANTS = [
    *of_any_kind(checks_of, Drawn),
    *LABELS,
    of_dataset("a field that TOML cannot hold", NotPlain(), "toml-round-trip"),
    of_dataset("pictures as numpy arrays", NumpyPictures, "reads-pictures"),
    of_dataset("reads the first only", FirstOnly, "reads-pictures"),
    of_dataset("takes lists only", ListsOnly, "reads-pictures", raises=ValueError),
    of_dataset("the colours last", ChannelsLast, "reads-pictures"),
    of_dataset("pictures of one size", OneSize, "reads-pictures"),
    of_dataset("pictures of int64", Int64Pictures, "reads-pictures"),
    of_dataset("divides by a deviation of zero", Standardised, "reads-pictures"),
    of_dataset("reads in ascending order", Sorted, "reads-in-any-order"),
    of_dataset("normalises over what is read together", Dependent, "reads-in-any-order"),
    of_dataset("another length each time it is opened", Grows, "opened-again-alike"),
    of_dataset("other names each time it is opened", Renames, "opened-again-alike"),
    of_dataset("other pictures each time it is opened", Jitters, "opened-again-alike"),
    of_dataset("other tasks each time it is opened", LosesATask, "opened-again-alike"),
    of_dataset("other labels are missing each time it is opened", Forgets, "opened-again-alike"),
    of_dataset("other labels each time it is opened", Guesses, "opened-again-alike"),
    of_dataset("draws from torch's generator", Draws, "leaves-global-generators"),
    of_dataset("seeds numpy's generator", Seeds, "leaves-global-generators"),
    of_dataset("holds an open file", OpenFile, "pickles-for-workers"),
    of_dataset("holds an open file once it has read", OpenFileLater, "pickles-for-workers"),
    of_dataset("does not read again what it left out", LosesCache, "pickles-for-workers"),
    of_dataset("leaves its labels out", LosesLabels, "pickles-for-workers"),
    of_dataset("no samples without tasks", LabelledOnly, "opens-otherwise"),
    of_dataset("smaller pictures for validation", SmallForValidation, "opens-otherwise"),
    of_dataset("complains without a reason", Complains, "tells-of-itself"),
    of_dataset("counts shares", Shares, "tells-of-itself"),
    of_dataset("counts by number", ByNumber, "tells-of-itself"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return checks_of(Drawn())
