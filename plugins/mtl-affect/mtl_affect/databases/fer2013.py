"""FER2013: small grey faces that are text in a CSV table, each with one expression."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
import torch
from mtl_std.cells import Cells, ProblemList
from mtl_std.csv_table import read_blocks
from mtl_std.stored_labels import StoredLabels
from torch import Tensor

from mtl_toolkit import DataError, Dataset, hookimpl

from .base import FaceDatabase
from .reading import find, parse_ids, source_of
from .table import FaceTable

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGES = {"train": "Training", "public-test": "PublicTest", "private-test": "PrivateTest"}
SIDE = 48
Split = Literal["train", "public-test", "private-test"]


@attrs.frozen(kw_only=True)
class Fer2013(FaceDatabase):
    """FER2013: anger, disgust, fear, happiness, sadness, surprise, neutral.

    Goodfellow et al.: Challenges in representation learning. ICONIP 2013. The pictures have 48 x 48 pixels.

    Reads `fer2013.csv` in `root`: `emotion,pixels,Usage`, in any order of the columns. A picture's name is
    its row in that table, counted from 0.
    """

    name: ClassVar[str] = "fer2013"
    split: Split = attrs.field(metadata={"doc": "the part, by the column Usage"})

    def table(self) -> FaceTable:
        """Read the table; the pictures are kept in memory, 2 kB each."""
        found = read_fer2013(find(self.root, "fer2013.csv"), USAGES[self.split])
        labels = StoredLabels(found.ids, np.ones(len(found.ids), np.bool_), classes=CLASSES)
        return FaceTable(pictures=found.pictures, labels={"expression": labels})


@attrs.frozen(eq=False)
class GreyPictures:
    """Grey pictures in memory that are rows of a table.

    Attributes:
        path: the table.
        rows: the row of each picture, from 0: int64 [pictures].
        values: uint8 [pictures, height, width].
    """

    path: Path
    rows: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """The table's name and the row."""
        return f"{self.path.name} row {self.rows[index]}"

    def load(self, index: int) -> Tensor:
        """Grey as RGB: uint8 [3, height, width]."""
        return torch.from_numpy(np.repeat(self.values[index][None], 3, axis=0))

    def paths(self) -> np.ndarray:
        """The table's absolute path and the row, bytes [pictures]."""
        return np.char.add(f"{self.path.absolute()} row ".encode(), self.rows.astype(np.bytes_))

    def take(self, places: np.ndarray) -> GreyPictures:
        """Some of the pictures."""
        return GreyPictures(self.path, self.rows[places], self.values[places])


@attrs.frozen(eq=False)
class FerTable:
    """What `fer2013.csv` holds.

    Attributes:
        usages: the part of every row.
        lines: where every row is in the file, from 1: int64 [rows].
        pictures: those of one part.
        ids: their class ids: int64 [pictures].
    """

    usages: list[str]
    lines: np.ndarray
    pictures: GreyPictures
    ids: np.ndarray


def read_fer2013(path: Path, usage: str) -> FerTable:
    """Read the table; of other parts than `usage` the pixels are passed over.

    Raises:
        DataError: if it cannot be read, or has no row of the part.
    """
    problems = ProblemList(source_of(path))
    usages: list[str] = []
    lines, ids, pixels = [], [], []
    for block in read_blocks(path, ("emotion", "pixels", "Usage"), problems):
        check_usages(block["Usage"], problems)
        wanted = np.array([text == usage for text in block["Usage"].texts])
        usages += block["Usage"].texts
        lines.append(block["Usage"].rows)
        ids.append(parse_ids(block["emotion"], len(CLASSES), problems)[wanted])
        pixels.append(parse_pixels(block["pixels"].take(wanted), problems))
    problems.check()
    if usage not in usages:
        raise DataError(f"{problems.source}: there is no row with the Usage {usage}")
    rows = np.array([row for row, text in enumerate(usages) if text == usage])
    pictures = GreyPictures(path, rows, np.concatenate(pixels))
    return FerTable(usages, np.concatenate(lines), pictures, np.concatenate(ids))


def check_usages(cells: Cells, problems: ProblemList) -> None:
    """Note the rows that belong to no known part."""
    known = frozenset(USAGES.values())
    bad = [place for place, text in enumerate(cells.texts) if text not in known]
    problems.add_cells(cells, bad, lambda _: f"must be {', '.join(USAGES.values())}")


def parse_pixels(cells: Cells, problems: ProblemList) -> np.ndarray:
    """Read a column of grey values: uint8 [rows, 48, 48]."""
    found = np.zeros((len(cells.texts), SIDE * SIDE), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's, of a text that is not all numbers
        for place, text in enumerate(cells.texts):
            values = _numbers(text)
            if len(values) == SIDE * SIDE and values.min() >= 0 and values.max() <= 255:
                found[place] = values
            else:
                rule = f"must hold {SIDE * SIDE} grey values from 0 to 255"
                problems.add(f"column 'pixels': {rule} (got {_odd(text)})", int(cells.rows[place]))
    return found.reshape(-1, SIDE, SIDE)


def _numbers(text: str) -> np.ndarray:
    # In numpy, since 83 million values in Python would take minutes.
    try:
        return np.fromstring(text, np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        return np.zeros(0, np.int64)


def _odd(text: str) -> str:
    """What is wrong with a field of pixels: the first value that is none, else their number."""
    values = text.split()
    for value in values:
        if not (value.isascii() and value.isdecimal() and int(value) <= 255):
            return repr(value)
    return str(len(values))


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """FER2013."""
    return [Fer2013]
