"""The samples of a table of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from mtl_toolkit import Detector, Labels

from .csv_rows import CsvTable
from .csv_table import read_column, read_header
from .face_cut import DetectedFaces, GivenFaces
from .picture_files import PictureFiles
from .picture_samples import PictureSamples

COLUMNS = ("file", "group", "video", "frame")  # which the recipe names, whatever the table calls them


class CsvSamples(PictureSamples):
    """The pictures of a table; they are decoded when they are read.

    Args:
        csv: the file that the table was read from, where further columns are looked up.
        table: the rows; its boxes, where it has any, are cut out.
        labels: of the rows, by task.
        root: the folder that the pictures' paths start from.
        size: side of the square pictures to deliver, in pixels.
        on_error: what to do about a picture that cannot be read.
        source: the table's name in messages.
        detector: finds the faces where the table has no boxes; None: the picture is the face.
        margin: round the face's box on each side, as a share of its longer side.
    """

    def __init__(
        self,
        csv: Path,
        table: CsvTable,
        labels: Mapping[str, Labels],
        *,
        root: Path,
        size: int,
        on_error: Literal["stop", "skip"],
        source: str,
        detector: Detector | None = None,
        margin: float = 0.0,
    ) -> None:
        found = DetectedFaces(detector) if detector else None
        faceless = None if table.boxes is None else np.isnan(table.boxes).any(axis=1)
        super().__init__(
            len(table.files),
            size=size,
            on_error=on_error,
            faces=found if table.boxes is None else GivenFaces(table.boxes),
            margin=margin,
            faceless=faceless,
        )
        self._csv = csv
        self._pictures = PictureFiles(root, table.files)
        self._above = None if table.boxes is None else rows_above(table.files)
        self._columns = {"video": table.videos, "frame": table.frames}
        self._groups = table.groups
        self._lines = table.lines
        self._labels = labels
        self._source = source
        self._empty = 0 if faceless is None else int(faceless.sum())

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def picture(self, index: int) -> Tensor:
        """Decode a picture: uint8 [3, height, width]."""
        return self._pictures.load(index)

    def place(self, index: int) -> str:
        """The table's line, and the picture's path."""
        return f"{self._source} line {self._lines[index]}: {self.id(index)}"

    def id(self, index: int) -> str:
        """The picture's path as the table has it; from the second face of a picture on with its number."""
        above = 0 if self._above is None else int(self._above[index])
        return f"{self._pictures.name(index)}#{above + 1}" if above else self._pictures.name(index)

    def column(self, name: str) -> np.ndarray | None:
        """`file`: absolute paths; `group`: that column under the pictures' folder; `video` and `frame`.

        Any other is the table's column of that name: UTF-8, bytes [samples]. The table is read again for it,
        so that columns nobody asks for cost nothing.

        Raises:
            DataError: if the table has changed, or has two columns of the name.
        """
        if name == "file":
            return self._pictures.paths()
        if name == "group" and self._groups is not None:
            # Tables of other pictures may number their groups alike.
            named = np.char.add(f"{self._pictures.root}: ".encode(), self._groups)
            return np.where(self._groups == b"", b"", named)
        if name in COLUMNS or name not in read_header(self._csv):
            return self._columns.get(name)
        return read_column(self._csv, name, self._lines, self._source)

    def column_names(self) -> tuple[str, ...]:
        """`file`, those of `group`, `video` and `frame` that the recipe names, and the table's own."""
        named = {"file": self._pictures, "group": self._groups, **self._columns}
        own = [name for name in read_header(self._csv) if name and name not in COLUMNS]
        return (*(name for name, found in named.items() if found is not None), *own)

    def problems(self) -> list[str]:
        """One line for each of the first missing pictures, and how many more there are."""
        return self._pictures.problems(
            lambda index: f"{self._source} line {self._lines[index]}", self._source
        )

    def counts(self) -> Mapping[str, int]:
        """The rows whose box is empty."""
        return {"rows without a face": self._empty} if self._empty else {}


def rows_above(files: np.ndarray) -> np.ndarray | None:
    """How many rows above name the same file: int32 [rows]; None where no file comes twice."""
    _, place, counts = np.unique(files, return_inverse=True, return_counts=True)
    if not len(counts) or counts.max() == 1:
        return None
    above = np.empty(len(files), np.int32)
    starts = np.cumsum(counts) - counts
    above[np.argsort(place, kind="stable")] = np.arange(len(files)) - np.repeat(starts, counts)
    return above
