"""Predictions for every picture or frame that a test list asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import attrs
import numpy as np

from ..errors import DataError
from ..evaluation.alignment import match_names
from ..plugin import Listing, Predictions
from .frames import VideoFrames

FRAME = re.compile(r"(?P<video>.+)/0*(?P<frame>[0-9]{1,18})(?:\.\w+)?")


@attrs.frozen
class Filled:
    """How many rows are not the frame's own prediction.

    Attributes:
        earlier: repeat the nearest earlier frame of the video.
        later: before the first frame with a prediction: repeat the nearest later one.
        unlisted: predictions that were asked for by nobody.
    """

    earlier: int
    later: int
    unlisted: int


@attrs.frozen(eq=False)
class _Wanted:
    """What is to have a row.

    Attributes:
        names: of the pictures: str [wanted].
        videos: '' for a single picture: str [wanted].
        frames: 0 for a single picture: int64 [wanted].
        rows: the row of that very picture; -1: that of its video and frame, if there is one: int64 [wanted].
    """

    names: np.ndarray
    videos: np.ndarray
    frames: np.ndarray
    rows: np.ndarray


def fill(predictions: Predictions, listing: Listing | None = None) -> tuple[Predictions, Filled]:
    """One row for everything that is listed, in the list's order; rows without a face repeat another one.

    A listed name is looked for as `<video>/<frame>` with any suffix, else among the names of the rows. A
    frame that has no row, or one without a face, repeats the nearest earlier frame of its video that has a
    face, else the nearest later one.

    Args:
        predictions: rows in any order; those without a face (NaN) are filled like those not there.
        listing: what is wanted; None: every row there is.

    Returns:
        Rows that are called as the list calls them; `faces` is false where another frame is repeated.

    Raises:
        DataError: if something listed has no row and no frame to repeat, or more than one row.
    """
    every = VideoFrames.of(predictions)
    wanted = _wanted(predictions, every, listing)
    usable = every.take(predictions.faces[every.rows])
    rows = wanted.rows.copy()
    own = np.zeros(len(rows), np.bool_)
    own[rows >= 0] = predictions.faces[rows[rows >= 0]]
    rest = np.flatnonzero(~own)
    rows[rest] = usable.nearest(wanted.videos[rest], wanted.frames[rest])
    _check_all_there(wanted, rows, listing)
    distance = predictions.frames[rows[rest]] - wanted.frames[rest]
    own[rest] = (wanted.rows[rest] < 0) & (distance == 0)
    _check_once(predictions, usable, rows[own & (wanted.rows < 0)])
    result = attrs.evolve(
        predictions.take(rows), names=wanted.names, videos=wanted.videos, frames=wanted.frames, faces=own
    )
    later = int((distance > 0).sum())
    asked = len(np.unique(rows[own]))
    unlisted = int(predictions.faces.sum()) - asked if listing is not None else 0
    return result, Filled(earlier=int((~own).sum()) - later, later=later, unlisted=unlisted)


def as_pictures(predictions: Predictions) -> Predictions:
    """Call the frames of video files as challenges do, `<video>/00001.jpg`; names with a suffix stay."""
    names = [
        name if not video or PurePosixPath(name).suffix else _picture(video, frame)
        for name, video, frame in zip(
            predictions.names.tolist(), predictions.videos.tolist(), predictions.frames.tolist(), strict=True
        )
    ]
    return attrs.evolve(predictions, names=np.array(names, np.str_))


def _wanted(predictions: Predictions, every: VideoFrames, listing: Listing | None) -> _Wanted:
    if listing is None:
        rows = np.arange(len(predictions))
        return _Wanted(predictions.names, predictions.videos, predictions.frames, rows)
    if listing.names:
        return _listed_pictures(predictions, every, listing.names)
    lasts = np.zeros(len(every.videos), np.int64)
    np.maximum.at(lasts, every.codes, every.frames)
    last = dict(zip(every.videos.tolist(), lasts.tolist(), strict=True))
    # A video without frames is asked for its first one, which is then told to be missing.
    counts = [count or max(last.get(video, 0), 1) for video, count in listing.videos.items()]
    videos = np.repeat(np.array(list(listing.videos), np.str_), np.array(counts, np.int64))
    frames = np.concatenate([np.zeros(0, np.int64), *(np.arange(1, count + 1) for count in counts)])
    names = [_picture(video, frame) for video, frame in zip(videos.tolist(), frames.tolist(), strict=True)]
    return _Wanted(np.array(names, np.str_), videos, frames, np.full(len(names), -1))


def _listed_pictures(predictions: Predictions, every: VideoFrames, listed: Sequence[str]) -> _Wanted:
    known = every.numbered()
    parts = [_video_and_frame(name) for name in listed]
    names = np.array(listed, np.str_)
    videos = np.array([video if video in known else "" for video, _ in parts], np.str_)
    frames = np.where(videos != "", np.array([frame for _, frame in parts], np.int64), 0)
    rows = np.full(len(names), -1)
    # A name in a folder that is no video here is a picture's; so is one whose number tells no frame.
    pictures = np.flatnonzero(frames == 0)
    rows[pictures] = match_names(predictions, names[pictures])
    found = np.flatnonzero(rows >= 0)
    texts = videos.astype(np.promote_types(videos.dtype, predictions.videos.dtype))
    texts[found], frames[found] = predictions.videos[rows[found]], predictions.frames[rows[found]]
    return _Wanted(names, texts, frames, rows)


def _picture(video: str, frame: int) -> str:
    return f"{video}/{frame:05}.jpg"


def _video_and_frame(name: str) -> tuple[str, int]:
    match = FRAME.fullmatch(name)
    return (match["video"], int(match["frame"])) if match else ("", 0)


def _check_all_there(wanted: _Wanted, rows: np.ndarray, listing: Listing | None) -> None:
    """Refuse to go on where nothing can be repeated."""
    lost = np.flatnonzero(rows < 0)
    if not len(lost):
        return
    listed = ":" if listing is None else " is in the list, but"
    videos = [video for video in dict.fromkeys(wanted.videos[lost].tolist()) if video]
    pictures = lost[wanted.videos[lost] == ""].tolist()
    if videos:
        first = f"video {videos[0]!r}{listed} no frame of it has a prediction"
    else:
        what = "it has no prediction" if wanted.rows[pictures[0]] < 0 else "no face was found in it"
        first = f"picture {str(wanted.names[pictures[0]])!r}{listed} {what}"
    others = len(videos) + len(pictures) - 1
    raise DataError(first + (f" (and {others:,} more like it)" if others else ""))


def _check_once(predictions: Predictions, usable: VideoFrames, rows: np.ndarray) -> None:
    """Refuse to choose between two predictions of a frame."""
    again = np.intersect1d(usable.twice(), rows)
    if len(again):
        frame, video = predictions.frames[again[0]], str(predictions.videos[again[0]])
        raise DataError(
            f"predictions: each frame on the list must be there once (got {len(again)} again, "
            f"as {frame} of {video!r})"
        )
