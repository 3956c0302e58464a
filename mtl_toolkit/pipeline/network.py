"""What keeps a stage's network from being built, with the table that it stands in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..config import NETWORK_KEYS, Config, Stage, stage_model
from ..errors import ConfigError
from .data import stage_heads


def network_problems(config: Config) -> Iterator[str]:
    """Backbones that cannot be built, and architectures that do not fit a stage's tasks."""
    yield from (placed("model.backbone", problem) for problem in config.model.backbone.problems())
    for stage in config.trainings:
        if stage.backbone is not None:
            yield from (placed(f"stages.{stage.name}.backbone", one) for one in stage.backbone.problems())
        if stage.features is None:
            place = "model" if stage.architecture is None else f"stages.{stage.name}"
            problems = stage_model(config, stage).architecture.problems(list(stage_heads(config, stage)))
            yield from (f"{place}.architecture: {problem}" for problem in problems)


@contextlib.contextmanager
def placing_problems(stage: Stage) -> Iterator[None]:
    """Say of what goes wrong with a stage's own backbone or architecture that it is the stage's."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*(_of_stage(stage, problem) for problem in error.problems)) from error


def placed(place: str, problem: str) -> str:
    """A backbone's problem with its table in front: backbones take theirs for the model's, or name none."""
    if _is_about("model.backbone", problem):
        return place + problem.removeprefix("model.backbone")
    return f"{place}: {problem}"


def _of_stage(stage: Stage, problem: str) -> str:
    for key in NETWORK_KEYS:
        if getattr(stage, key) is not None and _is_about(f"model.{key}", problem):
            return f"stages.{stage.name}.{key}" + problem.removeprefix(f"model.{key}")
    return problem


def _is_about(table: str, problem: str) -> bool:
    return problem.startswith((f"{table}.", f"{table}:"))
