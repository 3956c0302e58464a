"""The packed format: pictures, their labels and facts about them in one HDF5 file.

::

    /                        attributes: format = "mtl-toolkit", version = 1, preprocessing (JSON text)
    pictures/data            uint8 [bytes], stored contiguously: encoded pictures, one after another
    pictures/offsets         int64 [samples + 1]: picture i is data[offsets[i]:offsets[i + 1]]
    id, group, split, source   UTF-8 text [samples], each optional
    labels/<name>/values     numbers [samples, ...]; class ids where `classes` is given
    labels/<name>/valid      bool, the shape of `values`: false where a label is missing
                             attributes: classes (names by id), or units (names by column) and range (low, high)
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs
import h5py
import numpy as np

from mtl_toolkit import DataError

from .cells import nearest

FORMAT = "mtl-toolkit"
VERSION = 1
COLUMNS = ("id", "group", "split", "source")
BLOCK = 65536  # texts converted at a time


@attrs.frozen(eq=False)
class PackedLabels:
    """One kind of label as it is stored.

    Attributes:
        values: [samples, ...]: class ids where `classes` is given, else numbers, one column per unit.
        valid: bool, the shape of `values`.
        classes: class names, by id.
        units: names of the columns of `values`.
        range: lowest and highest value.
    """

    values: np.ndarray
    valid: np.ndarray
    classes: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    range: tuple[float, float] | None = None


@attrs.frozen(eq=False)
class PictureBytes:
    """Where each encoded picture lies in a file.

    Read without HDF5, whose library must not be used on both sides of a fork. One file descriptor serves all
    forked processes, as positioned reads do not move it; a spawned one opens the file anew.
    """

    path: Path
    starts: np.ndarray
    lengths: np.ndarray
    _file: list[IO[bytes]] = attrs.field(factory=list, init=False)

    def read(self, index: int) -> bytes:
        """One encoded picture; fewer bytes where the file has become shorter."""
        if not self._file:
            self._file.append(self.path.open("rb"))
        return os.pread(self._file[0].fileno(), int(self.lengths[index]), int(self.starts[index]))

    def take(self, rows: np.ndarray) -> PictureBytes:
        """The pictures of some samples."""
        return PictureBytes(self.path, self.starts[rows], self.lengths[rows])

    def __reduce__(self) -> tuple[Any, ...]:
        return PictureBytes, (self.path, self.starts, self.lengths)


class PackedFile:
    """A packed file, open for reading everything but the pictures' pixels."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file

    def __len__(self) -> int:
        return len(self._dataset("pictures/offsets")) - 1

    def pictures(self) -> PictureBytes:
        """Where the pictures lie.

        Raises:
            DataError: if the offsets do not go up, or past the end, or the bytes are not contiguous.
        """
        data, offsets = self._dataset("pictures/data"), self._dataset("pictures/offsets")[:].astype(np.int64)
        lengths = np.diff(offsets)
        if (lengths < 0).any() or offsets[0] < 0:
            sample = int(np.argmax(lengths < 0))
            raise DataError(f"{self.path}: pictures/offsets must go up from 0 (they do not at sample {sample})")
        if offsets[-1] > len(data):
            raise DataError(
                f"{self.path}: pictures/offsets must end within the {len(data)} bytes of pictures/data "
                f"(got {offsets[-1]})"
            )
        start = data.id.get_offset()
        if data.dtype != np.uint8 or (start is None and len(data)):
            raise DataError(f"{self.path}: pictures/data must be uint8 and stored contiguously")
        return PictureBytes(self.path, offsets[:-1] + (start or 0), lengths)

    def column(self, name: str) -> np.ndarray | None:
        """A column of text as UTF-8 bytes [samples], or None if there is none.

        Raises:
            DataError: if its length is not the number of samples.
        """
        if name not in self._file:
            return None
        stored = self._dataset(name)
        self._check_length(name, stored)
        blocks = [stored[start : start + BLOCK] for start in range(0, len(stored), BLOCK)]
        return np.concatenate([np.asarray(block, np.bytes_) for block in blocks] or [np.zeros(0, "S1")])

    def columns(self) -> list[str]:
        """The names of the columns of text."""
        return [name for name in COLUMNS if name in self._file]

    def labels(self, name: str) -> PackedLabels:
        """One kind of label.

        Raises:
            DataError: if there is none of that name, or its shapes do not agree.
        """
        known = list(self._file["labels"]) if "labels" in self._file else []
        if name not in known:
            raise DataError(f"{self.path}: there is no labels/{name}{nearest(name, known)}")
        place = f"labels/{name}"
        values, valid = self._dataset(f"{place}/values"), self._dataset(f"{place}/valid")
        self._check_length(f"{place}/values", values)
        if valid.shape != values.shape or valid.dtype != np.bool_:
            raise DataError(
                f"{self.path}: {place}/valid must be bool of shape {values.shape} "
                f"(got {valid.dtype} {valid.shape})"
            )
        facts = self._file[place].attrs
        span = facts.get("range")
        return PackedLabels(
            values[:],
            valid[:],
            classes=_texts(facts.get("classes", ())),
            units=_texts(facts.get("units", ())),
            range=None if span is None else (float(span[0]), float(span[1])),
        )

    def _dataset(self, name: str) -> h5py.Dataset:
        folder, _, last = name.rpartition("/")
        parent = self._file.get(folder) if folder else self._file
        if isinstance(parent, h5py.Group) and isinstance(parent.get(last), h5py.Dataset):
            return parent[last]
        known = list(parent) if isinstance(parent, h5py.Group) else []
        raise DataError(f"{self.path}: there is no {name}{nearest(last, known)}")

    def _check_length(self, name: str, stored: h5py.Dataset) -> None:
        if len(stored) != len(self):
            raise DataError(
                f"{self.path}: {name} must have as many rows as there are pictures, {len(self)} "
                f"(got {len(stored)})"
            )


