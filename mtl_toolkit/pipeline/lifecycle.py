"""Tell listeners of a stage's life: that it begins, is done, or was stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..config import Stage, plain
from ..entrypoints import reason
from ..hookspecs import StageFinished, StageStarted, StageStopped
from .job import StageJob


def tell_started(job: StageJob, *, first_epoch: int = 1, global_step: int = 0) -> None:
    """The stage begins, or goes on after so many steps."""
    stage = job.stage
    event = StageStarted(
        run=job.loaded.config.name,
        stage=stage.name,
        directory=str(job.directory.path),
        epochs=stage.epochs if isinstance(stage, Stage) else 0,
        first_epoch=first_epoch,
        global_step=global_step,
        kind=stage.kind,
        config=plain(job.loaded.config),
    )
    job.notify("mtl_stage_started", event)


def tell_finished(
    job: StageJob, *, best_epoch: int = 0, metrics: Mapping[str, float], record: Mapping[str, Any]
) -> None:
    """The stage is done."""
    event = StageFinished(
        run=job.loaded.config.name,
        stage=job.stage.name,
        directory=str(job.directory.path),
        best_epoch=best_epoch,
        metrics=metrics,
        record=record,
        kind=job.stage.kind,
    )
    job.notify("mtl_stage_finished", event)


@contextlib.contextmanager
def telling_stops(job: StageJob) -> Iterator[None]:
    """Tell of whatever ends the stage before it is done, and let it pass."""
    try:
        yield
    except BaseException as error:
        event = StageStopped(
            run=job.loaded.config.name,
            stage=job.stage.name,
            directory=str(job.directory.path),
            reason=reason(error),
            kind=job.stage.kind,
        )
        job.notify("mtl_stage_stopped", event)
        raise
