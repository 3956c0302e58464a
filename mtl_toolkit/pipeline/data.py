"""The live data of a configuration: datasets, streams and validation feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
import torch

from ..config import Config, Feed, Stage, Stream, own_tasks, stage_tasks
from ..data import (
    CachedSamples,
    ConcatSamples,
    FeedSummary,
    LiveStream,
    Overlap,
    epoch_steps,
    find_overlap,
    fingerprint,
    summarise,
)
from ..errors import DataError, UnreadableSampleError, UserError
from ..plugin import DataFacts, Head, Samples
from ..trainer import option_problems


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
        _check_picture(stream.title, samples, self.config.model.read_size)
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
        _check_picture(feed.title, samples, self.config.model.read_size)
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


@attrs.frozen(eq=False)
class StageData:
    """What the data of a stage amounts to."""

    stage: Stage
    streams: Sequence[FeedSummary]
    validation: Sequence[FeedSummary]
    steps: int
    overlaps: Sequence[Overlap]
    missing: Sequence[str]


def inspect_stage(source: DataSource, stage: Stage) -> StageData:
    """Open the data of a stage and look at it, without decoding a picture.

    Raises:
        DataError: with every problem found, one line each.
    """
    problems: list[str] = []
    summaries: dict[str, list[FeedSummary]] = {"train": [], "validation": []}
    opened: dict[str, list[tuple[str, Samples]]] = {"train": [], "validation": []}
    missing: dict[str, None] = {}
    for kind, feeds in (("train", stage.streams), ("validation", stage.validation)):
        for feed in feeds:
            try:
                samples = source.samples(feed, validation=kind == "validation")
            except DataError as error:
                problems += [problem for problem in error.problems if problem not in problems]
                continue
            summary = summarise(feed.title, feed.task, samples, source.heads)
            problems += _unlabelled(source.config, stage, summary, kind) or _unfit_sampler(
                source, stage, feed
            )
            missing |= dict.fromkeys(f"{feed.title}: {problem}" for problem in samples.problems())
            summaries[kind].append(summary)
            opened[kind].append((feed.title, samples))
    if problems:
        raise DataError(*problems)
    overlaps = find_overlap(opened["train"], opened["validation"])
    sizes = [
        (len(samples), one.batch_size)
        for (_, samples), one in zip(opened["train"], stage.streams, strict=True)
    ]
    return StageData(
        stage=stage,
        streams=summaries["train"],
        validation=summaries["validation"],
        steps=epoch_steps(sizes, stage.epoch_length),
        overlaps=overlaps,
        missing=list(missing),
    )


def survey(config: Config, source: DataSource) -> tuple[list[StageData], list[str]]:
    """Do all that can be checked before training, short of building the network.

    Returns:
        What the data of each stage amounts to, where it could be opened; and all problems, one line each.
    """
    problems = [*option_lines(config), *config.model.backbone.problems()]
    stages: list[StageData] = []
    for stage in config.stages:
        try:
            stages.append(_alike(stage, stages) or inspect_stage(source, stage))
        except DataError as error:
            problems += error.problems
    for data in stages:
        problems += data.missing
        if not data.stage.allow_overlap:
            problems += [
                f"stages.{data.stage.name}: {overlap}; set allow_overlap = true to train all the same"
                for overlap in data.overlaps
            ]
    return stages, list(dict.fromkeys(problems))


def _alike(stage: Stage, stages: Sequence[StageData]) -> StageData | None:
    """The same data as in an earlier stage is not looked through again: it may be millions of samples."""
    for data in stages:
        other = data.stage
        key, other_key = ((one.streams, one.validation, one.epoch_length) for one in (stage, other))
        if key == other_key:
            return attrs.evolve(data, stage=stage)
    return None


def stage_heads(config: Config, stage: Stage) -> dict[str, Head]:
    """The heads that a stage builds: tasks with outputs."""
    return {task: config.tasks[task].head for task in stage_tasks(config, stage)}


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


def _check_picture(title: str, samples: Samples, size: int) -> None:
    """Look at the first sample: pictures must be as the network takes them; features may have any shape."""
    try:
        sample = samples.read([0])
    except UnreadableSampleError:
        return  # it will be met, and skipped or told, when its turn comes
    if sample.dtype == torch.uint8 and sample.shape != (1, 3, size, size):
        raise DataError(
            f"{title!r}: pictures must be uint8 of shape {(3, size, size)} (got {tuple(sample.shape[1:])})"
        )


def _unlabelled(config: Config, stage: Stage, summary: FeedSummary, kind: str) -> list[str]:
    """A stream or feed without any label of its own task cannot be meant."""
    what = "stream" if kind == "train" else "validation"
    return [
        f"stages.{stage.name}: {what} {summary.title!r} has no label of task {task!r}"
        for task in own_tasks(config, summary.task)
        if task not in summary.coverage
        or not (summary.coverage[task].labelled or summary.coverage[task].partly)
    ]


def _unfit_sampler(source: DataSource, stage: Stage, feed: Feed) -> list[str]:
    """Build a stream's sampler from its labels now, for the errors that else come when its stage begins."""
    try:
        if isinstance(feed, Stream):
            source.order(feed)
    except UserError as error:
        return [f"stages.{stage.name}: stream {feed.title!r}: {problem}" for problem in error.problems]
    return []


def option_lines(config: Config) -> list[str]:
    """Optimizers and schedulers that torch does not have, and options that they do not take."""
    return [
        f"stages.{stage.name}.{key}: {message}"
        for stage in config.stages
        for key, message in option_problems(stage)
    ]
