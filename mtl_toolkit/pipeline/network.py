"""What keeps a stage's network from being built, with the table that it stands in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..config import Config, Stage, stage_model
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
    """Say of what goes wrong with a stage's own backbone that it is the stage's, not the model's."""
    try:
        yield
    except ConfigError as error:
        if stage.backbone is None:
            raise
        place = f"stages.{stage.name}.backbone"
        raise ConfigError(
            *(placed(place, one) if one.startswith("model.backbone") else one for one in error.problems)
        ) from error


def placed(place: str, problem: str) -> str:
    """A backbone's problem with its table in front: backbones take theirs for the model's, or name none."""
    if problem.startswith(("model.backbone.", "model.backbone:")):
        return place + problem.removeprefix("model.backbone")
    return f"{place}: {problem}"
