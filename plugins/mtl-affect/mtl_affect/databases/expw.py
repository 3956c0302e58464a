"""ExpW (Zhang et al., 2018): faces in pictures from the web, with one of seven expressions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
from mtl_std.cells import Cells, ProblemList, parse_numbers
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, Dataset, hookimpl
from mtl_toolkit.validators import between

from .base import FaceDatabase
from .crops import BoxCrop
from .reading import find, parse_ids, read_lines, source_of
from .splits import Split, check_split, in_split
from .table import FaceTable

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
COLUMNS = ("name", "face_id", "top", "left", "right", "bottom", "confidence", "label")
EDGES = ("left", "top", "right", "bottom")
LISTS = ("label/label.lst", "label.lst")
PICTURES = ("image/origin", "origin", "image")


@attrs.frozen(kw_only=True)
class ExpW(FaceDatabase):
    """ExpW: anger, disgust, fear, happiness, sadness, surprise, neutral; several faces may share a picture.

    Zhang et al.: From facial expression recognition to interpersonal relation prediction. IJCV, 2018.

    Reads `label/label.lst` (or `label.lst`) and cuts each face out of its picture by its box; a face whose
    box is empty is left out. There is no official split: pictures are dealt out by a hash of their names, all
    faces of one to the same part.
    """

    name: ClassVar[str] = "expw"
    images: Path | None = attrs.field(
        default=None,
        metadata={"doc": "folder of the pictures; none: image/origin, origin or image, the first there is"},
    )
    min_confidence: float = attrs.field(
        default=0.0,
        metadata={"doc": "faces of less confidence are left out; as the column of label.lst has it"},
    )
    split: Split = attrs.field(default="all", metadata={"doc": "which pictures"})
    validation_share: float = attrs.field(
        default=0.1,
        validator=between(0, 1),
        metadata={"doc": "share of the pictures that are for validation"},
    )

    def table(self) -> FaceTable:
        """One row per face of the part asked for.

        Raises:
            DataError: if the list or the pictures are missing, or a line is not in the format.
        """
        path = find(self.root, *LISTS)
        images, faces = self._images(), read_list(path)
        keep, counts = self._keep(faces, path)
        faces = faces.take(keep)
        return FaceTable(
            pictures=PictureFiles(images, faces.names),
            labels={"expression": StoredLabels(faces.labels, np.ones(keep.sum(), np.bool_), classes=CLASSES)},
            crop=BoxCrop(faces.boxes),
            faces=faces.ids,
            counts={what: number for what, number in counts.items() if number},
        )

    def _keep(self, faces: ListedFaces, path: Path) -> tuple[np.ndarray, dict[str, int]]:
        """The part's faces that can be cut and are sure enough (bool [faces]), and how many are not."""
        in_part = in_split(faces.names, self.split, self.validation_share)
        check_split(in_part, self.split, self.validation_share, source_of(path))
        boxed = (faces.boxes[:, 2:] > faces.boxes[:, :2]).all(axis=1)
        sure = faces.confidence >= self.min_confidence
        keep = in_part & boxed & sure
        if not keep.any():
            raise DataError(
                f"{source_of(path)}: all {in_part.sum()} faces have an empty box or less confidence than "
                f"{self.min_confidence:g}"
            )
        counts = {
            "faces with an empty box, left out": int((in_part & ~boxed).sum()),
            "faces below min_confidence, left out": int((in_part & boxed & ~sure).sum()),
            "faces that are listed twice": faces.take(keep).twice(),
        }
        return keep, counts

    def _images(self) -> Path:
        places = [self.images] if self.images else [self.root / place for place in PICTURES]
        for place in places:
            if place.is_dir():
                return place
        if self.images:
            raise DataError(f"{self.name}: images: there is no folder {self.images}")
        known = f"{', '.join(PICTURES[:-1])} or {PICTURES[-1]}"
        raise DataError(f"{self.name}: there is no folder {known} with pictures in {self.root}")


@attrs.frozen(eq=False)
class ListedFaces:
    """The lines of the list.

    Attributes:
        names: the pictures, bytes [faces].
        ids: which face of its picture, bytes [faces].
        boxes: left, top, right and bottom in pixels, float64 [faces, 4].
        confidence: of the face detector, float64 [faces].
        labels: class ids, int64 [faces].
    """

    names: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    confidence: np.ndarray
    labels: np.ndarray

    def take(self, keep: np.ndarray) -> ListedFaces:
        """Those where `keep` (bool [faces]) is true."""
        return ListedFaces(*(column[keep] for column in attrs.astuple(self, recurse=False)))

    def twice(self) -> int:
        """How many repeat the picture and the id of an earlier one."""
        keys = np.char.add(np.char.add(self.names, b"/"), self.ids)
        return len(keys) - len(np.unique(keys))


def read_list(path: Path) -> ListedFaces:
    """Read the list of faces.

    Raises:
        DataError: if it is empty or not in the format; up to 20 problems are told in full.
    """
    problems = ProblemList(source_of(path))
    columns = read_columns(path, problems)
    problems.check()
    numbers = {column: parse_numbers(columns[column], problems) for column in (*EDGES, "confidence")}
    labels = parse_ids(columns["label"], len(CLASSES), problems)
    problems.check()
    return ListedFaces(
        names=as_bytes(columns["name"].texts),
        ids=as_bytes(columns["face_id"].texts),
        boxes=np.stack([numbers[edge] for edge in EDGES], axis=1),
        confidence=numbers["confidence"],
        labels=labels,
    )


def read_columns(path: Path, problems: ProblemList) -> Mapping[str, Cells]:
    """The list's columns as text; names of pictures may hold spaces.

    Raises:
        DataError: if it cannot be read, or is empty.
    """
    rows: list[list[str]] = []
    numbers: list[int] = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.strip().rsplit(maxsplit=len(COLUMNS) - 1)
        if len(fields) == len(COLUMNS):
            rows.append(fields)
            numbers.append(number)
        elif fields:
            problems.add(f"must have {len(COLUMNS)} fields: {' '.join(COLUMNS)} (got {len(fields)})", number)
    problems.check()
    if not rows:
        raise DataError(f"{path}: is empty; each line must hold a face")
    places = np.asarray(numbers, np.int64)
    return {
        column: Cells(column, places, list(texts))
        for column, texts in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """ExpW."""
    return [ExpW]
