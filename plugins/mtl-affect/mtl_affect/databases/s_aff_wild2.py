"""s-Aff-Wild2, the frames of the multi-task challenges of ABAW: one text file of annotations per split.

Kollias: ABAW: Valence-Arousal Estimation, Expression Recognition, Action Unit Detection & Multi-Task Learning
Challenges. CVPR Workshops 2022.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from mtl_std.cells import ProblemList
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, Dataset, hookimpl
from mtl_toolkit.validators import between

from .aff_wild2_labels import (
    CLASSES,
    UNITS,
    VALENCE_AROUSAL,
    Kind,
    Report,
    action_units,
    expression,
    group_of,
    parse_rows,
    read_lines,
)
from .base import FaceDatabase
from .reading import not_there
from .splits import Split, in_split
from .table import FaceTable

HEADER = "image,valence,arousal,expression,aus"  # shorter than the rows: `aus` are twelve fields
PICTURE = re.compile(r"([^/]+)/([0-9]+)\.(?:jpg|png)")

LABELS: Mapping[str, Kind] = {  # in the order of the fields
    "valence-arousal": VALENCE_AROUSAL,
    "expression": expression(CLASSES),
    "action-units": action_units(UNITS),
}

_CHALLENGE = {"train": "MTL_Challenge/train_set.txt", "validation": "MTL_Challenge/validation_set.txt"}
_FLAT = {"train": "training_set_annotations.txt", "validation": "validation_set_annotations.txt"}
FILES: Mapping[str, Mapping[str, str]] = {"abaw3": _CHALLENGE, "abaw4": _FLAT, "abaw7": _FLAT}


@attrs.frozen(kw_only=True)
class SAffWild2(FaceDatabase):
    """s-Aff-Wild2, single frames: neutral, anger, disgust, fear, happiness, sadness, surprise, other.

    Kollias: ABAW: learning from synthetic data and multi-task learning challenges. ECCV Workshops 2022.

    Each frame has valence and arousal, a class and twelve action units, any of which may be missing. Frames
    are sparse: their numbers, which are those of Aff-Wild2, leave gaps.
    """

    name: ClassVar[str] = "s-aff-wild2"
    root: Path = attrs.field(metadata={"doc": "the folder with the annotations"})
    annotations: Path | None = attrs.field(
        default=None, metadata={"doc": "the text file of the split; none: the edition's own in root"}
    )
    frames: Path | None = attrs.field(
        default=None,
        metadata={"doc": "folder of the faces, <video>/00001.jpg; none: cropped_aligned in root"},
    )
    edition: Literal["abaw3", "abaw4", "abaw7"] = attrs.field(
        default="abaw4", metadata={"doc": "the competition whose names of the files are looked for"}
    )
    split: Literal["train", "validation"] = attrs.field(metadata={"doc": "which of the files to read"})
    videos: Literal["all", "held-out", "others"] = attrs.field(
        default="all",
        metadata={"doc": "which videos of the split: those held out, to tune on, or the others, to train on"},
    )
    held_out: float = attrs.field(
        default=0.1,
        validator=between(0, 1),
        metadata={"doc": "share of the videos that are held out, by a hash of their names"},
    )

    def table(self) -> FaceTable:
        """Read the split's file.

        Raises:
            DataError: if it or the folder of faces is missing, or it breaks the format.
        """
        path = self._path()
        pictures = self.frames or self.root / "cropped_aligned"
        if not pictures.is_dir():
            raise not_there(pictures)
        problems = ProblemList(str(path))
        rows = [line.partition(",") for line in read_lines(path, HEADER, problems.add)]
        names = [name.strip() for name, _, _ in rows]
        groups, videos, frames = parse_pictures(names, problems.add)
        labels = parse_labels([rest for _, _, rest in rows], problems.add)
        problems.check()
        if not rows:
            raise DataError(f"{path}: there are no rows after the header")
        keep = self._keep(groups, path)
        groups, videos, frames = groups[keep], videos[keep], frames[keep]
        labels = {
            name: attrs.evolve(label, values=label.values[keep], valid=label.valid[keep])
            for name, label in labels.items()
        }
        files = as_bytes(names)[keep]
        bare = ~np.any([label.valid.reshape(len(files), -1).any(axis=1) for label in labels.values()], axis=0)
        counts = {
            "frames without a valid label": int(bare.sum()),
            "rows whose picture another row has too": len(files) - len(np.unique(files)),
        }
        return FaceTable(
            PictureFiles(pictures, files),
            labels,
            groups=groups,
            videos=videos,
            frames=frames,
            counts={what: number for what, number in counts.items() if number},
        )

    def _keep(self, groups: np.ndarray, path: Path) -> np.ndarray:
        """The rows of the videos asked for: int64."""
        if self.videos == "all":
            return np.arange(len(groups))
        names, owners = np.unique(groups, return_inverse=True)
        part: Split = "validation" if self.videos == "held-out" else "train"
        kept = in_split(names, part, self.held_out)
        if not kept.any():
            raise DataError(
                f"{path}: videos = {self.videos!r} with held_out = {self.held_out:g} leaves nothing of "
                f"{len(names)} videos"
            )
        return np.flatnonzero(kept[owners.reshape(-1)])

    def _path(self) -> Path:
        """The annotations; another edition's file is told from a missing one."""
        if self.annotations is not None:
            path = self.annotations
        else:
            path = self.root / FILES[self.edition][self.split]
        if path.is_file():
            return path
        for name, files in FILES.items():
            if self.annotations is None and (found := self.root / files[self.split]).is_file():
                raise DataError(f'{path}: there is no such file, but {found} (as of edition = "{name}")')
        raise not_there(path)


def parse_pictures(names: list[str], report: Report) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take names like video/00001.jpg apart: groups and videos, bytes [rows]; frame numbers, int64 [rows]."""
    group = lru_cache(maxsize=None)(group_of)
    groups, videos = [], []
    frames = np.zeros(len(names), np.int64)
    for row, name in enumerate(names):
        match = PICTURE.fullmatch(name)
        if match is None:
            report(f"image must be like '<video>/00001.jpg' (got {name[:80]!r})", row + 2)
        else:
            groups.append(group(match[1]))
            videos.append(match[1])
            frames[row] = int(match[2])
    return as_bytes(groups), as_bytes(videos), frames


def parse_labels(lines: list[str], report: Report) -> dict[str, StoredLabels]:
    """Read the fields after the picture's name."""
    width = sum(len(kind.columns) for kind in LABELS.values())
    values = parse_rows(lines, width, report, before=1)
    if values is None:
        return {}
    ends = np.cumsum([len(kind.columns) for kind in LABELS.values()])[:-1]
    parts = np.split(values, ends, axis=1)
    return {
        name: kind.stored(kind.checked(part, report))
        for (name, kind), part in zip(LABELS.items(), parts, strict=True)
    }


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """s-Aff-Wild2."""
    return [SAffWild2]
