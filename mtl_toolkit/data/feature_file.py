"""Features of a dataset in one HDF5 file: written in place while a network runs, read through a memory map.

The rows lie video after video, frames in order. `docs/features-format.md` describes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import h5py
import numpy as np

from ..batch import Labels
from ..errors import DataError
from ..samples import Samples
from .samples import column_bytes
from .windows import video_numbers

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
    videos, frames = video_numbers(samples), samples.column("frame")
    if videos is None or frames is None or frames.dtype.kind not in "iu":
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


def map_features(path: Path, mode: str = "r") -> dict[str, np.ndarray]:
    """The features in a file, [rows, width] by part, and `present`, [rows]; with "r+" they can be written."""
    with h5py.File(path, "r") as file:
        found = {part: file[f"features/{part}"] for part in json.loads(file.attrs["parts"])}
        found["present"] = file["present"]
        places = {name: (one.id.get_offset(), one.dtype, one.shape) for name, one in found.items()}
    maps: dict[str, np.ndarray] = {}
    for name, (offset, dtype, shape) in places.items():
        kind = np.dtype(np.bool_) if name == "present" else dtype
        maps[name] = np.memmap(path, kind, mode, offset or 0, shape) if shape[0] else np.zeros(shape, kind)  # type: ignore[call-overload]
    return maps


def open_features(path: Path) -> FeatureFile:
    """Open a file of features.

    Raises:
        DataError: if it is missing, damaged, of another format or of a newer version.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            tasks, names = json.loads(file.attrs["tasks"]), json.loads(file.attrs["parts"])
            origin = json.loads(file.attrs["origin"])
            sample = file["sample"][()]
            widths = {part: int(file[f"features/{part}"].shape[1]) for part in names}
            layout = FeatureLayout(file.attrs["source"], widths, tasks)
        maps = map_features(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a file of features: {error}") from error
    rows = np.empty(len(sample), np.int64)
    rows[sample] = np.where(maps.pop("present"), np.arange(len(sample)), -1)
    return FeatureFile(layout, rows, maps, origin)


def stored_labels(path: Path) -> dict[str, Labels]:
    """The labels in a file of features, in the order of its rows, by task."""
    with h5py.File(path, "r") as file:
        return {
            task: Labels(group["values"][()], group["valid"][()])
            for task, group in file.get("labels", {}).items()
        }


def _check_format(path: Path, file: h5py.File) -> None:
    found, version = file.attrs.get("format"), int(file.attrs.get("version", 0))
    if found != FORMAT:
        raise DataError(f"{path}: must be a file of {FORMAT} (got format {found!r})")
    if version > VERSION:
        raise DataError(
            f"{path}: written by a newer mtl-toolkit (version {version}, this one reads {VERSION})"
        )


def _write_videos(file: h5py.File, samples: Samples, order: np.ndarray) -> None:
    videos, names, frames = video_numbers(samples), column_bytes(samples, "video"), samples.column("frame")
    ids = np.array([samples.id(int(row)).encode() for row in order], np.bytes_)
    file["id"] = ids.astype(h5py.string_dtype("utf-8", max(ids.itemsize, 1)))
    if frames is not None and frames.dtype.kind in "iu":
        file["frame"] = frames[order].astype(np.int64)
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
    kind = h5py.h5t.py_create(np.dtype(dtype).newbyteorder("<"))
    names = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    names.set_create_intermediate_group(True)
    h5py.h5d.create(file.id, name.encode(), kind, space, plan, lcpl=names)
