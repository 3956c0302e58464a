"""Smoothing of predictions along a video, by frame number: where frames are missing, a window has fewer rows.

A row that holds a NaN or an infinity has no prediction (no face was found): it counts for no other row, and
it stays as it is, even where its window has others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import attrs
import numpy as np

from mtl_toolkit import PostProcessor, hookimpl
from mtl_toolkit.validators import Rule

TRUNCATE = 4.0  # how far a Gaussian window reaches, in sigmas
DENSE = 8  # frame numbers per row up to which the Gaussian is a convolution over all frame numbers
BLOCK = 1 << 22  # numbers that the median sorts at a time, which bounds its memory
TOLERANCE = 1e-4  # how far from 1 the sum of class probabilities may be

# What is tried when options are chosen on other data; the first of each leaves nearly all as it is.
WINDOWS = (1, 3, 5, 9, 15, 25, 41, 61)
SIGMAS = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0)

ODD = Rule("must be an odd number, at least 1", lambda value: value >= 1 and value % 2 == 1)
FINITE = Rule("must be a finite number above 0", lambda value: 0 < value < math.inf)


@attrs.frozen(kw_only=True)
class Mean(PostProcessor):
    """The mean over a window of frames; class probabilities still add up to 1."""

    name: ClassVar[str] = "mean"
    window: int = attrs.field(
        default=9, validator=ODD, metadata={"doc": "frames in the window round each frame; an odd number"}
    )

    def variants(self) -> tuple[Mean, ...]:
        """Itself, and some windows from none to some seconds."""
        return (self, *(attrs.evolve(self, window=window) for window in WINDOWS))

    def apply(self, values: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Smooth float32 [rows, columns]; ValueError if the frames do not ascend."""
        return smooth_present(values, frames, partial(window_mean, radius=self.window // 2))


@attrs.frozen(kw_only=True)
class Gaussian(PostProcessor):
    """The mean over the frames near by, weighted by a Gaussian of their distance.

    Frames farther than 4 sigma have no weight; the weights of the frames that are there add up to 1, and
    so do class probabilities.
    """

    name: ClassVar[str] = "gaussian"
    sigma: float = attrs.field(
        default=3.0, validator=FINITE, metadata={"doc": "standard deviation of the Gaussian, in frames"}
    )

    def variants(self) -> tuple[Gaussian, ...]:
        """Itself, and some widths from none to some seconds."""
        return (self, *(attrs.evolve(self, sigma=sigma) for sigma in SIGMAS))

    def apply(self, values: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Smooth float32 [rows, columns]; ValueError if the frames do not ascend."""
        return smooth_present(values, frames, partial(gaussian_mean, sigma=self.sigma))


@attrs.frozen(kw_only=True)
class Median(PostProcessor):
    """The median over a window of frames, each column on its own.

    Where all predictions of the video are class probabilities (none negative, each row's sum 1), the
    medians of a row are scaled to the same sum; a row whose medians are all 0 stays as it is.
    """

    name: ClassVar[str] = "median"
    window: int = attrs.field(
        default=9, validator=ODD, metadata={"doc": "frames in the window round each frame; an odd number"}
    )

    def variants(self) -> tuple[Median, ...]:
        """Itself, and some windows from none to some seconds."""
        return (self, *(attrs.evolve(self, window=window) for window in WINDOWS))

    def apply(self, values: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Smooth float32 [rows, columns]; ValueError if the frames do not ascend."""
        return smooth_present(values, frames, partial(probable_median, radius=self.window // 2))


def smooth_present(
    values: np.ndarray, frames: np.ndarray, smooth: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Apply `smooth(values, frames)` to the rows that have a prediction; the others stay as they are.

    Args:
        values: [rows, columns]; a row with a NaN or an infinity has no prediction.
        frames: int64 [rows].
        smooth: gets at least one row, all finite, in float64.

    Returns:
        float32 [rows, columns], a new array.

    Raises:
        ValueError: if the frames do not ascend.
    """
    falls = np.flatnonzero(np.diff(frames) <= 0)
    if len(falls):
        before, after = frames[falls[0]], frames[falls[0] + 1]
        raise ValueError(f"frames must ascend, each once (got {after} after {before})")
    result = np.array(values, np.float32)
    present = np.isfinite(result).all(1)
    if present.any():
        result[present] = smooth(result[present].astype(np.float64), frames[present])
    return result


def window_mean(values: np.ndarray, frames: np.ndarray, radius: int) -> np.ndarray:
    """The mean of the rows within `radius` frames of each: float64 [rows, columns]."""
    first, end = neighbours(frames, radius)
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    means = (sums[end] - sums[first]) / (end - first)[:, None]
    # The difference of two long sums has a rounding error: it must not turn a probability negative.
    return np.asarray(np.clip(means, values.min(0), values.max(0)))


def gaussian_mean(values: np.ndarray, frames: np.ndarray, sigma: float) -> np.ndarray:
    """The mean weighted by exp(-d^2 / 2 sigma^2) of the distance d <= 4 sigma: float64 [rows, columns]."""
    span = int(frames[-1] - frames[0])
    radius = min(int(TRUNCATE * sigma), span)
    weigh = convolved if span < DENSE * len(frames) else summed_pairs
    totals = weigh(np.column_stack([values, np.ones(len(values))]), frames, radius, sigma)
    return np.asarray(totals[:, :-1] / totals[:, -1:])


def convolved(values: np.ndarray, frames: np.ndarray, radius: int, sigma: float) -> np.ndarray:
    """Gaussian-weighted sums by convolution over all frame numbers, 0 where there is no row."""
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    places = frames - frames[0]
    grid = np.zeros(places[-1] + 1)
    totals = np.empty_like(values)
    for column in range(values.shape[1]):  # one grid at a time
        grid[places] = values[:, column]
        totals[:, column] = np.convolve(grid, kernel)[places + radius]
    return totals


def summed_pairs(values: np.ndarray, frames: np.ndarray, radius: int, sigma: float) -> np.ndarray:
    """The same sums pair by pair, for few rows over many frame numbers."""
    _, end = neighbours(frames, radius)
    farthest = (end - np.arange(len(frames))).max()
    totals = values.copy()
    for step in range(1, farthest):
        distance = frames[step:] - frames[:-step]
        weights = np.where(distance <= radius, np.exp(-0.5 * (distance / sigma) ** 2), 0)[:, None]
        totals[step:] += weights * values[:-step]
        totals[:-step] += weights * values[step:]
    return totals


def probable_median(values: np.ndarray, frames: np.ndarray, radius: int) -> np.ndarray:
    """The median, scaled to the rows' sums before if all rows are class probabilities: [rows, columns]."""
    medians = window_median(values, frames, radius)
    before, after = values.sum(1, keepdims=True), medians.sum(1, keepdims=True)
    if (values < 0).any() or (abs(before - 1) > TOLERANCE).any():
        return medians
    return np.where(after > 0, medians * (before / np.where(after > 0, after, 1)), values)


def window_median(values: np.ndarray, frames: np.ndarray, radius: int) -> np.ndarray:
    """The median of the rows within `radius` frames of each: float64 [rows, columns]."""
    first, end = neighbours(frames, radius)
    longest = int((end - first).max())
    # One more row, of infinities, fills up the shorter windows: sorted, it comes last.
    columns = np.vstack([values, np.full(values.shape[1], np.inf)]).T.copy()
    medians = np.empty(values.shape)
    size = max(1, BLOCK // (longest * len(columns)))
    for start in range(0, len(values), size):
        block = slice(start, start + size)
        rows = first[block, None] + np.arange(longest)
        ordered = np.sort(columns[:, np.where(rows < end[block, None], rows, len(values))], axis=2)
        count = (end - first)[None, block, None]
        low, high = (np.take_along_axis(ordered, middle, 2) for middle in ((count - 1) // 2, count // 2))
        medians[block] = ((low + high) / 2)[:, :, 0].T
    return medians


def neighbours(frames: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """The first row within `radius` frames of each row, and one past the last: int64 [rows] each."""
    reach = min(radius, int(frames[-1] - frames[0]))  # the radius may be any number, an int64 may not
    return np.searchsorted(frames, frames - reach), np.searchsorted(frames, frames + reach, side="right")


@hookimpl
def mtl_postprocessors() -> list[type[PostProcessor]]:
    """Moving mean, Gaussian and median."""
    return [Mean, Gaussian, Median]
