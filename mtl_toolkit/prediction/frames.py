"""The rows of predictions that are frames of videos, in order, and the frame that is nearest to a number."""

from __future__ import annotations

import attrs
import numpy as np

from ..evaluation.videos import video_codes
from ..plugin import Predictions


@attrs.frozen(eq=False)
class VideoFrames:
    """Rows that are numbered frames of videos, by video and frame.

    Attributes:
        videos: the videos of all predictions, ascending: str [videos].
        rows: the rows of the predictions: int64 [frames].
        codes: the place in `videos` of each frame's video: int64 [frames].
        frames: their numbers: int64 [frames].
    """

    videos: np.ndarray
    rows: np.ndarray
    codes: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions) -> VideoFrames:
        """The numbered frames there are.

        A picture in a folder without a number has 0, so that a 0 counts only if the video has no other.
        """
        videos, codes = video_codes(predictions.videos)
        zeros = np.bincount(codes[predictions.frames == 0], minlength=len(videos))
        numbered = (predictions.frames > 0) | ((predictions.frames == 0) & (zeros[codes] == 1))
        rows = np.flatnonzero(numbered & (predictions.videos != ""))
        rows = rows[np.lexsort((predictions.frames[rows], codes[rows]))]
        return cls(videos, rows, codes[rows], predictions.frames[rows])

    def take(self, kept: np.ndarray) -> VideoFrames:
        """Some of the frames: `kept` is bool [frames]."""
        return VideoFrames(self.videos, self.rows[kept], self.codes[kept], self.frames[kept])

    def by_video(self) -> list[np.ndarray]:
        """The rows of each video that has frames: int64 arrays."""
        if not len(self.rows):
            return []
        return np.split(self.rows, np.flatnonzero(self.codes[1:] != self.codes[:-1]) + 1)

    def twice(self) -> np.ndarray:
        """Rows of frames that an earlier row has too: int64."""
        again = (self.codes[1:] == self.codes[:-1]) & (self.frames[1:] == self.frames[:-1])
        return np.asarray(self.rows[1:][again])

    def numbered(self) -> set[str]:
        """The videos that have frames."""
        return set(self.videos[np.unique(self.codes)].tolist())

    def nearest(self, videos: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """The row of each frame that is wanted, else of the nearest earlier one, else of the nearest later.

        Args:
            videos: str [wanted].
            frames: int64 [wanted].

        Returns:
            int64 [wanted], -1 where the video has no frame.
        """
        names, which = video_codes(videos)
        places = {name: place for place, name in enumerate(self.videos.tolist())}
        codes = np.array([places.get(name, -1) for name in names.tolist()], np.int64)[which]
        # Numbers may be as large as int64 holds; their ranks leave room for the video in one key.
        ranks = np.unique(np.concatenate([self.frames, frames]))
        keys = self.codes * (len(ranks) + 1) + np.searchsorted(ranks, self.frames)
        sought = codes * (len(ranks) + 1) + np.searchsorted(ranks, frames)
        earlier = np.searchsorted(keys, sought, side="right") - 1
        # One more entry, of no video, stands before the first and after the last.
        owners, rows = np.append(self.codes, -2), np.append(self.rows, -1)
        later = np.where(owners[earlier + 1] == codes, rows[earlier + 1], -1)
        return np.where(owners[earlier] == codes, rows[earlier], later)
