"""Which prediction belongs to which labelled sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

import attrs
import numpy as np

from ..errors import DataError
from ..plugin import Predictions
from .videos import as_text, video_codes


@attrs.frozen(eq=False)
class Alignment:
    """The prediction of each sample.

    Attributes:
        rows: the row of the predictions, -1 for a sample without one: int64 [samples].
        videos: the samples' own videos, '' for a single picture: str [samples].
        frames: the samples' own frame numbers, 0 for a single picture: int64 [samples].
        names: the samples' own pictures: str [samples].
    """

    rows: np.ndarray
    videos: np.ndarray
    frames: np.ndarray
    names: np.ndarray

    @property
    def missing(self) -> int:
        """Samples without a prediction."""
        return int((self.rows < 0).sum())

    def apply(self, predictions: Predictions) -> Predictions:
        """The predictions in the order of the samples, NaN for a sample that has none."""
        there = self.rows >= 0
        rows = self.rows[there]

        def placed(column: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
            result = otherwise.astype(np.promote_types(column.dtype, otherwise.dtype))
            result[there] = column[rows]
            return result

        return attrs.evolve(
            predictions,
            values={
                task: placed(values, np.full((len(there), values.shape[1]), np.nan, np.float32))
                for task, values in predictions.values.items()
            },
            names=placed(as_text(predictions.names), self.names),
            videos=placed(as_text(predictions.videos), self.videos),
            frames=placed(predictions.frames, self.frames),
            faces=placed(predictions.faces, np.zeros(len(there), np.bool_)),
        )


def align(
    predictions: Predictions,
    samples_videos: np.ndarray | None = None,
    samples_frames: np.ndarray | None = None,
    samples_names: np.ndarray | None = None,
) -> Alignment:
    """Find the prediction of each labelled sample: by video and frame, else by the picture's name.

    A sample is looked for by name where the predictions have no numbered frames of its video.
    The columns may be what `Samples.column` gives: str, UTF-8 or objects; at least one of videos and names is
    there.

    Args:
        predictions: where to look.
        samples_videos: the video of each sample, '' for a single picture: [samples].
        samples_frames: the number of its frame, from 1; 0 for a single picture: integers [samples].
        samples_names: the picture, as in `Predictions.names`: [samples].

    Raises:
        DataError: if a frame is predicted twice, or a picture whose prediction is looked for by name.
    """
    given = [column for column in (samples_videos, samples_names) if column is not None]
    if not given:
        raise ValueError("samples need videos or names")
    samples = len(given[0])
    videos = _texts(samples_videos, samples)
    names = _texts(samples_names, samples)
    frames = np.zeros(samples, np.int64) if samples_frames is None else samples_frames.astype(np.int64)
    rows, settled = match_frames(predictions, videos, frames)
    left = np.flatnonzero(~settled & (names != ""))
    rows[left] = match_names(predictions, names[left])
    return Alignment(rows, videos, frames, names)


def match_frames(
    predictions: Predictions, videos: np.ndarray, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The prediction of each frame of a video.

    Returns:
        The rows of the predictions, -1 where there is none: int64 [samples]; and whether that is settled, as
        the predictions have frames of the sample's video: bool [samples].

    Raises:
        DataError: if a frame is predicted twice.
    """
    numbered = np.flatnonzero((as_text(predictions.videos) != "") & (predictions.frames > 0))
    known, codes = video_codes(as_text(predictions.videos)[numbered])
    span = 1 + max(predictions.frames.max(initial=0), frames.max(initial=0))
    keys = codes * span + predictions.frames[numbered]
    order = np.argsort(keys, kind="stable")
    ordered, numbered = keys[order], numbered[order]
    _check_frames_once(predictions, numbered[1:][ordered[1:] == ordered[:-1]])
    wanted, wanted_codes = video_codes(videos)
    places = _find(known, np.arange(len(known)), wanted)[wanted_codes]
    settled = (places >= 0) & (frames > 0)
    rows = np.full(len(videos), -1, np.int64)
    rows[settled] = _find(ordered, numbered, places[settled] * span + frames[settled])
    return rows, settled


def _check_frames_once(predictions: Predictions, again: np.ndarray) -> None:
    if len(again):
        frame, video = predictions.frames[again[0]], str(predictions.videos[again[0]])
        raise DataError(
            f"predictions: each frame must be there once (got {len(again)} again, as {frame} of {video!r})"
        )


def match_names(predictions: Predictions, names: np.ndarray) -> np.ndarray:
    """The prediction of each picture by its name, -1 where there is none: int64 [samples].

    Raises:
        DataError: if one of these pictures is predicted twice.
    """
    if not len(names):
        return np.zeros(0, np.int64)
    # A table of hashes: sorting, or looking up in sorted names, takes several times as long.
    known = as_text(predictions.names).tolist()
    places = dict(zip(known, range(len(known)), strict=True))
    if len(places) < len(known):
        _check_names_once(known, set(names.tolist()))
    return np.array([places.get(name, -1) for name in names.tolist()], np.int64)


def _check_names_once(known: Sequence[str], wanted: Set[str]) -> None:
    counts = Counter(name for name in known if name in wanted)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"predictions: each picture must be there once (got {len(twice)} again, as {twice[0]!r})"
        )


def _find(ordered: np.ndarray, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`rows` at the places where `ordered`, ascending, has what is wanted; -1 where it has not."""
    if not len(ordered):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[places] == wanted, rows[places], -1)


def _texts(column: np.ndarray | None, samples: int) -> np.ndarray:
    return np.full(samples, "", np.str_) if column is None else as_text(column)
