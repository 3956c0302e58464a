"""All that can be checked before training, short of building a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..checkpoint import read_description
from ..config import Config, Feed, Stage, Stream, own_tasks
from ..data import FeedSummary, Overlap, epoch_steps, find_overlap, summarise
from ..errors import DataError, UserError
from ..model import describe
from ..samples import Samples
from ..trainer import option_problems
from .data import DataSource, check_picture, loss_names, stage_heads
from .load import find_checkpoint
from .teacher import misfits


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
    """Open the data of a stage and look at it, decoding no picture but the first of each feed.

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
                check_picture(feed.title, samples, source.config.model.read_size)
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
    problems = [*option_lines(config), *config.model.backbone.problems(), *misfit_parts(config)]
    problems += [line for stage in config.stages for line in misfit_networks(config, stage)]
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


def misfit_parts(config: Config) -> Iterator[str]:
    """Losses, metrics and balancers that cannot be built for their tasks."""
    for name, task in config.tasks.items():
        if not task.head.members:
            yield from _unfit(f"tasks.{name}.losses", task.losses, task.head)
            yield from _unfit(f"tasks.{name}.metrics", task.metrics, task.head)
    for stage in config.stages:
        for head in stage_heads(config, stage).values():
            yield from _unfit(f"stages.{stage.name}.losses", stage.losses, head)
        yield from _unfit(f"stages.{stage.name}.balancer", [stage.balancer], loss_names(config, stage))


def _unfit(where: str, recipes: Sequence[Any], facts: Any) -> Iterator[str]:
    for recipe in recipes:
        try:
            recipe.build(facts)
        except UserError as error:
            yield from (f"{where}: {problem}" for problem in error.problems)


def misfit_networks(config: Config, stage: Stage) -> Iterator[str]:
    """Teachers and starting weights that mean something else than the stage."""
    ours = describe(config.model, stage_heads(config, stage))
    tasks = list(ours["tasks"])
    for task, reference in stage.teachers.items():
        yield from _misfit("teacher", config, stage, reference, ours, [task] if task else tasks)
    if stage.start_from is not None:
        yield from _misfit("start_from", config, stage, stage.start_from, ours, tasks)


def _misfit(
    key: str, config: Config, stage: Stage, reference: str, ours: Mapping[str, Any], tasks: Sequence[str]
) -> list[str]:
    earlier = {one.name: one for one in config.stages}
    try:
        if reference in earlier:
            theirs = describe(config.model, stage_heads(config, earlier[reference]))
            who = f"{key} {reference!r}"
        else:
            folder = find_checkpoint(Path(reference))
            theirs, who = read_description(folder), f"{key} {folder}"
    except UserError as error:
        return [f"stages.{stage.name}.{key}: {problem}" for problem in error.problems]
    return [f"stages.{stage.name}: {line}" for line in misfits(who, theirs, ours, tasks)]


def option_lines(config: Config) -> list[str]:
    """Optimizers and schedulers that torch does not have, and options that they do not take."""
    return [
        f"stages.{stage.name}.{key}: {message}"
        for stage in config.stages
        for key, message in option_problems(stage)
    ]
