"""Checks the TOML of the documentation: whole configurations, parts of one, and pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from mtl_toolkit import Config, ConfigError, config_from
from mtl_toolkit.config import OWN_AVERAGE, EnsembleStage, ExtractStage, Stage
from mtl_toolkit.fields import fields_of

# What a part of a configuration may refer to without defining it.
TASKS: Mapping[str, Any] = {
    "expr": "expression",
    "va": "valence-arousal",
    "aus": "action-units",
    "both": {"type": "combined", "tasks": ["expr", "va"]},
    "expr_va": {"type": "combined", "tasks": ["expr", "va"]},
}
PROJECT_TABLES = {"project", "build-system", "tool"}
PROJECT_KEYS = {
    "name",
    "version",
    "description",
    "requires-python",
    "dependencies",
    "entry-points",
    "license",
}
PROJECT_KEYS |= {"authors", "readme", "keywords", "classifiers", "optional-dependencies", "urls", "scripts"}
OWN_PLUGIN = re.compile(r"^    name: ClassVar\[str\] = \"([^\"]+)\"", re.MULTILINE)


def problems_of(tables: Mapping[str, Any], base: Path, page: str) -> list[str]:
    """What is wrong with a block: as a configuration that is completed first, or as a pyproject.toml.

    A plugin that the page itself defines in Python may be named, though it is not installed.
    """
    if set(tables) & PROJECT_TABLES:
        return list(project_problems(tables))
    try:
        config_from(completed(tables, base), base=base)
    except ConfigError as error:
        own = set(OWN_PLUGIN.findall(page))
        return [problem for problem in error.problems if not _names_one_of(problem, own)]
    return []


def completed(tables: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Add to a part of a configuration what it lacks to be whole, and nothing that it has.

    Keys of a stage alone make a stage. Tasks, datasets, earlier stages and checkpoints that it refers to are
    made up; checkpoints as empty folders below `base`.

    Raises:
        ValueError: if the block is no part of a configuration.
    """
    if not set(tables) & {*fields_of(Config), "defaults"}:
        if not set(tables) & {*fields_of(Stage), *fields_of(ExtractStage), *fields_of(EnsembleStage)}:
            raise ValueError(f"neither a configuration nor keys of a stage: {', '.join(tables)}")
        tables = {"stages": [{"name": "stage", **tables}]}
    whole = {"name": "part", "model": {"backbone": {"type": "timm", "name": "resnet10t"}}, **tables}
    whole["tasks"] = dict(tables.get("tasks", {}))
    stages = [dict(stage) for stage in tables.get("stages", [{"name": "stage"}])]
    for place, stage in reversed(list(enumerate(stages))):
        _add_streams(stage, tables.get("defaults", {}))
        earlier = {one["name"] for one in stages[:place]}
        stages[place:place] = list(_earlier_stages(stage, earlier, base))
    whole["stages"] = stages
    for task in _tasks_named(whole):
        _add_task(whole["tasks"], task)
    made_up = {name: {"type": "synthetic-videos", "videos": 2} for name in _datasets_named(whole)}
    whole["datasets"] = {**made_up, **tables.get("datasets", {})}
    return whole


def _add_task(tasks: dict[str, Any], name: str) -> None:
    if name in tasks or name not in TASKS:
        return
    head = TASKS[name]
    tasks[name] = {"head": head}
    for member in head["tasks"] if isinstance(head, dict) else ():
        _add_task(tasks, member)


def _add_streams(stage: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    if stage.get("kind") in ("extract", "ensemble"):
        return
    if "streams" not in stage and "streams" not in defaults:
        stage["streams"] = [{"dataset": "some", "task": "expr"}]
    if "select" in stage and "validation" not in {**stage, **defaults}:
        stage["validation"] = [{"dataset": "some", "task": "both"}]


def _earlier_stages(stage: Mapping[str, Any], there: Iterable[str], base: Path) -> Iterator[dict[str, Any]]:
    """Stages that a stage refers to and that are not there; what looks like a path becomes a folder."""
    teacher = stage.get("teacher") or ()
    teachers = [teacher] if isinstance(teacher, str) else list(dict(teacher).values())
    others = (stage.get("start_from"), stage.get("network"), stage.get("features"))
    for name in [*teachers, *others, *stage.get("members", ())]:
        if not isinstance(name, str) or name in (*there, OWN_AVERAGE):
            continue
        if "/" in name:
            (base / name).mkdir(parents=True, exist_ok=True)
        elif name == stage.get("features"):
            streams = [*stage.get("streams", ()), *stage.get("validation", ())]
            datasets = list(dict.fromkeys(one for stream in streams for one in _listed(stream["dataset"])))
            yield {"name": f"network of {name}".replace(" ", "-"), "streams": stage["streams"]}
            yield {
                "name": name,
                "kind": "extract",
                "network": f"network-of-{name}",
                "datasets": datasets,
            }
        else:
            yield {"name": name, "streams": [{"dataset": "some", "task": "both"}]}


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _feeds(whole: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for stage in [whole.get("defaults", {}), *whole["stages"]]:
        yield from stage.get("streams", ())
        yield from stage.get("validation", ())
        yield from stage.get("fit_on", ())


def _tasks_named(whole: Mapping[str, Any]) -> Iterator[str]:
    yield "expr"
    for feed in _feeds(whole):
        yield feed.get("task", "")
    for dataset in whole.get("datasets", {}).values():
        yield from dataset["labels"] if isinstance(dataset.get("labels"), dict) else ()
    for task in list(whole["tasks"].values()):
        head = task.get("head")
        yield from head.get("tasks", ()) if isinstance(head, dict) else ()


def _datasets_named(whole: Mapping[str, Any]) -> Iterator[str]:
    yield "some"
    for feed in _feeds(whole):
        yield from _listed(feed.get("dataset", ()))
    for stage in whole["stages"]:
        yield from stage.get("datasets", ())


def _names_one_of(problem: str, names: Iterable[str]) -> bool:
    return any(re.search(rf": unknown \w+ '{re.escape(name)}'", problem) for name in names)


def project_problems(tables: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a pyproject.toml, or with a part of one."""
    yield from (f"unknown table [{key}]" for key in set(tables) - PROJECT_TABLES)
    project = tables.get("project", {})
    yield from (f"project.{key}: no key of a project" for key in set(project) - PROJECT_KEYS)
    Version(project.get("version", "0"))
    for requirement in project.get("dependencies", ()):
        Requirement(requirement)
    for group, points in project.get("entry-points", {}).items():
        if group != "mtl_toolkit":
            yield f"project.entry-points.{group}: must be mtl_toolkit"
        yield from (
            f"project.entry-points.{group}.{name}: must name a module (got {value!r})"
            for name, value in points.items()
            if not re.fullmatch(r"\w+(\.\w+)*(:\w+)?", value)
        )
