"""The folds of a stage: its training data, cut once for all of its repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from ..batch import Labels
from ..config import Config, Repeat, own_tasks
from ..data import split_folds, units_of, units_of_strata
from ..errors import ConfigError, DataError
from ..plugin import Head
from ..samples import Samples
from ..seeding import derive_seed


@attrs.frozen(eq=False)
class Folds:
    """Which fold each sample is in that a stage trains on.

    Attributes:
        numbers: by dataset, the fold of each sample, from 1: int64 [samples].
        count: how many folds there are.
    """

    numbers: Mapping[str, np.ndarray]
    count: int

    def sizes(self) -> tuple[int, ...]:
        """Samples of each fold."""
        sizes = sum(np.bincount(numbers, minlength=self.count + 1) for numbers in self.numbers.values())
        return tuple(np.asarray(sizes)[1:].tolist())

    def digest(self) -> str:
        """A hash of the split; it may depend on the version of scikit-learn."""
        digest = hashlib.sha256()
        for name, numbers in self.numbers.items():
            digest.update(f"{name}/{len(numbers)}/".encode() + numbers.astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def trained_on(stage: Repeat) -> list[str]:
    """The datasets of a stage's streams."""
    return list(dict.fromkeys(name for stream in stage.streams for name in stream.datasets))


def cut(config: Config, stage: Repeat, datasets: Mapping[str, Samples]) -> Folds:
    """Cut the datasets that a stage trains on into its folds, all of them together.

    A person may be in several of them. Every fold gets its share of each dataset, and in it of each stratum
    of the labels that the dataset's stream is for.

    Raises:
        DataError: if there are too few groups of samples, or too few of a class.
    """
    assert stage.folds is not None
    try:
        units = units_of(list(datasets.values()))
        strata = [_strata(config, stage, name, samples) for name, samples in datasets.items()]
        if problems := list(_scarce(units, list(datasets.values()), strata, stage.folds)):
            raise DataError(*problems)
        _, codes = np.unique(
            np.concatenate(
                [np.stack([np.full(len(one.values), n), one.values]) for n, one in enumerate(strata)], 1
            ),
            axis=1,
            return_inverse=True,
        )
        seed = derive_seed(config.seed, stage.origin, "folds")
        found = split_folds(units, codes.reshape(-1), stage.folds, seed)
    except DataError as error:
        raise DataError(*(f"stages.{stage.origin}: {problem}" for problem in error.problems)) from error
    ends = np.cumsum([len(samples) for samples in datasets.values()])[:-1]
    return Folds(dict(zip(datasets, np.split(found, ends), strict=True)), stage.folds)


@attrs.frozen(eq=False)
class _Strata:
    """The strata of a dataset: int64 [samples], -1 for none; and the task whose labels they are of."""

    values: np.ndarray
    task: str = ""
    head: Head | None = None


def _strata(config: Config, stage: Repeat, name: str, samples: Samples) -> _Strata:
    """Those of the first task that has any, of the first stream of the dataset that has such a task."""
    streams = [stream for stream in stage.streams if name in stream.datasets]
    for task in dict.fromkeys(task for stream in streams for task in own_tasks(config, stream.task)):
        head, labels = config.tasks[task].head, samples.labels().get(task)
        if labels is not None and (values := _strata_of(head, labels)) is not None:
            return _Strata(values, task, head)
    return _Strata(np.full(len(samples), -1))


def _strata_of(head: Head, labels: Labels) -> np.ndarray | None:
    try:
        return head.strata(labels)
    except ConfigError:  # the head has none
        return None


def _scarce(
    units: np.ndarray, datasets: Sequence[Samples], strata: Sequence[_Strata], folds: int
) -> Iterator[str]:
    """Classes that cannot be in every fold; other strata (cells of values, combinations) may be as rare."""
    if len(np.unique(units)) < folds:
        return  # then no class can be in every fold, and the reason is told
    places = np.split(units, np.cumsum([len(samples) for samples in datasets])[:-1])
    for task in dict.fromkeys(one.task for one in strata if one.task):
        mine = [(place, one) for place, one in zip(places, strata, strict=True) if one.task == task]
        head = mine[0][1].head
        if head is None or head.target_shape != ():
            continue
        found = units_of_strata(
            np.concatenate([place for place, _ in mine]), np.concatenate([one.values for _, one in mine])
        )
        for stratum, count in found.items():
            if 0 <= stratum < len(head.columns) and count < folds:
                groups = "group" if count == 1 else "groups"
                yield (
                    f"folds = {folds}: class {head.columns[stratum]!r} of task {task!r} is in only {count} "
                    f"{groups} of samples that stay together"
                )
