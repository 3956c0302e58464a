"""Video files, frame by frame."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import (
    DataError,
    DataFacts,
    Dataset,
    Detector,
    UnreadableSampleError,
    hookimpl,
)
from mtl_toolkit.validators import at_least, not_empty, unique

from .face_cut import DETECTOR, MARGIN, DetectedFaces, Faces
from .picture_files import as_bytes
from .picture_samples import PictureSamples
from .video_decoding import OpenVideo
from .video_index import FrameIndex, read_index

SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"))


@attrs.frozen(kw_only=True)
class Videos(Dataset):
    """The frames of video files, decoded as they are read; needs PyAV."""

    name: ClassVar[str] = "video-files"
    files: tuple[Path, ...] = attrs.field(
        validator=[not_empty(), unique()], metadata={"doc": "the video files"}
    )
    detector: Detector | None = attrs.field(default=None, metadata={"doc": DETECTOR})
    margin: float = attrs.field(default=0.0, validator=at_least(0), metadata={"doc": MARGIN})
    on_error: Literal["stop", "skip"] = attrs.field(
        default="stop", metadata={"doc": "what to do about a frame or file that cannot be read"}
    )

    def build(self, facts: DataFacts) -> VideoSamples:
        """Count the frames, for which every file is read once, but not decoded.

        Raises:
            DataError: if a file cannot be opened, unless it may be skipped, or there are no frames.
            ConfigError: if PyAV is not installed.
        """
        clips = []
        unread = []
        for path, name in zip(self.files, video_names(self.files), strict=True):
            try:
                clips.append(Clip(str(path.absolute()), name, read_index(str(path.absolute()))))
            except UnreadableSampleError as error:
                unread.append(str(error))
        if unread and (self.on_error == "stop" or not clips):
            raise DataError(*unread)
        if not any(clip.index.announced for clip in clips):
            raise DataError(*(f"{clip.path}: there are no frames in it" for clip in clips))
        return VideoSamples(
            clips,
            size=facts.image_size,
            on_error=self.on_error,
            faces=DetectedFaces(self.detector) if self.detector else None,
            margin=self.margin,
            unread=len(unread),
        )

    @classmethod
    def for_path(
        cls,
        path: Path,
        *,
        detector: Detector | None = None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> Videos | None:
        """The dataset of a video file, or of a text file with one video file per line.

        Raises:
            DataError: if a file of the list is not there, or listed twice.
        """
        files: Sequence[Path] = ()
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            files = (path,)
        elif path.is_file() and path.suffix.lower() == ".txt":
            files = read_list(path)
        return cls(files=tuple(files), detector=detector, on_error=on_error) if files else None


@attrs.frozen(eq=False)
class Clip:
    """A video file.

    Attributes:
        path: the file.
        name: of the video, which no other has.
        index: its frames.
    """

    path: str
    name: str
    index: FrameIndex


class VideoSamples(PictureSamples):
    """The frames of videos, one after the other; one file is open for decoding at a time, in each process.

    A frame that the file announces and lacks, or that cannot be decoded, is a sample that cannot be read.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        size: int,
        on_error: Literal["stop", "skip"],
        faces: Faces | None = None,
        margin: float = 0.0,
        unread: int = 0,
    ) -> None:
        self._clips = tuple(clips)
        self._lengths = np.array([clip.index.announced for clip in clips], np.int64)
        self._starts = np.cumsum([0, *self._lengths])
        super().__init__(int(self._starts[-1]), size=size, on_error=on_error, faces=faces, margin=margin)
        self._unread = unread
        self._open: tuple[int, OpenVideo] | None = None
        self._lost: dict[int, np.ndarray] = {}

    def picture(self, index: int) -> Tensor:
        """Decode a frame: uint8 [3, height, width].

        Raises:
            UnreadableSampleError: if it cannot be decoded; the message names its file and number.
        """
        owner, number = self._locate(index)
        pixels = self._opened(owner).frame(number)
        if pixels is None:
            found = self._clips[owner].index
            reason = "is missing or damaged" if number <= found.held else f"only {found.held} are in the file"
            raise UnreadableSampleError(
                f"{self._clips[owner].path}: frame {number} of {found.announced} cannot be decoded: {reason}"
            )
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def place(self, index: int) -> str:
        """The file, and the frame's number."""
        owner, number = self._locate(index)
        return f"{self._clips[owner].path}: frame {number}"

    def id(self, index: int) -> str:
        """The video's name and the frame's number."""
        owner, number = self._locate(index)
        return f"{self._clips[owner].name}/{number:05d}"

    def column(self, name: str) -> np.ndarray | None:
        """`file`: absolute paths; `video`: names; `frame`: numbers from 1."""
        if name == "frame":
            numbers: np.ndarray = np.arange(1, len(self) + 1) - np.repeat(self._starts[:-1], self._lengths)
            return numbers
        if name in ("file", "video"):
            texts = as_bytes([clip.path if name == "file" else clip.name for clip in self._clips])
            repeated: np.ndarray = np.repeat(texts, self._lengths)
            return repeated
        return None

    def problems(self) -> list[str]:
        """One line for each file that was cut short."""
        return [
            f"{clip.path}: must hold the {clip.index.announced} frames that it announces "
            f"(got {clip.index.held}); it was cut short"
            for clip in self._clips
            if clip.index.held < clip.index.announced
        ]

    def counts(self) -> Mapping[str, int]:
        """The files that cannot be opened."""
        return {"video files that cannot be opened": self._unread} if self._unread else {}

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens its own files."""
        return self.__dict__ | {"_open": None}

    def _locate(self, index: int) -> tuple[int, int]:
        """The video that a sample is of, and the frame's number."""
        owner = int(np.searchsorted(self._starts, index, side="right")) - 1
        return owner, index - int(self._starts[owner]) + 1

    def _opened(self, owner: int) -> OpenVideo:
        if self._open is not None:
            if self._open[0] == owner and self._open[1].process == os.getpid():
                return self._open[1]
            self._open[1].close()
            self._open = None
        clip = self._clips[owner]
        lost = self._lost.setdefault(owner, np.zeros(clip.index.announced, np.bool_))
        self._open = (owner, OpenVideo(clip.path, clip.index, lost, decoder_threads()))
        return self._open[1]


