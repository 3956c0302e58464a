"""The recipes of prediction: finding faces, smoothing over time, writing the files that a challenge wants."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np

from .base import Recipe
from .task import Head, Metric

LiveDetector = Callable[[np.ndarray], np.ndarray]


@attrs.frozen(eq=False)
class Predictions:
    """Predictions of some tasks, row by row.

    Attributes:
        heads: the tasks, by name.
        values: by task, float32 [rows, columns]: for each of `Head.columns`, as `Head.predictions` has them.
        names: the picture of each row, as a test list would call it: "folder/00001.jpg"; str [rows].
        videos: the video or folder that a row is of, '' for a single picture; str [rows].
        frames: the number of a row's frame in its video, from 1; 0 for a single picture; int64 [rows].
        faces: false where no face was found, so that the values are not the picture's own; bool [rows].
    """

    heads: Mapping[str, Head]
    values: Mapping[str, np.ndarray]
    names: np.ndarray
    videos: np.ndarray
    frames: np.ndarray
    faces: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Predictions:
        """Some rows, in the order given."""
        return attrs.evolve(
            self,
            values={task: values[rows] for task, values in self.values.items()},
            names=self.names[rows],
            videos=self.videos[rows],
            frames=self.frames[rows],
            faces=self.faces[rows],
        )

    def decisions(self) -> dict[str, np.ndarray]:
        """What the predictions come down to, by task: class ids [rows], or values [rows, units]."""
        return {task: self.heads[task].decide(values) for task, values in self.values.items()}


@attrs.frozen
class Listing:
    """What a test list asks for, in its order: either pictures, or whole videos.

    Attributes:
        names: pictures: "folder/00001.jpg", or a name without a folder.
        videos: the number of frames of each video; None where the list does not say.
    """

    names: tuple[str, ...] = ()
    videos: Mapping[str, int | None] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Detector(Recipe):
    """Finds faces in pictures."""

    kind: ClassVar[str] = "detector"

    @abc.abstractmethod
    def build(self) -> LiveDetector:
        """Return a function from a picture, uint8 RGB [height, width, 3], to boxes, the best first.

        The boxes are float32 [faces, 4]: left, top, right, bottom in pixels; [0, 4] where there is no face.

        Raises:
            ConfigError: if what it needs is not installed.
        """


@attrs.frozen(kw_only=True)
class PostProcessor(Recipe):
    """Changes a task's predictions along a video."""

    kind: ClassVar[str] = "postprocessor"

    def variants(self) -> Sequence[PostProcessor]:
        """Itself, then others like it with other options, to choose from on data that is not reported."""
        return (self,)

    @abc.abstractmethod
    def apply(self, values: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Change the predictions of one task in one video.

        Args:
            values: float32 [rows, columns], as `Head.predictions` gives them.
            frames: int64 [rows], the frames' numbers, ascending; some may be missing.

        Returns:
            float32 [rows, columns].
        """


@attrs.frozen(kw_only=True)
class Writer(Recipe):
    """The prediction files of a challenge or program, and how it scores them."""

    kind: ClassVar[str] = "writer"

    def problems(self, heads: Mapping[str, Head]) -> list[str]:
        """What keeps these tasks from being written: a task that is not there, other classes."""
        return []

    @abc.abstractmethod
    def write(self, path: Path, predictions: Predictions) -> list[Path]:
        """Write predictions that hold every row wanted, whole or not at all; return the files written.

        Raises:
            ConfigError: if `problems` has any.
            RunError: if a file cannot be written.
        """

    @abc.abstractmethod
    def read(self, path: Path, heads: Mapping[str, Head]) -> Predictions:
        """Read such a file (or folder) back; what it does not say (probabilities) is 0 and 1.

        Only tasks that the file has are in the result.

        Raises:
            DataError: if it cannot be read, naming file and line.
        """

    @abc.abstractmethod
    def check(self, path: Path, listing: Listing) -> list[str]:
        """What is wrong with a file (or folder) as a submission: one line each, naming file and line."""

    def metrics(self, head: Head) -> Sequence[Metric]:
        """The metrics by which a task is judged."""
        return head.default_metrics()

    def scores(self, found: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
        """Scores over several tasks, from their metrics by the kind of label (`Head.label`) and name."""
        return {}
