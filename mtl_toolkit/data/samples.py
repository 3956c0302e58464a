"""Live datasets that need no files: tensors in memory, several datasets as one, a cache of decoded inputs."""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import Labels
from ..errors import DataError, RunError, UnreadableSampleError, suggestion
from ..samples import Samples

BLOCK = 64  # samples that a cache reads at once, if one of them is wanted


class TensorSamples(Samples):
    """Samples held in memory.

    Args:
        inputs: [samples, ...].
        targets: per task [samples, ...].
        masks: per task, bool, the shape of its targets; a task without one is labelled throughout.
        ids: a name per sample; by default its number.

    Raises:
        DataError: if lengths or shapes do not agree, a mask is not bool or of no task, or a valid label is
            not finite.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        self.inputs = inputs
        self._ids = ids
        self._labels: dict[str, Labels] = {}
        for task, given in (masks or {}).items():
            if task not in targets:
                raise DataError(f"masks: there are no targets of {task!r}{suggestion(task, targets)}")
            if given.dtype != torch.bool:
                raise DataError(f"task {task!r}: the mask must be bool (got {given.dtype})")
        for task, target in targets.items():
            mask = (masks or {}).get(task)
            values = target.cpu().numpy()
            valid = np.ones(values.shape, np.bool_) if mask is None else mask.cpu().numpy()
            if len(values) != len(inputs) or valid.shape != values.shape:
                raise DataError(
                    f"task {task!r}: targets and mask need {len(inputs)} rows and the same shape "
                    f"(got {values.shape} and {valid.shape})"
                )
            if not np.isfinite(values[valid]).all():
                raise DataError(f"task {task!r}: a valid label is not finite; mask missing labels out")
            self._labels[task] = Labels(values, valid)

    def __len__(self) -> int:
        return len(self.inputs)

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """The inputs of some samples."""
        return self.inputs[torch.as_tensor(np.asarray(indices))]

    def id(self, index: int) -> str:
        """The sample's name or number."""
        return str(index) if self._ids is None else self._ids[index]


class ConcatSamples(Samples):
    """Several datasets, one after the other; a task that one of them lacks is missing there.

    Raises:
        DataError: if the datasets' targets of a task differ in shape.
    """

    def __init__(self, parts: Mapping[str, Samples]) -> None:
        self.names = tuple(parts)
        self.parts = tuple(parts.values())
        self.offsets = np.cumsum([0, *(len(part) for part in self.parts)])
        self._labels = _concatenate(
            [part.labels() for part in self.parts], [len(part) for part in self.parts]
        )

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task over all parts."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read from each part at once, and put the rows back in the order asked for."""
        wanted = np.asarray(indices)
        owners = part_numbers(self, wanted)
        pieces, places = [], []
        for owner in np.unique(owners):
            where = np.flatnonzero(owners == owner)
            pieces.append(self.parts[owner].read(wanted[where] - self.offsets[owner]))
            places.append(where)
        back = torch.as_tensor(np.argsort(np.concatenate(places)))
        return torch.cat(pieces)[back]

    def skips(self, index: int) -> bool:
        """Whether an unreadable sample is passed over, as its own part says."""
        part, local = self._locate(index)
        return part.skips(local)

    def id(self, index: int) -> str:
        """The sample's name in its own part."""
        part, local = self._locate(index)
        return part.id(local)

    def column(self, name: str) -> np.ndarray | None:
        """The column over all parts, empty for those that lack it; None where all do."""
        numbers = [
            column
            for column in (part.column(name) for part in self.parts)
            if column is not None and column.dtype.kind in "iu"
        ]
        if len(numbers) == len(self.parts):
            return np.concatenate(numbers)
        columns = [column_bytes(part, name) for part in self.parts]
        if all(column is None for column in columns):
            return None
        filled = [
            np.zeros(len(part), np.bytes_) if column is None else column
            for part, column in zip(self.parts, columns, strict=True)
        ]
        return np.concatenate(filled)

    def column_names(self) -> tuple[str, ...]:
        """Those of all parts."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.column_names()))

    def problems(self) -> list[str]:
        """The problems of all parts."""
        return [problem for part in self.parts for problem in part.problems()]

    def counts(self) -> Mapping[str, int]:
        """What was left out or odd, added up over the parts."""
        return dict(sum((Counter(part.counts()) for part in self.parts), Counter()))

    def _locate(self, index: int) -> tuple[Samples, int]:
        owner = int(np.searchsorted(self.offsets, index, side="right")) - 1
        return self.parts[owner], index - int(self.offsets[owner])


def part_numbers(samples: Samples, rows: np.ndarray) -> np.ndarray:
    """The place of each row's dataset in a concatenation: int64 [rows]; 0 if there is but one."""
    if not isinstance(samples, ConcatSamples):
        return np.zeros(len(rows), np.int64)
    return np.searchsorted(samples.offsets, rows, side="right") - 1


