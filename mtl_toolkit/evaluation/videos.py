"""Which rows belong together: the frames of a video, and for resampling also single pictures."""

from __future__ import annotations

import numpy as np

PICTURE_GROUPS = 1000  # single pictures are resampled in at most so many groups


def as_text(values: np.ndarray) -> np.ndarray:
    """A column of names as str, whether it is kept as str, as UTF-8 or as objects (None is '')."""
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "surrogateescape")
    return np.array(["" if value is None else str(value) for value in values.tolist()], np.str_)


def video_codes(videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The videos there are, ascending: str [videos]; and which of them each row is of: int64 [rows]."""
    if not len(videos):
        return videos, np.zeros(0, np.int64)
    # The rows of a video mostly lie together: sorting the runs is much faster than sorting the rows.
    starts = np.flatnonzero(np.concatenate([[True], videos[1:] != videos[:-1]]))
    names, codes = np.unique(videos[starts], return_inverse=True)
    lengths = np.diff(np.append(starts, len(videos)))
    return names, np.repeat(codes.reshape(-1).astype(np.int64), lengths)


def resampling_units(videos: np.ndarray, seed: int) -> tuple[tuple[str, ...], np.ndarray]:
    """What the bootstrap draws: videos, and single pictures.

    Rows of one video depend on each other and are drawn together. Single pictures do not: each is a unit, or,
    where there are many, one of `PICTURE_GROUPS` groups of equal size made at random.

    Args:
        videos: the video of each row, '' for a single picture; str [rows].
        seed: of the groups of pictures.

    Returns:
        The units, by video, '' for pictures; and which of them each row is of, int64 [rows].
    """
    names, units = video_codes(videos)
    if not len(names) or names[0]:  # '' sorts before all others
        return tuple(names.tolist()), units
    pictures = np.flatnonzero(units == 0)
    groups = min(len(pictures), PICTURE_GROUPS)
    shuffled = np.random.default_rng(seed).permutation(len(pictures))
    units = units - 1
    units[pictures] = len(names) - 1 + shuffled % groups
    return (*names[1:].tolist(), *[""] * groups), units
