"""The samples of a packed file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import Labels, Samples, UnreadableSampleError

from .packed import PackedFile, PictureBytes, open_packed
from .pictures import decode, square


class PackedSamples(Samples):
    """Some rows of a packed file; pictures are decoded, and columns looked up, when they are read.

    Args:
        path: the file.
        rows: the rows that are samples, ascending: int64 [samples].
        pictures: of these rows.
        labels: of these rows, by task.
        ids: of these rows, UTF-8: bytes [samples]; None where none are stored.
        size: side of the square pictures to deliver, in pixels.
        on_error: what to do about a picture that cannot be read.
    """

    def __init__(
        self,
        path: Path,
        rows: np.ndarray,
        *,
        pictures: PictureBytes,
        labels: Mapping[str, Labels],
        ids: np.ndarray | None,
        size: int,
        on_error: Literal["stop", "skip"],
    ) -> None:
        self.on_error = on_error
        self._path = path
        self._length = len(rows)
        # The first rows, which are mostly all, need no list.
        self._rows = slice(len(rows)) if len(rows) and rows[-1] == len(rows) - 1 else rows
        self._pictures = pictures
        self._labels = labels
        self._ids = ids
        self._size = size

    def __len__(self) -> int:
        return self._length

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read pictures, in the order they lie in the file.

        Returns:
            uint8 [len(indices), 3, size, size] in the memory format `torch.channels_last`, in which JPEG is
            decoded and convolutions are fastest.

        Raises:
            UnreadableSampleError: if one cannot be read or has changed; the message names it.
        """
        wanted = np.asarray(indices, np.int64)
        order = np.argsort(self._pictures.starts[wanted], kind="stable")
        shape = (len(wanted), 3, self._size, self._size)
        pictures = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        for place, encoded in zip(order.tolist(), self._pictures.read(wanted[order]), strict=True):
            pictures[place] = self._decoded(int(wanted[place]), encoded)
        return pictures

    def _decoded(self, index: int, encoded: bytearray) -> Tensor:
        """The picture in its encoded bytes: uint8 [3, size, size]."""
        try:
            if not self._pictures.intact(index, encoded):
                raise ValueError("the picture's bytes are not those that were written")
            picture = decode(encoded)
        except ValueError as error:
            raise UnreadableSampleError(f"{self._pictures.path}: {self.id(index)}: {error}") from None
        fits = picture.shape[1:] == (self._size, self._size)
        return picture if fits else square(picture, self._size)

    def id(self, index: int) -> str:
        """The stored id, or the sample's number among those chosen."""
        return str(index) if self._ids is None else bytes(self._ids[index]).decode(errors="replace")

    def column(self, name: str) -> np.ndarray | None:
        """A stored column: text as bytes [samples], `frame` as int64; see `compared` for `file` and `group`.

        Raises:
            DataError: if the file can no longer be read.
        """
        with open_packed(self._path) as file:
            found = compared(file, name) if name in ("file", "group") else file.column(name)
        return None if found is None else found[self._rows]

    def column_names(self) -> tuple[str, ...]:
        """The columns stored; the ids stand for files where no whole names are.

        Raises:
            DataError: if the file can no longer be read.
        """
        with open_packed(self._path) as file:
            stored = file.columns()
            there = ["file"] if "id" in stored and not file.has_whole_names() else []
        return tuple(dict.fromkeys([*stored, *there]))


def compared(file: PackedFile, name: str) -> np.ndarray | None:
    """The column `file` or `group`, as it can be compared with that of other datasets: bytes [samples].

    In a file with whole names these are the columns as they are stored. In others the id stands for the
    picture's file, and both stand under the `source`, or under the pack's folder where none is stored:
    other databases may use the same names.
    """
    if file.has_whole_names():
        return file.column(name)
    found = file.column("id" if name == "file" else name)
    if found is None:
        return None
    source = file.column("source")
    prefix = np.array(str(file.path.parent).encode()) if source is None else source
    return np.where(found == b"", b"", np.char.add(np.char.add(prefix, b": "), found))
