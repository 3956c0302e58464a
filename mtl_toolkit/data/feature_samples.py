"""The samples of a dataset, with features that a network made of them in place of their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, UnreadableSampleError
from ..samples import Samples
from .feature_file import FeatureFile, FeatureLayout, open_features, other_dataset
from .samples import DerivedSamples


class FeatureSamples(DerivedSamples):
    """A dataset whose inputs are read from a file of features.

    Args:
        source: the dataset; its pictures are not read.
        path: the file; it is opened when it is first needed, and may be written until then.
    """

    def __init__(self, source: Samples, path: Path) -> None:
        super().__init__(source)
        self.path = path
        self._file: FeatureFile | None = None

    @property
    def layout(self) -> FeatureLayout:
        """What a row is made of.

        Raises:
            DataError: if the file cannot be read.
        """
        return self._opened().layout

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Features: float32 [len(indices), width]."""
        file, wanted = self._opened(), np.asarray(indices)
        missing = wanted[file.rows[wanted] < 0]
        if len(missing):
            raise UnreadableSampleError(f"{self.path}: {self.id(int(missing[0]))} has no features")
        return torch.from_numpy(file.read(wanted))

    def skips(self, index: int) -> bool:
        """Whether it could not be read when features were made, and was passed over."""
        return bool(self._opened().rows[index] < 0)

    def problems(self) -> list[str]:
        """None: pictures that are missing were met when features were made."""
        return []

    def _opened(self) -> FeatureFile:
        if self._file is None:
            file = open_features(self.path)
            if problem := other_dataset(self.path, self.source):
                raise DataError(f"{self.path}: {problem}")
            self._file = file
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        """A spawned process maps the file itself."""
        return self.__dict__ | {"_file": None}
