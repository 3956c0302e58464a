"""Fill in what a configuration leaves to its heads: losses, metrics, weights, the best epoch's choice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs

from ..plugin import TeacherLoss
from .paths import expand_path
from .repeats import names_to_refer_to
from .schema import Config, Model, Task
from .stages import OWN_AVERAGE, AnyStage, EnsembleStage, ExtractStage, Stage, Windows


def resolve(config: Config, base: Path) -> Config:
    """Write out every default, so that the configuration says all there is to say."""
    tasks = {name: _resolve_task(task) for name, task in config.tasks.items()}
    config = attrs.evolve(config, tasks=tasks)
    return attrs.evolve(config, stages=tuple(_resolve_stage(config, stage, base) for stage in config.stages))


def own_tasks(config: Config, task: str) -> tuple[str, ...]:
    """The tasks with outputs that a task stands for: its members, or itself."""
    return config.tasks[task].head.members or (task,)


def stage_tasks(config: Config, stage: Stage) -> tuple[str, ...]:
    """The tasks with outputs that a stage trains or validates, in the configuration's order."""
    feeds = (*stage.streams, *stage.validation)
    used = {member for feed in feeds if feed.task in config.tasks for member in own_tasks(config, feed.task)}
    return tuple(name for name in config.tasks if name in used)


def stage_model(config: Config, stage: AnyStage) -> Model:
    """The table of a stage's network: the model's, with the parts that the stage names itself."""
    if not isinstance(stage, Stage):
        return config.model  # its network is another stage's, or a checkpoint's
    model = config.model
    return attrs.evolve(
        model,
        architecture=stage.architecture or model.architecture,
        backbone=stage.backbone or model.backbone,
    )


def full_metric_names(config: Config, stage: Stage | EnsembleStage) -> list[str]:
    """All "<dataset>/<task>/<metric>" names that the stage's validation reports."""
    names = []
    for feed in stage.validation:
        for task in _known_own_tasks(config, feed.task):
            head = config.tasks[task].head
            for metric in config.tasks[task].metrics or head.default_metrics():
                names += [f"{feed.title}/{task}/{name}" for name in metric.outputs(head)]
    return names


def matching(key: str, names: Iterable[str]) -> list[str]:
    """The metrics that a key of `select` stands for: of that whole name, or ending in it."""
    return [name for name in names if name == key or name.endswith(f"/{key}")]


def ground_truth_weight(stage: Stage) -> float:
    """The weight of the ground truth: as given, or what the teacher losses leave of 1."""
    if stage.ground_truth_weight is not None:
        return stage.ground_truth_weight
    return 1.0 - sum(loss.weight for loss in stage.losses if isinstance(loss, TeacherLoss))


def _resolve_task(task: Task) -> Task:
    if task.head.members:
        return task
    return attrs.evolve(
        task,
        losses=task.losses or task.head.default_losses(),
        metrics=task.metrics or task.head.default_metrics(),
    )


def _resolve_stage(config: Config, stage: AnyStage, base: Path) -> AnyStage:
    earlier = names_to_refer_to(config.stages)

    def absolute(reference: str) -> str:
        return reference if reference in earlier else str(expand_path(reference, base))

    def taught_by(teacher: str) -> str:
        return teacher if teacher == OWN_AVERAGE else absolute(teacher)

    if isinstance(stage, ExtractStage):
        return attrs.evolve(stage, network=absolute(stage.network))
    if isinstance(stage, EnsembleStage):
        named = [other.name for other in config.stages if other.name not in earlier]  # repeated ones
        written = {one: one if one in named else absolute(one) for one in stage.members}
        weights = {written[one]: weight for one, weight in stage.weights.items()}
        select = _selection(config, stage)
        return attrs.evolve(stage, members=tuple(written.values()), weights=weights, select=select)
    teacher = stage.teacher
    if isinstance(teacher, str):
        teacher = taught_by(teacher)
    elif teacher is not None:
        teacher = {task: taught_by(reference) for task, reference in teacher.items()}
    return attrs.evolve(
        stage,
        teacher=teacher,
        features=None if stage.features is None else absolute(stage.features),
        windows=Windows() if stage.temporal is not None and stage.windows is None else stage.windows,
        start_from=None if stage.start_from is None else absolute(stage.start_from),
        ground_truth_weight=round(ground_truth_weight(stage), 12),
        select=_selection(config, stage),
    )


def _selection(config: Config, stage: Stage | EnsembleStage) -> dict[str, float]:
    names = full_metric_names(config, stage)
    if stage.select:
        return {name: weight for key, weight in stage.select.items() for name in matching(key, names)}
    return default_selection(config, stage)


def default_selection(config: Config, stage: Stage | EnsembleStage) -> dict[str, float]:
    """Weights of the metrics that the heads of the stage's validation choose by, by full name."""
    names = full_metric_names(config, stage)
    chosen = {}
    for feed in stage.validation:
        for task in _known_own_tasks(config, feed.task):
            for metric, weight in config.tasks[task].head.default_selection().items():
                name = f"{feed.title}/{task}/{metric}"
                if name in names:
                    chosen[name] = weight
    return chosen


def _known_own_tasks(config: Config, task: str) -> list[str]:
    """The own tasks of a task, as far as there are such; a wrong name is told elsewhere."""
    found = own_tasks(config, task) if task in config.tasks else ()
    return [own for own in found if own in config.tasks]
