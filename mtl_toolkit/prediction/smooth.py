"""Post-processing along videos, and the choice of its options on data that is not reported."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from ..errors import DataError
from ..plugin import PostProcessor, Predictions
from .frames import VideoFrames


def smoothed(
    blocks: Iterable[Predictions], postprocess: Mapping[str, Sequence[PostProcessor]]
) -> Iterator[Predictions]:
    """Put blocks together video by video, and post-process each video.

    Args:
        blocks: rows in order of videos and frames.
        postprocess: what is done, by task, one after the other. Rows of no video pass as they are.
    """
    held: list[Predictions] = []
    for block in blocks:
        for part in _by_video(block):
            if held and held[0].videos[0] != part.videos[0]:
                yield postprocessed(joined(held), postprocess)
                held = []
            if part.videos[0]:
                held.append(part)
            else:
                yield part
    if held:
        yield postprocessed(joined(held), postprocess)


def postprocessed(
    predictions: Predictions, postprocess: Mapping[str, Sequence[PostProcessor]]
) -> Predictions:
    """Apply post-processors to predictions of one or more videos, each by itself.

    Rows of no video, or without a number in their video, stay as they are.

    Raises:
        DataError: if a frame is there twice.
    """
    found = VideoFrames.of(predictions)
    again = found.twice()
    if len(again):
        frame, video = predictions.frames[again[0]], str(predictions.videos[again[0]])
        raise DataError(f"post-processing needs each frame once (got frame {frame} of video {video!r} twice)")
    values = dict(predictions.values)
    for task, chain in postprocess.items():
        changed = values[task].copy()
        for rows in found.by_video():
            for one in chain:
                changed[rows] = one.apply(changed[rows], predictions.frames[rows])
        values[task] = changed
    return attrs.evolve(predictions, values=values)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Several blocks as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Predictions(
        heads=first.heads,
        values={task: np.concatenate([part.values[task] for part in parts]) for task in first.values},
        names=np.concatenate([part.names for part in parts]),
        videos=np.concatenate([part.videos for part in parts]),
        frames=np.concatenate([part.frames for part in parts]),
        faces=np.concatenate([part.faces for part in parts]),
    )


def _by_video(block: Predictions) -> Iterator[Predictions]:
    bounds = [0, *(np.flatnonzero(block.videos[1:] != block.videos[:-1]) + 1).tolist(), len(block)]
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            yield block.take(np.arange(start, stop))