def decoder_threads() -> int:
    """The threads to decode with: the allowed cores, shared by the loader processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    worker = torch.utils.data.get_worker_info()
    return max(1, min(cores // (worker.num_workers if worker else 1), 16))


def video_names(files: Sequence[Path]) -> list[str]:
    """A name for each file that no other has: its stem, or else as much of its path as is needed."""
    paths = [file.absolute() for file in files]
    parts = [0] * len(paths)
    while True:
        names = [
            "/".join(path.parts[-count:]).lstrip("/") if count else path.stem
            for path, count in zip(paths, parts, strict=True)
        ]
        times = Counter(names)
        shared = [
            place
            for place, name in enumerate(names)
            if times[name] > 1 and parts[place] < len(paths[place].parts)
        ]
        if not shared:
            return names
        for place in shared:
            parts[place] += 1


def read_list(path: Path) -> list[Path]:
    """The video files that a text file lists, one per line, relative to its folder.

    Empty lines, and those that begin with #, are passed over.

    Returns:
        None of them if the first line names no video file: the list is of something else.

    Raises:
        DataError: if a file is not there, or listed twice, or the list cannot be read; one line for each.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        return []
    files: dict[Path, int] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        file = path.parent / name
        if not files and not problems and file.suffix.lower() not in SUFFIXES:
            return []
        if not file.is_file():
            problems.append(f"{path} line {number}: there is no video {name} in {path.parent}")
        elif file in files:
            problems.append(f"{path} line {number}: {name} is on line {files[file]} too")
        else:
            files[file] = number
    if problems:
        raise DataError(*problems)
    return list(files)


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The dataset of video files."""
    return [Videos]
