"""Features of a dataset in one HDF5 file: written in place while a network runs, read through a memory map.

The rows lie video after video, frames in order. `docs/features-format.md` describes the file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import h5py
import numpy as np

from ..errors import DataError
from ..samples import Samples
from .samples import column_bytes
from .windows import frame_numbers, video_numbers

FORMAT, VERSION = "mtl-toolkit features", 1


@attrs.frozen
class FeatureLayout:
    """What a row of features is made of.

    Attributes:
        source: whether they are what the heads' last layers read ("heads"), or what the heads read ("trunk").
        parts: width of each part, in the order in which they stand side by side.
        tasks: the part that each task reads.
    """

    source: Literal["heads", "trunk"]
    parts: Mapping[str, int]
    tasks: Mapping[str, str]

    @property
    def width(self) -> int:
        """Columns in all."""
        return sum(self.parts.values())

    def columns(self) -> dict[str, tuple[int, int]]:
        """By task, the first column of its part and the one after the last."""
        ends = dict(zip(self.parts, np.cumsum(list(self.parts.values())).tolist(), strict=True))
        return {task: (ends[part] - self.parts[part], ends[part]) for task, part in self.tasks.items()}


@attrs.frozen(eq=False)
class FeatureFile:
    """An open file of features.

    Attributes:
        layout: of a row.
        rows: by sample of the dataset, the file's row, or -1 where there is none: int64 [samples].
        parts: memory maps [rows, width] by part.
        origin: what the features were made from, in plain JSON types.
    """

    layout: FeatureLayout
    rows: np.ndarray
    parts: Mapping[str, np.ndarray]
    origin: Mapping[str, Any]

    def read(self, samples: np.ndarray) -> np.ndarray:
        """The features of some samples that have a row: float32 [samples, width]."""
        rows = self.rows[samples]
        values = np.empty((len(rows), self.layout.width), np.float32)
        start = 0
        for part, width in self.layout.parts.items():
            values[:, start : start + width] = self.parts[part][rows]
            start += width
        return values


def video_order(samples: Samples) -> np.ndarray:
    """The samples by video and frame, as far as the dataset knows them: int64 [samples]."""
    videos, frames = video_numbers(samples), frame_numbers(samples)
    if videos is None or frames is None:
        return np.arange(len(samples))
    return np.lexsort((frames, videos))


def create_features(
    path: Path,
    samples: Samples,
    order: np.ndarray,
    layout: FeatureLayout,
    *,
    dtype: str,
    origin: Mapping[str, Any],
) -> None:
    """Write a file with all but the features, whose room is laid out.

    Args:
        path: where.
        samples: the dataset.
        order: the samples in the order of the file's rows.
        layout: of a row.
        dtype: of the numbers, "float32" or "float16".
        origin: what the features are made from, in plain JSON types.
    """
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format=FORMAT,
            version=VERSION,
            origin=json.dumps(origin),
            source=layout.source,
            parts=json.dumps(list(layout.parts)),
            tasks=json.dumps(dict(layout.tasks)),
        )
        file["sample"] = order
        file["present"] = np.zeros(len(order), np.bool_)
        _write_videos(file, samples, order)
        for task, labels in samples.labels().items():
            file[f"labels/{task}/values"] = labels.values[order]
            file[f"labels/{task}/valid"] = labels.valid[order]
        for part, width in layout.parts.items():
            _lay_out(file, f"features/{part}", (len(order), width), dtype)
    _take_room(path)


def map_features(path: Path, mode: str = "r") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The features in a file, [rows, width] by part, and whether a row has any, bool [rows].

    With the mode "r+" they can be written.
    """
    with h5py.File(path, "r") as file:
        places = {part: _place(file[f"features/{part}"]) for part in json.loads(file.attrs["parts"])}
        present = _place(file["present"])
    return {part: _map(path, mode, *place) for part, place in places.items()}, _map(path, mode, *present)


def open_features(path: Path) -> FeatureFile:
    """Open a file of features.

    Raises:
        DataError: if it is missing, damaged, of another format or of a newer version.
    """
    with _reading(path):
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            tasks, names, origin = (json.loads(file.attrs[key]) for key in ("tasks", "parts", "origin"))
            sample = file["sample"][()]
            widths = {part: int(file[f"features/{part}"].shape[1]) for part in names}
            layout = FeatureLayout(file.attrs["source"], widths, tasks)
        parts, present = map_features(path)
        _check_layout(layout)
        return FeatureFile(layout, _rows_of(sample, present, parts), parts, origin)


