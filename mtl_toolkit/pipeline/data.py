"""The live data of a configuration: datasets, streams and validation feeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..batch import Labels
from ..config import (
    AnyStage,
    Config,
    EnsembleStage,
    ExtractStage,
    Feed,
    Repeat,
    Stage,
    Stream,
    Validation,
    Windows,
    held_out,
    own_tasks,
    stage_tasks,
)
from ..data import (
    CachedSamples,
    ConcatSamples,
    FeatureLayout,
    FeatureSamples,
    LiveStream,
    SubsetSamples,
    WindowTable,
    covering_windows,
    fingerprint,
    part_numbers,
    training_windows,
)
from ..errors import DataError, UnreadableSampleError, UserError
from ..plugin import DataFacts, Dataset, Head
from ..plugin.task import label_problem, labelled_heads
from ..preprocessing import dtype_problem
from ..rundir import RunDirectory
from ..samples import Samples
from .folds import Folds, cut, trained_on


class Reader(Protocol):
    """What of a stage says how samples are read."""

    @property
    def name(self) -> str:
        """The stage's."""

    @property
    def features(self) -> str | None:
        """The extract stage, or its folder, whose features stand in for pictures."""

    @property
    def windows(self) -> Windows | None:
        """How videos are cut; None: single rows."""


