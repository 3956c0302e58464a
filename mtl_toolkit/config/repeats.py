"""Stages that are repeated: with other seeds, or each time without another fold of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

import attrs

from .schema import Config
from .stages import AnyStage, Stage, doc


@attrs.frozen(kw_only=True)
class Repeat(Stage):
    """One repeat of a stage: a stage of its own, with a folder, seeds and a result of its own."""

    origin: str = attrs.field(metadata=doc("the stage that is repeated"))
    fold: int | None = attrs.field(
        default=None, metadata=doc("the fold that is held out, from 1; none: nothing is")
    )


def held_out(stage: object) -> tuple[str, int] | None:
    """The stage of which a repeat holds out a fold, and the fold's number; None if nothing is held out."""
    return (stage.origin, stage.fold) if isinstance(stage, Repeat) and stage.fold is not None else None


def repeat_names(stage: AnyStage) -> tuple[str, ...]:
    """The names of a stage's repeats, in the order in which they are trained; none if it is not repeated.

    They are "<stage>/fold-1", "<stage>/seed-1", or "<stage>/fold-1-seed-1" if it has folds and seeds.
    """
    return tuple(f"{stage.name}/{label}" for label, _ in _labels(stage))


@overload
def repeats_of(stage: Stage) -> tuple[Stage, ...]: ...
@overload
def repeats_of(stage: AnyStage) -> tuple[AnyStage, ...]: ...
def repeats_of(stage: AnyStage) -> tuple[AnyStage, ...]:
    """What is trained for a stage: its repeats, or the stage itself if it is not repeated."""
    labels = _labels(stage)
    if not labels or not isinstance(stage, Stage):
        return (stage,)
    fields = {field.name: getattr(stage, field.name) for field in attrs.fields(Stage) if field.init}
    # The number of seeds is no part of a repeat: one more does not change those that are there.
    fields["seeds"] = 1
    return tuple(
        Repeat(**{**fields, "name": f"{stage.name}/{label}", "origin": stage.name, "fold": fold})
        for label, fold in labels
    )


def expand(config: Config) -> Config:
    """The configuration with the repeats of stages in place of them; one without repeats as it is."""
    return attrs.evolve(config, stages=tuple(one for stage in config.stages for one in repeats_of(stage)))


def names_to_refer_to(stages: Iterable[AnyStage]) -> list[str]:
    """What a reference may name: stages that are not repeated, and the repeats of those that are."""
    return [name for stage in stages for name in repeat_names(stage) or (stage.name,)]


def repeat_labels(folds: int | None, seeds: int) -> list[tuple[str, int | None]]:
    """What each repeat's name ends in, and the fold that it holds out; none if there is only one training."""
    runs = [f"seed-{number}" for number in range(1, seeds + 1)] if seeds > 1 else []
    if folds is None:
        return [(run, None) for run in runs]
    return [
        ("-".join(filter(None, (f"fold-{fold}", run))), fold)
        for fold in range(1, folds + 1)
        for run in runs or [""]
    ]


def member_names(stages: Iterable[AnyStage], members: Iterable[str]) -> tuple[str, ...]:
    """The networks that an ensemble's members stand for: of a repeated stage all repeats, else the name.

    Args:
        stages: of the configuration, with repeats in place of them or not.
        members: names or paths.
    """
    repeats: dict[str, list[str]] = {}
    for stage in stages:
        for one in repeats_of(stage):
            if isinstance(one, Repeat):
                repeats.setdefault(one.origin, []).append(one.name)
    return tuple(dict.fromkeys(name for member in members for name in repeats.get(member, [member])))


def _labels(stage: AnyStage) -> list[tuple[str, int | None]]:
    if not isinstance(stage, Stage) or isinstance(stage, Repeat):
        return []
    return repeat_labels(stage.folds, stage.seeds)
