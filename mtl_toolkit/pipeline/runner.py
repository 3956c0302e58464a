"""Run a configuration: its stages in order, skipping what is finished and resuming what is not."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from ..config import AnyStage, EnsembleStage, ExtractStage, Loaded, expand, repeat_names, repeats_of
from ..errors import ConfigError
from ..registry import versions
from ..report_html import render_report
from ..rundir import RunDirectory
from .data import DataSource
from .device import leaving_process_as_found, make_accelerator, start_measuring
from .ensemble import combine_stage
from .entries import combined_entry, extracted_entry, repeated_entry, trained_entry
from .extract import extract_stage
from .job import StageJob
from .one_folder import check_one_folder
from .records import record_digest, references_of, refuse_changed, stage_records, stages_to_redo
from .screen import Screen
from .stage import train_stage
from .survey import survey
from .trackers import tracker_listeners


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
        fresh: stages or single repeats of them to redo, with all that depend on them.
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
    redo = stages_to_redo(config, fresh)
    records = stage_records(loaded, source, accelerator)
    refuse_changed(directory, config, records, redo)
    if accelerator.is_main_process:
        directory.check_writable()
        for name in redo:
            shutil.rmtree(directory.stage(name).path, ignore_errors=True)
        directory.write_config(loaded.to_toml())
    accelerator.wait_for_everyone()
    check_one_folder(directory, loaded.to_toml(), accelerator)

    def job_of(stage: AnyStage) -> StageJob:
        return StageJob(
            loaded=loaded,
            stage=stage,
            source=source,
            directory=directory.stage(stage.name),
            references=references_of(config, stage, directory),
            accelerator=accelerator,
            screen=screen,
            stop=stop,
        )

    entries: list[dict[str, Any]] = []
    for stage in config.stages:
        done = [_run_stage(job_of(one), records[one.name]) for one in repeats_of(stage)]
        entries.append(repeated_entry(stage.name, done) if repeat_names(stage) else done[0])
        report = {"name": config.name, **_versions(loaded), "stages": entries}
        if accelerator.is_main_process:
            directory.write_report(report)
    if accelerator.is_main_process:
        epochs = {one.name: directory.stage(one.name).epochs() for one in expand(config).stages}
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
        result = extracted_entry(job, record, extract_stage(job, record_digest(record)))
    elif isinstance(job.stage, EnsembleStage):
        result = combined_entry(job, record, combine_stage(job))
    else:
        result = trained_entry(job, record, train_stage(job))
    gc.collect()
    if job.accelerator.is_main_process:
        job.directory.write_record({**record, "threads": torch.get_num_threads(), "result": result})
    job.accelerator.wait_for_everyone()
    return result


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
