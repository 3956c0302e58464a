"""Some samples of a dataset, as a dataset of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ..batch import Labels
from ..samples import Samples
from .samples import DerivedSamples


class SubsetSamples(DerivedSamples):
    """A view of some samples: nothing is opened or read again, and a cache of the dataset serves them too.

    Args:
        source: the dataset.
        rows: which samples, int64 [samples]. Ascending, as readers like neighbours.
    """

    def __init__(self, source: Samples, rows: np.ndarray) -> None:
        super().__init__(source)
        self.rows = rows
        self._labels: dict[str, Labels] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self) -> Mapping[str, Labels]:
        """The labels of these samples."""
        if self._labels is None:
            self._labels = {
                task: Labels(labels.values[self.rows], labels.valid[self.rows])
                for task, labels in self.source.labels().items()
            }
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read them from the source."""
        return self.source.read(self.rows[np.asarray(indices)])

    def read_or_skip(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor | None, np.ndarray]:
        """Read them from the source, which knows what to pass over."""
        return self.source.read_or_skip(self.rows[np.asarray(indices, dtype=np.int64)])

    def id(self, index: int) -> str:
        """The sample's name in the source."""
        return self.source.id(int(self.rows[index]))

    def skips(self, index: int) -> bool:
        """Whether the source passes it over."""
        return self.source.skips(int(self.rows[index]))

    def column(self, name: str) -> np.ndarray | None:
        """The column of these samples."""
        column = self.source.column(name)
        return None if column is None else column[self.rows]
