"""What a filmed face expresses over time: segments of one expression each, joined smoothly.

Everything is a pure function of (seed, video, frame). Frames, segments and knots of a video are numbered from
0 and have ids of their own, from which their random values are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from mtl_affect.faces.affect import ANNOTATOR_STD, EXPRESSIONS, active, sample_aus, valence_arousal
from mtl_affect.faces.hashing import Draws, Floats, Ints
from mtl_affect.faces.records import Labels
from mtl_affect.faces.styles import Style

# In frames. A change takes twice EASE, half of it on either side, so that no segment is all change.
SHORTEST_SEGMENT, LONGEST_SEGMENT = 20, 80
EASE = (3.0, 10.0)
INTENSITY = (0.7, 1.0)
INTENSITY_PERIOD = 16
ERROR_PERIOD = 32

_PLACES = 1 << 24
_SEGMENTS = 1 << 23
_CHUNK = 1 << 14


def frame_ids(videos: Ints, frames: Ints) -> Ints:
    """One id for each frame of each video [n]; frames lie in -2^22..2^22."""
    return (videos + 1) * _PLACES + frames


def ease(part: Floats) -> Floats:
    """Smooth step from 0 to 1 as a part [n] goes from 0 to 1, flat at and beyond both ends."""
    inside: Floats = np.clip(part, 0.0, 1.0)
    return inside * inside * (3.0 - 2.0 * inside)


@attrs.frozen(eq=False)
class Drifts:
    """Random values that change slowly along a video: drawn every ``period`` frames, smooth in between.

    Values are drawn by (seed, group, name) as those of `Draws`, for the frames [n] of videos [n].
    """

    before: Draws
    after: Draws
    weight: Floats

    @classmethod
    def of(cls, seed: int, group: str, videos: Ints, frames: Ints, period: int) -> Drifts:
        """Drifts of a group of parameters."""
        knots = frames // period
        before, after = (Draws(seed, group, frame_ids(videos, knots + step)) for step in (0, 1))
        return cls(before, after, ease((frames - knots * period) / period))

    def normal(self, name: str, std: float = 1.0) -> Floats:
        """Bell-shaped values [n] about 0; the deviation is that at the knots, and less in between."""
        return self._between(self.before.normal(name, 0.0, std), self.after.normal(name, 0.0, std))

    def uniform(self, name: str, low: float, high: float) -> Floats:
        """Values [n] in low..high."""
        return self._between(self.before.uniform(name, low, high), self.after.uniform(name, low, high))

    def _between(self, first: Floats, second: Floats) -> Floats:
        return first + self.weight * (second - first)


def video_labels(
    seed: int,
    videos: Ints,
    frames: Ints,
    *,
    style: Style,
    class_weights: Sequence[float] | None = None,
) -> Labels:
    """What is noted of frames [n] of videos [n]: the smooth course of a face, whatever a single frame shows.

    ``expression`` is that of the segment; during a change it is the one that weighs more. A video shows one
    person, whose number is the video's.
    """
    weights = [1.0] * len(EXPRESSIONS) if class_weights is None else list(class_weights)
    chunks = [
        _labels(seed, videos[start : start + _CHUNK], frames[start : start + _CHUNK], style, weights)
        for start in range(0, max(len(videos), 1), _CHUNK)
    ]
    return Labels(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


def _labels(
    seed: int, videos: Ints, frames: Ints, style: Style, weights: Sequence[float]
) -> tuple[np.ndarray, ...]:
    """Arrays of Labels, in the order of its fields."""
    expression, aus = _course(seed, videos, frames, style, weights)
    errors = Drifts.of(seed, "video annotator", videos, frames, ERROR_PERIOD)
    error = np.stack([errors.normal(name, ANNOTATOR_STD) for name in ("valence", "arousal")], axis=1)
    noted = np.clip(valence_arousal(aus) + error, -1.0, 1.0)
    return expression, noted.astype(np.float32), active(aus), aus.astype(np.float32), videos


def _course(
    seed: int, videos: Ints, frames: Ints, style: Style, weights: Sequence[float]
) -> tuple[Ints, Floats]:
    """Expressions [n] and smooth intensities [n, 12] of action units."""
    unique, rows = np.unique(videos, return_inverse=True)
    count = int(frames.max(initial=0)) // SHORTEST_SEGMENT + 2
    ids = frame_ids(np.repeat(unique, count), np.tile(np.arange(count), len(unique)) + _SEGMENTS)
    draws = Draws(seed, "segments", ids)
    expression = draws.choice("expression", weights)
    peaks = sample_aus(seed, ids, expression, style)
    half = draws.uniform("ease", *EASE)
    lengths = draws.uniform("length", SHORTEST_SEGMENT, LONGEST_SEGMENT + 1).astype(np.int64)
    ends = np.cumsum(lengths.reshape(len(unique), count), axis=1).reshape(-1)
    segment = _segment(ends, rows.reshape(-1), frames, count)
    start, before = ends[segment] - lengths[segment], np.maximum(segment - 1, 0)
    earlier = np.where(start > 0, ease(0.5 - (frames + 0.5 - start) / (2.0 * half[segment])), 0.0)
    after = segment + 1
    later = ease(0.5 - (ends[segment] - frames - 0.5) / (2.0 * half[after]))
    here = peaks[segment]
    aus = here + earlier[:, None] * (peaks[before] - here) + later[:, None] * (peaks[after] - here)
    intensity = Drifts.of(seed, "segments", videos, frames, INTENSITY_PERIOD).uniform("intensity", *INTENSITY)
    return expression[segment], aus * intensity[:, None]


def _segment(ends: Ints, rows: Ints, frames: Ints, count: int) -> Ints:
    """Which segment each frame is in, as an index of ``ends`` [videos * count], rising within each video."""
    if not len(frames):
        return frames
    apart = int(max(ends.max(), frames.max())) + 1
    edges = ends + np.repeat(np.arange(len(ends) // count), count) * apart
    return np.searchsorted(edges, frames + rows * apart, side="right").astype(np.int64)
