"""What holds for datasets."""

from __future__ import annotations

import contextlib
import numbers
import pickle
import random
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import Labels
from ..errors import UserError
from ..plugin import DataFacts, Dataset, Head
from ..samples import Samples
from .check import Broken, Check, Rule, checks_of, expect
from .recipes import check_recipe


def check_dataset(recipe: Dataset, heads: Mapping[str, Head], *, image_size: int = 32) -> list[Check]:
    """The checks of a dataset; it is opened when a check is called.

    Args:
        recipe: the dataset; small, as some of its samples are read several times.
        heads: the tasks that it has labels of.
        image_size: side in pixels of the pictures it is asked for.
    """
    trial = DatasetTrial(recipe, heads, image_size)
    return [*check_recipe(recipe), *checks_of(recipe, trial, DATASET_RULES)]


class DatasetTrial:
    """A dataset, and the tasks it is opened for."""

    def __init__(self, recipe: Dataset, heads: Mapping[str, Head], image_size: int) -> None:
        self.recipe = recipe
        self.heads = dict(heads)
        self.size = image_size

    @cached_property
    def samples(self) -> Samples:
        """The dataset, opened once."""
        return self.open()

    def open(self, *, size: int = 0, validation: bool = False, labelled: bool = True) -> Samples:
        """The dataset, opened anew."""
        heads = self.heads if labelled else {}
        return self.recipe.build(DataFacts(heads, size or self.size, validation))

    @cached_property
    def some(self) -> list[int]:
        """Up to five samples, the first and the last among them, in no order."""
        last = len(self.samples) - 1
        return list(dict.fromkeys([last // 2, 0, last, last // 3, last // 4]))


def labels_fit_heads(trial: DatasetTrial) -> None:
    """There are samples, and `labels()` has valid labels in each head's shape and type, one per sample.

    Codes for "missing" (-1, -2, -5) must become `valid = False`.
    """
    samples = trial.samples
    expect(len(samples) > 0, "it has no samples")
    found = samples.labels()
    known = {task: found[task] for task in trial.heads if task in found}
    for task, labels in known.items():
        expect(isinstance(labels, Labels), f"{task}: {type(labels).__name__} instead of Labels")
    there = any(labels.valid.any() for labels in known.values())
    expect(there or not trial.heads, f"no labels of {', '.join(trial.heads)}")
    for task, labels in known.items():
        head = trial.heads[task]
        wanted = (len(samples), *head.target_shape)
        expect(labels.values.shape == wanted, f"{task}: shape {labels.values.shape} instead of {wanted}")
        kind = labels.values.dtype
        expect(kind == head.target_dtype, f"{task}: {kind} instead of {head.target_dtype}")
        problem = head.check_labels(labels)
        expect(problem is None, f"{task}: {problem}")


def reads_pictures(trial: DatasetTrial) -> None:
    """`read` gives uint8 [n, 3, size, size] in the size asked for, or finite floats, n as many as indices.

    From a list and from a numpy array.
    """
    for size in (trial.size, trial.size + 8):
        samples = trial.samples if size == trial.size else trial.open(size=size)
        for indices in (trial.some[:1], trial.some, np.asarray(trial.some)):
            inputs = samples.read(indices)
            expect(isinstance(inputs, Tensor), f"gives {type(inputs).__name__}")
            expect(len(inputs) == len(indices), f"{len(inputs)} inputs for {len(indices)} indices")
            if inputs.dtype == torch.uint8:
                wanted = (3, size, size)
                expect(
                    inputs.shape[1:] == wanted, f"pictures of {tuple(inputs.shape[1:])} instead of {wanted}"
                )
            else:
                expect(inputs.is_floating_point(), f"gives {inputs.dtype}")
                expect(torch.isfinite(inputs).all(), "gives floats that are not finite")


def reads_in_any_order(trial: DatasetTrial) -> None:
    """A sample's input depends on its index alone: not on its neighbours, or what was read before.

    An index may come twice.
    """
    samples = trial.samples
    alone = {index: samples.read([index])[0] for index in trial.some}
    for indices in (trial.some, trial.some[::-1], trial.some[:1] * 2):
        for index, row in zip(indices, samples.read(indices), strict=True):
            expect(torch.equal(row, alone[index]), f"sample {index} differs when read with others")


def opened_again_alike(trial: DatasetTrial) -> None:
    """Opened again it has the same samples, names and labels.

    A run that goes on, and a student of a teacher, need them.
    """
    one, other = trial.samples, trial.open()
    expect(len(one) == len(other), f"{len(one)} samples, then {len(other)}")
    for index in trial.some:
        expect(
            one.id(index) == other.id(index), f"sample {index} is {one.id(index)!r}, then {other.id(index)!r}"
        )
        expect(torch.equal(one.read([index]), other.read([index])), f"sample {index} differs")
    _expect_same_labels(one, other, "opened again")


def leaves_global_generators(trial: DatasetTrial) -> None:
    """It neither draws from the global random generators nor seeds them.

    Random changes belong to the training, where they are a function of seed, epoch and position.
    """
    before = _generators()
    trial.open().read(trial.some)
    for name, state in _generators().items():
        expect(state == before[name], f"that of {name} has moved")


def labels_agree_with_samples(trial: DatasetTrial) -> None:
    """`samples[i]` has just the labels of row i that are valid, at least in part, its input and its name."""
    samples, labels = trial.samples, trial.samples.labels()
    missing = [
        i for i in range(min(len(samples), 500)) if not all(one.valid[i].any() for one in labels.values())
    ]
    for index in [*trial.some, *missing[:3]]:
        sample = samples[index]
        wanted = {task for task, one in labels.items() if one.valid[index].any()}
        expect(
            set(sample.targets) == wanted,
            f"sample {index} has {sorted(sample.targets)}, labels() {sorted(wanted)}",
        )
        expect(set(sample.masks) == wanted, f"sample {index} has masks of {sorted(sample.masks)}")
        for task in wanted:
            valid = labels[task].valid[index]
            same = np.array_equal(np.asarray(sample.masks[task]), valid)
            values = np.asarray(sample.targets[task])[valid]
            same = same and np.array_equal(values, labels[task].values[index][valid])
            expect(same, f"sample {index} of {task}: {values.tolist()} is not what labels() has")
        expect(
            sample.id == samples.id(index),
            f"sample {index} is {sample.id!r}, id() says {samples.id(index)!r}",
        )
        expect(
            torch.equal(sample.inputs, samples.read([index])[0]),
            f"the input of sample {index} is not read()'s",
        )


def ends(trial: DatasetTrial) -> None:
    """`samples[len(samples)]` and negative indices are an IndexError, so that loops over it end."""
    for index in (len(trial.samples), -1):
        try:
            trial.samples[index]
        except IndexError:
            continue
        raise Broken(f"samples[{index}] is none")


def ids(trial: DatasetTrial) -> None:
    """Each sample has a name of its own, by which messages and tables of predictions call it."""
    names = [trial.samples.id(index) for index in range(min(len(trial.samples), 1000))]
    expect(all(isinstance(name, str) and name for name in names), f"{names[:3]}")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    expect(not twice, f"{twice[:1]} is there twice")


def columns(trial: DatasetTrial) -> None:
    """Columns are numpy arrays with a value per sample; no frame of a video is there twice.

    `file` and `group` are texts, `frame` is int64 and stands beside `video`.
    """
    samples = trial.samples
    found = {name: samples.column(name) for name in ("file", "group", "video", "frame")}
    for name, column in found.items():
        if column is None:
            continue
        expect(isinstance(column, np.ndarray), f"{name} is a {type(column).__name__}")
        expect(column.shape == (len(samples),), f"{name} has shape {column.shape} for {len(samples)} samples")
        right = column.dtype == np.int64 if name == "frame" else column.dtype.kind in "USO"
        expect(right, f"{name} is {column.dtype}")
    video, frame = found["video"], found["frame"]
    if frame is not None:
        if video is None:
            raise Broken("there are frames, but no videos")
        known = (video != np.zeros(1, video.dtype)) & (frame != 0)  # '' is no video, and 0 may mean no number
        pairs = np.stack([np.unique(video, return_inverse=True)[1], frame])[:, known]
        twice = np.unique(pairs, axis=1).shape[1] < pairs.shape[1]
        expect(not twice, "a frame of a video is there twice")
    expect(samples.column("no such column") is None, "a column that is not there is not None")


def pickles_for_workers(trial: DatasetTrial) -> None:
    """Opened, it can be pickled, and reads the same in the process that gets it.

    Loader processes may be spawned. Leave open files and caches out (`__getstate__`), and open them when
    first needed.
    """
    for samples in (trial.open(), trial.samples):
        wanted = trial.samples.read(trial.some)
        try:
            again = pickle.loads(pickle.dumps(samples))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise Broken(f"pickle: {error}") from None
        expect(torch.equal(again.read(trial.some), wanted), "reads something else after pickling")
        _expect_same_labels(samples, again, "after pickling")


def opens_otherwise(trial: DatasetTrial) -> None:
    """It opens for validation, and without tasks or with an error, for inputs of the same size.

    Prediction asks for no labels; a dataset may have nothing to say without them.
    """
    wanted = trial.samples.read(trial.some[:1]).shape
    opened = [trial.open(validation=True)]
    with contextlib.suppress(UserError):
        opened.append(trial.open(labelled=False))
    for samples in opened:
        expect(len(samples) > 0, "it has no samples then")
        found = samples.read([0]).shape
        expect(found == wanted, f"inputs of {tuple(found[1:])} and {tuple(wanted[1:])}")


def tells_of_itself(trial: DatasetTrial) -> None:
    """`problems` is a list of lines, empty for a dataset that can be read; `counts` has whole numbers."""
    found = trial.samples.problems()
    expect(found == [], f"problems() says {found[:2]}")
    for text, count in trial.samples.counts().items():
        expect(
            isinstance(text, str) and isinstance(count, numbers.Integral), f"counts() has {text!r}: {count!r}"
        )


DATASET_RULES: tuple[Rule[DatasetTrial], ...] = (
    labels_fit_heads,
    reads_pictures,
    reads_in_any_order,
    opened_again_alike,
    leaves_global_generators,
    labels_agree_with_samples,
    ends,
    ids,
    columns,
    pickles_for_workers,
    opens_otherwise,
    tells_of_itself,
)


def _generators() -> dict[str, Any]:
    """The states of the global random generators, in a form that can be compared."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": (kind, np.asarray(keys).tolist(), rest),
        "random": random.getstate(),
    }


def _expect_same_labels(one: Samples, other: Samples, when: str) -> None:
    wanted, found = one.labels(), other.labels()
    expect(wanted.keys() == found.keys(), f"{when}, labels of {sorted(found)} instead of {sorted(wanted)}")
    for task, labels in wanted.items():
        same = np.array_equal(labels.valid, found[task].valid)
        same = same and np.array_equal(labels.values[labels.valid], found[task].values[labels.valid])
        expect(same, f"{when}, other labels of {task}")
