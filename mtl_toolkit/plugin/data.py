"""The recipes of data: datasets, and the order in which their samples come."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np

from ..errors import ConfigError
from ..samples import Samples
from .base import Recipe
from .task import Head

if TYPE_CHECKING:
    from ..batch import Labels
    from .prediction import Detector


@attrs.frozen(eq=False)
class DataFacts:
    """What a dataset is told when it is built.

    Attributes:
        tasks: the heads whose labels are wanted, by task name.
        image_size: side in pixels of the square pictures to deliver.
        validation: whether the samples are read for validation.
    """

    tasks: Mapping[str, Head]
    image_size: int
    validation: bool = False


@attrs.frozen(kw_only=True)
class Dataset(Recipe):
    """Where samples come from."""

    kind: ClassVar[str] = "dataset"
    cache: bool = attrs.field(
        default=False, metadata={"doc": "keep decoded inputs in memory, shared by the workers"}
    )

    @abc.abstractmethod
    def build(self, facts: DataFacts) -> Samples:
        """Open the dataset; reads the labels, not the pictures.

        Raises:
            DataError: if files or columns are missing or labels are out of range.
        """

    @classmethod
    def for_path(
        cls,
        path: Path,
        *,
        detector: Detector | None = None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> Dataset | None:
        """The dataset that a file or folder is, without labels, or None if it is none of this kind.

        For `mtl predict`, which asks every dataset plugin. Its samples should have the columns `file`, and
        `video` and `frame` where there are videos.

        Args:
            path: a file or folder that exists.
            detector: finds the face in each picture, where the input itself does not say where it is.
            on_error: what to do about a picture that cannot be read.

        Raises:
            DataError: if it is of this kind, but damaged.
        """
        return None

    @classmethod
    def write(
        cls,
        path: Path,
        samples: Samples,
        heads: Mapping[str, Head],
        *,
        size: int,
        quality: int = 95,
        workers: int = 0,
        origin: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> int:
        """Write samples to a file that this dataset reads.

        The file appears when it is complete; one that is there stays until then. A write that was cut short
        goes on when it is called again with equal arguments.

        Args:
            path: the file.
            samples: pictures, uint8 [n, 3, size, size], and their labels.
            heads: the tasks whose labels are written, each in the head's own terms.
            size: side of the pictures in pixels.
            quality: of JPEG, from 1 to 100.
            workers: processes that read and encode; 0 does it in the calling process.
            origin: what the samples were made from, in plain JSON types; kept in the file.
            progress: told the number of samples done.

        Returns:
            The number of samples written: those that cannot be read and may be skipped are left out.

        Raises:
            ConfigError: if this dataset writes no files.
            UserError: if a sample cannot be read, or the file cannot be written.
        """
        raise ConfigError(f"dataset {cls.name!r} writes no files")


@attrs.frozen(kw_only=True)
class Sampler(Recipe):
    """The order in which a stream's samples come."""

    kind: ClassVar[str] = "sampler"

    @abc.abstractmethod
    def build(
        self, length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]
    ) -> Callable[[np.random.Generator], np.ndarray]:
        """Return a function from a random generator to one pass over the stream: int64 indices.

        `labels` and `heads` hold the stream's own tasks.
        """

    def build_over(
        self, datasets: np.ndarray, labels: Mapping[str, Labels], heads: Mapping[str, Head]
    ) -> Callable[[np.random.Generator], np.ndarray]:
        """As `build`, for samplers that also look at the dataset of each item; by default `build`.

        `datasets` is int64 [items]: the place of the item's dataset in the stream's list.
        """
        return self.build(len(datasets), labels, heads)
