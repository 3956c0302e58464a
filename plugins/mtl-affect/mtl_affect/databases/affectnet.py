"""AffectNet (Mollahosseini et al., 2017): faces from the web with expression, valence and arousal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from mtl_std.cells import nearest
from mtl_std.picture_files import PictureFiles
from mtl_std.stored_labels import StoredLabels
from torch import Tensor

from mtl_toolkit import DataError, Dataset, hookimpl

from .affectnet_csv import read_table
from .affectnet_labels import MISSING, Annotations
from .affectnet_npy import read_folder
from .base import FaceDatabase
from .crops import BoxCrop, Crop, LandmarkCrop
from .table import FaceTable

CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
AXES = ("valence", "arousal")
TABLES = {"train": "training.csv", "validation": "validation.csv"}
FOLDERS = {"train": "train_set", "validation": "val_set"}
PICTURES = "Manually_Annotated_Images"
MARGIN = 0.05  # that of the ABAW 2021 protocol

Way = Literal["landmarks", "box", "none"]


@attrs.frozen(kw_only=True)
class AffectNet(FaceDatabase):
    """AffectNet: neutral, happiness, sadness, surprise, fear, disgust, anger, contempt; valence, arousal.

    Mollahosseini, Hasani, Mahoor: AffectNet. IEEE Transactions on Affective Computing, 2019.

    Release `csv` is a table for each split, with or without a line of column names, and uncut pictures.
    Release `npy` has `train_set` and `val_set`, with cut pictures in `images` and four files for each in
    `annotations`. Faces that are annotated as having no expression (ids 8 to 10) lack that label.
    """

    name: ClassVar[str] = "affectnet"
    release: Literal["csv", "npy"] = attrs.field(
        default="csv",
        metadata={
            "doc": "csv: tables and uncut pictures; npy: cut pictures with files of their own, of 2021"
        },
    )
    split: Literal["train", "validation"] = attrs.field(default="train", metadata={"doc": "which faces"})
    csv: Path | None = attrs.field(
        default=None, metadata={"doc": "the table of release csv; none: training.csv or validation.csv"}
    )
    images: Path | None = attrs.field(
        default=None,
        metadata={
            "doc": f"folder of the pictures of release csv; none: {PICTURES} if it is there, else the root"
        },
    )
    crop: Way | None = attrs.field(
        default=None,
        metadata={
            "doc": "landmarks: a square round them with a margin of 5 %, the box where they are missing; "
            "box; none: the whole picture. By default landmarks; none in release npy, which is cut already"
        },
    )

    def __attrs_post_init__(self) -> None:
        if self.release == "npy" and (self.csv or self.images):
            raise ValueError("csv and images are of release csv (got release = 'npy')")
        if self.release == "npy" and self.crop == "box":
            raise ValueError("release npy has no boxes; crop must be 'landmarks' or 'none' (got 'box')")

    def table(self) -> FaceTable:
        """One row per face of the split.

        Raises:
            DataError: if a table or a folder is missing, or not in the format.
        """
        if not self.root.is_dir():
            raise DataError(f"{self.name}: there is no folder {self.root}")
        way = self.crop or ("landmarks" if self.release == "csv" else "none")
        counts: dict[str, int] = {}
        if self.release == "csv":
            images, found = self._images(), read_table(self._csv(), with_landmarks=way == "landmarks")
        else:
            folder = self._folder()
            images = folder / "images"
            found, counts = read_folder(folder, with_landmarks=way == "landmarks")
        crop = None if way == "none" else face_crop(found, way)
        labels = stored_labels(found)
        counts |= count_missing(labels) | ({} if crop is None else count_uncut(crop))
        return FaceTable(
            pictures=PictureFiles(images, found.files),
            labels=labels,
            crop=crop,
            counts={what: number for what, number in counts.items() if number},
        )

    def _csv(self) -> Path:
        path = self.csv or self.root / TABLES[self.split]
        if path.is_file():
            return path
        if (self.root / FOLDERS[self.split]).is_dir() and not self.csv:
            hint = f"; {FOLDERS[self.split]} is there, which is of release = 'npy'"
        elif path.parent.is_dir():
            hint = nearest(path.name, sorted(found.name for found in path.parent.glob("*.csv")))
        else:
            hint = ""
        raise DataError(f"{self.name}: there is no table {path}{hint}")

    def _images(self) -> Path:
        images = self.images or self.root / PICTURES
        if images.is_dir():
            return images
        if self.images:
            raise DataError(f"{self.name}: images: there is no folder {images}")
        return self.root

    def _folder(self) -> Path:
        folder = self.root / FOLDERS[self.split]
        if folder.is_dir():
            return folder
        table = TABLES[self.split]
        hint = f"; {table} is there, which is of release = 'csv'" if (self.root / table).is_file() else ""
        raise DataError(f"{self.name}: there is no folder {folder}{hint}")


@attrs.frozen(eq=False)
class FirstUsable:
    """Cut each row by the first of some crops that it can be cut by, else keep the whole picture.

    Attributes:
        crops: in order of preference.
        choice: which of them a row is cut by, their number where it is by none: int8 [rows].
    """

    crops: tuple[Crop, ...]
    choice: np.ndarray

    def cut(self, picture: Tensor, row: int) -> Tensor:
        """The row's face."""
        choice = int(self.choice[row])
        return self.crops[choice].cut(picture, row) if choice < len(self.crops) else picture


def face_crop(found: Annotations, way: Way) -> FirstUsable:
    """Cut by the landmarks where there are any, and then by the box; or by the box alone."""
    landmarks, boxes = LandmarkCrop(found.corners, MARGIN), BoxCrop(found.boxes)
    has_box = np.isfinite(found.boxes).all(axis=1)
    by_box = np.where(has_box, 0, 1).astype(np.int8)
    if way == "box":
        return FirstUsable((boxes,), by_box)
    has_landmarks = np.isfinite(found.corners).all(axis=(1, 2))
    return FirstUsable((landmarks, boxes), np.where(has_landmarks, 0, by_box + 1).astype(np.int8))


def count_uncut(crop: FirstUsable) -> dict[str, int]:
    """How many faces could not be cut as asked for, by what was done instead."""
    last = len(crop.crops)
    return {
        "faces without usable landmarks, cut by their box": int(
            ((crop.choice > 0) & (crop.choice < last)).sum()
        ),
        "faces with nothing to cut them by, kept as the whole picture": int((crop.choice == last).sum()),
    }


def stored_labels(found: Annotations) -> dict[str, StoredLabels]:
    """Expression, and valence with arousal."""
    labelled = found.expression < len(CLASSES)
    known = found.affect != MISSING
    return {
        "expression": StoredLabels(np.where(labelled, found.expression, 0), labelled, classes=CLASSES),
        "valence-arousal": StoredLabels(
            np.where(known, found.affect, 0.0), known, units=AXES, range=(-1.0, 1.0)
        ),
    }


def count_missing(labels: Mapping[str, StoredLabels]) -> dict[str, int]:
    """How many faces lack which label."""
    return {
        "faces without an expression (ids 8 to 10)": int((~labels["expression"].valid).sum()),
        "faces without valence or arousal (-2)": int((~labels["valence-arousal"].valid).any(axis=1).sum()),
    }


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """AffectNet."""
    return [AffectNet]
