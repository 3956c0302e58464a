"""AFEW-VA (Kossaifi et al., 2017): clips from films, with valence and arousal for every frame."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
from mtl_std.cells import ProblemList
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, Dataset, hookimpl
from mtl_toolkit.validators import between

from .base import FaceDatabase
from .crops import EyeCrop
from .splits import Split, check_split, in_split
from .table import FaceTable

AXES = ("valence", "arousal")
RANGE = (-10.0, 10.0)
LANDMARKS = (68, 2)
PICTURE = ".png"


@attrs.frozen(kw_only=True)
class AfewVa(FaceDatabase):
    """AFEW-VA: valence and arousal from -10 to 10, for every frame of 600 clips from films.

    Kossaifi et al.: AFEW-VA database for valence and arousal estimation in-the-wild. Image and Vision
    Computing, 2017.

    Reads `<part>/<video>/` or `<video>/` with `<video>.json` and a picture `<frame>.png` per frame. A frame
    whose landmarks are missing or no 68 points is left out where faces are cut by them. There is no official
    split: videos are dealt out by a hash of their names.
    """

    name: ClassVar[str] = "afew-va"
    crop: Literal["eyes", "none"] = attrs.field(
        default="eyes",
        metadata={"doc": "eyes: a square round eyes and mouth, the eyes level; none: the whole frame"},
    )
    split: Split = attrs.field(default="all", metadata={"doc": "which videos"})
    validation_share: float = attrs.field(
        default=0.1, validator=between(0, 1), metadata={"doc": "share of the videos that are for validation"}
    )

    def table(self) -> FaceTable:
        """One row per frame of the part asked for, in the order of videos and frames.

        Raises:
            DataError: if a folder or a file is missing or not in the format.
        """
        source = f"{self.name} {self.root.name}"
        problems = ProblemList(source)
        videos = find_videos(self.root, problems)
        in_part = in_split([video.name.encode() for video in videos], self.split, self.validation_share)
        check_split(in_part, self.split, self.validation_share, source)
        videos = [video for video, chosen in zip(videos, in_part, strict=True) if chosen]
        parts = [read_video(self.root, video, problems, self.crop == "eyes") for video in videos]
        problems.check()
        frames = Frames.joined(parts)
        usable = frames.usable() if self.crop == "eyes" else np.ones(len(frames.files), np.bool_)
        if not usable.any():
            raise DataError(f"{source}: none of {len(usable)} frames has landmarks to cut a face by")
        unlabelled = sum(
            len(video.pictures - part.names()) for video, part in zip(videos, parts, strict=True)
        )
        counts = {
            "frames without usable landmarks, left out": int((~usable).sum()),
            "pictures without a label": unlabelled,
        }
        return self._table(frames.take(usable), counts)

    def _table(self, frames: Frames, counts: Mapping[str, int]) -> FaceTable:
        return FaceTable(
            pictures=PictureFiles(self.root, frames.files),
            labels={
                "valence-arousal": StoredLabels(
                    frames.values, np.ones(frames.values.shape, np.bool_), units=AXES, range=RANGE
                )
            },
            crop=EyeCrop(frames.landmarks) if self.crop == "eyes" else None,
            groups=np.char.add(f"{self.name}: ".encode(), frames.videos),
            videos=frames.videos,
            frames=frames.numbers,
            counts={what: number for what, number in counts.items() if number},
        )


@attrs.frozen
class Video:
    """A video's folder.

    Attributes:
        name: that of the folder.
        folder: its path below the database's folder.
        pictures: names of the pictures in it.
    """

    name: str
    folder: str
    pictures: frozenset[str]


@attrs.frozen(eq=False)
class Frames:
    """Frames of one or more videos.

    Attributes:
        files: paths of the pictures, bytes [frames].
        videos: bytes [frames].
        numbers: of the frames in their videos, int64 [frames].
        values: valence and arousal, float64 [frames, 2].
        landmarks: float32 [frames, 68, 2], NaN where there are none; [frames, 0] where they are not needed.
    """

    files: np.ndarray
    videos: np.ndarray
    numbers: np.ndarray
    values: np.ndarray
    landmarks: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Frames]) -> Frames:
        """Lay videos one after the other."""
        columns = zip(*(attrs.astuple(part, recurse=False) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def take(self, keep: np.ndarray) -> Frames:
        """Those where `keep` (bool [frames]) is true."""
        return Frames(*(column[keep] for column in attrs.astuple(self, recurse=False)))

    def names(self) -> frozenset[str]:
        """The pictures' names without their folders."""
        return frozenset(bytes(file).decode().rpartition("/")[2] for file in self.files)

    def usable(self) -> np.ndarray:
        """Which have landmarks that span anything: bool [frames]."""
        extent = (self.landmarks.max(axis=1) - self.landmarks.min(axis=1)).max(axis=1)
        spans: np.ndarray = np.isfinite(extent) & (extent > 0)
        return spans


