"""All that can be checked before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch

from ..config import Config, ExtractStage, Feed, Repeat, Stage, Stream, held_out, own_tasks, repeats_of
from ..data import FeedSummary, Overlap, epoch_steps, find_overlap, summarise
from ..errors import DataError, RunError, UserError
from ..preprocessing import CentreCrop
from ..samples import Samples
from ..seeding import seeded
from ..self_supervision import own_targets
from ..trainer import option_problems
from .data import DataSource, check_picture, loss_names, stage_heads
from .keep import has_features
from .losses import first_inputs, misfit_couplings, misfit_losses, nothing_labelled, unfit_losses
from .misfits import misfit_networks
from .network import network_problems
from .survey_ensemble import unfit_ensemble
from .trackers import tracker_problems
from .trial import TrialNetworks


@attrs.frozen(eq=False)
class StageData:
    """What the data of a stage, or of a repeat of one, amounts to.

    Attributes:
        stage: the stage or repeat.
        streams: what it trains on.
        validation: what it is validated on.
        steps: in an epoch.
        overlaps: what training and validation share.
        missing: pictures that are not there.
        folds: samples of each fold of its training data; none if it is not cut into folds.
    """

    stage: Stage
    streams: Sequence[FeedSummary]
    validation: Sequence[FeedSummary]
    steps: int
    overlaps: Sequence[Overlap]
    missing: Sequence[str]
    folds: Sequence[int] = ()


def inspect_stage(source: DataSource, stage: Stage) -> StageData:
    """Open the data of a stage and look at it, decoding no picture but the first of each feed.

    Raises:
        DataError: with every problem found, one line each.
    """
    problems: list[str] = []
    summaries: dict[str, list[FeedSummary]] = {"train": [], "validation": []}
    opened: dict[str, list[tuple[str, Samples]]] = {"train": [], "validation": []}
    sizes: dict[str, list[int]] = {"train": [], "validation": []}
    missing: dict[str, None] = {}
    for kind, feeds in (("train", stage.streams), ("validation", stage.validation)):
        for feed in feeds:
            try:
                samples, windows = source.items(stage, feed, validation=kind == "validation")
                if stage.features is None:
                    check_picture(feed.title, samples, source.config.model.read_size)
                elif has_features(stage.features):  # those of a stage here may be still to come
                    source.features(stage, feed, validation=kind == "validation")
            except DataError as error:
                problems += [problem for problem in error.problems if problem not in problems]
                continue
            made = own_target_tasks(source.config, stage, feed)
            summary = summarise(feed.title, feed.task, samples, source.labelled, made)
            problems += _unlabelled(source.config, stage, summary, kind) or _unfit_sampler(
                source, stage, feed
            )
            if not isinstance(stage, Repeat) or stage.fold in (None, 1):  # all folds are of the same files
                missing |= dict.fromkeys(f"{feed.title}: {problem}" for problem in samples.problems())
            summaries[kind].append(summary)
            opened[kind].append((feed.title, samples))
            sizes[kind].append(len(samples if windows is None else windows))
    if problems:
        raise DataError(*problems)
    overlaps = find_overlap(opened["train"], opened["validation"])
    quotas = [stream.batch_size for stream in stage.streams]
    folds = source.folds(stage)
    return StageData(
        stage=stage,
        streams=summaries["train"],
        validation=summaries["validation"],
        steps=epoch_steps(list(zip(sizes["train"], quotas, strict=True)), stage.epoch_length),
        overlaps=overlaps,
        missing=list(missing),
        folds=() if folds is None else folds.sizes(),
    )


def survey(config: Config, source: DataSource) -> tuple[list[StageData], list[str]]:
    """Do all that can be checked before training; every network is built once, without weights.

    Returns:
        What the data of each stage, or of each of its repeats, amounts to, where it could be opened; and all
        problems, one line each. Of the repeats of a stage only the first tells its problems.
    """
    problems = [*option_lines(config), *network_problems(config), *misfit_parts(config)]
    networks = TrialNetworks(config)
    problems += [line for stage in config.stages for line in misfit_networks(config, stage, networks)]
    problems += networks.problems()
    stages: list[StageData] = []
    for stage in config.trainings:
        try:
            for one in repeats_of(stage):
                stages.append(_alike(one, stages) or inspect_stage(source, one))
        except DataError as error:
            problems += error.problems
    for extract in config.stages:
        if isinstance(extract, ExtractStage):
            problems += unfit_datasets(source, extract)
    for ensemble in config.ensembles:
        problems += unfit_ensemble(source, ensemble)
    told: set[str] = set()
    for data in stages:
        problems += unfit_losses(source, data.stage, origin_of(data.stage))
        problems += _unfit_targets(source, data.stage, networks)
        problems += data.missing
        origin = origin_of(data.stage)
        if data.overlaps and origin not in told and not data.stage.allow_overlap:
            told.add(origin)
            problems += [
                f"stages.{origin}: {overlap}; set allow_overlap = true to train all the same"
                for overlap in data.overlaps
            ]
    return stages, list(dict.fromkeys(problems))


def _unfit_targets(source: DataSource, stage: Stage, networks: TrialNetworks) -> Iterator[str]:
    """Self-supervised heads that cannot make targets of what a stage reads."""
    heads = {task: head for task, head in stage_heads(source.config, stage).items() if head.self_supervised}
    layout = networks.layout(stage) if heads else None
    if not heads or (stage.features is not None and layout is None):
        return
    try:
        if layout is None:
            inputs = CentreCrop(source.config.model.image_size)(first_inputs(source, stage))
        else:
            inputs = torch.zeros(2, layout.width)
    except RunError:
        return  # nothing can be read, which training tells
    for task, head in heads.items():
        try:
            own_targets(inputs, {task: head})
        except UserError as error:
            yield from (f"stages.{origin_of(stage)}: task {task!r}: {line}" for line in error.problems)


def origin_of(stage: Stage) -> str:
    """The name of a stage in the configuration, of which it may be a repeat."""
    return stage.origin if isinstance(stage, Repeat) else stage.name


def _alike(stage: Stage, stages: Sequence[StageData]) -> StageData | None:
    """The same data as in an earlier stage is not looked through again: it may be millions of samples."""
    for data in stages:
        other = data.stage
        if _what_is_read(stage) == _what_is_read(other):
            return attrs.evolve(data, stage=stage)
    return None


def _what_is_read(stage: Stage) -> tuple[object, ...]:
    return (
        stage.streams,
        stage.validation,
        stage.epoch_length,
        stage.features,
        stage.windows,
        held_out(stage),
    )


def unfit_datasets(source: DataSource, stage: ExtractStage) -> list[str]:
    """Datasets of an extract stage that cannot be opened, and pictures that are missing."""
    problems: list[str] = []
    for name in stage.datasets:
        try:
            samples = source.dataset(name, validation=True)
            check_picture(name, samples, source.config.model.read_size)
            problems += [f"{name}: {problem}" for problem in samples.problems()]
        except DataError as error:
            problems += error.problems
    return problems


def _unlabelled(config: Config, stage: Stage, summary: FeedSummary, kind: str) -> list[str]:
    """A stream or feed without any label of its own task cannot be meant."""
    what = "stream" if kind == "train" else "validation"
    return [
        f"stages.{stage.name}: {what} {summary.title!r} has no label of task {task!r}"
        for task in own_tasks(config, summary.task)
        if task not in summary.made and not (task in summary.coverage and summary.coverage[task].there)
    ]


def own_target_tasks(config: Config, stage: Stage, feed: Feed) -> tuple[str, ...]:
    """The tasks whose targets are made of a feed's inputs: its own, and with sharing all of a stream's."""
    shared = isinstance(feed, Stream) and stage.sharing
    tasks = stage_heads(config, stage) if shared else own_tasks(config, feed.task)
    return tuple(task for task in tasks if config.tasks[task].head.self_supervised)


def _unfit_sampler(source: DataSource, stage: Stage, feed: Feed) -> list[str]:
    """Build a stream's sampler from its labels now, for the errors that else come when its stage begins."""
    try:
        if isinstance(feed, Stream):
            source.order(stage, feed)
    except UserError as error:
        return [f"stages.{stage.name}: stream {feed.title!r}: {problem}" for problem in error.problems]
    return []