class DataSource:
    """Opens each dataset of a configuration once for training, and once for validation.

    Args:
        config: the configuration.
        directory: of the run, where extract stages leave their features; without one they cannot be read.
    """

    def __init__(self, config: Config, directory: RunDirectory | None = None) -> None:
        self.config = config
        self.heads = {name: task.head for name, task in config.tasks.items() if not task.head.members}
        self.labelled = labelled_heads(self.heads)
        self._directory = directory
        self._open: dict[tuple[str, bool, int], Samples] = {}
        self._fingerprints: dict[tuple[str, bool], dict[str, str]] = {}
        self._tables: dict[tuple[tuple[str, ...], bool, Windows, object], WindowTable] = {}
        self._folds: dict[str, Folds] = {}
        self._parts: dict[tuple[str, int, str | None, str, bool], Samples] = {}
        self._features: dict[tuple[str, str, bool], FeatureSamples] = {}

    def samples(self, stage: Reader, feed: Feed, *, validation: bool) -> Samples:
        """The samples of a stage's feed.

        Raises:
            DataError: if a dataset cannot be opened, holds invalid labels, or has no samples.
        """
        parts = {name: self._part(stage, name, validation=validation) for name in feed.datasets}
        return next(iter(parts.values())) if len(parts) == 1 else ConcatSamples(parts)

    def stream(self, stage: Stage, stream: Stream) -> LiveStream:
        """A training stream, ready to be drawn."""
        samples, windows = self.items(stage, stream, validation=False)
        draw = self.order(stage, stream)
        return LiveStream(
            stream.title, stream.task, samples, draw, stream.batch_size, windows, stream.datasets
        )

    def order(self, stage: Stage, stream: Stream) -> Callable[[np.random.Generator], np.ndarray]:
        """From a random generator to one pass over a stream; a window counts as its middle frame."""
        samples, windows = self.items(stage, stream, validation=False)
        own = {task: self.heads[task] for task in own_tasks(self.config, stream.task)}
        labels = {task: found for task, found in samples.labels().items() if task in own}
        middle = None if windows is None else windows.middles()
        if middle is not None:
            labels = {task: Labels(one.values[middle], one.valid[middle]) for task, one in labels.items()}
        rows = np.arange(len(samples)) if middle is None else middle
        return stream.sampler.build_over(part_numbers(samples, rows), labels, own)

    def validation(self, stage: Reader, feed: Validation) -> LiveStream:
        """A validation feed, read in order."""
        samples, windows = self.items(stage, feed, validation=True)
        longest = 1 if stage.windows is None else stage.windows.length
        size = max(1, feed.batch_size // longest)
        return LiveStream(
            feed.title, feed.task, samples, lambda generator: generator.permutation(0), size, windows
        )

    def items(self, stage: Reader, feed: Feed, *, validation: bool) -> tuple[Samples, WindowTable | None]:
        """The samples of a feed, and the windows of them if the stage works on windows.

        Raises:
            DataError: if they cannot be had.
        """
        samples = self.samples(stage, feed, validation=validation)
        if stage.windows is None:
            return samples, None
        key = (feed.datasets, validation, stage.windows, held_out(stage))
        if key not in self._tables:
            cut = covering_windows if validation else training_windows
            try:
                self._tables[key] = cut(samples, stage.windows)
            except DataError as error:
                where = f"stages.{stage.name}: {'+'.join(feed.datasets)!r}"
                raise DataError(*(f"{where}: {problem}" for problem in error.problems)) from error
        return samples, self._tables[key]

    def fingerprints(self, stage: AnyStage) -> dict[str, dict[str, str]]:
        """Hashes of every dataset of a stage: of its labels, and of its split."""
        found: dict[str, dict[str, str]] = {}
        for name, validation in dataset_uses(stage):
            if name not in found:
                found[name] = self._fingerprint(name, validation=validation)
        return found

    def _fingerprint(self, name: str, *, validation: bool) -> dict[str, str]:
        key = (name, validation)
        if key not in self._fingerprints:
            self._fingerprints[key] = fingerprint(self.dataset(name, validation=validation))
        return self._fingerprints[key]

    def folds(self, stage: Stage) -> Folds | None:
        """The folds of the stage that a repeat is of; None if it holds nothing out.

        Raises:
            DataError: if its training data cannot be cut into so many.
        """
        if not isinstance(stage, Repeat) or stage.fold is None:
            return None
        if stage.origin not in self._folds:
            datasets = {name: self.dataset(name, validation=False) for name in trained_on(stage)}
            self._folds[stage.origin] = cut(self.config, stage, datasets)
        return self._folds[stage.origin]

    def dataset(self, name: str, *, validation: bool, size: int | None = None) -> Samples:
        """A dataset.

        Args:
            name: of the dataset.
            validation: whether it is read for validation.
            size: side of its pictures; by default as the model reads them.

        Raises:
            DataError: if it cannot be opened, holds invalid labels, or has no samples.
        """
        size = size or self.config.model.read_size
        key = (name, validation, size)
        if key not in self._open:
            recipe = self.config.datasets[name]
            with _noting(name, recipe):
                try:
                    samples = recipe.build(DataFacts(self.labelled, size, validation))
                except DataError as error:
                    raise DataError(*(f"datasets.{name}: {problem}" for problem in error.problems)) from error
                _check(name, samples, self.labelled)
            self._open[key] = CachedSamples(samples) if recipe.cache else samples
        return self._open[key]

    def dataset_once(self, name: str, size: int) -> Samples:
        """A dataset as it is open already, for training or validation; else as for validation.

        What is cached is not read twice. Arguments and errors as of `dataset`.
        """
        validation = (name, False, size) not in self._open
        return self.dataset(name, validation=validation, size=size)

    def features_folder(self, stage: Reader) -> Path | None:
        """Where the features are that a stage reads; None if it reads none, or they are nowhere yet."""
        if stage.features is None:
            return None
        if stage.features not in [other.name for other in self.config.stages]:
            return Path(stage.features)
        return None if self._directory is None else self._directory.stage(stage.features).path

    def features(self, stage: Reader, feed: Feed, *, validation: bool) -> list[FeatureLayout]:
        """What the features of a feed are made of, by dataset; opens their files.

        Raises:
            DataError: if a file is missing, or is not one of this dataset's features.
        """
        inputs = [self._inputs(stage, name, validation=validation) for name in feed.datasets]
        return [one.layout for one in inputs if isinstance(one, FeatureSamples)]

    def _part(self, stage: Reader, name: str, *, validation: bool) -> Samples:
        """A dataset without the fold that the stage holds out, or for validation that fold alone.

        A dataset that the stage does not train on is whole.
        """
        folds = self.folds(stage) if isinstance(stage, Repeat) else None
        whole = self._inputs(stage, name, validation=validation)
        if folds is None or name not in folds.numbers:
            return whole
        assert isinstance(stage, Repeat)
        assert stage.fold is not None
        if validation:
            self._check_same(stage, name)
        if self._parts and next(iter(self._parts))[:2] != (stage.origin, stage.fold):
            self._parts.clear()  # labels of one fold at a time are enough to hold
        key = (stage.origin, stage.fold, stage.features, name, validation)
        if key not in self._parts:
            mine = (folds.numbers[name] == stage.fold) == validation
            self._parts[key] = SubsetSamples(whole, np.flatnonzero(mine))
        return self._parts[key]

    def _check_same(self, stage: Repeat, name: str) -> None:
        """A dataset may open otherwise for validation; folds need the same samples."""
        if self._fingerprint(name, validation=True) != self._fingerprint(name, validation=False):
            raise DataError(
                f"stages.{stage.origin}: folds: dataset {name!r} has other samples or labels in validation "
                "than in training"
            )

    def _inputs(self, stage: Reader, name: str, *, validation: bool) -> Samples:
        samples = self.dataset(name, validation=validation)
        if stage.features is None:
            return samples
        key = (stage.features, name, validation)
        if key not in self._features:
            folder = self.features_folder(stage) or Path()
            self._features[key] = FeatureSamples(samples, folder / feature_file(name))
        return self._features[key]


def feature_file(dataset: str) -> str:
    """The file in an extract stage's folder that has the features of a dataset."""
    return f"{dataset}.h5"


def dataset_uses(stage: AnyStage) -> list[tuple[str, bool]]:
    """The datasets of a stage, each with whether it is read for validation."""
    if isinstance(stage, ExtractStage):
        return [(name, True) for name in stage.datasets]
    if isinstance(stage, EnsembleStage):
        return [(name, True) for feed in (*stage.fit_on, *stage.validation) for name in feed.datasets]
    return [
        (name, validation)
        for feeds, validation in ((stage.streams, False), (stage.validation, True))
        for feed in feeds
        for name in feed.datasets
    ]


def stage_heads(config: Config, stage: Stage) -> dict[str, Head]:
    """The heads that a stage builds: tasks with outputs."""
    return {task: config.tasks[task].head for task in stage_tasks(config, stage)}


def loss_names(config: Config, stage: Stage) -> list[str]:
    """The losses a balancer may see: tasks with outputs; combined ones if separate, or with own losses."""
    tasks = {stream.task: config.tasks[stream.task] for stream in stage.streams}
    combined = [name for name, one in tasks.items() if one.head.members and (one.head.separate or one.losses)]
    return [*stage_heads(config, stage), *combined]


def feed_heads(config: Config, feed: Feed) -> Mapping[str, Head]:
    """The heads that a feed is about."""
    return {task: config.tasks[task].head for task in own_tasks(config, feed.task)}


@contextlib.contextmanager
def _noting(name: str, recipe: Dataset) -> Iterator[None]:
    """Say under the traceback of a plugin's bug which table of the configuration met it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        error.add_note(f"while opening datasets.{name} (type {recipe.name!r}, of {type(recipe).__module__})")
        raise


def _check(name: str, samples: Samples, heads: Mapping[str, Head]) -> None:
    if not len(samples):
        raise DataError(f"datasets.{name}: has no samples")
    for task, labels in samples.labels().items():
        head = heads.get(task)
        if head is None:
            continue
        if problem := label_problem(task, labels, head, len(samples)):
            raise DataError(f"datasets.{name}: {problem}")


def check_picture(title: str, samples: Samples, size: int) -> None:
    """Look at the first sample: pictures must be as the network takes them; features may have any shape."""
    try:
        sample = samples.read([0])
    except UnreadableSampleError:
        return  # it will be met, and skipped or told, when its turn comes
    if sample.dtype == torch.uint8 and sample.shape != (1, 3, size, size):
        raise DataError(
            f"{title!r}: pictures must be uint8 of shape {(3, size, size)} (got {tuple(sample.shape[1:])})"
        )
    if problem := dtype_problem(sample):
        raise DataError(f"{title!r}: {problem}")
