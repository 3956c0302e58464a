"""Combine trained networks into one: fit it where asked to, judge it, and keep it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import attrs
import torch

from ..checkpoint import save_ensemble
from ..config import EnsembleStage, plain
from ..ensemble import Ensemble
from ..plugin import Head
from ..registry import versions
from ..trainer import Interrupted, Validated, validate
from .data import Reader
from .feeds import feeds_with_metrics
from .fitting import Fitted, fit
from .job import StageJob
from .keep import keep_checkpoint
from .lifecycle import tell_finished, tell_started, telling_stops
from .load import TrainedStage, join_members, load_stage
from .members import common_description, names_of, reading_of, weight_of


@attrs.frozen(eq=False)
class Combined:
    """What an ensemble stage has found.

    Attributes:
        metrics: by "<feed>/<task>/<metric>".
        select: weights of the metrics that the heads choose by.
        score: their weighted sum; None where there are none.
        members: the names of its networks.
        tasks: by task, how it is combined, the weights by member, what was fitted, and on what.
        samples: that its members have seen.
        skipped: samples left out because they could not be read.
        seconds: what it took.
    """

    metrics: dict[str, float]
    select: dict[str, float]
    score: float | None
    members: list[str]
    tasks: dict[str, dict[str, Any]]
    samples: int
    skipped: int
    seconds: float


def combine_stage(job: StageJob) -> Combined:
    """Fit an ensemble, take its metrics, and write its checkpoint.

    Raises:
        UserError: if a member cannot be loaded, or a sample cannot be read.
        Interrupted: if a stop was asked for; it begins again the next time.
    """
    config, stage = job.loaded.config, job.stage
    assert isinstance(stage, EnsembleStage)
    started = time.perf_counter()
    members = _load_members(job, stage)
    common = common_description({name: member.description for name, member in members.items()})
    heads = {task: _first_head(members, task) for task in common["tasks"]}
    reader = reading_of(config, stage, common)
    weights = [weight_of(config, stage, name) for name in members]
    with telling_stops(job):
        tell_started(job)
        job.screen.combining(stage, list(members))
        fitted = fit(job, stage, reader, list(members.values()), heads, weights)
        description = {**common, **_combination(stage, list(members), fitted)}
        model = join_members([one.model for one in members.values()], fitted.heads, description)
        found = _validated(job, reader, model.to(job.accelerator.device), fitted)
        if job.accelerator.is_main_process:
            _save(job, members, {**description, "metrics": found.metrics})
        job.accelerator.wait_for_everyone()
    done = Combined(
        metrics=found.metrics,
        select=dict(stage.select),
        score=(
            sum(weight * found.metrics[name] for name, weight in stage.select.items())
            if stage.select
            else None
        ),
        members=list(members),
        tasks={task: _told(stage, list(members), model, fitted, task) for task in heads},
        samples=_samples(job, reader, stage),
        skipped=found.skipped + fitted.skipped,
        seconds=time.perf_counter() - started,
    )
    if job.accelerator.is_main_process:
        job.screen.combined(stage, done.metrics, done.select)
    tell_finished(job, metrics=done.metrics, record=attrs.asdict(done))
    return done


def _load_members(job: StageJob, stage: EnsembleStage) -> dict[str, TrainedStage]:
    """The networks, on the device."""
    config, device = job.loaded.config, job.accelerator.device
    found = {}
    for name in names_of(config, stage):
        member = load_stage(job.references[name], job.loaded.registry)
        member.model.to(device)
        if config.trainer.channels_last and device.type != "mps":
            member.model.to(memory_format=torch.channels_last)
        found[name] = member
    return found


def _first_head(members: dict[str, TrainedStage], task: str) -> Head:
    return next(member.heads[task] for member in members.values() if task in member.heads)


def _combination(stage: EnsembleStage, members: list[str], fitted: Fitted) -> dict[str, Any]:
    """What the checkpoint says of how members are combined."""
    combine = {task: "majority" if stage.combination(task) == "majority" else "mean" for task in fitted.heads}
    return {
        "members": [{"name": name, "folder": f"member-{place}"} for place, name in enumerate(members, 1)],
        "combine": combine,
        "weights": {task: list(weights) for task, weights in fitted.weights.items()},
        "tasks": {
            task: {"head": plain(head), "meaning": head.meaning()} for task, head in fitted.heads.items()
        },
    }


def _validated(job: StageJob, reader: Reader, model: Ensemble, fitted: Fitted) -> Validated:
    stage = job.stage
    assert isinstance(stage, EnsembleStage)
    feeds = feeds_with_metrics(job, reader, stage.validation, fitted.heads)

    def check_stop() -> None:
        if job.accelerator.num_processes == 1 and (stop := job.stop()):
            raise Interrupted(stop)

    try:
        return validate(model, feeds, job.accelerator, check_stop)
    finally:
        for feed in feeds:
            feed.loader.close()


def _save(job: StageJob, members: dict[str, TrainedStage], description: dict[str, Any]) -> None:
    """The ensemble with its members, so that it can be used without them."""
    config = job.loaded.config
    about = {
        "stage": job.stage.name,
        "run": config.name,
        "epoch": 0,
        "versions": versions(job.loaded.sources()),
        **description,
    }
    folders = [one["folder"] for one in description["members"]]

    def add(folder: Path) -> None:
        for name, member in zip(folders, members.values(), strict=True):
            keep_checkpoint(member.path, folder / name)

    save_ensemble(job.directory.best, about, add)


def _told(
    stage: EnsembleStage, members: list[str], model: Ensemble, fitted: Fitted, task: str
) -> dict[str, Any]:
    """What the report says of a task."""
    shares = zip(model.readers[task], model.get_buffer(f"{task}_weights").tolist(), strict=True)
    weights = {members[place]: round(share, 6) for place, share in shares}
    return {
        "combine": stage.combination(task),
        "weights": weights,
        "tuned": dict(fitted.tuned.get(task, {})),
        "fitted_on": list(fitted.feeds.get(task, ())),
    }


def _samples(job: StageJob, reader: Reader, stage: EnsembleStage) -> int:
    feeds = (*stage.fit_on, *stage.validation)
    return sum(len(job.source.samples(reader, feed, validation=True)) for feed in feeds)
