"""The live data of a configuration: datasets, streams and validation feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from ..config import Config, Feed, Stage, Stream, own_tasks, stage_tasks
from ..data import (
    CachedSamples,
    ConcatSamples,
    LiveStream,
    fingerprint,
)
from ..errors import DataError, UnreadableSampleError
from ..plugin import DataFacts, Head
from ..samples import Samples


class DataSource:
    """Opens each dataset of a configuration once for training, and once for validation."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.heads = {name: task.head for name, task in config.tasks.items() if not task.head.members}
        self._open: dict[tuple[str, bool], Samples] = {}
        self._fingerprints: dict[tuple[str, bool], dict[str, str]] = {}

    def samples(self, feed: Feed, *, validation: bool) -> Samples:
        """The samples of a feed.

        Raises:
            DataError: if a dataset cannot be opened, holds invalid labels, or has no samples.
        """
        parts = {name: self._dataset(name, validation=validation) for name in feed.datasets}
        return next(iter(parts.values())) if len(parts) == 1 else ConcatSamples(parts)

    def stream(self, stream: Stream) -> LiveStream:
        """A training stream, ready to be drawn."""
        samples = self.samples(stream, validation=False)
        return LiveStream(stream.title, stream.task, samples, self.order(stream), stream.batch_size)

    def order(self, stream: Stream) -> Callable[[np.random.Generator], np.ndarray]:
        """From a random generator to one pass over a stream's samples."""
        samples = self.samples(stream, validation=False)
        own = {task: self.heads[task] for task in own_tasks(self.config, stream.task)}
        labels = {task: found for task, found in samples.labels().items() if task in own}
        return stream.sampler.build(len(samples), labels, own)

    def validation(self, feed: Feed, batch_size: int) -> LiveStream:
        """A validation feed, read in order."""
        samples = self.samples(feed, validation=True)
        return LiveStream(
            feed.title, feed.task, samples, lambda generator: generator.permutation(0), batch_size
        )

    def fingerprints(self, stage: Stage) -> dict[str, dict[str, str]]:
        """Hashes of every dataset of a stage: of its labels, and of its split."""
        found: dict[str, dict[str, str]] = {}
        for feeds, validation in ((stage.streams, False), (stage.validation, True)):
            for name in (name for feed in feeds for name in feed.datasets if name not in found):
                key = (name, validation)
                if key not in self._fingerprints:
                    self._fingerprints[key] = fingerprint(self._dataset(name, validation=validation))
                found[name] = self._fingerprints[key]
        return found

    def _dataset(self, name: str, *, validation: bool) -> Samples:
        key = (name, validation)
        if key not in self._open:
            recipe = self.config.datasets[name]
            try:
                samples = recipe.build(DataFacts(self.heads, self.config.model.read_size, validation))
            except DataError as error:
                raise DataError(*(f"datasets.{name}: {problem}" for problem in error.problems)) from error
            _check(name, samples, self.heads)
            self._open[key] = CachedSamples(samples) if recipe.cache else samples
        return self._open[key]


def stage_heads(config: Config, stage: Stage) -> dict[str, Head]:
    """The heads that a stage builds: tasks with outputs."""
    return {task: config.tasks[task].head for task in stage_tasks(config, stage)}


def loss_names(config: Config, stage: Stage) -> list[str]:
    """The losses a balancer may see: tasks with outputs, and separate combined tasks."""
    combined = [stream.task for stream in stage.streams if config.tasks[stream.task].head.separate]
    return [*stage_heads(config, stage), *dict.fromkeys(combined)]


def feed_heads(config: Config, feed: Feed) -> Mapping[str, Head]:
    """The heads that a feed is about."""
    return {task: config.tasks[task].head for task in own_tasks(config, feed.task)}


def _check(name: str, samples: Samples, heads: Mapping[str, Head]) -> None:
    if not len(samples):
        raise DataError(f"datasets.{name}: has no samples")
    for task, labels in samples.labels().items():
        head = heads.get(task)
        if head is None:
            continue
        if labels.values.shape != (len(samples), *head.target_shape):
            raise DataError(
                f"datasets.{name}: labels of task {task!r} must have shape "
                f"{(len(samples), *head.target_shape)} (got {labels.values.shape})"
            )
        if labels.values.dtype != head.target_dtype:
            raise DataError(
                f"datasets.{name}: labels of task {task!r} must be {head.target_dtype} "
                f"(got {labels.values.dtype})"
            )
        if problem := head.check_labels(labels):
            raise DataError(f"datasets.{name}: task {task!r}: {problem}")


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
