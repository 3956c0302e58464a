"""What each stage is made from: a finished one is done again only if this changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from accelerate import Accelerator

from ..config import (
    AnyStage,
    Config,
    EnsembleStage,
    ExtractStage,
    Loaded,
    Repeat,
    Stage,
    expand,
    own_tasks,
    plain,
    recipes_in,
    repeat_names,
    repeats_of,
    stage_model,
)
from ..errors import ConfigError, suggestion
from ..files import file_digest
from ..rundir import RunDirectory, differences
from .data import DataSource, dataset_uses, stage_heads
from .keep import NETWORK, weight_files
from .load import find_checkpoint
from .members import names_of

# What a run may change without its stages having to be trained again.
FREE = ("device", "workers", "log_every", "save_every", "threads", "trackers")


def stage_records(loaded: Loaded, source: DataSource, accelerator: Accelerator) -> dict[str, dict[str, Any]]:
    """What each stage is made from: it is trained again only if this changes."""
    config = loaded.config
    records: dict[str, dict[str, Any]] = {}
    for stage in expand(config).stages:
        names = dict.fromkeys(name for name, _ in dataset_uses(stage))
        tasks = _tasks(config, stage)
        model = stage_model(config, stage)
        used = [stage, model, *(config.tasks[t] for t in tasks), *(config.datasets[n] for n in names)]
        sources = [loaded.registry.source_of(type(recipe)) for part in used for recipe in recipes_in(part)]
        trainer = {key: value for key, value in plain(config.trainer).items() if key not in FREE}
        records[stage.name] = {
            "seed": config.seed,
            "stage": plain(stage),
            "tasks": {task: plain(config.tasks[task]) for task in tasks},
            "model": plain(model),
            "datasets": {name: plain(config.datasets[name]) for name in names},
            "data": source.fingerprints(stage),
            "trainer": {**trainer, "processes": accelerator.num_processes},
            "plugins": {s.distribution: s.version for s in sorted({s for s in sources if s}, key=str)},
            "files": {str(path): file_digest(path) for path in _files(config, stage)},
            "made_from": {
                name: record_digest(records[name]) for name in earlier_of(config, stage) if name in records
            },
            **_split(source, stage),
        }
    return records


def refuse_changed(
    directory: RunDirectory, config: Config, records: Mapping[str, dict[str, Any]], redo: Sequence[str]
) -> None:
    """Refuse a run directory whose stages were made otherwise, saying in what.

    Raises:
        ConfigError: with a line for each of them.
    """
    changed: dict[str, list[str]] = {}
    for name, record in records.items():
        known = directory.stage(name).record()
        if known is not None:
            changed[name] = differences({k: v for k, v in known.items() if k in record}, record)
    for stage in config.stages:
        if repeat_names(stage) and directory.stage(stage.name).record() is not None:
            changed[stage.name] = [f"repeats: nothing -> {len(repeat_names(stage))}"]
        elif not repeat_names(stage) and (repeats := directory.repeats(stage.name)):
            changed[stage.name] = [f"repeats: {len(repeats)} -> nothing"]
    problems = [
        f"{directory.path / name}: was made otherwise ({_listed(lines)}); "
        f"redo it with --fresh {name}, or choose another --output"
        for name, lines in changed.items()
        if lines and name not in redo
    ]
    if problems:
        raise ConfigError(*problems)


def _listed(lines: Sequence[str]) -> str:
    return "; ".join(lines[:6]) + (f"; and {len(lines) - 6} more" if len(lines) > 6 else "")


def stages_to_redo(config: Config, fresh: Sequence[str]) -> list[str]:
    """The stages to redo: those named, with all of their repeats, and all made from them.

    Raises:
        ConfigError: if one named is no stage, and no repeat of one.
    """
    names = [name for stage in config.stages for name in (stage.name, *repeat_names(stage))]
    for name in fresh:
        if name not in names:
            raise ConfigError(f"--fresh {name}: no such stage{suggestion(name, names)}")
    redo = list(fresh)
    for stage in config.stages:
        for one in repeats_of(stage):
            from_these = stage.name in redo or any(name in redo for name in earlier_of(config, one))
            if from_these and one.name not in redo:
                redo.append(one.name)
    return redo


def earlier_of(config: Config, stage: AnyStage) -> list[str]:
    """What a stage refers to: stages or checkpoints' paths."""
    if isinstance(stage, ExtractStage):
        return [stage.network]
    if isinstance(stage, EnsembleStage):
        return list(names_of(config, stage))
    named = [*stage.trained_teachers.values(), stage.start_from, stage.features]
    return list(dict.fromkeys(name for name in named if name))


def references_of(config: Config, stage: AnyStage, directory: RunDirectory) -> dict[str, Path]:
    """Where each stage or checkpoint is that a stage refers to."""
    names = [other.name for other in expand(config).stages]
    return {
        name: directory.stage(name).path if name in names else Path(name)
        for name in earlier_of(config, stage)
    }


def record_digest(record: Mapping[str, Any]) -> str:
    """A hash of what a stage is made from."""
    text = json.dumps({k: v for k, v in record.items() if k != "result"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _split(source: DataSource, stage: AnyStage) -> dict[str, str]:
    """Of a repeat that holds out a fold, a hash of all folds."""
    folds = source.folds(stage) if isinstance(stage, Repeat) else None
    return {} if folds is None else {"folds": folds.digest()}


def _tasks(config: Config, stage: AnyStage) -> list[str]:
    """The tasks that a stage knows of; an extract stage keeps the labels of all."""
    if isinstance(stage, ExtractStage):
        return list(config.tasks)
    if isinstance(stage, EnsembleStage):
        feeds = (*stage.fit_on, *stage.validation)
        return list(dict.fromkeys(own for feed in feeds for own in own_tasks(config, feed.task)))
    return list(dict.fromkeys([*stage_heads(config, stage), *(stream.task for stream in stage.streams)]))


def _files(config: Config, stage: AnyStage) -> list[Path]:
    """Weights from outside the run: checkpoints of other runs, and files that the model's recipes name."""
    earlier = {one.name for one in expand(config).stages}
    features = stage.features if isinstance(stage, Stage) else None
    folders = [
        Path(name) / NETWORK if name == features else find_checkpoint(Path(name))
        for name in earlier_of(config, stage)
        if name not in earlier
    ]
    files = [file for folder in folders for file in weight_files(folder)]
    for recipe in recipes_in(stage_model(config, stage)):
        values = attrs.asdict(recipe, recurse=False).values()
        files += [value for value in values if isinstance(value, Path) and value.is_file()]
    return list(dict.fromkeys(files))
