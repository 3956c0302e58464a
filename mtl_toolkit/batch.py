"""What flows through a step: labels of a dataset, a batch of several streams, the output of a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import attrs
import numpy as np
import torch
from torch import Tensor


class Features(NamedTuple):
    """Features with tensors beside them, such as attention maps: what a backbone or a trunk may give of rows.

    The heads read `values`; the losses of every task that reads them get the extras, in `HeadOutput`.
    """

    values: Tensor  # [rows, features]
    extras: Mapping[str, Tensor]  # [rows, ...] by name

    @classmethod
    def of(cls, found: Tensor | Features) -> Features:
        """What a backbone or a trunk gave, in this form; a tensor has no extras."""
        return found if isinstance(found, Features) else cls(found, {})


class HeadOutput(NamedTuple):
    """What a head makes of a batch: its raw output and the features its last layer reads.

    The extras are those of the network under it, see `Features`, and what the head's module adds to them.
    """

    values: Tensor  # [rows, ...]: logits, or plain values for regression
    features: Tensor  # [rows, features]
    extras: Mapping[str, Tensor] = {}  # [rows, ...] by name; not written to

    def map(self, change: Callable[[Tensor], Tensor]) -> HeadOutput:
        """The same change of every tensor."""
        extras = {name: change(tensor) for name, tensor in self.extras.items()}
        return HeadOutput(change(self.values), change(self.features), extras)


@attrs.frozen(eq=False)
class Labels:
    """The labels of a whole dataset for one task; a label that is missing is not `valid`.

    Attributes:
        values: [samples, ...] in the head's target type; what lies where `valid` is false is never read.
        valid: bool, the shape of `values`.
    """

    values: np.ndarray
    valid: np.ndarray

    def __attrs_post_init__(self) -> None:
        if self.values.shape != self.valid.shape or self.valid.dtype != np.bool_:
            raise ValueError(
                f"valid must be bool of shape {self.values.shape} (got {self.valid.dtype} {self.valid.shape})"
            )

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def missing(cls, samples: int, shape: tuple[int, ...], dtype: np.dtype) -> Labels:
        """Labels of `samples` rows that are all missing."""
        return cls(np.zeros((samples, *shape), dtype), np.zeros((samples, *shape), np.bool_))

    def complete(self) -> np.ndarray:
        """Rows whose label is there in full: bool [samples]."""
        return np.asarray(self.valid.all(axis=tuple(range(1, self.valid.ndim))))


@attrs.frozen(eq=False)
class Sample:
    """One sample of a dataset; `targets` holds the tasks it is labelled for, at least in part."""

    inputs: Tensor
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    id: str


class Count(NamedTuple):
    """How many label elements of a task are there, and how many are missing, in one stream of a batch."""

    valid: int
    missing: int


@attrs.frozen(eq=False)
class Batch:
    """The rows of all streams of one step, side by side, stream after stream.

    Attributes:
        inputs: [rows, ...], for pictures uint8 [rows, 3, height, width].
        targets: per task [rows, ...]; what lies where the mask is false is never read.
        masks: per task, bool, the shape of its targets.
        stream: int64 [rows], the index of the row's stream, ascending.
        sizes: rows of each stream.
        counts: per (stream, task) the valid and missing label elements, counted on the host while
            collating, so that nobody asks the device.
        windows: rows of each window, where rows are frames: they follow each other, and add up to the rows;
            None where every row stands alone.
        ids: one name a row: which sample of which dataset it is.
        noise: float32 [rows, k] in [0, 1): each row's own random numbers for augmentation, a function of
            seed, epoch and position; None where nothing is augmented.
        skipped: samples left out because they could not be read.
        rows_read: where some were, the places of the others among the samples asked for; None: all are there.
        datasets: the number of each row's dataset, over all streams; () where nobody knows.
    """

    inputs: Tensor
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    stream: Tensor
    sizes: tuple[int, ...]
    counts: Mapping[tuple[int, str], Count]
    windows: tuple[int, ...] | None = None
    ids: tuple[str, ...] = ()
    noise: Tensor | None = None
    skipped: int = 0
    rows_read: tuple[int, ...] | None = None
    datasets: tuple[int, ...] = ()

    @classmethod
    def from_tensors(
        cls,
        inputs: Tensor,
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        *,
        sizes: Sequence[int] | None = None,
        windows: Sequence[int] | None = None,
        ids: Sequence[str] = (),
        datasets: Sequence[int] = (),
    ) -> Batch:
        """Make a batch from tensors in memory: one stream, unless `sizes` says how many rows each has.

        `windows` are the rows of each window of frames, if the rows are such; `datasets` has the number of
        each row's dataset.

        A task without a mask is labelled throughout. The masks are read on the host, so give them on the
        CPU and move the batch with `to` afterwards.

        Raises:
            ValueError: if lengths or shapes do not agree.
        """
        rows = len(inputs)
        sizes = tuple(sizes) if sizes is not None else (rows,)
        if sum(sizes) != rows:
            raise ValueError(f"sizes must add up to the {rows} rows of inputs (got {sizes})")
        if windows is not None and sum(windows) != rows:
            raise ValueError(f"windows must add up to the {rows} rows of inputs (got {tuple(windows)})")
        if datasets and len(datasets) != rows:
            raise ValueError(f"datasets must be of the {rows} rows of inputs (got {len(datasets)})")
        masks = dict(masks or {})
        for task, target in targets.items():
            mask = masks.setdefault(task, torch.ones(target.shape, dtype=torch.bool))
            if len(target) != rows or mask.shape != target.shape or mask.dtype != torch.bool:
                raise ValueError(
                    f"task {task!r}: targets need {rows} rows and a bool mask of their shape "
                    f"(got {tuple(target.shape)}, mask {mask.dtype} {tuple(mask.shape)})"
                )
        stream = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        return cls(
            inputs=inputs,
            targets=dict(targets),
            masks=masks,
            stream=stream,
            sizes=sizes,
            counts=count_labels(masks, sizes),
            windows=None if windows is None else tuple(windows),
            ids=tuple(ids),
            datasets=tuple(datasets),
        )

    def __len__(self) -> int:
        return sum(self.sizes)

    def rows(self, stream: int) -> slice:
        """The rows of a stream."""
        start = sum(self.sizes[:stream])
        return slice(start, start + self.sizes[stream])

    def places_read(self, asked: int) -> np.ndarray:
        """The places, among the samples that were asked for, of those that are rows here: int64 [rows]."""
        return np.arange(asked) if self.rows_read is None else np.asarray(self.rows_read, np.int64)

    def to(self, device: torch.device | str) -> Batch:
        """Copy the tensors to a device, without waiting where the memory is pinned."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return attrs.evolve(
            self,
            inputs=move(self.inputs),
            targets={task: move(target) for task, target in self.targets.items()},
            masks={task: move(mask) for task, mask in self.masks.items()},
            stream=move(self.stream),
            noise=None if self.noise is None else move(self.noise),
        )

    def pin_memory(self) -> Batch:
        """Copy the tensors to pinned memory; called by torch's DataLoader."""
        return attrs.evolve(
            self,
            inputs=self.inputs.pin_memory(),
            targets={task: target.pin_memory() for task, target in self.targets.items()},
            masks={task: mask.pin_memory() for task, mask in self.masks.items()},
            stream=self.stream.pin_memory(),
            noise=None if self.noise is None else self.noise.pin_memory(),
        )


def count_labels(masks: Mapping[str, Tensor], sizes: Sequence[int]) -> dict[tuple[int, str], Count]:
    """Count the valid and missing label elements per (stream, task); the masks are on the host."""
    counts = {}
    for task, mask in masks.items():
        for stream, part in enumerate(mask.split(list(sizes))):
            valid = int(part.sum())
            counts[stream, task] = Count(valid, part.numel() - valid)
    return counts
