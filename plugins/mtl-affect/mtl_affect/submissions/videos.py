"""Folders with a text file per video: found, and read into predictions of all videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtl_toolkit import FileProblems, Head, Predictions, RunError

from .coverage import picture_name
from .rows import Layout, find_layout

SUFFIX = ".txt"


def files_in(folder: Path, problems: FileProblems) -> dict[str, Path]:
    """The file of each video, in the order of their names."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix == SUFFIX and file.name[0] != ".")
    except OSError as error:
        problems.add(error.strerror or str(error), folder)
        return {}
    if not files:
        problems.add(f"there is no {SUFFIX} file of a video", folder)
    return {file.stem: file for file in files}


def with_layouts(
    files: Mapping[str, Path], layouts: Sequence[Layout], problems: FileProblems
) -> Iterator[tuple[str, Path, Layout]]:
    """The files, all of which have the layout of the first whose header tells one."""
    for video, file in files.items():
        layout = find_layout(file, layouts, problems)
        if layout is not None:
            layouts = (layout,)
            yield video, file, layout


def rows_by_video(path: Path, predictions: Predictions) -> dict[str, np.ndarray]:
    """The rows of each video, by frame.

    Raises:
        RunError: if a row is of no video, a video has a name that is none of a file, or frames are missing or
            there twice, after which rows would belong to other frames.
    """
    videos, which = np.unique(np.asarray(predictions.videos, np.str_), return_inverse=True)
    order = np.lexsort((predictions.frames, which))
    ends = np.cumsum(np.bincount(which, minlength=len(videos)))[:-1]
    found = dict(zip(videos.tolist(), np.split(order, ends), strict=False))  # no rows still split into one
    for video, rows in found.items():
        if not video:
            name = str(predictions.names[rows[0]])
            raise RunError(
                f"{path}: every row must be of a video, as there is a file per video (got {name!r})"
            )
        if Path(video).name != video or video.startswith("."):
            raise RunError(f"{path}: a video's name must be that of a file (got {video!r})")
        if not np.array_equal(predictions.frames[rows], np.arange(1, len(rows) + 1)):
            raise RunError(
                f"{path}: video {video!r} must have one row for each frame from 1 on "
                f"(got {len(rows)} rows, the last is frame {predictions.frames[rows[-1]]})"
            )
    return found


def join(found: Mapping[str, Mapping[str, np.ndarray]], heads: Mapping[str, Head]) -> Predictions:
    """Put videos one after the other; what a task has no file or row for is NaN.

    Args:
        found: by task and video, predictions [frames, columns of the head], frames from 1 on.
        heads: the tasks.
    """
    lengths: dict[str, int] = {}
    for videos in found.values():
        for video, values in videos.items():
            lengths[video] = max(lengths.get(video, 0), len(values))
    total = sum(lengths.values())
    joined = {task: np.full((total, len(heads[task].columns)), np.nan, np.float32) for task in found}
    first = 0
    for video, length in lengths.items():
        for task, videos in found.items():
            values = videos.get(video, joined[task][:0])
            joined[task][first : first + len(values)] = values
        first += length
    frames = [frame for length in lengths.values() for frame in range(1, length + 1)]
    names = [
        picture_name(video, frame) for video, length in lengths.items() for frame in range(1, length + 1)
    ]
    return Predictions(
        {task: heads[task] for task in found},
        joined,
        np.array(names, np.str_),
        np.repeat(np.array(list(lengths), np.str_), list(lengths.values())),
        np.array(frames, np.int64),
        np.ones(total, np.bool_),
    )
