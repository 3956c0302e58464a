"""Finding the pictures in a folder and below, millions of them, in an order that tells frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np

from mtl_toolkit import DataError

SUFFIXES = frozenset(
    (
        b".bmp",
        b".gif",
        b".jfif",
        b".jpe",
        b".jpeg",
        b".jpg",
        b".pgm",
        b".png",
        b".ppm",
        b".tif",
        b".tiff",
        b".webp",
    )
)
NUMBER = re.compile(rb"(?<!\d)\d{1,18}$")  # what fits into int64


@attrs.frozen(eq=False)
class PictureTree:
    """Pictures by folder, in the folder by number, then by name.

    Attributes:
        root: the folder that paths start from.
        files: paths, UTF-8: bytes [pictures].
        folders: paths of the folders that have pictures, '' for the root itself: bytes [folders].
        owners: the folder of each picture: int32 [pictures].
        frames: its number in the folder, see `frame_numbers`: int64 [pictures].
        others: how many files that are no pictures were passed over.
    """

    root: Path
    files: np.ndarray
    folders: np.ndarray
    owners: np.ndarray
    frames: np.ndarray
    others: int = 0

    @classmethod
    def of_file(cls, path: Path) -> PictureTree:
        """The tree of one picture."""
        names = [os.fsencode(path.name)]
        _check_text(names, path.parent)
        return cls(
            path.parent,
            np.array(names, np.bytes_),
            np.zeros(1, "S1"),
            np.zeros(1, np.int32),
            frame_numbers(names)[1],
        )


def list_pictures(root: Path) -> PictureTree:
    """Find the pictures below a folder by their suffixes; hidden files and folders are passed over.

    Links to folders are followed, but not to one that they are in.

    Raises:
        DataError: if a folder cannot be listed, a name is not UTF-8, or there are no pictures.
    """
    parts = []
    others = 0
    for folder, names, more in _walk(os.fsencode(root.absolute())):
        others += more
        if names:
            _check_text([folder, *names], root)
            order, frames = frame_numbers(names)
            prefix = folder + b"/" if folder else b""
            parts.append((folder, np.array([prefix + names[place] for place in order], np.bytes_), frames))
    if not parts:
        found = f"got {others} other files" if others else "it has no files"
        raise DataError(f"{root}: there are no pictures in this folder or below ({found})")
    parts.sort(key=lambda part: part[0])
    return PictureTree(
        root,
        np.concatenate([files for _, files, _ in parts]),
        np.array([folder for folder, _, _ in parts], np.bytes_),
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(files) for _, files, _ in parts]),
        np.concatenate([frames for _, _, frames in parts]),
        others,
    )


def frame_numbers(names: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers at the ends of file names: "00012.jpg" is 12, a name without a number 0.

    A folder in which a number occurs twice is no sequence: its numbers are all 0.

    Returns:
        The order of the names by number, then name, and the numbers in that order; int64 [names] both.
    """
    found = (NUMBER.search(os.path.splitext(name)[0]) for name in names)  # noqa: PTH122 - pathlib is slow
    numbers = [int(match[0]) if match else 0 for match in found]
    order = sorted(range(len(names)), key=lambda place: (numbers[place], names[place]))
    frames = np.array(numbers, np.int64)[order]
    if (np.diff(frames[frames > 0]) == 0).any():
        frames[:] = 0
    return np.array(order, np.int64), frames


def _walk(root: bytes) -> Iterator[tuple[bytes, list[bytes], int]]:
    """Yield each folder's path under the root, its pictures' names, and how many other files it has."""
    waiting: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(b"", frozenset())]
    while waiting:
        folder, above = waiting.pop()
        path = os.path.join(root, folder) if folder else root  # noqa: PTH118 - pathlib has no paths of bytes
        try:
            status = os.stat(path)  # noqa: PTH116
            identity = (status.st_dev, status.st_ino)
            if identity in above:  # a link leads back up
                continue
            pictures, folders, others = _list(path)
        except OSError as error:
            raise DataError(f"{os.fsdecode(path)}: {error.strerror}") from None
        prefix = folder + b"/" if folder else b""
        waiting += [(prefix + name, above | {identity}) for name in folders]
        yield folder, pictures, others


def _list(path: bytes) -> tuple[list[bytes], list[bytes], int]:
    """The names of the pictures and folders in a folder, and the number of other files."""
    pictures, folders, others = [], [], 0
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122
                pictures.append(entry.name)
            else:
                others += 1
    return pictures, folders, others


def _check_text(names: list[bytes], root: Path) -> None:
    for name in names:
        try:
            name.decode()
        except UnicodeDecodeError:
            raise DataError(f"{root}: names must be UTF-8 text (got {name!r})") from None
