"""Live datasets, as the loaders and the commands see them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .errors import UnreadableSampleError

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import Labels, Sample

    Indices = Sequence[int] | np.ndarray


COLUMNS = ("file", "group", "video", "frame")  # with a meaning of their own


class Samples(abc.ABC):
    """A live dataset: samples by index, and all labels without decoding a picture."""

    on_error: Literal["stop", "skip"] = "stop"

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abc.abstractmethod
    def labels(self) -> Mapping[str, Labels]:
        """The labels by task, for the tasks that the dataset knows."""

    @abc.abstractmethod
    def read(self, indices: Indices) -> Tensor:
        """Read the inputs of some samples: [len(indices), ...], for pictures uint8 [n, 3, size, size].

        Raises:
            UnreadableSampleError: if one cannot be read; the message names it.
        """

    def read_or_skip(self, indices: Indices) -> tuple[Tensor | None, np.ndarray]:
        """Read some samples, without those that cannot be read and may be skipped.

        Returns:
            The inputs, None where there are none, and the places in `indices` that they are of: int64.

        Raises:
            UnreadableSampleError: if one cannot be read that may not be skipped.
        """
        import torch

        if not len(indices):
            return None, np.zeros(0, np.int64)
        try:
            return self.read(indices), np.arange(len(indices))
        except UnreadableSampleError:
            if not any(self.skips(int(index)) for index in indices):
                raise
        rows, kept = [], []
        for place, index in enumerate(indices):
            try:
                rows.append(self.read([index]))
                kept.append(place)
            except UnreadableSampleError:
                if not self.skips(int(index)):
                    raise
        return (torch.cat(rows) if rows else None), np.asarray(kept, dtype=np.int64)

    def id(self, index: int) -> str:
        """A name of its own, by which messages, logs and tables of predictions call a sample."""
        return str(index)

    def skips(self, index: int) -> bool:
        """Whether a sample that cannot be read is passed over and counted, not an error."""
        return self.on_error == "skip"

    def column(self, name: str) -> np.ndarray | None:
        """A column of facts about all samples, or None where there is none.

        `file` (whole paths) and `group` (identity, video) are used to find what training and validation
        share, so they must mean the same in two datasets: write in front of a group what it belongs to. An
        empty value is none. `video` and `frame` (int64) say where in which sequence a sample stands. Others
        are facts by which results are split (`gender`, `age`), as texts or numbers.
        """
        return None

    def column_names(self) -> tuple[str, ...]:
        """The names that `column` knows, for messages; by default those of the four with a meaning."""
        return tuple(name for name in COLUMNS if self.column(name) is not None)

    def problems(self) -> list[str]:
        """Look for what would fail while reading (missing files), without reading it."""
        return []

    def counts(self) -> Mapping[str, int]:
        """What was left out or found odd while opening, for people: number by description."""
        return {}

    def __getitem__(self, index: int) -> Sample:
        """One sample, with the labels that are there."""
        import torch

        from .batch import Sample

        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        present = {task: label for task, label in self.labels().items() if label.valid[index].any()}
        return Sample(
            inputs=self.read([index])[0],
            targets={task: torch.as_tensor(label.values[index]) for task, label in present.items()},
            masks={task: torch.as_tensor(label.valid[index]) for task, label in present.items()},
            id=self.id(index),
        )
