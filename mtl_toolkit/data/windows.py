"""Windows: runs of frames of one video, as the samples of a temporal model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from ..config import Windows
from ..errors import DataError
from ..samples import Samples
from .samples import ConcatSamples, column_bytes

TWICE = "frame {frame} of video {video!r} is there twice (samples {one} and {other})"


@attrs.frozen(eq=False)
class WindowTable:
    """Which rows of a dataset make up each window.

    Attributes:
        order: the dataset's rows by video and frame: int64 [rows].
        starts: the place in `order` where each window starts: int64 [windows].
        lengths: frames of each window, at least 1: int64 [windows].
    """

    order: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, windows: np.ndarray) -> np.ndarray:
        """The rows of some windows, one after the other: int64 [frames]."""
        lengths = self.lengths[windows]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(self.order[np.repeat(self.starts[windows], lengths) + inside])

    def middles(self) -> np.ndarray:
        """The row in the middle of each window: int64 [windows]."""
        return np.asarray(self.order[self.starts + self.lengths // 2])

    def left_out(self) -> int:
        """Rows that are in no window."""
        inside = np.zeros(len(self.order) + 1, np.int64)
        np.add.at(inside, self.starts, 1)
        np.add.at(inside, self.starts + self.lengths, -1)
        return int((np.cumsum(inside)[:-1] == 0).sum())


def training_windows(samples: Samples, options: Windows) -> WindowTable:
    """Windows of `length` frames, `stride` apart.

    None reaches across a gap. With `gaps = "drop"` all are full, and what is left over at the end of a run of
    frames is in none (Vu et al., ICCV Workshops 2021). With "cut" the last window of a run ends with its last
    frame, and a run shorter than `length` is a window of its own, so that every frame is in one, unless
    `stride` is over `length`.

    Raises:
        DataError: if samples do not say which frame they are, one is there twice, or no window is left.
    """
    order, runs = frame_runs(samples, options.step)
    make = _full_windows if options.gaps == "drop" else _covering_windows
    pieces = [piece for start, stop in runs for piece in make(start, stop, options.length, options.stride)]
    if not pieces:
        raise DataError(
            f"no video has {options.length} frames without a gap; "
            'shorten windows.length, or set windows.gaps = "cut"'
        )
    return _table(order, pieces)


def covering_windows(samples: Samples, options: Windows) -> WindowTable:
    """Windows that follow each other and hold every frame just once; they end at a gap.

    Raises:
        DataError: if samples do not say which frame they are, or one is there twice.
    """
    order, runs = frame_runs(samples, options.step)
    length = options.length
    return _table(
        order,
        [(at, min(length, stop - at)) for start, stop in runs for at in range(start, stop, length)],
    )


def frame_runs(samples: Samples, step: int = 1) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Sort rows by video and frame, and cut them into runs without a gap.

    Args:
        samples: with the columns `video` and `frame`; a row without a video is a run of its own.
        step: the largest distance of two frames' numbers that is no gap.

    Returns:
        The rows in order, int64 [rows], and the places in it where each run starts and stops.

    Raises:
        DataError: if a column is missing, or a frame is there twice.
    """
    videos, frames = video_numbers(samples), frame_numbers(samples)
    if videos is None or frames is None:
        missing = "video" if videos is None else "frame"
        raise DataError(f"windows need to know each sample's video and frame; the dataset has no {missing!r}")
    order = np.lexsort((frames, videos))
    video, frame = videos[order], frames[order]
    same, distance = video[1:] == video[:-1], np.diff(frame)
    for place in np.flatnonzero(same & (distance == 0) & (video[1:] >= 0))[:1]:
        one, other = int(order[place]), int(order[place + 1])
        name = _video_name(samples, one)
        raise DataError(TWICE.format(frame=int(frame[place]), video=name, one=one, other=other))
    ends = np.flatnonzero(~same | (distance > step) | (video[1:] < 0)) + 1
    bounds = [0, *ends.tolist(), len(order)]
    return order, list(itertools.pairwise(bounds)) if len(order) else []


def frame_numbers(samples: Samples) -> np.ndarray | None:
    """The number of each row's frame: int64 [rows]; None where the dataset has none."""
    frames = samples.column("frame")
    return None if frames is None or frames.dtype.kind not in "iu" else frames.astype(np.int64, copy=False)


def video_numbers(samples: Samples) -> np.ndarray | None:
    """A number per video, in the order in which videos come: int64 [rows], -1 for none; None without them.

    Videos of two datasets are two, even if they share a name.
    """
    if isinstance(samples, ConcatSamples):
        parts = [video_numbers(part) for part in samples.parts]
        if any(part is None for part in parts):
            return None
        return np.concatenate(list(_apart([part for part in parts if part is not None])))
    names = column_bytes(samples, "video")
    if names is None:
        return None
    # The samples of a video mostly lie together: only the first of each stretch is looked up.
    heads = np.concatenate([[True], names[1:] != names[:-1]])[: len(names)]
    numbers: dict[bytes, int] = {b"": -1}
    stretches = [numbers.setdefault(name, len(numbers) - 1) for name in names[heads].tolist()]
    return np.take(np.asarray(stretches, np.int64), np.cumsum(heads) - 1)


def _apart(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    start = 0
    for part in parts:
        yield np.where(part >= 0, part + start, -1)
        start += int(part.max(initial=-1)) + 1


def _video_name(samples: Samples, row: int) -> str:
    names = column_bytes(samples, "video")
    return "" if names is None else bytes(names[row]).decode("utf-8", "replace")


def _full_windows(start: int, stop: int, length: int, stride: int) -> list[tuple[int, int]]:
    return [(at, length) for at in range(start, stop - length + 1, stride)]


def _covering_windows(start: int, stop: int, length: int, stride: int) -> list[tuple[int, int]]:
    if stop - start <= length:
        return [(start, stop - start)]
    starts = list(range(start, stop - length + 1, stride))
    if starts[-1] + length < stop:
        starts.append(stop - length)
    return [(at, length) for at in starts]


def _table(order: np.ndarray, pieces: Sequence[tuple[int, int]]) -> WindowTable:
    both = np.asarray(pieces, np.int64).reshape(-1, 2)
    return WindowTable(order, both[:, 0], both[:, 1])
