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
    """A stage begins or resumes."""

    run: str
    stage: str
    directory: str
    epochs: int
    first_epoch: int


@attrs.frozen
class EpochFinished:
    """An epoch has been trained and validated; epochs count from 1."""

    run: str
    stage: str
    epoch: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    seconds: float


@attrs.frozen
class StageFinished:
    """A stage is done; `metrics` are those of its best epoch."""

    run: str
    stage: str
    directory: str
    best_epoch: int
    metrics: Mapping[str, float]
    record: Mapping[str, Any]


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
    """Learn that a stage begins or resumes."""


@hookspec
def mtl_epoch_finished(event: EpochFinished) -> None:
    """Learn the losses and metrics of an epoch."""


@hookspec
def mtl_stage_finished(event: StageFinished) -> None:
    """Learn the result of a stage."""
