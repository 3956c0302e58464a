"""What an ensemble is fitted by: the weights of its members, and what its heads decide by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from ..batch import Batch, Labels
from ..config import EnsembleStage, plain
from ..evaluation.selection import SelectionScore, greedy_selection
from ..plugin import Head
from ..trainer import Interrupted
from .data import Reader, feed_heads
from .feeds import feed_loader
from .job import StageJob
from .load import TrainedStage


@attrs.frozen(eq=False)
class Fitted:
    """How an ensemble combines and decides.

    Attributes:
        weights: by task, a number for each member; 0 for those without the task.
        heads: by task, tuned where that is asked for.
        tuned: by task, the fields of its head that have been tuned, in plain JSON types.
        feeds: by task, the feeds that something was fitted on.
        skipped: samples left out because they could not be read.
    """

    weights: Mapping[str, Sequence[float]]
    heads: Mapping[str, Head]
    tuned: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    feeds: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    skipped: int = 0


@attrs.define(eq=False)
class Rows:
    """Predictions of the members that have a task, for rows with a label; a block for each batch.

    Attributes:
        values: float32 [members, rows, columns].
        target: [rows, ...] in the head's target type.
        mask: bool, the shape of `target`.
    """

    values: list[np.ndarray] = attrs.field(factory=list)
    target: list[np.ndarray] = attrs.field(factory=list)
    mask: list[np.ndarray] = attrs.field(factory=list)

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, target and mask of all rows."""
        return np.concatenate(self.values, 1), np.concatenate(self.target), np.concatenate(self.mask)


def fit(
    job: StageJob,
    stage: EnsembleStage,
    reader: Reader,
    members: Sequence[TrainedStage],
    heads: Mapping[str, Head],
    weights: Sequence[float],
) -> Fitted:
    """Fit weights and decisions on `fit_on`, whose samples every member is run over once.

    Every process reads all of them, and takes what the first one found.

    Args:
        job: the run's parts.
        stage: the ensemble.
        reader: how its samples are read.
        members: its networks, on the device.
        heads: of every task.
        weights: of the members, where they are not fitted.

    Raises:
        Interrupted: if a stop was asked for.
    """
    given = {
        task: [weight if task in one.heads else 0.0 for weight, one in zip(weights, members, strict=True)]
        for task in heads
    }
    wanted = [task for task in heads if stage.combination(task) == "weighted" or stage.tune]
    if not stage.fit_on:
        return Fitted(given, heads)
    rows, feeds, skipped = _read(job, stage, reader, members, wanted)
    found: list[Any] = [None]
    if job.accelerator.is_main_process:
        found = [_fitted(job, stage, members, heads, given, rows)]
    if job.accelerator.num_processes > 1:
        broadcast_object_list(found)
    chosen, decided = found[0]
    tuned = {task: _changes(heads[task], head) for task, head in decided.items()}
    return Fitted(given | chosen, {**heads, **decided}, tuned, feeds, skipped)


def _fitted(
    job: StageJob,
    stage: EnsembleStage,
    members: Sequence[TrainedStage],
    heads: Mapping[str, Head],
    given: Mapping[str, Sequence[float]],
    rows: Mapping[str, Rows],
) -> tuple[dict[str, list[float]], dict[str, Head]]:
    """Weights and heads of the tasks for which any are fitted."""
    weights: dict[str, list[float]] = {}
    tuned: dict[str, Head] = {}
    for task, block in rows.items():
        values, target, mask = block.joined()
        owners = [place for place, member in enumerate(members) if task in member.heads]
        if stage.combination(task) == "weighted":
            score = SelectionScore(heads[task], job.loaded.config.tasks[task].metrics, target, mask)
            counts = greedy_selection(values, score)
            weights[task] = [0.0] * len(members)
            for place, count in zip(owners, counts.tolist(), strict=True):
                weights[task][place] = count / int(counts.sum())
        # Members that vote decide each for itself, so there is no mean to fit a decision to.
        if stage.tune and stage.combination(task) != "majority":
            shares = np.array(weights.get(task, given[task]))[owners]
            mean = np.einsum("m,mrc->rc", shares / shares.sum(), values).astype(np.float32)
            tuned[task] = heads[task].tuned(mean, Labels(target, mask))
    return weights, tuned


@torch.no_grad()
def _read(
    job: StageJob,
    stage: EnsembleStage,
    reader: Reader,
    members: Sequence[TrainedStage],
    wanted: Sequence[str],
) -> tuple[dict[str, Rows], dict[str, list[str]], int]:
    """Predictions and labels by task, the feeds they are from, and how many samples could not be read."""
    found: dict[str, Rows] = {}
    feeds: dict[str, list[str]] = {}
    skipped = 0
    for feed in stage.fit_on:
        tasks = [task for task in feed_heads(job.loaded.config, feed) if task in wanted]
        for task in tasks:
            feeds.setdefault(task, []).append(feed.title)
        loader = feed_loader(job, reader, feed)
        try:
            for batch in loader.epoch(0) if tasks else ():
                skipped += batch.skipped
                if len(batch):
                    _add(found, job, members, batch, tasks)
                if stop := job.stop():
                    raise Interrupted(stop)
        finally:
            loader.close()
    return found, feeds, skipped


def _add(
    found: dict[str, Rows], job: StageJob, members: Sequence[TrainedStage], batch: Batch, tasks: Sequence[str]
) -> None:
    """Run the members over a batch, and keep what they say of its rows with a label."""
    inputs = batch.inputs.to(job.accelerator.device, non_blocking=True)
    said: dict[str, list[np.ndarray]] = {task: [] for task in tasks}
    labelled = {task: batch.masks[task].reshape(len(batch), -1).any(1).numpy() for task in tasks}
    for member in members:
        own = [task for task in tasks if task in member.heads]
        with job.accelerator.autocast():
            outputs = member.model(inputs, own, batch.windows) if own else {}
        for task, output in outputs.items():
            predicted = member.heads[task].predictions(output.values.float())
            said[task].append(predicted.cpu().numpy()[labelled[task]])
    for task, values in said.items():
        rows = found.setdefault(task, Rows())
        rows.values.append(np.stack(values))
        rows.target.append(batch.targets[task].numpy()[labelled[task]])
        rows.mask.append(batch.masks[task].numpy()[labelled[task]])


def _changes(before: Head, after: Head) -> dict[str, Any]:
    """The fields in which a head has changed."""
    known, found = plain(before), plain(after)
    return {key: value for key, value in found.items() if known.get(key) != value}
