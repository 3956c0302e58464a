"""What the members of an ensemble have in common: tasks, meanings, inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..config import Config, EnsembleStage, Stage, Windows, expand, member_names, own_tasks
from ..errors import ConfigError, suggestion

Descriptions = Mapping[str, Mapping[str, Any]]  # by member, as `model.describe` has them
INPUTS = ("image_size", "read_size", "channels", "resize")  # each network normalises pictures for itself


@attrs.frozen
class Reading:
    """How an ensemble reads samples: as its members do; see `Reader`."""

    name: str
    features: str | None
    windows: Windows | None


def reading_of(config: Config, stage: Stage | EnsembleStage, description: Mapping[str, Any]) -> Reading:
    """How a stage reads samples.

    Args:
        config: the configuration.
        stage: the stage.
        description: what its checkpoint says of it.

    Raises:
        ConfigError: if nothing says where features are.
    """
    windows = description.get("windows")
    features = features_of(config, stage)
    if features is None and description.get("inputs") == "features":
        raise ConfigError(
            f"stages.{stage.name}: its members read features, so one must be a stage of this run, "
            "which says where they are"
        )
    return Reading(stage.name, features, None if windows is None else Windows(**windows))


def features_of(config: Config, stage: Stage | EnsembleStage) -> str | None:
    """The features that a stage reads; of an ensemble, those of its members that are stages here."""
    if isinstance(stage, Stage):
        return stage.features
    return next((one.features for one in trained_members(config, stage) if one.features), None)


def trained_members(config: Config, stage: EnsembleStage) -> list[Stage]:
    """The members that are stages here, and those of ensembles among them."""
    stages = {one.name: one for one in expand(config).stages}
    found: list[Stage] = []
    for name in names_of(config, stage):
        member = stages.get(name)
        if isinstance(member, EnsembleStage):
            found += trained_members(config, member)
        elif isinstance(member, Stage):
            found.append(member)
    return found


def common_description(members: Descriptions) -> dict[str, Any]:
    """What is said of an ensemble as of a network: the inputs of its first member, the tasks of all.

    A task's head is that of the first member that has it.
    """
    first = next(iter(members.values()))
    tasks: dict[str, Any] = {}
    for member in members.values():
        tasks = {**member["tasks"], **tasks}
    found = {
        "kind": "ensemble",
        "preprocessing": first["preprocessing"],
        "temporal": first.get("temporal"),
        "windows": first.get("windows"),
        "inputs": first.get("inputs", "pictures"),
        "tasks": tasks,
    }
    return found | ({"features": first["features"]} if "features" in first else {})


def unlike_members(members: Descriptions) -> Iterator[str]:
    """In what a member differs from the first one, or from the first that has a task."""
    first = next(iter(members))
    owners: dict[str, str] = {}
    for name, member in members.items():
        yield from _unlike(name, _inputs(member), first, _inputs(members[first]))
        for task, table in member["tasks"].items():
            owner = owners.setdefault(task, name)
            theirs = members[owner]["tasks"][task]["meaning"]
            lines = _unlike(name, table["meaning"], owner, theirs)
            yield from (f"task {task!r}: {line}" for line in lines)


def unfit_tasks(config: Config, stage: EnsembleStage, members: Descriptions) -> Iterator[str]:
    """Tasks that cannot be combined, fitted or validated as the stage's table says."""
    tasks = common_description(members)["tasks"]
    for task in stage.combine if isinstance(stage.combine, Mapping) else ():
        if task not in tasks:
            yield f"combine.{task}: no member has this task{suggestion(task, tasks)}"
    fitted = {own for feed in stage.fit_on for own in own_tasks(config, feed.task)}
    for key, feeds in (("fit_on", stage.fit_on), ("validation", stage.validation)):
        for task in dict.fromkeys(own for feed in feeds for own in own_tasks(config, feed.task)):
            if task not in tasks:
                yield f"{key}: no member has task {task!r}{suggestion(task, tasks)}"
                continue
            ours = config.tasks[task].head.meaning()
            lines = _unlike("members", tasks[task]["meaning"], "configuration", ours)
            yield from (f"task {task!r}: {line}" for line in lines)
    for task in tasks:
        weights = [weight_of(config, stage, name) for name, one in members.items() if task in one["tasks"]]
        if stage.combination(task) == "weighted" and task not in fitted:
            yield f"combine: fit_on has no feed of task {task!r} to fit its weights on"
        elif stage.combination(task) != "weighted" and not any(weights):
            yield f"weights: no member with task {task!r} has one above 0"


def weight_of(config: Config, stage: EnsembleStage, name: str) -> float:
    """The weight that the table gives to a network; that of a repeated stage holds for each repeat."""
    for member in stage.members:
        if name in member_names(config.stages, [member]):
            return stage.weights.get(member, 1.0)
    raise ConfigError(f"stages.{stage.name}: no such member (got {name!r})")


def _inputs(member: Mapping[str, Any]) -> dict[str, Any]:
    """What of a description says what the network reads."""
    preprocessing = {f"preprocessing {key}": member["preprocessing"].get(key) for key in INPUTS}
    return {"inputs": member.get("inputs", "pictures"), "windows": member.get("windows"), **preprocessing}


def _unlike(one: str, ours: Mapping[str, Any], other: str, theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*theirs, *ours]):
        if ours.get(key) != theirs.get(key):
            yield f"{one!r} has {key} {ours.get(key)!r}, {other!r} {theirs.get(key)!r}"


def names_of(config: Config, stage: EnsembleStage) -> Sequence[str]:
    """The networks that an ensemble combines: names of stages and repeats, or paths."""
    return member_names(config.stages, stage.members)
