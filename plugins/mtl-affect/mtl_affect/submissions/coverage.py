"""Whether a file has a row for everything on a test list, once, and for nothing else."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mtl_toolkit import Listing

FRAME = re.compile(r"(.+)/([0-9]{1,9})\.[A-Za-z]+")

Report = Callable[[str, int], None]  # takes a problem and its line, 0 for that of the whole file


class Coverage(Protocol):
    """Takes the names of all rows, then tells what is missing."""

    def add(self, names: Sequence[str], first: int, report: Report) -> None:
        """Take the names of the rows from line `first` on, and report those that should not be there."""

    def finish(self, report: Report) -> None:
        """Report what has no row."""


def coverage_of(listing: Listing) -> Coverage:
    """What to hold a file's names against; without anything on the list only that none is there twice."""
    return VideoCoverage(listing.videos) if listing.videos else PictureCoverage(listing.names or None)


class PictureCoverage:
    """Names of pictures; None: any."""

    def __init__(self, listed: Sequence[str] | None) -> None:
        self._lines: dict[str, int] = dict.fromkeys(listed or (), 0)
        self._any = listed is None

    def add(self, names: Sequence[str], first: int, report: Report) -> None:
        """A name is listed and there for the first time."""
        for line, name in enumerate(names, first):
            earlier = self._lines.get(name)
            if earlier:
                report(f"{name!r} is on line {earlier} already", line)
            elif earlier is None and not self._any:
                report(f"{name[:200]!r} is not on the list", line)
            else:
                self._lines[name] = line

    def finish(self, report: Report) -> None:
        """Every listed name was there."""
        for name, line in self._lines.items():
            if not line:
                report(f"there is no row for {name!r}, which is on the list", 0)


class VideoCoverage:
    """Frames of whole videos, from 1 on without a gap; of a video without a count, as many as there are."""

    def __init__(self, videos: Mapping[str, int | None]) -> None:
        self._videos = videos
        self._seen: dict[str, set[int]] = {video: set() for video in videos}

    def add(self, names: Sequence[str], first: int, report: Report) -> None:
        """A name is `<video>/<frame>.jpg`, of a listed video, and there for the first time."""
        for line, name in enumerate(names, first):
            problem = self._problem(name)
            if problem:
                report(problem, line)

    def _problem(self, name: str) -> str | None:
        video, frame = video_and_frame(name)
        if name != picture_name(video, frame):
            return f"must be like '<video>/00001.jpg' (got {name[:200]!r})"
        if video not in self._videos:
            return f"video {video!r} is not on the list"
        count, seen = self._videos[video], self._seen[video]
        if count is not None and frame > count:
            return f"video {video!r} has {count} frames on the list (got frame {frame})"
        if frame in seen:
            return f"{name!r} is there twice"
        seen.add(frame)
        return None

    def finish(self, report: Report) -> None:
        """Every frame of every listed video was there."""
        for video, seen in self._seen.items():
            count = self._videos[video] or max(seen, default=0)
            if not seen:
                report(f"there is no row for video {video!r}, which is on the list", 0)
            elif len(seen) != count:
                gap = next(frame for frame in itertools.count(1) if frame not in seen)
                report(
                    f"video {video!r} must have a row for each frame from 1 to {count} "
                    f"(got {len(seen)}, without frame {gap})",
                    0,
                )


def picture_name(video: str, frame: int) -> str:
    """What a test list calls a frame of a video."""
    return f"{video}/{frame:05d}.jpg"


def video_and_frame(name: str) -> tuple[str, int]:
    """The video and the frame's number that a picture's name tells; '' and 0 if it tells none."""
    match = FRAME.fullmatch(name)
    if match is None or not (frame := int(match[2])):
        return "", 0
    return match[1], frame


def whole_videos(listing: Listing) -> tuple[dict[str, int | None], list[str]]:
    """The videos on a list with their numbers of frames; and what of a list of pictures is no whole video."""
    if not listing.names:
        return dict(listing.videos), []
    frames: dict[str, set[int]] = {}
    problems = []
    for name in listing.names:
        video, frame = video_and_frame(name)
        if video:
            frames.setdefault(video, set()).add(frame)
        else:
            problems.append(f"the list must have videos, or pictures like '<video>/00001.jpg' (got {name!r})")
    videos: dict[str, int | None] = {}
    for video, there in frames.items():
        videos[video] = max(there)
        if max(there) != len(there):
            videos[video] = None
            gap = next(frame for frame in itertools.count(1) if frame not in there)
            problems.append(f"the list must have all frames of video {video!r} (it lacks frame {gap})")
    return videos, problems
