"""Writing the packed format, a picture at a time; `packed` says what it looks like."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from mtl_toolkit import replacing_file

from .cells import nearest
from .packed import COLUMNS, FORMAT, VERSION
from .stored_labels import StoredLabels

COPIED = 1 << 24  # bytes copied at a time


def write_packed(
    path: Path,
    pictures: Iterable[bytes],
    *,
    labels: Mapping[str, StoredLabels],
    columns: Mapping[str, Sequence[str]] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> None:
    """Write a packed file, whole or not at all; pictures are taken one at a time.

    Args:
        path: where; a file that is there is replaced when the new one is complete.
        pictures: encoded pictures (JPEG, PNG), one per sample.
        labels: by name, each with a row per sample.
        columns: any of `id`, `group`, `split`, `source`: a text per sample.
        preprocessing: how the pictures were made, in plain JSON types.

    Raises:
        ValueError: if lengths do not agree, or a column is not one of those above.
    """
    # Contiguous data needs its size beforehand, so the pictures go to a file of their own first.
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        offsets = _spool(pictures, spool)
        with replacing_file(path) as unfinished, h5py.File(unfinished, "w") as file:
            file.attrs.update(
                format=FORMAT, version=VERSION, preprocessing=json.dumps(dict(preprocessing or {}))
            )
            file["pictures/offsets"] = offsets
            _write_labels(file, labels, len(offsets) - 1)
            _write_columns(file, columns or {}, len(offsets) - 1)
            _write_data(file, spool, int(offsets[-1]))


def _spool(pictures: Iterable[bytes], spool: IO[bytes]) -> np.ndarray:
    lengths = np.fromiter((spool.write(picture) for picture in pictures), np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _write_labels(file: h5py.File, labels: Mapping[str, StoredLabels], samples: int) -> None:
    for name, label in labels.items():
        if len(label.values) != samples or label.valid.shape != label.values.shape:
            raise ValueError(
                f"labels {name!r} need {samples} rows and valid of the same shape "
                f"(got {label.values.shape} and {label.valid.shape})"
            )
        group = file.create_group(f"labels/{name}")
        group["values"], group["valid"] = label.values, label.valid.astype(np.bool_)
        for fact in ("classes", "units", "range"):
            if getattr(label, fact):
                group.attrs[fact] = list(getattr(label, fact))


def _write_columns(file: h5py.File, columns: Mapping[str, Sequence[str]], samples: int) -> None:
    for name, texts in columns.items():
        if name not in COLUMNS:
            raise ValueError(f"there is no column {name!r}{nearest(name, COLUMNS)}")
        if len(texts) != samples:
            raise ValueError(f"column {name!r} needs {samples} texts (got {len(texts)})")
        packed = np.array([text.encode() for text in texts], np.bytes_)
        file[name] = packed.astype(h5py.string_dtype("utf-8", max(packed.itemsize, 1)))


def _write_data(file: h5py.File, spool: IO[bytes], size: int) -> None:
    data = file.create_dataset("pictures/data", (size,), np.uint8)
    spool.seek(0)
    position = 0
    while block := spool.read(COPIED):
        data[position : position + len(block)] = np.frombuffer(block, np.uint8)
        position += len(block)
