"""Run a configuration: its stages in order, skipping what is finished and resuming what is not."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from accelerate import Accelerator

from ..checkpoint import MODEL
from ..config import AnyStage, Config, ExtractStage, Loaded, Stage, plain, recipes_in, stage_model
from ..errors import ConfigError, suggestion
from ..files import file_digest
from ..registry import versions
from ..report_html import render_report
from ..rundir import RunDirectory, differences
from ..trainer import Progress
from .data import DataSource, dataset_uses, stage_heads
from .device import leaving_process_as_found, make_accelerator, peak_memory, start_measuring
from .extract import Extracted, extract_stage
from .job import StageJob
from .load import NETWORK, find_checkpoint
from .one_folder import check_one_folder
from .screen import Screen
from .stage import train_stage
from .survey import survey
from .trackers import tracker_listeners

# What a run may change without its stages having to be trained again.
FREE = ("device", "workers", "log_every", "save_every", "threads", "trackers")


@leaving_process_as_found()
def run(
    loaded: Loaded,
    output: Path | str,
    *,
    fresh: Sequence[str] = (),
    screen: Screen | None = None,
    stop: Callable[[], int] = lambda: 0,
    listeners: Sequence[object] = (),
) -> dict[str, Any]:
    """Train the stages of a configuration and write the run directory.

    Args:
        loaded: the configuration and its plugins.
        output: the run directory; made if it is not there.
        fresh: stages to redo, with all that depend on them.
        screen: who shows progress.
        stop: a request to stop: a signal's number, or 0.
        listeners: objects with methods marked `@hookimpl` that hear of this run's stages, as plugins do.

    Returns:
        The report, as in report.json.

    Raises:
        UserError: if the data or the network do not fit, a stage in the directory was made otherwise, or a
            listener has no lifecycle hook.
        Interrupted: if a stop was asked for, after saving.
    """
    config = loaded.config
    named = [(f"listener {getattr(one, '__name__', type(one).__name__)}", one) for one in listeners]
    registry = loaded.registry.with_listeners([*named, *tracker_listeners(config.trainer.trackers)])
    loaded = attrs.evolve(loaded, registry=registry)
    accelerator = make_accelerator(config.trainer.device, config.trainer.precision)
    screen = screen or Screen()
    directory = RunDirectory(Path(output))
    source = DataSource(config, directory)
    _, problems = survey(config, source)
    if problems:
        raise ConfigError(*problems)
    redo = _dependents(config, fresh)
    records = _records(loaded, source, accelerator)
    _refuse_changed(directory, records, redo)
    if accelerator.is_main_process:
        directory.check_writable()
        for name in redo:
            shutil.rmtree(directory.stage(name).path, ignore_errors=True)
        directory.write_config(loaded.to_toml())
    accelerator.wait_for_everyone()
    check_one_folder(directory, loaded.to_toml(), accelerator)
    entries: list[dict[str, Any]] = []
    for stage in config.stages:
        job = StageJob(
            loaded=loaded,
            stage=stage,
            source=source,
            directory=directory.stage(stage.name),
            references=_references(config, stage, directory),
            accelerator=accelerator,
            screen=screen,
            stop=stop,
        )
        entries.append(_run_stage(job, records[stage.name]))
        report = {"name": config.name, **_versions(loaded), "stages": entries}
        if accelerator.is_main_process:
            directory.write_report(report)
    if accelerator.is_main_process:
        epochs = {stage.name: directory.stage(stage.name).epochs() for stage in config.stages}
        directory.write_page(render_report(report, epochs, loaded.to_toml()))
    return report


def _run_stage(job: StageJob, record: dict[str, Any]) -> dict[str, Any]:
    known = job.directory.record()
    if known is not None and "result" in known:
        job.screen.stage_skipped(job.stage)
        return dict(known["result"])
    _set_threads(job, known)
    if job.accelerator.is_main_process:
        job.directory.write_record({**record, "threads": torch.get_num_threads()})
    job.accelerator.wait_for_everyone()
    start_measuring(job.accelerator.device)
    if isinstance(job.stage, ExtractStage):
        result = _extracted(job, record, extract_stage(job, _digest(record)))
    else:
        result = _result(job, record, train_stage(job))
    gc.collect()
    if job.accelerator.is_main_process:
        job.directory.write_record({**record, "threads": torch.get_num_threads(), "result": result})
    job.accelerator.wait_for_everyone()
    return result


def _result(job: StageJob, record: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    return {
        "name": job.stage.name,
        "best_epoch": progress.best_epoch,
        "metrics": progress.best_metrics,
        "epochs": len(progress.history),
        "seconds": round(progress.seconds, 3),
        "samples_per_second": round(progress.samples / max(progress.training_seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory(job.accelerator.device),
        "skipped_samples": progress.skipped,
        "data": record["data"],
    }


def _extracted(job: StageJob, record: Mapping[str, Any], done: Extracted) -> dict[str, Any]:
    """The entry of an extract stage: it has no epochs and no metrics."""
    return {
        "name": job.stage.name,
        "kind": "extract",
        "best_epoch": 0,
        "metrics": {},
        "epochs": 0,
        "seconds": round(done.seconds, 3),
        "samples_per_second": round(done.samples / max(done.seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory(job.accelerator.device),
        "skipped_samples": done.skipped,
        "data": record["data"],
    }


def _records(loaded: Loaded, source: DataSource, accelerator: Accelerator) -> dict[str, dict[str, Any]]:
    """What each stage is made from: it is trained again only if this changes."""
    config = loaded.config
    records: dict[str, dict[str, Any]] = {}
    for stage in config.stages:
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
            "made_from": {name: _digest(records[name]) for name in _earlier(stage) if name in records},
        }
    return records


def _tasks(config: Config, stage: AnyStage) -> list[str]:
    """The tasks that a stage knows of; an extract stage keeps the labels of all."""
    if isinstance(stage, ExtractStage):
        return list(config.tasks)
    return list(dict.fromkeys([*stage_heads(config, stage), *(stream.task for stream in stage.streams)]))


def _files(config: Config, stage: AnyStage) -> list[Path]:
    """Weights from outside the run: checkpoints of other runs, and files that the model's recipes name."""
    earlier = {one.name for one in config.stages}
    features = stage.features if isinstance(stage, Stage) else None
    files = [
        (Path(name) / NETWORK if name == features else find_checkpoint(Path(name))) / MODEL
        for name in _earlier(stage)
        if name not in earlier
    ]
    for recipe in recipes_in(stage_model(config, stage)):
        values = attrs.asdict(recipe, recurse=False).values()
        files += [value for value in values if isinstance(value, Path) and value.is_file()]
    return list(dict.fromkeys(files))