def find_videos(root: Path, problems: ProblemList) -> list[Video]:
    """All videos, by name; a folder of pictures without its table and a video found twice are problems.

    Raises:
        DataError: if the folder is missing, or there is no video in it.
    """
    found: dict[str, Video] = {}
    for folder, files in video_folders(root):
        name = folder.rpartition("/")[2]
        pictures = frozenset(file for file in files if file.endswith(PICTURE))
        if f"{name}.json" not in files:
            problems.add(f"there is no {name}.json beside the pictures in {folder}")
        elif name in found:
            problems.add(f"a video must be there once; {name} is in {found[name].folder} and in {folder}")
        else:
            found[name] = Video(name, folder, pictures)
    problems.check()
    if not found:
        raise DataError(f"afew-va: there is no <video>/<video>.json in {root} or in a folder of it")
    return [found[name] for name in sorted(found)]


def video_folders(root: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Folders with pictures or their own table, one or two levels down, and the files in each."""
    folders, _ = _listing(root)
    for name in folders:
        inner, files = _listing(root / name)
        if _is_video(name, files):
            yield name, files
            continue
        for video in inner:
            path = f"{name}/{video}"
            _, files = _listing(root / path)
            if _is_video(video, files):
                yield path, files


def _is_video(name: str, files: frozenset[str]) -> bool:
    return f"{name}.json" in files or any(file.endswith(PICTURE) for file in files)


def _listing(folder: Path) -> tuple[list[str], frozenset[str]]:
    """Names of the folders, sorted, and of the files in a folder; hidden ones are passed over.

    Raises:
        DataError: if it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            seen = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    folders = sorted(name for name, is_folder in seen if is_folder)
    return folders, frozenset(name for name, is_folder in seen if not is_folder)


def read_video(root: Path, video: Video, problems: ProblemList, with_landmarks: bool) -> Frames:
    """Read a video's table, its frames by number; what is not in the format becomes a problem."""
    table = f"{video.folder}/{video.name}.json"
    frames = read_frames(root / table, table, problems)
    keys = sorted(frames, key=int)
    values = [_values(frames[key], f"{table} frame {key}", problems) for key in keys]
    landmarks = [_landmarks(frames[key]) for key in keys] if with_landmarks else []
    shape = (len(keys), *LANDMARKS) if with_landmarks else (len(keys), 0)
    return Frames(
        files=as_bytes([f"{video.folder}/{key}{PICTURE}" for key in keys]),
        videos=as_bytes([video.name] * len(keys)),
        numbers=np.array([int(key) for key in keys], np.int64),
        values=np.array(values, np.float64).reshape(-1, len(AXES)),
        landmarks=np.array(landmarks, np.float32).reshape(shape),
    )


def read_frames(path: Path, table: str, problems: ProblemList) -> dict[str, Mapping[str, Any]]:
    """What a video's table has of each frame, by the number as it is written there.

    Raises:
        DataError: if it cannot be opened.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        problems.add(f"{table}: cannot be read as JSON ({error})")
        return {}
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, dict):
        problems.add(f"{table}: must hold a table 'frames'")
        return {}
    bad = [key for key, frame in frames.items() if not (_is_number(key) and isinstance(frame, dict))]
    for key in bad:
        problems.add(f"{table}: a frame must be a number with a table (got {key!r})")
    return {key: frame for key, frame in frames.items() if key not in bad}


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdigit()


def _values(frame: Mapping[str, Any], place: str, problems: ProblemList) -> list[float]:
    """Valence and arousal; NaN for one that is a problem."""
    found = []
    for axis in AXES:
        value: Any = frame.get(axis)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and RANGE[0] <= value <= RANGE[1]):
            rule = f"must be a number from {RANGE[0]:g} to {RANGE[1]:g}"
            problems.add(f"{place}: {axis} {rule} (got {value!r:.60})")
            value = math.nan
        found.append(float(value))
    return found


def _landmarks(frame: Mapping[str, Any]) -> np.ndarray:
    """The landmarks [68, 2], all NaN where they are missing or not so many finite points."""
    try:
        found = np.asarray(frame.get("landmarks"), np.float32)
    except (TypeError, ValueError):
        found = np.empty(0, np.float32)
    usable = found.shape == LANDMARKS and np.isfinite(found).all()
    return found if usable else np.full(LANDMARKS, np.nan, np.float32)


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """AFEW-VA."""
    return [AfewVa]