class DerivedSamples(Samples):
    """A dataset that is as another one, but for its inputs."""

    def __init__(self, source: Samples) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def labels(self) -> Mapping[str, Labels]:
        """The labels of the source."""
        return self.source.labels()

    def id(self, index: int) -> str:
        """The sample's name in the source."""
        return self.source.id(index)

    def skips(self, index: int) -> bool:
        """Whether the source passes it over."""
        return self.source.skips(index)

    def column(self, name: str) -> np.ndarray | None:
        """The column of the source."""
        return self.source.column(name)

    def column_names(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.column_names()

    def problems(self) -> list[str]:
        """The problems of the source."""
        return self.source.problems()

    def counts(self) -> Mapping[str, int]:
        """What was left out or odd in the source."""
        return self.source.counts()


class CachedSamples(DerivedSamples):
    """Keeps what has been read, in memory that forked loader processes share."""

    def __init__(self, source: Samples) -> None:
        super().__init__(source)
        self._store: np.ndarray | None = None
        self._filled = np.zeros(0, np.bool_)

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read what is not there yet, and take the rest from memory."""
        wanted = np.asarray(indices)
        if self._store is None:
            self._allocate(wanted[0], self.source.read(wanted[:1])[0].numpy())
        assert self._store is not None
        missing = np.unique(wanted[~self._filled[wanted]])
        if len(missing):
            self._read_blocks(missing)
        return torch.from_numpy(self._store[wanted])

    def _read_blocks(self, missing: np.ndarray) -> None:
        """Read with what is missing its neighbours, as they will be wanted too: many at once cost less."""
        blocks = np.unique(missing // BLOCK)[:, None] * BLOCK + np.arange(BLOCK)
        near = blocks[blocks < len(self)]
        near = near[~self._filled[near]]
        try:
            inputs, kept = self.source.read_or_skip(near)
        except UnreadableSampleError:  # perhaps of one that nobody has asked for
            inputs, kept = None, np.zeros(0, np.int64)
        if inputs is not None:
            self._fill(near[kept], inputs)
        left = missing[~self._filled[missing]]
        if len(left):
            self._fill(left, self.source.read(left))

    def _fill(self, samples: np.ndarray, inputs: Tensor) -> None:
        assert self._store is not None
        self._store[samples] = inputs.numpy()
        self._filled[samples] = True

    def prepare(self) -> None:
        """Allocate the memory before loader processes are forked, so that they share it."""
        for index in range(len(self)) if self._store is None else ():
            try:
                self.read([index])
            except UnreadableSampleError:
                continue
            return

    def _allocate(self, index: int, example: np.ndarray) -> None:
        # An anonymous shared mapping, unlike torch's shared memory, is not bounded by the size of /dev/shm.
        shape = (len(self), *example.shape)
        self._store = _shared(shape, example.dtype)
        self._filled = _shared((len(self),), np.dtype(np.bool_))
        self._store[index], self._filled[index] = example, True

    def __getstate__(self) -> dict[str, Any]:
        """A spawned process starts with an empty cache of its own."""
        return self.__dict__ | {"_store": None, "_filled": np.zeros(0, np.bool_)}


def column_bytes(samples: Samples, name: str) -> np.ndarray | None:
    """A column of a dataset as UTF-8, whatever type the dataset keeps it in, so that columns compare."""
    values = samples.column(name)
    if values is None or values.dtype.kind == "S":
        return values
    texts = np.array(["" if value is None else str(value) for value in values.tolist()], np.str_)
    return np.char.encode(texts, "utf-8")


def _shared(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    count = math.prod(shape)
    size = count * dtype.itemsize
    try:
        memory = mmap.mmap(-1, size)
    except OSError as error:
        raise RunError(f"cache = true: no memory for {size / 2**30:,.1f} GiB: {error.strerror}") from None
    return np.frombuffer(memory, dtype=dtype, count=count).reshape(shape)


def _concatenate(parts: Sequence[Mapping[str, Labels]], lengths: Sequence[int]) -> dict[str, Labels]:
    result = {}
    for task in dict.fromkeys(task for labels in parts for task in labels):
        known = next(labels[task] for labels in parts if task in labels)
        pieces = [
            labels.get(task) or Labels.missing(length, known.values.shape[1:], known.values.dtype)
            for labels, length in zip(parts, lengths, strict=True)
        ]
        shapes = sorted({piece.values.shape[1:] for piece in pieces})
        if len(shapes) > 1:
            raise DataError(f"task {task!r}: concatenated datasets have targets of shapes {shapes}")
        result[task] = Labels(
            np.concatenate([piece.values for piece in pieces]),
            np.concatenate([piece.valid for piece in pieces]),
        )
    return result
