"""What can be checked of an ensemble before its members are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from ..config import Config, EnsembleStage, Repeat, Validation, own_tasks
from ..data import find_overlap, summarise
from ..errors import DataError, UserError
from ..evaluation.selection import SelectionScore
from ..plugin import Head
from ..samples import Samples
from .data import DataSource, Reader, check_picture
from .folds import trained_on
from .keep import has_features
from .members import reading_of, trained_members
from .misfits import description


def unfit_ensemble(source: DataSource, stage: EnsembleStage) -> list[str]:
    """Problems of an ensemble's samples and of how its tasks are combined, one line each.

    Members that do not fit are told of by `misfit_networks`.
    """
    where = f"stages.{stage.name}"
    problems = [f"{where}: {problem}" for problem in _uncombinable(source.config, stage)]
    try:
        reader = reading_of(source.config, stage, description(source.config, stage))
    except UserError as error:
        return [*problems, *(one for one in error.problems if one.startswith(where))]
    opened: dict[str, list[tuple[str, Samples]]] = {"fit_on": [], "validation": []}
    for key, feeds in (("fit_on", stage.fit_on), ("validation", stage.validation)):
        for feed in feeds:
            try:
                samples = _opened(source, reader, feed)
            except DataError as error:
                problems += error.problems
                continue
            problems += [f"{where}: {key} {one}" for one in _unlabelled(source, key, feed, samples)]
            problems += [f"{feed.title}: {problem}" for problem in samples.problems()]
            opened[key].append((feed.title, samples))
    overlaps = find_overlap(opened["fit_on"], opened["validation"])
    rule = "must share nothing with validation, as what is fitted fits it"
    problems += [
        f"{where}: fit_on {one.train!r} {rule} (got {one.validation!r} with {one.shared})" for one in overlaps
    ]
    if not stage.allow_overlap:
        problems += [f"{where}: {line}" for line in _seen(source, stage, opened)]
    return problems


def _opened(source: DataSource, reader: Reader, feed: Validation) -> Samples:
    samples, _ = source.items(reader, feed, validation=True)
    if reader.features is None:
        check_picture(feed.title, samples, source.config.model.read_size)
    elif has_features(reader.features):  # those of a stage here may be still to come
        source.features(reader, feed, validation=True)
    return samples


def _seen(
    source: DataSource, stage: EnsembleStage, opened: Mapping[str, Sequence[tuple[str, Samples]]]
) -> Iterator[str]:
    """What is fitted or validated on that a member was trained on, whatever that was validated on.

    On samples that it was trained on a member is better than on others, so weights and thresholds that are
    fitted there do not hold elsewhere.
    """
    members = [one for one in trained_members(source.config, stage) if not one.allow_overlap]
    names = dict.fromkeys(name for one in members for stream in one.streams for name in stream.datasets)
    try:
        train = [(name, source.dataset(name, validation=False)) for name in names]
    except DataError:
        return  # told of the member
    held_out = {one.origin: one for one in members if isinstance(one, Repeat) and one.fold is not None}
    permit = "allow_overlap = true permits it"
    for key, feeds in (("fit_on", stage.fit_on), ("validation", stage.validation)):
        for one in find_overlap(train, opened[key]):
            trained = f"a member is trained on {one.train!r}, with {one.shared}"
            yield f"{key} {one.validation!r}: {trained}; {permit}"
        read = {name for feed in feeds for name in feed.datasets}
        for origin, repeat in held_out.items():
            for name in sorted(read & set(trained_on(repeat))):
                folds = f"is cut into the folds of {origin!r}, which train on it"
                yield f"{key}: dataset {name!r} {folds}; {permit}"


def _unlabelled(source: DataSource, key: str, feed: Validation, samples: Samples) -> Iterator[str]:
    """Tasks without a label; self-supervised heads need none to be judged, but nothing is fitted to them."""
    coverage = summarise(feed.title, feed.task, samples, source.heads).coverage
    for task in own_tasks(source.config, feed.task):
        if key == "validation" and source.heads[task].self_supervised:
            continue
        if not (task in coverage and coverage[task].there):
            yield f"{feed.title!r} has no label of task {task!r}"


def _uncombinable(config: Config, stage: EnsembleStage) -> Iterator[str]:
    """Heads without decisions to vote for, and metrics that cannot be had of predictions alone."""
    for task, table in config.tasks.items():
        how, head = stage.combination(task), table.head
        named = isinstance(stage.combine, str) or task in stage.combine
        if head.members or not named:
            continue
        try:
            if how == "majority" and type(head).vote is Head.vote:
                head.vote(torch.zeros(1, 1), torch.ones(1))
            if how == "weighted":
                SelectionScore(head, table.metrics, np.zeros(0), np.zeros(0, np.bool_))
        except UserError as error:
            yield from (f"task {task!r}: {problem}" for problem in error.problems)
