"""Finding and reading the small files of a database, with errors that say what is there instead."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from mtl_std.cells import Cells, ProblemList, nearest

from mtl_toolkit import DataError


def find(root: Path, *names: str) -> Path:
    """The first of some files or folders below a folder that is there.

    Raises:
        DataError: if there is none; the message names the first, and what is there with the nearest name.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise not_there(root / names[0])


def not_there(path: Path) -> DataError:
    """The error about a missing file or folder: where its path breaks off, and the nearest name there."""
    folder = wanted = path.absolute()
    while not folder.is_dir():
        wanted, folder = folder, folder.parent
    there = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    missing = path.absolute().relative_to(folder)
    return DataError(f"{folder}: there is no {missing}{nearest(wanted.name, there)}")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: must be UTF-8 text") from None


def parse_ids(cells: Cells, classes: int, problems: ProblemList) -> np.ndarray:
    """Read a column of class ids from 0: int64 [rows]; what is none becomes a problem."""
    ids = {str(number): number for number in range(classes)}
    found = np.fromiter((ids.get(text, -1) for text in cells.texts), np.int64, len(cells.texts))
    problems.add_cells(
        cells, np.flatnonzero(found < 0), lambda _: f"must be a class id from 0 to {classes - 1}"
    )
    return found


def source_of(path: Path) -> str:
    """How messages call a table."""
    return f"{path.parent.name}/{path.name}"
