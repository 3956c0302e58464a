"""Aff-Wild2 as the ABAW competitions give it out: per video a text file of annotations and a folder of faces.

Kollias, Zafeiriou: Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and ArcFace.
BMVC 2019.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import attrs
import numpy as np
from mtl_std.cells import SHOWN, ProblemList, nearest
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, Dataset, hookimpl
from mtl_toolkit.validators import at_least

from .aff_wild2_labels import (
    CLASSES,
    UNITS,
    UNITS_ABAW1,
    VALENCE_AROUSAL,
    Kind,
    action_units,
    expression,
    group_of,
    video_of,
)
from .aff_wild2_videos import (
    Video,
    annotated_videos,
    read_video,
    rows_of_frames,
    thin,
    with_pictures,
)
from .base import FaceDatabase
from .reading import not_there
from .table import FaceTable

Part = Literal["expression", "valence-arousal", "action-units"]
Split = Literal["train", "validation"]

PARTS: tuple[Part, ...] = get_args(Part)
OTHER_SPLIT: Mapping[Split, Split] = {"train": "validation", "validation": "train"}


@attrs.frozen
class Edition:
    """How an edition of ABAW names its folders, and what is annotated.

    Attributes:
        sets: folder of each part, in the order of `PARTS`.
        train: folder of the training split in each of them.
        classes: of expression, by id.
        units: the action units.
    """

    sets: tuple[str, str, str]
    train: str
    classes: tuple[str, ...]
    units: tuple[str, ...]

    def folder(self, part: Part, split: Split) -> str:
        """Where the annotations of a part are, below the database's folder."""
        return f"{self.sets[PARTS.index(part)]}/{self.train if split == 'train' else 'Validation_Set'}"

    def kind(self, part: Part) -> Kind:
        """The columns and values of a part."""
        kinds = {"expression": expression(self.classes), "valence-arousal": VALENCE_AROUSAL}
        return kinds.get(part) or action_units(self.units)


_SETS = ("EXPR_Set", "VA_Set", "AU_Set")
_CLASSIFICATION = ("EXPR_Classification_Challenge", "VA_Estimation_Challenge", "AU_Detection_Challenge")
_RECOGNITION = ("EXPR_Recognition_Challenge", "VA_Estimation_Challenge", "AU_Detection_Challenge")

EDITIONS: Mapping[str, Edition] = {
    "abaw1": Edition(_SETS, "Training_Set", CLASSES[:7], UNITS_ABAW1),
    "abaw2": Edition(_SETS, "Train_Set", CLASSES[:7], UNITS),
    "abaw3": Edition(_CLASSIFICATION, "Train_Set", CLASSES, UNITS),
    "abaw5": Edition(_CLASSIFICATION, "Train_Set", CLASSES, UNITS),
    "abaw6": Edition(_RECOGNITION, "Train_Set", CLASSES, UNITS),
    "abaw8": Edition(_RECOGNITION, "Train_Set", CLASSES, UNITS),
}


