"""LSD of ABAW4: learning expressions from synthetic faces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from mtl_std.cells import ProblemList
from mtl_std.csv_table import read_blocks
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, Dataset, hookimpl

from .base import FaceDatabase
from .reading import find, parse_ids, source_of
from .table import FaceTable

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
FOLDERS = ("ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE")  # so spelt in the release
TRAINING, VALIDATION = "training_set_synthetic_images", "validation_set_real_images"


@attrs.frozen(kw_only=True)
class Lsd(FaceDatabase):
    """LSD of ABAW4: anger, disgust, fear, happiness, sadness, surprise.

    Kollias: ABAW: learning from synthetic data and multi-task learning challenges. ECCV Workshops 2022.

    `split` picks the folder in `root`:

    - `train`: `training_set_synthetic_images`, with a folder of .jpg files per class: `DISGUST`, `FEAR`,
      `HAPPINESS`, `SADNESS`, `SURPRISE`, and one that begins with `ANG` for anger.
    - `validation`: `validation_set_real_images`, with the same folders; or, since copies differ, without them
      and with a CSV table `image,expression` of paths in that folder and class ids 0 to 5.
    - `test`: the one folder whose name begins with `test`; its pictures have no labels.
    """

    name: ClassVar[str] = "lsd"
    split: Literal["train", "validation", "test"] = attrs.field(metadata={"doc": "the part"})
    annotations: Path | None = attrs.field(
        default=None,
        metadata={"doc": "table image,expression of the validation set; none: its folders are the classes"},
    )

    def __attrs_post_init__(self) -> None:
        if self.annotations is not None and self.split != "validation":
            raise ValueError(f'annotations are those of split = "validation" (got split = "{self.split}")')
        if self.split == "test" and not self.unlabelled:
            raise ValueError('split = "test" has no labels, so it needs unlabelled = true (got false)')

    def table(self) -> FaceTable:
        """List the pictures; the class is that of the folder."""
        if self.split == "train":
            return by_folder(self.root, find(self.root, TRAINING).name)
        if self.split == "test":
            return flat(self.root, folder_of_test(self.root))
        folder = find(self.root, VALIDATION).name
        if self.annotations is not None:
            return by_annotations(self.root, folder, self.annotations)
        if folders_in(self.root / folder):
            return by_folder(self.root, folder)
        if self.unlabelled:
            return flat(self.root, folder)
        raise DataError(
            f"{self.root / folder}: has no class folders; name the table of its labels with annotations, or "
            "set unlabelled = true"
        )


def by_folder(root: Path, part: str) -> FaceTable:
    """Pictures in a folder per class.

    Raises:
        DataError: if there is not one folder for every class, and no other.
    """
    names = class_folders(root / part)
    listings = [pictures_in(root, f"{part}/{name}") for name in names]
    ids = np.repeat(np.arange(len(CLASSES)), [len(files) for files, _ in listings])
    files = np.concatenate([files for files, _ in listings])
    return _table(root, files, ids, others=sum(others for _, others in listings))


def by_annotations(root: Path, part: str, annotations: Path) -> FaceTable:
    """Pictures that a table names.

    Raises:
        DataError: if the table cannot be read, or a class id is none.
    """
    problems = ProblemList(source_of(annotations))
    files, ids = [], []
    for block in read_blocks(annotations, ("image", "expression"), problems):
        files.append(as_bytes([f"{part}/{text}" for text in block["image"].texts]))
        ids.append(parse_ids(block["expression"], len(CLASSES), problems))
    problems.check()
    if not files:
        raise DataError(f"{problems.source}: has no rows")
    return _table(root, np.concatenate(files), np.concatenate(ids))


def flat(root: Path, part: str) -> FaceTable:
    """Pictures in one folder, without labels."""
    files, others = pictures_in(root, part)
    return _table(root, files, others=others)


def class_folders(folder: Path) -> list[str]:
    """The folder of every class, in the classes' order.

    Raises:
        DataError: if one is missing, there twice, or of no class.
    """
    problems = ProblemList(str(folder))
    found: dict[int, str] = {}
    for name in folders_in(folder):
        number = _class_of(name)
        if number is None:
            problems.add(f"each folder must be that of a class, {', '.join(FOLDERS)} (got {name!r})")
        elif number in found:
            problems.add(f"{CLASSES[number]} must have one folder (got {found[number]!r} and {name!r})")
        else:
            found[number] = name
    for number, name in enumerate(FOLDERS):
        if number not in found:
            problems.add(f"there is no folder {name} ({CLASSES[number]})")
    problems.check()
    return [found[number] for number in range(len(CLASSES))]


def _class_of(folder: str) -> int | None:
    if folder.startswith("ANG"):
        return 0
    return FOLDERS.index(folder) if folder in FOLDERS else None


def folder_of_test(root: Path) -> str:
    """The name of the folder with the test set.

    Raises:
        DataError: if not one folder's name begins with `test`.
    """
    found = [name for name in folders_in(find(root, ".")) if name.lower().startswith("test")]
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise DataError(f"{root}: there must be one folder whose name begins with test (got {listed})")
    return found[0]


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, but for hidden ones, in order."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())


def pictures_in(root: Path, folder: str) -> tuple[np.ndarray, int]:
    """The .jpg files in a folder as paths from `root`, in order, and how many other files there are."""
    names = os.listdir(os.fsencode(root / folder))  # noqa: PTH208 - pathlib has no paths of bytes
    files = sorted(name for name in names if name.lower().endswith(b".jpg") and name[:1] != b".")
    paths = np.char.add(f"{folder}/".encode(), np.array(files, np.bytes_))
    return paths, len(names) - len(files)


def _table(root: Path, files: np.ndarray, ids: np.ndarray | None = None, others: int = 0) -> FaceTable:
    valid = np.full(len(files), ids is not None)
    values = np.zeros(len(files), np.int64) if ids is None else ids
    return FaceTable(
        pictures=PictureFiles(root, files),
        labels={"expression": StoredLabels(values, valid, classes=CLASSES)},
        counts={"files that are no .jpg pictures": others} if others else {},
    )


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """LSD."""
    return [Lsd]