def misfit_parts(config: Config) -> Iterator[str]:
    """Losses, metrics and balancers that cannot be built for their tasks."""
    for name, task in config.tasks.items():
        if task.head.members:
            yield from misfit_couplings(config, name)
        else:
            nothing = nothing_labelled(task.head)
            yield from misfit_losses(f"tasks.{name}.losses", task.losses, task.head, nothing)
            yield from _unfit(f"tasks.{name}.metrics", task.metrics, task.head)
    for stage in config.trainings:
        for head in stage_heads(config, stage).values():
            yield from misfit_losses(
                f"stages.{stage.name}.losses", stage.losses, head, nothing_labelled(head)
            )
        yield from _unfit(f"stages.{stage.name}.balancer", [stage.balancer], loss_names(config, stage))


def _unfit(where: str, recipes: Sequence[Any], facts: Any) -> Iterator[str]:
    for recipe in recipes:
        try:
            with seeded():
                recipe.build(facts)
        except UserError as error:
            yield from (f"{where}: {problem}" for problem in error.problems)


def option_lines(config: Config) -> list[str]:
    """Trackers, optimizers and schedulers that are not to be had, and options that they do not take."""
    return [
        *tracker_problems(config.trainer.trackers),
        *(
            f"stages.{stage.name}.{key}: {message}"
            for stage in config.trainings
            for key, message in option_problems(stage)
        ),
    ]
