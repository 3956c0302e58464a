"""What every database comes down to: pictures with their faces, labels, videos and frame numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import attrs
import numpy as np
import torch
from mtl_std.picture_files import PictureFiles
from mtl_std.pictures import square
from mtl_std.stored_labels import StoredLabels
from torch import Tensor

from mtl_toolkit import Labels, Samples

from .crops import Crop


class Pictures(Protocol):
    """Pictures by row; `mtl_std.picture_files.PictureFiles`, for one."""

    def __len__(self) -> int:
        """How many."""

    def name(self, index: int) -> str:
        """How messages call one."""

    def load(self, index: int) -> Tensor:
        """Decode one: uint8 [3, height, width]."""

    def paths(self) -> np.ndarray | None:
        """What tells each from all other pictures: absolute paths, bytes [pictures]; None for nothing."""


@attrs.frozen(eq=False)
class FaceTable:
    """The rows of a part of a database, one per face.

    Attributes:
        pictures: one per row; several rows may show faces of the same picture.
        labels: by name, [rows, ...], under the database's own class names and ranges.
        crop: how the face is cut out; None: the picture is the face.
        faces: which face of its picture a row is, bytes [rows]; None where a picture has one.
        groups: person or video, bytes [rows], empty for none. Rows of two tables that share one are related,
            so a group's text begins with the name of its database.
        videos: the sequence a row is a frame of (one person's, where a video shows two), bytes [rows]; None
            where there are only pictures.
        frames: number of the frame in its video, int64 [rows]; None where there are no videos.
        counts: what was left out and found odd while reading, for people: number by description.
    """

    pictures: Pictures
    labels: Mapping[str, StoredLabels]
    crop: Crop | None = None
    faces: np.ndarray | None = None
    groups: np.ndarray | None = None
    videos: np.ndarray | None = None
    frames: np.ndarray | None = None
    counts: Mapping[str, int] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        columns = (self.faces, self.groups, self.videos, self.frames)
        labels = (values for label in self.labels.values() for values in (label.values, label.valid))
        lengths = {len(column) for column in (*columns, *labels) if column is not None}
        if lengths - {len(self.pictures)}:
            raise ValueError(f"every column must have {len(self.pictures)} rows (got {sorted(lengths)})")

    def __len__(self) -> int:
        return len(self.pictures)

    def face(self, row: int) -> Tensor:
        """A row's face in the resolution of its picture: uint8 [3, height, width]."""
        picture = self.pictures.load(row)
        return picture if self.crop is None else self.crop.cut(picture, row)


class FaceSamples(Samples):
    """Rows of a table; pictures are decoded, cut and scaled when they are read.

    Args:
        table: the database's part.
        rows: the rows of the table that are samples: int64 [samples].
        labels: of the samples, by task.
        size: side of the square pictures to deliver, in pixels.
        on_error: what to do about a picture that cannot be read.
        source: the dataset's name in messages.
        left_out: why other rows of the table are no samples: number by description, 0 for none.
    """

    def __init__(
        self,
        table: FaceTable,
        rows: np.ndarray,
        labels: Mapping[str, Labels],
        *,
        size: int,
        on_error: Literal["stop", "skip"],
        source: str,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        self.table = table
        self.rows = rows
        self.on_error = on_error
        self._labels = labels
        self._size = size
        self._source = source
        self._left_out = {why: number for why, number in (left_out or {}).items() if number}

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read faces: uint8 [len(indices), 3, size, size].

        Raises:
            UnreadableSampleError: if one cannot be read; the message names its file.
        """
        rows = [int(self.rows[index]) for index in indices]
        return torch.stack([square(self.table.face(row), self._size) for row in rows])

    def id(self, index: int) -> str:
        """The picture's name, with the face where a picture may have several."""
        row = int(self.rows[index])
        name, faces = self.table.pictures.name(row), self.table.faces
        return name if faces is None else f"{name}#{bytes(faces[row]).decode()}"

    def column(self, name: str) -> np.ndarray | None:
        """`file`: absolute paths; `group`: person or video; `video` and `frame`: place in a sequence."""
        columns = {"group": self.table.groups, "video": self.table.videos, "frame": self.table.frames}
        found = self.table.pictures.paths() if name == "file" else columns.get(name)
        return None if found is None else found[self.rows]

    def problems(self) -> list[str]:
        """One line for each of the first missing pictures, and how many more there are."""
        pictures = self.table.pictures
        if not isinstance(pictures, PictureFiles):
            return []
        # A picture with several faces is missing once.
        wanted = PictureFiles(Path(pictures.root), np.unique(pictures.files[self.rows]))
        return wanted.problems(lambda _: self._source, self._source)

    def counts(self) -> Mapping[str, int]:
        """What the database's reader left out or found odd, and the faces left out for want of labels."""
        return {**self.table.counts, **self._left_out}
