"""The losses of a stage: fitted to its training labels, made live, and told their sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import Labels
from ..config import Config, Stage, own_tasks, plain
from ..errors import RunError, UnreadableSampleError, UserError
from ..model import MultiTaskModel
from ..objective import Objective, StreamTask
from ..plugin import CouplingLoss, Head, Loss, TeacherLoss
from ..seeding import seeded
from ..trainer import Teacher
from .data import DataSource, stage_heads

TRIES = 10  # samples of a stream of which one should be readable


def build_objective(config: Config, stage: Stage, labels: Mapping[str, Labels] | None = None) -> Objective:
    """The objective of a stage, over its own tasks and the combined ones of its streams.

    Args:
        config: the configuration, with all its defaults.
        stage: one of its stages.
        labels: those that the stage is trained on, by task, for losses that take something from them.
    """
    weight = 1.0 if stage.ground_truth_weight is None else stage.ground_truth_weight
    heads = _heads(config, stage)
    return Objective(
        heads,
        [StreamTask(stream.title, stream.task) for stream in stage.streams],
        losses=stage_losses(config, stage, labels),
        ground_truth_weight={task: weight for task in heads if _taught(stage, task)},
        sharing=stage.sharing,
    )


def stage_losses(
    config: Config, stage: Stage, labels: Mapping[str, Labels] | None = None
) -> dict[str, list[Loss]]:
    """The losses of a stage by task, fitted to the labels if there are some; of combined tasks too.

    Losses that compare with a teacher are left out where a task has none.
    """
    found: dict[str, list[Loss]] = {}
    for task, head in _heads(config, stage).items():
        own = config.tasks[task].losses
        if not head.members:
            own = (*(own or head.default_losses()), *_extra(stage, task))
            if labels is not None:
                known = labels[task] if task in labels else nothing_labelled(head)
                own = tuple(one.fitted(head, known) for one in own)
        found[task] = list(own)
    return found


def nothing_labelled(head: Head) -> Labels:
    """Labels of no sample."""
    return Labels.missing(0, head.target_shape, head.target_dtype)


def training_labels(source: DataSource, stage: Stage) -> dict[str, Labels]:
    """The labels that a stage trains on, by task: of all samples of its streams, a stream after the other.

    A label that does not count, see `sharing`, is missing. A frame that is in no window is left out.
    """
    heads = stage_heads(source.config, stage)
    parts: dict[str, list[Labels]] = {task: [] for task in heads}
    for stream in stage.streams:
        samples, windows = source.items(stage, stream, validation=False)
        count = len(samples) if windows is None else len(windows)
        rows = np.arange(count) if windows is None else np.unique(windows.rows(np.arange(count)))
        own, found = own_tasks(source.config, stream.task), samples.labels()
        for task, head in heads.items():
            if task in found and (stage.sharing or task in own):
                part = Labels(found[task].values[rows], found[task].valid[rows])
            else:
                part = Labels.missing(len(rows), head.target_shape, head.target_dtype)
            parts[task].append(part)
    return {
        task: Labels(*(np.concatenate([getattr(one, side) for one in many]) for side in ("values", "valid")))
        for task, many in parts.items()
    }


def labels_to_fit(source: DataSource, stage: Stage) -> dict[str, Labels]:
    """The labels that a stage trains on, if one of its losses takes something from them; else none."""
    losses = [loss for task in stage_losses(source.config, stage).values() for loss in task]
    return training_labels(source, stage) if any(_takes_labels(loss) for loss in losses) else {}


def fitted_losses(source: DataSource, stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """The losses that took something from the stage's labels, by task, with that filled in."""
    labels = labels_to_fit(source, stage)
    before, after = (stage_losses(source.config, stage, known) for known in (None, labels))
    found = {
        task: [plain(new) for old, new in zip(losses, after[task], strict=True) if new != old]
        for task, losses in before.items()
    }
    return {task: losses for task, losses in found.items() if losses}


def unfit_losses(source: DataSource, stage: Stage, title: str) -> Iterator[str]:
    """What keeps losses from being fitted to a stage's labels, one line each; its data can be opened.

    Messages call the stage by a title of its own, as repeats are one stage for people.
    """
    labels, config = labels_to_fit(source, stage), source.config
    for task, known in labels.items():
        head = config.tasks[task].head
        sides = ((f"tasks.{task}", config.tasks[task].losses), (f"stages.{title}", stage.losses))
        for where, losses in sides:
            yield from misfit_losses(f"{where}.losses", losses, head, known)


def misfit_couplings(config: Config, task: str) -> Iterator[str]:
    """What keeps the losses of a combined task from being built, one line each."""
    heads = {member: config.tasks[member].head for member in config.tasks[task].head.members}
    for loss in config.tasks[task].losses:
        try:
            if isinstance(loss, CouplingLoss):
                with seeded():
                    loss.build_joint(heads)
        except UserError as error:
            yield from (f"tasks.{task}.losses: {problem}" for problem in error.problems)


def misfit_losses(where: str, losses: Sequence[Loss], head: Head, labels: Labels) -> Iterator[str]:
    """What keeps losses from being built for a head, one line each."""
    for loss in losses:
        try:
            with seeded():
                loss.fitted(head, labels).build(head)
        except UserError as error:
            yield from (f"{where}: {problem}" for problem in error.problems)


def first_inputs(source: DataSource, stage: Stage) -> Tensor:
    """Two rows as a stage's network gets them: the first sample that can be read, twice.

    Raises:
        RunError: if there is none among the first ones of the streams.
    """
    for stream in stage.streams:
        samples, _ = source.items(stage, stream, validation=False)
        for index in range(min(TRIES, len(samples))):
            with contextlib.suppress(UnreadableSampleError):
                return samples.read([index, index])
    raise RunError(f"stages.{stage.name}: none of the first {TRIES} samples of its streams can be read")


def give_sizes(
    objective: Objective, model: MultiTaskModel, inputs: Tensor, teacher: Teacher | None = None
) -> None:
    """Give lazy parameters of losses their sizes, with one run of the networks that changes nothing in them.

    Args:
        objective: on the CPU, so that initial values do not depend on where the networks are.
        model: the network.
        inputs: a couple of rows, on the network's device.
        teacher: see `Trainer`; the tasks that it gives no output for are taken as the network's own.
    """
    training = model.training
    with torch.no_grad():
        outputs = model.eval()(inputs)
        goal = outputs | dict(teacher(inputs, None) if teacher else {})
    model.train(training)
    ours, theirs = (
        {task: output.map(Tensor.cpu) for task, output in side.items()} for side in (outputs, goal)
    )
    objective.initialise(ours, theirs)


def _heads(config: Config, stage: Stage) -> dict[str, Head]:
    """The heads of a stage, those of its streams' combined tasks among them."""
    return stage_heads(config, stage) | {
        stream.task: config.tasks[stream.task].head for stream in stage.streams
    }


def _extra(stage: Stage, task: str) -> list[Loss]:
    return [loss for loss in stage.losses if _taught(stage, task) or not isinstance(loss, TeacherLoss)]


def _taught(stage: Stage, task: str) -> bool:
    """Whether a task has the stage's teacher, or one of its own, or no stage has."""
    return not stage.teachers or "" in stage.teachers or task in stage.teachers


def _takes_labels(loss: Loss) -> bool:
    return type(loss).fitted is not Loss.fitted
