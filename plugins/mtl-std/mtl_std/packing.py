"""Writing the packed format, a picture at a time; `packed` says what it looks like."""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs
import h5py
import numpy as np

from mtl_toolkit import replacing_file

from .cells import nearest
from .packed import COLUMNS, FORMAT, NUMBERS, VERSION, WHOLE, chosen
from .picture_files import as_bytes
from .stored_labels import StoredLabels

COPIED = 1 << 24  # bytes written at a time
SIZES = np.dtype([("length", np.int64), ("crc32", np.uint32)])


@attrs.frozen(eq=False)
class Contents:
    """What a packed file holds beside the pictures.

    Attributes:
        labels: by name, each with a row per sample.
        columns: by name: UTF-8 as bytes [samples], or int64 [samples].
        preprocessing: how the pictures were made, in plain JSON types.
        whole_names: whether `file` and `group` are what other datasets have, with nothing to put in front.
    """

    labels: Mapping[str, StoredLabels]
    columns: Mapping[str, np.ndarray]
    preprocessing: Mapping[str, Any]
    whole_names: bool = False

    def take(self, rows: np.ndarray) -> Contents:
        """The labels and columns of some samples (ascending, none twice)."""
        labels = {
            name: attrs.evolve(label, values=chosen(label.values, rows), valid=chosen(label.valid, rows))
            for name, label in self.labels.items()
        }
        columns = {name: chosen(column, rows) for name, column in self.columns.items()}
        return attrs.evolve(self, labels=labels, columns=columns)


def write_packed(
    path: Path,
    pictures: Iterable[bytes],
    *,
    labels: Mapping[str, StoredLabels],
    columns: Mapping[str, Sequence[str] | Sequence[int] | np.ndarray] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    whole_names: bool = False,
) -> None:
    """Write a packed file, whole or not at all; pictures are taken one at a time.

    Args:
        path: where; a file that is there is replaced when the new one is complete.
        pictures: encoded pictures (JPEG, PNG), one per sample.
        labels: by name, each with a row per sample.
        columns: any of `id`, `file`, `group`, `video`, `split`, `source`: a text per sample (or UTF-8 as
            bytes [samples]), and `frame`: a whole number per sample.
        preprocessing: how the pictures were made, in plain JSON types.
        whole_names: whether `file` and `group` are what other datasets have; otherwise they are compared
            under their `source`, or under the folder of the packed file.

    Raises:
        ValueError: if lengths do not agree, or a column is not one of those above.
    """
    contents = Contents(
        labels,
        {name: _column(name, values) for name, values in (columns or {}).items()},
        preprocessing or {},
        whole_names,
    )
    # Contiguous data needs its size beforehand, so the pictures go to a file of their own first.
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        sizes = np.fromiter(((spool.write(picture), zlib.crc32(picture)) for picture in pictures), SIZES)
        spool.seek(0)
        write_file(path, _pieces(spool), sizes["length"], sizes["crc32"], contents)


def write_file(
    path: Path, pictures: Iterable[bytes], lengths: np.ndarray, crc32: np.ndarray, contents: Contents
) -> None:
    """Write a packed file of pictures whose lengths are known.

    Args:
        path: where; a file that is there is replaced when the new one is complete.
        pictures: all encoded pictures one after another, in pieces of any size.
        lengths: of each picture in bytes: int64 [samples].
        crc32: of each picture: uint32 [samples].
        contents: labels and columns.

    Raises:
        ValueError: if lengths do not agree.
        RunError: if the file cannot be written.
    """
    with replacing_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        file.attrs.update(
            format=FORMAT, version=VERSION, preprocessing=json.dumps(dict(contents.preprocessing))
        )
        if contents.whole_names:
            file.attrs["names"] = WHOLE
        _write_labels(file, contents.labels, len(lengths))
        _write_columns(file, contents.columns, len(lengths))
        file["pictures/offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        file["pictures/crc32"] = crc32
        data = file.create_dataset("pictures/data", (int(lengths.sum()),), np.uint8)
        position = 0
        for block in _blocks(pictures):
            data[position : position + len(block)] = np.frombuffer(block, np.uint8)
            position += len(block)


def _column(name: str, values: Sequence[str] | Sequence[int] | np.ndarray) -> np.ndarray:
    if name not in COLUMNS:
        raise ValueError(f"there is no column {name!r}{nearest(name, COLUMNS)}")
    if name in NUMBERS:
        return np.asarray(values, np.int64)
    return values if isinstance(values, np.ndarray) else as_bytes([str(value) for value in values])


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(COPIED):
        yield piece


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put small pieces together: each write through HDF5 costs as much as many kilobytes."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= COPIED:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


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


def _write_columns(file: h5py.File, columns: Mapping[str, np.ndarray], samples: int) -> None:
    for name, values in columns.items():
        if len(values) != samples:
            raise ValueError(f"column {name!r} needs {samples} values (got {len(values)})")
        if values.dtype.kind == "S":
            file[name] = values.astype(h5py.string_dtype("utf-8", max(values.itemsize, 1)))
        else:
            file[name] = values
