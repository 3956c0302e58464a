"""Checks of an ensemble's table: that its parts fit together, and what is fitted is judged elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import suggestion
from .problems import Found
from .resolve import own_tasks
from .schema import Config
from .stages import EnsembleStage


def ensemble_problems(config: Config, stage: EnsembleStage) -> Iterator[Found]:
    """What is wrong with an ensemble's table, beside its references and feeds."""
    tasks = [name for name, task in config.tasks.items() if not task.head.members]
    chosen = {} if isinstance(stage.combine, str) else stage.combine
    for task in chosen:
        if task not in tasks:
            yield ("combine", task), f"unknown task{suggestion(task, tasks)}"
    yield from _weights(stage)
    yield from _fitting(config, stage)
    reported = {name for feed in stage.validation for name in feed.datasets}
    for index, feed in enumerate(stage.fit_on):
        for name in feed.datasets:
            if name in reported:
                message = f"must not be validated on too: what is fitted fits it (got {name!r})"
                yield ("fit_on", index, "dataset"), message


def _weights(stage: EnsembleStage) -> Iterator[Found]:
    for name in stage.weights:
        if name not in stage.members:
            yield ("weights", name), f"no such member{suggestion(name, stage.members)}"
    if stage.weights and stage.combine == "weighted":
        yield ("weights",), 'have no effect, since combine = "weighted" fits them'
    elif not any(stage.weights.get(name, 1.0) for name in stage.members):
        yield ("weights",), "must be above 0 for some member (got 0 for all)"


def _fitting(config: Config, stage: EnsembleStage) -> Iterator[Found]:
    chosen = {} if isinstance(stage.combine, str) else stage.combine
    fits_weights = "weighted" in (stage.combine, *chosen.values())
    if not (fits_weights or stage.tune):
        if stage.fit_on:
            yield ("fit_on",), 'has no effect without combine = "weighted" or tune = true'
        return
    if not stage.fit_on:
        key = "combine" if fits_weights else "tune"
        yield (key,), "has nothing to fit on: fit_on must name samples that are not validated"
        return
    named = [feed.task for feed in stage.fit_on if feed.task in config.tasks]
    fitted = [own for task in named for own in own_tasks(config, task)]
    for task, how in chosen.items():
        if how == "weighted" and task in config.tasks and task not in fitted:
            yield ("combine", task), "has nothing to fit its weights on: fit_on has no feed of this task"