def other_dataset(path: Path, samples: Samples) -> str | None:
    """In what a dataset is not the one that a file of features was made of; None if it seems to be.

    Videos and frame numbers are compared; where there are none, the names of the first and the last sample.

    Raises:
        DataError: if the file is damaged.
    """
    with _reading(path), h5py.File(path, "r") as file:
        sample = file["sample"][()]
        if len(sample) != len(samples):
            return f"has features of {len(sample):,} samples (the dataset has {len(samples):,})"
        pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        videos, frames = column_bytes(samples, "video"), frame_numbers(samples)
        if "videos/name" in file and videos is not None:
            pairs["video"] = file["videos/name"][()], videos[sample[file["videos/start"][:-1]]]
        if "frame" in file and frames is not None:
            pairs["frame"] = file["frame"][()], frames[sample]
        if not pairs and len(sample):
            ends = sample[[0, -1]].tolist()
            pairs["sample"] = file["id"][()][[0, -1]], np.array([samples.id(row).encode() for row in ends])
    for what, (theirs, ours) in pairs.items():
        for place in np.flatnonzero(theirs != ours)[:1]:
            known, found = (_text(column[place]) for column in (theirs, ours))
            return f"has features of other {what}s: of {known} where the dataset has {found}"
    return None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a missing or damaged file leads to into one line for the user."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())  # some of HDF5's have two lines
        raise DataError(f"{path}: cannot be read as a file of features: {reason}") from error


def _check_format(path: Path, file: h5py.File) -> None:
    found, version = file.attrs.get("format"), int(file.attrs.get("version", 0))
    if found != FORMAT:
        raise DataError(f"{path}: must be a file of {FORMAT} (got format {found!r})")
    if version > VERSION:
        raise DataError(
            f"{path}: written by a newer mtl-toolkit (version {version}, this one reads {VERSION})"
        )


def _check_layout(layout: FeatureLayout) -> None:
    if layout.source not in ("heads", "trunk"):
        raise ValueError(f"source must be 'heads' or 'trunk' (got {layout.source!r})")
    for task, part in layout.tasks.items():
        if part not in layout.parts:
            raise ValueError(f"task {task!r} reads {part!r}, which is not there")


def _rows_of(sample: np.ndarray, present: np.ndarray, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The row of each sample, or -1, from the sample of each row."""
    rows = np.full(len(sample), -2, np.int64)
    rows[sample] = np.where(present, np.arange(len(sample)), -1)
    if (rows == -2).any() or any(len(part) != len(sample) for part in parts.values()):
        raise ValueError("its columns do not fit together")
    return rows


def _place(column: h5py.Dataset) -> tuple[int, np.dtype, tuple[int, ...]]:
    """Where the numbers of a column stand in the file."""
    offset = column.id.get_offset()
    if offset is None and column.size:
        raise ValueError(f"{column.name} must lie in one piece, neither chunked nor compressed")
    return offset or 0, column.dtype, column.shape


def _map(path: Path, mode: str, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if not shape[0]:
        return np.zeros(shape, dtype)
    numbers: np.ndarray = np.memmap(path, dtype, mode, offset, shape)  # type: ignore[call-overload]
    return numbers


def _text(value: Any) -> str:
    return repr(value.decode("utf-8", "replace")) if isinstance(value, bytes) else str(value)


def _take_room(path: Path) -> None:
    """Take the disk space now: on a full disk, to write a map of a hole would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # those file systems cannot do it
                raise


def _write_videos(file: h5py.File, samples: Samples, order: np.ndarray) -> None:
    videos, names, frames = video_numbers(samples), column_bytes(samples, "video"), frame_numbers(samples)
    ids = np.array([samples.id(int(row)).encode() for row in order], np.bytes_)
    file["id"] = ids.astype(h5py.string_dtype("utf-8", max(ids.itemsize, 1)))
    if frames is not None:
        file["frame"] = frames[order]
    if videos is not None and names is not None and len(order):
        starts = np.flatnonzero(np.concatenate([[True], np.diff(videos[order]) != 0]))
        first = names[order[starts]]
        file["videos/name"] = first.astype(h5py.string_dtype("utf-8", max(first.itemsize, 1)))
        file["videos/start"] = np.append(starts, len(order)).astype(np.int64)


def _lay_out(file: h5py.File, name: str, shape: tuple[int, int], dtype: str) -> None:
    """A contiguous dataset with its place in the file taken now, so that it can be written without HDF5."""
    space = h5py.h5s.create_simple(shape)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)  # equal features make equal files
    kind = h5py.h5t.py_create(np.dtype(dtype).newbyteorder("<"))
    names = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    names.set_create_intermediate_group(True)
    h5py.h5d.create(file.id, name.encode(), kind, space, plan, lcpl=names)
