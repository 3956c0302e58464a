"""The whole plugin contract: implement any of these with `@hookimpl` in the module of an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pluggy

from .plugin import (
    Architecture,
    Backbone,
    Balancer,
    Dataset,
    Detector,
    Head,
    Loss,
    Metric,
    PostProcessor,
    Sampler,
    Temporal,
    Writer,
)

GROUP = "mtl_toolkit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@attrs.frozen
class StageStarted:
    """A stage begins or resumes.

    Attributes:
        run: name of the configuration.
        stage: name of the stage; of a repeat of one, "<stage>/seed-1" or "<stage>/fold-1".
        directory: the stage's folder in the run directory.
        epochs: how many it has at most; 0 for an extract stage.
        first_epoch: the epoch that it begins or goes on with, from 1.
        global_step: steps that were done before; above 0 the stage goes on where it was stopped.
        kind: "train" or "extract".
        config: the whole configuration in plain types, as config.toml has it.
    """

    run: str
    stage: str
    directory: str
    epochs: int
    first_epoch: int
    global_step: int = 0
    kind: str = "train"
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class StepsLogged:
    """Some steps have been trained: as many as `log_every` says, or the last ones of an epoch.

    Attributes:
        run: name of the configuration.
        stage: name of the stage.
        epoch: the epoch, from 1.
        step: steps done in it.
        global_step: steps done in the stage.
        losses: means of the loss terms over these steps.
        rates: learning rates by parameter group.
    """

    run: str
    stage: str
    epoch: int
    step: int
    global_step: int
    losses: Mapping[str, float]
    rates: Mapping[str, float]


@attrs.frozen
class EpochFinished:
    """An epoch has been trained and validated.

    Attributes:
        run: name of the configuration.
        stage: name of the stage.
        epoch: the epoch, from 1.
        losses: means of the loss terms over the epoch.
        metrics: those of validation, as `feed/task/metric`.
        seconds: time spent on the stage so far.
        rates: learning rates by parameter group, at the end of the epoch.
        score: what picks the best epoch; 0 if nothing is selected.
        global_step: steps done in the stage.
    """

    run: str
    stage: str
    epoch: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    seconds: float
    rates: Mapping[str, float] = attrs.field(factory=dict)
    score: float = 0.0
    global_step: int = 0


@attrs.frozen
class StageFinished:
    """A stage is done.

    Attributes:
        run: name of the configuration.
        stage: name of the stage.
        directory: the stage's folder in the run directory.
        best_epoch: its best epoch, from 1; 0 for an extract stage.
        metrics: those of the best epoch.
        record: the counters at its end, in plain types.
        kind: "train" or "extract".
    """

    run: str
    stage: str
    directory: str
    best_epoch: int
    metrics: Mapping[str, float]
    record: Mapping[str, Any]
    kind: str = "train"


@attrs.frozen
class StageStopped:
    """A stage was interrupted or failed.

    Attributes:
        run: name of the configuration.
        stage: name of the stage.
        directory: the stage's folder in the run directory.
        reason: the error, or the request to stop, in one line.
        kind: "train" or "extract".
    """

    run: str
    stage: str
    directory: str
    reason: str
    kind: str = "train"


@hookspec
def mtl_datasets() -> list[type[Dataset]]:  # type: ignore[empty-body]
    """Return dataset recipes."""


@hookspec
def mtl_samplers() -> list[type[Sampler]]:  # type: ignore[empty-body]
    """Return sampler recipes."""


@hookspec
def mtl_backbones() -> list[type[Backbone]]:  # type: ignore[empty-body]
    """Return backbone recipes."""


@hookspec
def mtl_architectures() -> list[type[Architecture]]:  # type: ignore[empty-body]
    """Return architecture recipes: how tasks share a network."""


@hookspec
def mtl_heads() -> list[type[Head]]:  # type: ignore[empty-body]
    """Return head recipes: the tasks."""


@hookspec
def mtl_losses() -> list[type[Loss]]:  # type: ignore[empty-body]
    """Return loss recipes, against labels or against a teacher."""


@hookspec
def mtl_metrics() -> list[type[Metric]]:  # type: ignore[empty-body]
    """Return metric recipes."""


@hookspec
def mtl_balancers() -> list[type[Balancer]]:  # type: ignore[empty-body]
    """Return balancer recipes: how several losses make one backward pass."""


@hookspec
def mtl_temporals() -> list[type[Temporal]]:  # type: ignore[empty-body]
    """Return temporal recipes: networks over the frames of a window."""


@hookspec
def mtl_detectors() -> list[type[Detector]]:  # type: ignore[empty-body]
    """Return detector recipes: how faces are found in pictures."""


@hookspec
def mtl_postprocessors() -> list[type[PostProcessor]]:  # type: ignore[empty-body]
    """Return post-processor recipes: what is done to predictions along a video."""


@hookspec
def mtl_writers() -> list[type[Writer]]:  # type: ignore[empty-body]
    """Return writer recipes: the prediction files of challenges and programs."""


@hookspec
def mtl_stage_started(event: StageStarted) -> None:
    """Learn that a stage begins or resumes.

    It ends with one call of `mtl_stage_finished` or `mtl_stage_stopped`. A finished stage that a run skips
    does neither.
    """


@hookspec
def mtl_steps_logged(event: StepsLogged) -> None:
    """Learn the losses of the last steps and the learning rates, every `log_every` steps."""


@hookspec
def mtl_epoch_finished(event: EpochFinished) -> None:
    """Learn the losses and metrics of an epoch."""


@hookspec
def mtl_stage_finished(event: StageFinished) -> None:
    """Learn the result of a stage."""


@hookspec
def mtl_stage_stopped(event: StageStopped) -> None:
    """Learn that a stage was interrupted or failed."""
