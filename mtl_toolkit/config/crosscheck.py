"""Checks between the tables of a configuration: that names lead somewhere and parts fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import suggestion
from ..plugin import CouplingLoss, TeacherLoss
from .ensembles import ensemble_problems
from .problems import Found, Key, Problems
from .references import TRAINED, reference_problems
from .resolve import default_selection, full_metric_names, ground_truth_weight, matching
from .schema import Config
from .stages import NETWORK_KEYS, OWN_AVERAGE, AnyStage, EnsembleStage, ExtractStage, Feed, Stage, Stream

COUPLES = "{!r} couples tasks: name it in the losses of a combined task"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
NAME_RULE = "must be letters, digits, '_', '-', '.' or '+', starting with a letter or digit"


def cross_check(config: Config, base: Path) -> None:
    """Check what no single table can know; raises `Problems`."""
    found = [*_names(config), *_members(config), *_losses(config), *_metrics(config), *_task_keys(config)]
    earlier: list[AnyStage] = []
    for index, stage in enumerate(config.stages):
        at = ("stages", index)
        if stage.name in [other.name for other in earlier]:
            found.append(((*at, "name"), f"must differ from the other stages' (got {stage.name!r} twice)"))
        found += [((*at, *path), message) for path, message in _stage(config, stage, earlier, base)]
        earlier.append(stage)
    if found:
        raise Problems(found)


def _stage(config: Config, stage: AnyStage, earlier: Sequence[AnyStage], base: Path) -> Iterator[Found]:
    if isinstance(stage, ExtractStage):
        yield from reference_problems(("network",), stage.network, earlier, base)
        for place, name in enumerate(stage.datasets):
            if name not in config.datasets:
                yield ("datasets", place), f"unknown dataset {name!r}{suggestion(name, config.datasets)}"
        return
    if isinstance(stage, EnsembleStage):
        for place, name in enumerate(stage.members):
            yield from reference_problems(("members", place), name, earlier, base, TRAINED, repeated=True)
        yield from _feeds(config, "fit_on", stage.fit_on)
        yield from _feeds(config, "validation", stage.validation)
        yield from ensemble_problems(config, stage)
        yield from _selection(config, stage)
        return
    yield from _feeds(config, "streams", stage.streams)
    yield from _feeds(config, "validation", stage.validation)
    if isinstance(stage.epoch_length, int) and stage.epoch_length < 1:
        yield ("epoch_length",), f"must be at least 1 (got {stage.epoch_length})"
    yield from _features(config, stage, earlier, base)
    yield from _couplings(stage)
    yield from _teacher(config, stage, earlier, base)
    yield from _start(stage, earlier, base)
    yield from _selection(config, stage)
    yield from _methods(config, stage)


def _features(config: Config, stage: Stage, earlier: Sequence[AnyStage], base: Path) -> Iterator[Found]:
    if stage.windows is not None and stage.temporal is None:
        yield ("windows",), "are for a temporal network, but the stage names none"
    if stage.features is None:
        return
    for key in NETWORK_KEYS:
        if getattr(stage, key) is not None:
            yield (key,), "has no effect, since the stage works on features"
    yield from reference_problems(("features",), stage.features, earlier, base, ("extract",))
    extracts = {other.name: other.datasets for other in earlier if isinstance(other, ExtractStage)}
    extracted = extracts.get(stage.features, ())
    # Unknown datasets are told by themselves; what follows from them would hide the cause.
    if not extracted or not set(extracted) <= set(config.datasets):
        return
    for key, feeds in (("streams", stage.streams), ("validation", stage.validation)):
        for index, feed in enumerate(feeds):
            for name in feed.datasets:
                if name in config.datasets and name not in extracted:
                    message = f"stage {stage.features!r} extracts no features of dataset {name!r}"
                    yield (key, index, "dataset"), message + suggestion(name, extracted)


def _names(config: Config) -> Iterator[Found]:
    named: list[tuple[tuple[Key, ...], str]] = [(("name",), config.name)]
    named += [(("tasks", name), name) for name in config.tasks]
    named += [(("datasets", name), name) for name in config.datasets]
    for index, stage in enumerate(config.stages):
        named.append((("stages", index, "name"), stage.name))
    for path, name in named:
        if not NAME.fullmatch(name):
            yield path, f"{NAME_RULE} (got {name!r})"
        elif path[0] == "stages" and name == OWN_AVERAGE:
            yield path, f"must not be {name!r}, which as a teacher is the average of a stage's own weights"
        elif path[0] == "tasks" and "." in name:
            yield path, f"must have no dot, as it names a part of the network (got {name!r})"


def _members(config: Config) -> Iterator[Found]:
    for name, task in config.tasks.items():
        for member in task.head.members:
            if member not in config.tasks or config.tasks[member].head.members:
                plain_tasks = [other for other, one in config.tasks.items() if not one.head.members]
                message = f"must name tasks with outputs of their own (got {member!r})"
                yield ("tasks", name, "head"), message + suggestion(member, plain_tasks)


def _losses(config: Config) -> Iterator[Found]:
    """Losses that couple tasks are for combined tasks, and these take no others."""
    for name, task in config.tasks.items():
        for loss in task.losses:
            if isinstance(loss, CouplingLoss) and not task.head.members:
                yield ("tasks", name, "losses"), COUPLES.format(loss.name)
            elif task.head.members and not isinstance(loss, CouplingLoss):
                message = f"{loss.name!r} is a loss of one task: name it in the tasks that have outputs"
                yield ("tasks", name, "losses"), message


def _metrics(config: Config) -> Iterator[Found]:
    for name, task in config.tasks.items():
        reported = [one for metric in task.metrics for one in metric.outputs(task.head)]
        for twice in dict.fromkeys(one for one in reported if reported.count(one) > 1):
            yield ("tasks", name, "metrics"), f"must report different names (got {twice!r} twice)"


def _task_keys(config: Config) -> Iterator[Found]:
    """Tables of datasets whose keys are tasks; their fields say so."""
    for name, recipe in config.datasets.items():
        for field in attrs.fields(type(recipe)):
            for key in getattr(recipe, field.name) if field.metadata.get("keys") == "tasks" else ():
                if key not in config.tasks:
                    yield ("datasets", name, field.name, key), f"unknown task{suggestion(key, config.tasks)}"


def _feeds(config: Config, key: str, feeds: Sequence[Feed]) -> Iterator[Found]:
    titles: list[tuple[str, str]] = []
    for index, feed in enumerate(feeds):
        for path, message in _feed(config, feed):
            yield (key, index, *path), message
        title = (feed.title, "" if isinstance(feed, Stream) else feed.task)
        if title in titles:
            message = f"must differ from the others' (got {feed.title!r} twice); give it a name"
            yield (key, index, "name"), message
        titles.append(title)


def _feed(config: Config, feed: Feed) -> Iterator[Found]:
    if feed.name and not NAME.fullmatch(feed.name):
        yield ("name",), f"{NAME_RULE} (got {feed.name!r})"
    if not feed.datasets:
        yield ("dataset",), "must name a dataset (got none)"
    yield from _unknown(feed.datasets, feed.task, config.datasets, config.tasks)


def loose_names(raw: Mapping[str, Any]) -> Iterator[Found]:
    """Names of datasets and tasks that lead nowhere, in plain tables that may have other problems."""
    for stage_path, stage in _items(raw, "stages"):
        for key in ("streams", "validation", "fit_on"):
            for feed_path, feed in _items(stage, key):
                names, task = feed.get("dataset", ()), feed.get("task")
                for path, message in _unknown(
                    [names] if isinstance(names, str) else names, task, raw.get("datasets"), raw.get("tasks")
                ):
                    yield (*stage_path, *feed_path, *path), message


def _items(table: Mapping[str, Any], key: str) -> Iterator[tuple[tuple[Key, ...], Mapping[str, Any]]]:
    """The tables in a list, as far as they are tables in a list."""
    items = table.get(key)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, Mapping):
            yield (key, index), item


def _unknown(names: Any, task: Any, datasets: Any, tasks: Any) -> Iterator[Found]:
    if isinstance(names, list | tuple) and isinstance(datasets, Mapping):
        for name in names:
            if isinstance(name, str) and name not in datasets:
                yield ("dataset",), f"unknown dataset {name!r}{suggestion(name, datasets)}"
    if isinstance(task, str) and isinstance(tasks, Mapping) and task not in tasks:
        yield ("task",), f"unknown task {task!r}{suggestion(task, tasks)}"


def _couplings(stage: Stage) -> Iterator[Found]:
    for loss in stage.losses:
        if isinstance(loss, CouplingLoss):
            yield ("losses",), COUPLES.format(loss.name)


def _teacher(config: Config, stage: Stage, earlier: Sequence[AnyStage], base: Path) -> Iterator[Found]:
    wants = [loss for loss in stage.losses if isinstance(loss, TeacherLoss)]
    if wants and not stage.teachers:
        yield ("losses",), f"{wants[0].name!r} compares with a teacher, but the stage names none"
    if stage.teachers and not wants:
        yield ("teacher",), "is named, but none of the stage's losses compares with a teacher"
    for task, reference in stage.teachers.items():
        path: tuple[Key, ...] = ("teacher", task) if task else ("teacher",)
        if task and (task not in config.tasks or config.tasks[task].head.members):
            yield path, f"unknown task {task!r}{suggestion(task, config.tasks)}"
        if reference != OWN_AVERAGE:
            yield from reference_problems(path, reference, earlier, base, TRAINED)
        elif stage.ema is None:
            yield path, "is the average of the stage's own weights, but `ema` is not given"
    if stage.ground_truth_weight is None and ground_truth_weight(stage) <= 0:
        message = "must be given, since the weights of the teacher losses add up to 1 or more (0: no labels)"
        yield ("ground_truth_weight",), message


def _methods(config: Config, stage: Stage) -> Iterator[Found]:
    """Ways of training that do not go together."""
    optimizer = stage.optimizer
    if optimizer.sam is not None and config.trainer.precision == "fp16":
        message = "does not work in fp16, whose gradients are scaled; use precision 'bf16' or 'fp32'"
        yield ("optimizer", "sam"), message
    if optimizer.sam_adaptive and optimizer.sam is None:
        yield ("optimizer", "sam_adaptive"), "changes how `sam` climbs, but `sam` is not given"
    if stage.augmentation.mixup and stage.temporal is not None:
        yield ("augmentation", "mixup"), "mixes single rows, but the stage works on windows of frames"


def _start(stage: Stage, earlier: Sequence[AnyStage], base: Path) -> Iterator[Found]:
    if stage.start_from is not None:
        yield from reference_problems(("start_from",), stage.start_from, earlier, base)


def _selection(config: Config, stage: Stage | EnsembleStage) -> Iterator[Found]:
    known = full_metric_names(config, stage)
    for key in stage.select:
        matches = matching(key, known)
        if len(matches) != 1:
            what = "is ambiguous" if matches else "is no metric of this stage"
            yield ("select", key), f"{what}{suggestion(key, matches or known)}"
    choosing = isinstance(stage, Stage)
    if choosing and known and not stage.select and not default_selection(config, stage):
        yield ("select",), f"must be given, since the heads choose by none of the metrics: {', '.join(known)}"