@contextmanager
def open_packed(path: Path) -> Iterator[PackedFile]:
    """Open a packed file.

    Raises:
        DataError: if it is not there, not HDF5, or not of this format and version.
    """
    try:
        if not path.stat().st_size:
            raise DataError(f"{path}: is empty (0 bytes)")
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        reason = error.strerror if path.is_dir() else "is truncated or not an HDF5 file"
        raise DataError(f"{path}: {reason}") from None
    with file:
        stored, version = file.attrs.get("format"), file.attrs.get("version")
        if stored != FORMAT:
            raise DataError(f"{path}: the attribute 'format' must be {FORMAT!r} (got {stored!r})")
        if not isinstance(version, int | np.integer) or not 1 <= version <= VERSION:
            raise DataError(f"{path}: must be of format version 1 to {VERSION} (got {version})")
        yield PackedFile(path, file)


def write_packed(
    path: Path,
    pictures: Iterable[bytes],
    *,
    labels: Mapping[str, PackedLabels],
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
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Contiguous data needs its size beforehand, so the pictures go to a file of their own first.
        with tempfile.TemporaryFile(dir=path.parent) as spool, h5py.File(unfinished, "w") as file:
            offsets = _spool(pictures, spool)
            file.attrs.update(
                format=FORMAT, version=VERSION, preprocessing=json.dumps(dict(preprocessing or {}))
            )
            file["pictures/offsets"] = offsets
            _write_labels(file, labels, len(offsets) - 1)
            _write_columns(file, columns or {}, len(offsets) - 1)
            _write_data(file, spool, int(offsets[-1]))
        _sync(unfinished)
        unfinished.replace(path)
        _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def _spool(pictures: Iterable[bytes], spool: IO[bytes]) -> np.ndarray:
    lengths = np.fromiter((spool.write(picture) for picture in pictures), np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _write_labels(file: h5py.File, labels: Mapping[str, PackedLabels], samples: int) -> None:
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
        packed = np.array([text.encode() for text in texts] or [b""], np.bytes_)[:samples]
        width = max(packed.itemsize, 1)
        file.create_dataset(name, data=packed, dtype=h5py.string_dtype("utf-8", width))


def _write_data(file: h5py.File, spool: IO[bytes], size: int) -> None:
    data = file.create_dataset("pictures/data", (size,), np.uint8)
    spool.seek(0)
    position = 0
    while block := spool.read(1 << 24):
        data[position : position + len(block)] = np.frombuffer(block, np.uint8)
        position += len(block)


def _sync(path: Path) -> None:
    """Have the system write a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _texts(stored: Any) -> tuple[str, ...]:
    return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in stored)
