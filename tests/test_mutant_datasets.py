"""Datasets and samplers with one mistake each: the conformance kit catches all, and each check can fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.samplers import Shuffle

from mtl_toolkit import DataFacts, Dataset, Labels, Sample, Sampler, Samples
from mtl_toolkit.testing import check_dataset, check_sampler
from mtl_toolkit.validators import at_least
from tests.mutants import Mutant, assert_caught, uncaught

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


class Jitters(Squares):
    """Augments by a number that differs each time it is opened."""

    opened = itertools.count(1)

    def __init__(self, facts, count):
        super().__init__(facts, count)
        self.jitter = next(self.opened)

    def read(self, indices):
        return super().read(indices) + self.jitter


class Draws(Squares):
    """The noise is not seen, as it is zero, but the generator moves."""

    def read(self, indices):
        return super().read(indices) + (torch.rand(()) * 0).to(torch.uint8)


class Seeds(Squares):
    def __init__(self, facts, count):
        np.random.seed(0)
        super().__init__(facts, count)


class OffByOne(Squares):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        other = super().__getitem__((index + 1) % len(self))
        return attrs.evolve(sample, targets=other.targets, masks=other.masks)


class FillsIn(Squares):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        missing = {task: torch.as_tensor(found.values[index]) for task, found in self.known.items()}
        masks = {task: torch.as_tensor(found.valid[index]) for task, found in self.known.items()}
        return attrs.evolve(sample, targets=missing | dict(sample.targets), masks=masks | dict(sample.masks))


class Endless(Squares):
    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index % len(self))


class SameNames(Squares):
    def id(self, index: int) -> str:
        return f"frame {index % 5}"


class FramesTwice(Squares):
    def column(self, name):
        return super().column(name) if name != "frame" else np.arange(self.count, dtype=np.int64) % 2


class FloatFrames(Squares):
    def column(self, name):
        return super().column(name) if name != "frame" else np.arange(self.count, dtype=np.float64)


class OpenFile(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, count)
        self.file = Path(__file__).open("rb")  # noqa: SIM115 - the mistake


class OpenFileLater(Squares):
    """Sound until it has read."""

    def read(self, indices):
        self.reader = lambda: None
        return super().read(indices)


class SmallForValidation(Squares):
    def __init__(self, facts, count):
        super().__init__(facts, count)
        self.size = facts.image_size // 2 if facts.validation else facts.image_size


class Complains(Squares):
    def problems(self):
        return ["the pictures are dull"]


@attrs.frozen(kw_only=True)
class Drawn(Dataset):
    """Drawn squares, sound."""

    name: ClassVar[str] = "drawn"
    live: ClassVar[type[Squares]] = Squares
    samples: int = attrs.field(default=20, validator=at_least(1), metadata={"doc": "how many"})

    def build(self, facts: DataFacts) -> Samples:
        return self.live(facts, self.samples)


@attrs.frozen(kw_only=True)
class NoDoc(Drawn):
    """Broken."""

    colour: int = 0


@attrs.frozen(kw_only=True)
class NotPlain(Drawn):
    """Broken."""

    folder: Any = attrs.field(factory=object, metadata={"doc": "where"})


class Undecorated(Drawn):
    """Broken."""


def local_class() -> Dataset:
    @attrs.frozen(kw_only=True)
    class Local(Drawn):
        """Broken."""

    return Local()


def dataset_of(live: type[Squares]) -> Dataset:
    members = {"live": live, "__doc__": "Broken."}
    return attrs.frozen(type("With", (Drawn,), members), kw_only=True)()


def of_dataset(mistake: str, dataset: Dataset | type[Squares], caught_by: str) -> Mutant:
    recipe = dataset if isinstance(dataset, Dataset) else dataset_of(dataset)
    return Mutant(mistake, lambda: check_dataset(recipe, TASKS), caught_by)


DATASETS = [
    of_dataset("its class is not decorated", Undecorated(), "loadable"),
    of_dataset("a field without a doc", NoDoc(), "documented"),
    of_dataset("a field that TOML cannot hold", NotPlain(), "toml-round-trip"),
    of_dataset("its class cannot be found by name", local_class(), "pickles"),
    of_dataset("-1 as a class", MinusOne, "labels-fit-heads"),
    of_dataset("-5 as a valence", MinusFive, "labels-fit-heads"),
    of_dataset("class ids of another type", Int32, "labels-fit-heads"),
    of_dataset("the colours last", ChannelsLast, "reads-pictures"),
    of_dataset("pictures of one size", OneSize, "reads-pictures"),
    of_dataset("reads in ascending order", Sorted, "reads-in-any-order"),
    of_dataset("normalises over what is read together", Dependent, "reads-in-any-order"),
    of_dataset("other pictures each time it is opened", Jitters, "opened-again-alike"),
    of_dataset("draws from torch's generator", Draws, "leaves-global-generators"),
    of_dataset("seeds numpy's generator", Seeds, "leaves-global-generators"),
    of_dataset("labels of the next sample", OffByOne, "labels-agree-with-samples"),
    of_dataset("fills missing labels in", FillsIn, "labels-agree-with-samples"),
    of_dataset("never ends", Endless, "ends"),
    of_dataset("names that come again", SameNames, "ids"),
    of_dataset("a frame that comes again", FramesTwice, "columns"),
    of_dataset("frames that are no whole numbers", FloatFrames, "columns"),
    of_dataset("holds an open file", OpenFile, "pickles-for-workers"),
    of_dataset("holds an open file once it has read", OpenFileLater, "pickles-for-workers"),
    of_dataset("smaller pictures for validation", SmallForValidation, "opens-otherwise"),
    of_dataset("complains without a reason", Complains, "tells-of-itself"),
]


@attrs.frozen(kw_only=True)
class Order(Sampler):
    """A random permutation, sound."""

    name: ClassVar[str] = "order"
    draw: ClassVar[Callable[..., Any]] = staticmethod(
        lambda length, _labels, generator: generator.permutation(length)
    )

    def build(self, length, labels, heads):
        return lambda generator: self.draw(length, labels, generator)


def sampler_of(draw: Callable[..., Any]) -> Sampler:
    members = {"draw": staticmethod(draw), "__doc__": "Broken."}
    return attrs.frozen(type("With", (Order,), members), kw_only=True)()


def by_value(_length, labels, _generator):
    return np.argsort(labels["va"].values[:, 0])


def local_sampler() -> Sampler:
    @attrs.frozen(kw_only=True)
    class Local(Order):
        """Broken."""

    return Local()


@attrs.frozen(kw_only=True)
class Negates(Order):
    """Broken."""

    power: int = attrs.field(default=1, converter=lambda value: -value, metadata={"doc": "power"})


@attrs.frozen(kw_only=True)
class UndocumentedOrder(Order):
    """Broken."""

    power: int = 1


class UndecoratedOrder(Order):
    """Broken."""


def of_sampler(mistake: str, sampler: Sampler, caught_by: str) -> Mutant:
    return Mutant(mistake, lambda: check_sampler(sampler, TASKS), caught_by)


SAMPLERS = [
    of_sampler("its class is not decorated", UndecoratedOrder(), "loadable"),
    of_sampler("a field without a doc", UndocumentedOrder(), "documented"),
    of_sampler("a converter changes what was converted", Negates(), "toml-round-trip"),
    of_sampler("its class cannot be found by name", local_sampler(), "pickles"),
    of_sampler("counts from one", sampler_of(lambda length, *_: np.arange(1, length + 1)), "indices"),
    of_sampler(
        "draws from numpy's generator",
        sampler_of(lambda length, *_: np.random.default_rng().permutation(length)),
        "function-of-its-generator",
    ),
    of_sampler("sorts by what is missing", sampler_of(by_value), "missing-labels-do-not-matter"),
]


@pytest.mark.parametrize("mutant", [*DATASETS, *SAMPLERS])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_mistake_is_caught(mutant):
    assert_caught(mutant)


def test_every_check_can_fail():
    """A check that no mistake makes fail would promise nothing."""
    assert uncaught(DATASETS, check_dataset(Drawn(), TASKS)) == set()
    assert uncaught(SAMPLERS, check_sampler(Shuffle(), TASKS)) == set()


@pytest.mark.parametrize("checks", [check_dataset(Drawn(), TASKS), check_sampler(Order(), TASKS)])
def test_the_sound_originals_pass(checks):
    for check in checks:
        check()
