"""Pictures in files, named by one packed array of paths."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
from torch import Tensor

from .cells import SHOWN
from .pictures import load_picture


class PictureFiles:
    """Picture files in a folder and below; the paths are one array, which forked loader processes share.

    Args:
        root: the folder that relative paths start from.
        files: a path per picture, UTF-8: bytes [pictures].
    """

    def __init__(self, root: Path, files: np.ndarray) -> None:
        self.root = str(root.absolute())
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The picture's path as it was given."""
        return bytes(self.files[index]).decode()

    def load(self, index: int) -> Tensor:
        """Decode a picture: uint8 [3, height, width].

        Raises:
            UnreadableSampleError: if it cannot be read; the message names its file.
        """
        return load_picture(os.path.join(self.root, self.name(index)))  # noqa: PTH118 - it is hot

    def paths(self) -> np.ndarray:
        """Absolute paths, equal for equal files: bytes [pictures]."""
        return absolute_paths(self.root, self.files)

    def problems(self, place: Callable[[int], str], source: str) -> list[str]:
        """One line for each of the first missing pictures, and how many more there are.

        Args:
            place: where a picture was named, for the start of its line.
            source: the start of the line with the rest.
        """
        missing = missing_files(self.root, self.files)
        lines = [
            f"{place(index)}: there is no picture {self.name(index)} in {self.root}"
            for index in missing[:SHOWN]
        ]
        more = len(missing) - len(lines)
        return [*lines, f"{source}: ... and {more} more missing pictures"] if more else lines


def as_bytes(texts: Sequence[str]) -> np.ndarray:
    """Pack texts into one array of UTF-8 of a fixed width: a fraction of the memory of a list."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def absolute_paths(root: str, files: np.ndarray) -> np.ndarray:
    """Put the root in front of relative paths and resolve `..`, so that equal files have equal paths."""
    paths = np.char.add(f"{root}/".encode(), files)
    # Few paths need work, and they show it: by a dot after a slash, or the second slash of an absolute one.
    odd = (np.char.find(paths, b"/.") >= 0) | (np.char.find(paths, b"//") >= 0)
    places = np.flatnonzero(odd)
    if not len(places):
        return paths
    fixed = [os.path.normpath(os.path.join(root.encode(), files[place])) for place in places]  # noqa: PTH118
    paths = paths.astype(f"S{max(paths.itemsize, *map(len, fixed))}")
    paths[places] = fixed
    return paths


def missing_files(root: str, files: np.ndarray) -> list[int]:
    """Find the files that are not there: their places, ascending; folders are listed, no file is opened."""
    # In sorted order the files of a folder come close together, so that few listings are held at a time.
    order = np.argsort(files, kind="stable")
    listing = functools.lru_cache(maxsize=64)(folder_names)
    missing: list[int] = []
    split = ((*os.path.split(bytes(files[place])), int(place)) for place in order)
    for folder, found in itertools.groupby(split, key=itemgetter(0)):
        names = listing(os.path.join(root.encode(), folder))  # noqa: PTH118
        missing += [place for _, name, place in found if name not in names]
    return sorted(missing)


def folder_names(folder: bytes) -> frozenset[bytes]:
    """The names in a folder; none if it cannot be listed."""
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - pathlib has no paths of bytes
    except OSError:
        return frozenset()