def _refuse_changed(
    directory: RunDirectory, records: Mapping[str, dict[str, Any]], redo: Sequence[str]
) -> None:
    """Refuse a run directory whose stages were made otherwise, saying in what."""
    problems = []
    for name, record in records.items():
        known = directory.stage(name).record()
        if known is None or name in redo:
            continue
        changed = differences({k: v for k, v in known.items() if k in record}, record)
        if changed:
            listed = "; ".join(changed[:6]) + (f"; and {len(changed) - 6} more" if len(changed) > 6 else "")
            problems.append(
                f"{directory.path / name}: was made otherwise ({listed}); "
                f"redo it with --fresh {name}, or choose another --output"
            )
    if problems:
        raise ConfigError(*problems)


def _dependents(config: Config, fresh: Sequence[str]) -> list[str]:
    """The stages to redo: those named, and all made from them."""
    names = [stage.name for stage in config.stages]
    for name in fresh:
        if name not in names:
            raise ConfigError(f"--fresh {name}: no such stage{suggestion(name, names)}")
    redo = list(fresh)
    for stage in config.stages:
        if stage.name not in redo and any(name in redo for name in _earlier(stage)):
            redo.append(stage.name)
    return redo


def _earlier(stage: AnyStage) -> list[str]:
    """What a stage refers to: stages or checkpoints' paths."""
    if isinstance(stage, ExtractStage):
        return [stage.network]
    named = [*stage.teachers.values(), stage.start_from, stage.features]
    return list(dict.fromkeys(name for name in named if name))


def _references(config: Config, stage: AnyStage, directory: RunDirectory) -> dict[str, Path]:
    names = [other.name for other in config.stages]
    return {name: directory.stage(name).path if name in names else Path(name) for name in _earlier(stage)}


def _set_threads(job: StageJob, known: Mapping[str, Any] | None) -> None:
    """The threads asked for; a resumed stage goes on with as many as it began with."""
    asked = job.loaded.config.trainer.threads
    threads = asked or (known or {}).get("threads")
    if threads and job.accelerator.device.type == "cpu":
        torch.set_num_threads(threads)


def _versions(loaded: Loaded) -> dict[str, Any]:
    sources = loaded.sources()
    plugins = [
        {"distribution": s.distribution, "version": s.version, "entry_point": s.entry_point} for s in sources
    ]
    return {"versions": versions(sources), "plugins": plugins}


def _digest(record: Mapping[str, Any]) -> str:
    text = json.dumps({k: v for k, v in record.items() if k != "result"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
