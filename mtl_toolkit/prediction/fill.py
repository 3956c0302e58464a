"""Predictions for every picture or frame that a test list asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import numpy as np

from ..errors import DataError
from ..plugin import Listing, Predictions

FRAME = re.compile(r"(?P<video>.*)/0*(?P<frame>\d+)(?:\.\w+)?")


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


def fill(predictions: Predictions, listing: Listing | None = None) -> tuple[Predictions, Filled]:
    """One row for everything that is listed, in the list's order; rows without a face repeat another one.

    Args:
        predictions: rows by video and frame; those without a face (NaN) are filled like those not there.
        listing: what is wanted; None: every row there is.

    Raises:
        DataError: if a listed picture or video has no prediction at all.
    """
    videos, frames, names = _wanted(predictions, listing)
    usable = np.flatnonzero(predictions.faces)
    known, places = np.unique(predictions.videos, return_inverse=True)
    number = {video: index for index, video in enumerate(known.tolist())}
    single = np.flatnonzero(predictions.videos == "")
    pictures = dict(zip(predictions.names[single].tolist(), single.tolist(), strict=True))
    rows = np.empty(len(names), np.int64)
    order = usable[np.lexsort((predictions.frames[usable], places[usable]))]
    keys = _keys(places[order], predictions.frames[order])
    wanted_video = np.array([number.get(video, -1) for video in videos], np.int64)
    for place in np.flatnonzero(np.asarray(videos) == ""):
        rows[place] = _picture(names[place], pictures, predictions)
    inside = np.flatnonzero(np.asarray(videos) != "")
    wanted = _keys(wanted_video[inside], frames[inside])
    at = np.searchsorted(keys, wanted, side="right") - 1
    same = (at >= 0) & (places[order[np.maximum(at, 0)]] == wanted_video[inside]) if len(order) else at >= 0
    after = np.minimum(at + 1, max(len(order) - 1, 0))
    for place in np.flatnonzero(~same):
        video = videos[inside[place]]
        if not len(order) or known[places[order[after[place]]]] != video:
            raise DataError(f"video {video!r} is in the list, but no frame of it has a prediction")
    found = order[np.where(same, at, after)] if len(order) else np.zeros(0, np.int64)
    rows[inside] = found
    exact = predictions.frames[found] == frames[inside]
    earlier, later = int((same & ~exact).sum()), int((~same).sum())
    result = predictions.take(rows)
    own = np.ones(len(rows), np.bool_)
    own[inside] = exact
    result = attrs.evolve(
        result,
        names=np.asarray(names, np.str_),
        videos=np.asarray(videos, np.str_),
        frames=frames,
        faces=result.faces & own,
    )
    unlisted = len(predictions) - len(np.unique(rows[own & result.faces])) if listing is not None else 0
    return result, Filled(earlier, later, unlisted)


def _keys(videos: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """One number by which rows sort by video, then frame."""
    return np.asarray(videos.astype(np.int64) * (1 << 40) + frames)


def _picture(name: str, pictures: Mapping[str, int], predictions: Predictions) -> int:
    row = pictures.get(name)
    if row is None or not predictions.faces[row]:
        what = "has no prediction" if row is None else "has no face"
        raise DataError(f"picture {name!r} is in the list, but {what}")
    return row


def _wanted(predictions: Predictions, listing: Listing | None) -> tuple[list[str], np.ndarray, list[str]]:
    """Video ('' for a single picture), frame and name of every row that is wanted."""
    if listing is None:
        return predictions.videos.tolist(), predictions.frames, predictions.names.tolist()
    if listing.names:
        return _listed_names(predictions, listing)
    videos: list[str] = []
    frames: list[np.ndarray] = []
    for video, count in listing.videos.items():
        last = count
        if last is None:
            own = predictions.frames[predictions.videos == video]
            last = int(own.max()) if len(own) else 1
        videos += [video] * last
        frames.append(np.arange(1, last + 1))
    numbers = np.concatenate(frames) if frames else np.zeros(0, np.int64)
    names = [f"{video}/{frame:05}.jpg" for video, frame in zip(videos, numbers.tolist(), strict=True)]
    return videos, numbers, names


def _listed_names(predictions: Predictions, listing: Listing) -> tuple[list[str], np.ndarray, list[str]]:
    known = set(predictions.videos.tolist()) - {""}
    matches = [FRAME.fullmatch(name) for name in listing.names]
    # A name in a folder that is no video here is a single picture's.
    videos = [match["video"] if match and match["video"] in known else "" for match in matches]
    frames = [
        int(match["frame"]) if match and video else 0 for match, video in zip(matches, videos, strict=True)
    ]
    return videos, np.asarray(frames, np.int64), list(listing.names)
