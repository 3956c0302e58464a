"""RAF-DB: aligned faces from the web, each with one expression."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from mtl_std.cells import ProblemList
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, Dataset, hookimpl

from .base import FaceDatabase
from .reading import find, read_lines, source_of
from .table import FaceTable

CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # ids from 1
IDS = {str(number): number - 1 for number in range(1, len(CLASSES) + 1)}
LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")


@attrs.frozen(kw_only=True)
class RafDb(FaceDatabase):
    """RAF-DB: surprise, fear, disgust, happiness, sadness, anger, neutral.

    Li, Deng, Du: Reliable crowdsourcing and deep locality-preserving learning for expression recognition in
    the wild. CVPR 2017.

    Reads `EmoLabel/list_patition_label.txt` (so spelt, or `list_partition_label.txt`) and the pictures in
    `Image/aligned`, both in `root` or in `root/basic`. Who is in a picture is not known.
    """

    name: ClassVar[str] = "raf-db"
    split: Literal["train", "test"] = attrs.field(
        metadata={"doc": "the part, which the pictures' names begin with"}
    )

    def table(self) -> FaceTable:
        """Read the list of labels."""
        listed = find(self.root, *(f"{folder}{name}" for folder in ("", "basic/") for name in LISTS))
        folder = listed.parent.parent
        find(folder, "Image/aligned")
        names, ids = read_labels(listed, self.split)
        files = as_bytes([f"Image/aligned/{name.removesuffix('.jpg')}_aligned.jpg" for name in names])
        return FaceTable(
            pictures=PictureFiles(folder, files),
            labels={"expression": StoredLabels(ids, np.ones(len(ids), np.bool_), classes=CLASSES)},
        )


def read_labels(path: Path, split: str) -> tuple[list[str], np.ndarray]:
    """The pictures of a part, as the list names them, and their class ids from 0: int64 [pictures].

    Raises:
        DataError: if the list cannot be read, or has no picture of the part.
    """
    problems = ProblemList(source_of(path))
    names, ids = [], []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        rule = _broken_rule(fields)
        if rule:
            problems.add(f"{rule} (got {line.strip()!r})", number)
        elif fields and fields[0].startswith(f"{split}_"):
            names.append(fields[0])
            ids.append(IDS[fields[1]])
    problems.check()
    if not names:
        raise DataError(f"{problems.source}: there is no picture whose name begins with {split}_")
    return names, np.array(ids, np.int64)


def _broken_rule(fields: list[str]) -> str | None:
    """What a line breaks; a blank one breaks nothing."""
    if not fields:
        return None
    if len(fields) != 2:
        return "must be the name of a picture and a class id"
    if not fields[0].startswith(("train_", "test_")) or not fields[0].endswith(".jpg"):
        return "the picture's name must begin with train_ or test_ and end in .jpg"
    return None if fields[1] in IDS else f"the class id must be from 1 to {len(CLASSES)}"


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """RAF-DB."""
    return [RafDb]