@attrs.frozen(kw_only=True)
class AffWild2(FaceDatabase):
    """Aff-Wild2, frames of videos: neutral, anger, disgust, fear, happiness, sadness, surprise, (other).

    Kollias, Zafeiriou: Expression, affect, action unit recognition: Aff-Wild2, multi-task learning and
    ArcFace. BMVC 2019.

    Seven classes up to ABAW2, from ABAW3 on eight with `other`; 12 action units, in ABAW1 8 with AU20. The
    samples are the frames that the part's set has a label for, with whatever the other sets say of them.

    Frames are thinned as the last thing, by position among those that are left, videos in the order of their
    names: first by `keep_every`, then by `keep_every_class`. A set whose folder is not there counts as empty.
    """

    name: ClassVar[str] = "aff-wild2"
    root: Path = attrs.field(metadata={"doc": "the folder with the sets of annotations, such as EXPR_Set"})
    frames: Path | None = attrs.field(
        default=None,
        metadata={"doc": "folder of the faces, <video>/00001.jpg; none: cropped_aligned in root"},
    )
    edition: Literal["abaw1", "abaw2", "abaw3", "abaw5", "abaw6", "abaw8"] = attrs.field(
        default="abaw2", metadata={"doc": "the competition whose folders, classes and units these are"}
    )
    split: Split = attrs.field(metadata={"doc": "which half of the sets to read"})
    part: Part = attrs.field(metadata={"doc": "the set whose labelled frames are the samples"})
    shared: bool = attrs.field(
        default=True,
        metadata={"doc": "add what the other sets' same split says of the same frame of the same video"},
    )
    keep_every: int = attrs.field(
        default=1,
        validator=at_least(1),
        metadata={"doc": "keep one in so many frames (the paper: 5 of valence-arousal)"},
    )
    keep_every_class: Mapping[str, int] = attrs.field(
        factory=dict,
        metadata={
            "doc": "keep one in so many frames of a class (the paper: neutral 10, happiness 2, sadness 2)"
        },
    )
    cross_split: Literal["error", "drop", "keep"] = attrs.field(
        default="error",
        metadata={
            "doc": "what to do about a video that the other split of any set has too: training on one and "
            "validating on the other would leak"
        },
    )

    def __attrs_post_init__(self) -> None:
        classes = EDITIONS[self.edition].classes
        if self.keep_every_class and self.part != "expression":
            raise ValueError(f'keep_every_class is for part = "expression" (got {self.part!r})')
        for name, every in self.keep_every_class.items():
            if name not in classes:
                raise ValueError(f"keep_every_class: there is no class {name!r}{nearest(name, classes)}")
            if every < 1:
                raise ValueError(f"keep_every_class.{name} must be at least 1 (got {every})")

    def table(self) -> FaceTable:
        """Read the part's annotations, find their pictures, and add what other sets say of them.

        Raises:
            DataError: if folders are missing, files break the format, or a video is in both splits.
        """
        counts: Counter[str] = Counter()
        folder = self._find(self.part)
        if folder is None:
            raise not_there(self._folder(self.part))
        pictures = self.frames or self.root / "cropped_aligned"
        if not pictures.is_dir():
            raise not_there(pictures)
        names = self._without_leaks(folder, counts)
        videos = self._thinned(self._labelled(folder, names, pictures, counts), counts)
        sizes = [len(video.numbers) for video in videos]
        values = np.concatenate([video.values for video in videos])
        labels: dict[str, StoredLabels] = {self.part: self._kind(self.part).stored(values)}
        if self.shared:
            labels |= self._shared(videos, counts)
        if "action-units" in labels:
            labels["action-units"] = with_all_units(labels["action-units"])
        return FaceTable(
            PictureFiles(pictures, np.concatenate([video.files() for video in videos])),
            labels,
            groups=np.repeat(as_bytes([group_of(video.name) for video in videos]), sizes),
            videos=np.repeat(as_bytes([video.name for video in videos]), sizes),
            frames=np.concatenate([video.numbers for video in videos]),
            counts={what: number for what, number in counts.items() if number},
        )

    def _kind(self, part: Part) -> Kind:
        return EDITIONS[self.edition].kind(part)

    def _folder(self, part: Part) -> Path:
        """Where the annotations of a part should be."""
        return self.root / EDITIONS[self.edition].folder(part, self.split)

    def _find(self, part: Part) -> Path | None:
        """Where the annotations of a part are; None if its set is not there."""
        path = self._folder(part)
        if path.is_dir():
            return path
        for name, edition in EDITIONS.items():
            if (found := self.root / edition.folder(part, self.split)).is_dir():
                raise DataError(f'{path}: there is no such folder, but {found} (as of edition = "{name}")')
        if path.parent.is_dir():
            raise not_there(path)
        return None

    def _without_leaks(self, folder: Path, counts: Counter[str]) -> list[str]:
        """The part's videos, as `cross_split` says."""
        names = annotated_videos(folder)
        leaks = self._leaks(names)
        if leaks and self.cross_split == "error":
            told = ", ".join(f"{name} ({place})" for name, place in list(leaks.items())[:SHOWN])
            more = f", ... and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
            raise DataError(
                f"{folder}: no video may be in the {OTHER_SPLIT[self.split]} split too (got {len(leaks)}): "
                f'{told}{more}; cross_split = "drop" leaves them out, "keep" uses them'
            )
        drop = self.cross_split == "drop"
        counts[f"videos in both splits, {'left out' if drop else 'used'}"] = len(leaks)
        kept = [name for name in names if not (drop and name in leaks)]
        if not kept:
            left = f", all {len(names)} being in both splits" if names else ", <video>.txt"
            raise DataError(f"{folder}: there is no annotation file to use{left}")
        return kept

    def _leaks(self, names: Sequence[str]) -> dict[str, str]:
        """Which of the videos the other split has, of this or another set, and where."""
        edition = EDITIONS[self.edition]
        places: dict[str, str] = {}
        for part in PARTS:
            folder = edition.folder(part, OTHER_SPLIT[self.split])
            if (self.root / folder).is_dir():
                for name in annotated_videos(self.root / folder):
                    places.setdefault(video_of(name), folder)
        return {name: places[video_of(name)] for name in names if video_of(name) in places}

    def _labelled(
        self, folder: Path, names: Sequence[str], pictures: Path, counts: Counter[str]
    ) -> list[Video]:
        """The frames with a label of the part and a picture."""
        kind = self._kind(self.part)
        problems = ProblemList(str(folder))
        videos = []
        for name in names:
            values = read_video(folder, name, kind, problems)
            videos.append(with_pictures(name, values, kind, pictures, counts))
        problems.check()
        if not any(len(video.numbers) for video in videos):
            labelled = counts["labelled frames without a picture"]
            raise DataError(
                f"{pictures}: none of {labelled} labelled frames has a picture, <video>/00001.jpg"
            )
        return videos

    def _thinned(self, videos: Sequence[Video], counts: Counter[str]) -> list[Video]:
        """One in so many frames; videos of which none is left are left out."""
        classes = EDITIONS[self.edition].classes
        every_class = {classes.index(name): every for name, every in self.keep_every_class.items()}
        ids = np.concatenate([video.values[:, 0] for video in videos])
        keep = thin(ids, self.keep_every, every_class)
        counts["frames thinned out"] = len(keep) - int(keep.sum())
        starts = np.cumsum([len(video.numbers) for video in videos])[:-1]
        taken = [video.take(part) for video, part in zip(videos, np.split(keep, starts), strict=True)]
        return [video for video in taken if len(video.numbers)]

    def _shared(self, videos: Sequence[Video], counts: Counter[str]) -> dict[str, StoredLabels]:
        """What the other sets say of the same frames, by part."""
        labels: dict[str, StoredLabels] = {}
        for part in PARTS:
            if part == self.part:
                continue
            folder, kind = self._find(part), self._kind(part)
            if folder is None:
                counts["sets that are not there"] += 1
                continue
            problems = ProblemList(str(folder))
            known = set(annotated_videos(folder))
            found = [
                rows_of_frames(read_video(folder, video.name, kind, problems), video.numbers, kind)
                if video.name in known
                else kind.empty(len(video.numbers))
                for video in videos
            ]
            problems.check()
            labels[part] = kind.stored(np.concatenate(found))
        return labels


def with_all_units(stored: StoredLabels) -> StoredLabels:
    """Action units with those of the later editions that ABAW1 does not have, as missing."""
    more = tuple(unit for unit in UNITS if unit not in stored.units)
    none = np.zeros((len(stored.values), len(more)), stored.values.dtype)
    return attrs.evolve(
        stored,
        values=np.hstack([stored.values, none]),
        valid=np.hstack([stored.valid, none.astype(np.bool_)]),
        units=(*stored.units, *more),
    )


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """Aff-Wild2."""
    return [AffWild2]
