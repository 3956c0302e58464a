"""The packed format: pictures, their labels and facts about them in one HDF5 file.

::

    /                      attributes: format = "mtl-toolkit", version = 1, preprocessing (JSON text), and
                           names = "whole" where file and group need nothing in front of them
    pictures/data          uint8 [bytes], stored contiguously: encoded pictures, one after another
    pictures/offsets       int64 [samples + 1]: picture i is data[offsets[i]:offsets[i + 1]]
    pictures/crc32         uint32 [samples], optional: CRC-32 of the encoded pictures
    id, file, group, video, split, source   UTF-8 text [samples], each optional
    frame                  integers [samples], optional
    labels/<name>/values   numbers [samples, ...]; class ids where `classes` is given
    labels/<name>/valid    bool, the shape of `values`: false where a label is missing
    labels/<name>          attributes: classes (names by id), or units (names by column) and range
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np

from mtl_toolkit import DataError, UnreadableSampleError

from .cells import nearest
from .stored_labels import StoredLabels

FORMAT = "mtl-toolkit"
VERSION = 1
TEXTS = ("id", "file", "group", "video", "split", "source")
NUMBERS = ("frame",)
COLUMNS = (*TEXTS, *NUMBERS)
WHOLE = "whole"  # the attribute `names`: nothing is to be put in front of `file` and `group`
BLOCK = 65536  # texts converted at a time


@attrs.frozen(eq=False)
class PictureBytes:
    """Where each encoded picture lies in a file.

    They are read without HDF5, whose library must not be in use on both sides of a fork.

    Attributes:
        path: the file.
        starts: int64 [samples], from the start of the file.
        lengths: unsigned integers [samples], in bytes.
        crc32: uint32 [samples], of the bytes; None where that is not known.
    """

    path: Path
    starts: np.ndarray
    lengths: np.ndarray
    crc32: np.ndarray | None = None

    def read(self, indices: Iterable[int]) -> Iterator[bytearray]:
        """Yield encoded pictures; fewer bytes of one where the file has become shorter.

        Raises:
            UnreadableSampleError: if the file cannot be opened.
        """
        try:
            file = self.path.open("rb", buffering=0)  # each picture is one read; a buffer would be one more
        except OSError as error:
            raise UnreadableSampleError(f"{self.path}: {error.strerror}") from None
        with file:
            for index in indices:
                file.seek(int(self.starts[index]))
                encoded = bytearray(int(self.lengths[index]))
                del encoded[_fill(file, encoded) :]
                yield encoded

    def intact(self, index: int, encoded: bytes | bytearray) -> bool:
        """Whether the bytes that were read of a picture are those that were written, as far as is known."""
        return self.crc32 is None or zlib.crc32(encoded) == self.crc32[index]

    def take(self, rows: np.ndarray) -> PictureBytes:
        """The pictures of some samples (ascending, none twice)."""
        crc32 = None if self.crc32 is None else chosen(self.crc32, rows)
        return PictureBytes(self.path, chosen(self.starts, rows), chosen(self.lengths, rows), crc32)


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
            DataError: if the offsets do not go up, or past the end, or the bytes are not contiguous, or the
                checksums do not fit.
        """
        data, stored = self._dataset("pictures/data"), self._dataset("pictures/offsets")
        offsets = stored[:].astype(np.int64, copy=False)
        if not len(offsets) or offsets[0] < 0 or (offsets[1:] < offsets[:-1]).any():
            raise DataError(f"{self.path}: pictures/offsets must start at 0 or above and never go down")
        if offsets[-1] > len(data):
            raise DataError(
                f"{self.path}: pictures/offsets must end within the {len(data)} bytes of pictures/data "
                f"(got {offsets[-1]})"
            )
        start = data.id.get_offset()
        if data.dtype != np.uint8 or (start is None and len(data)):
            raise DataError(f"{self.path}: pictures/data must be uint8 and stored contiguously")
        offsets += start or 0
        return PictureBytes(self.path, offsets[:-1], _lengths(offsets), self._checksums())

    def _checksums(self) -> np.ndarray | None:
        if "pictures/crc32" not in self._file:
            return None
        stored = self._dataset("pictures/crc32")
        self._check_length("pictures/crc32", stored)
        if stored.dtype != np.uint32:
            raise DataError(f"{self.path}: pictures/crc32 must be uint32 (got {stored.dtype})")
        return np.asarray(stored[:])

    def column(self, name: str) -> np.ndarray | None:
        """A column: text as UTF-8 bytes [samples], numbers as int64 [samples]; None if there is none.

        Raises:
            DataError: if its length is not the number of samples, or numbers are none.
        """
        if name not in self.columns():
            return None
        stored = self._dataset(name)
        self._check_length(name, stored)
        if name in NUMBERS:
            if stored.dtype.kind not in "iu":
                raise DataError(f"{self.path}: {name} must be integers (got {stored.dtype})")
            return np.asarray(stored[:], np.int64)
        if stored.dtype.kind == "S":
            return np.asarray(stored[:], np.bytes_)
        # Texts of variable length are Python objects, many times their size.
        blocks = [stored[start : start + BLOCK] for start in range(0, len(stored), BLOCK)]
        return np.concatenate([np.asarray(block, np.bytes_) for block in blocks] or [np.zeros(0, "S1")])

    def columns(self) -> list[str]:
        """The names of the columns."""
        return [name for name in COLUMNS if name in self._file]

    def has_whole_names(self) -> bool:
        """Whether `file` and `group` are what other datasets have, with nothing to put in front."""
        return bool(self._file.attrs.get("names") == WHOLE)

    def label_names(self) -> list[str]:
        """The names of the labels."""
        return list(self._file["labels"]) if "labels" in self._file else []

    def labels(self, name: str) -> StoredLabels:
        """One kind of label; its arrays are read when they are sliced, while the file is open.

        Raises:
            DataError: if there is none of that name, or its shapes do not agree.
        """
        known = self.label_names()
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
        return StoredLabels(
            values,
            valid,
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


def chosen(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values of some rows (ascending, none twice); no copy where they are all."""
    return values if len(rows) == len(values) else values[rows]


@contextmanager
def open_packed(path: Path) -> Iterator[PackedFile]:
    """Open a packed file.

    Raises:
        DataError: if it is not there, not HDF5, or not of this format and version.
    """
    try:
        with path.open("rb") as start:
            if not start.read(1):
                raise DataError(f"{path}: is empty (0 bytes)")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    try:
        file = h5py.File(path, "r", locking=False)  # a file that is there is complete: nobody writes to it
    except OSError:
        raise DataError(f"{path}: is truncated or not an HDF5 file") from None
    with file:
        try:
            _check_format(path, file)
            yield PackedFile(path, file)
        except (OSError, RuntimeError, KeyError) as error:  # from h5py, where the structure is damaged
            raise DataError(f"{path}: is damaged ({' '.join(str(error).split())})") from None


def _lengths(offsets: np.ndarray) -> np.ndarray:
    """The steps from each offset to the next, in the smallest type that holds them."""
    # In blocks: a large array that is given up again can stay with the process.
    blocks = (offsets[start : start + BLOCK + 1] for start in range(0, len(offsets), BLOCK))
    longest = max(int(np.diff(block).max(initial=0)) for block in blocks)
    lengths = np.empty(len(offsets) - 1, np.min_scalar_type(longest))
    np.subtract(offsets[1:], offsets[:-1], out=lengths, casting="unsafe")
    return lengths


def _fill(file: FileIO, buffer: bytearray) -> int:
    """Read into a buffer until it is full or the file ends; return how much was read."""
    done = file.readinto(buffer)
    while 0 < done < len(buffer) and (more := file.read(len(buffer) - done)):  # some file systems give less
        buffer[done : done + len(more)] = more
        done += len(more)
    return done


def _check_format(path: Path, file: h5py.File) -> None:
    stored, version = file.attrs.get("format"), file.attrs.get("version")
    if stored != FORMAT:
        raise DataError(f"{path}: the attribute 'format' must be {FORMAT!r} (got {stored!r})")
    if version != VERSION:
        raise DataError(
            f"{path}: must be of format version {VERSION} (got {version}); a newer mtl-std may read others"
        )


def _texts(stored: Any) -> tuple[str, ...]:
    return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in stored)
