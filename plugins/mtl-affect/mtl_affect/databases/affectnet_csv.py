"""AffectNet's release with a CSV table for each split: a row per face, with box, 68 landmarks and labels."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from mtl_std.cells import Cells, ProblemList, nearest, parse_numbers
from mtl_std.picture_files import as_bytes

from mtl_toolkit import DataError

from .affectnet_labels import NO_CORNERS, Annotations, check, corners_of, to_number
from .reading import source_of

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
BOX = ("face_x", "face_y", "face_width", "face_height")
BLOCK = 2048  # rows held as text at a time


def read_table(path: Path, with_landmarks: bool) -> Annotations:
    """Read a table, whose first line may or may not name the columns.

    Raises:
        DataError: if it is missing, empty or not in the format; up to 20 problems are told in full.
    """
    problems = ProblemList(source_of(path))
    parts = [_parse(block, problems, with_landmarks) for block in _blocks(path, problems)]
    problems.check()
    if not parts:
        raise DataError(f"{path}: has no rows")
    return Annotations.joined(parts)


def _blocks(path: Path, problems: ProblemList) -> Iterator[dict[str, Cells]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            first = next((list(map(str.strip, row)) for row in reader if row), list(COLUMNS))
            # A line of names has no number in it.
            headless = any(not math.isnan(to_number(field)) for field in first)
            header = list(COLUMNS) if headless else first
            places = _places(header, problems)
            rows = itertools.chain([first] if headless else [], reader)
            # line_num is where the row that was read last ends.
            numbered = ((reader.line_num, row) for row in rows if row)
            while block := list(itertools.islice(numbered, BLOCK)):
                yield _columns(block, len(header), places, problems)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: must be UTF-8 text") from None
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: cannot be read as CSV ({error})") from None


def _places(header: Sequence[str], problems: ProblemList) -> dict[str, int]:
    for column in COLUMNS:
        if column not in header:
            problems.add(f"there is no column {column!r}{nearest(column, header)}", 1)
    problems.check()
    return {column: header.index(column) for column in COLUMNS}


def _columns(
    block: Sequence[tuple[int, list[str]]], width: int, places: Mapping[str, int], problems: ProblemList
) -> dict[str, Cells]:
    for line, row in block:
        if len(row) != width:
            problems.add(f"must have {width} fields (got {len(row)})", line)
    whole = [(line, row) for line, row in block if len(row) == width]
    lines = np.array([line for line, _ in whole], np.int64)
    return {
        column: Cells(column, lines, [row[place].strip() for _, row in whole])
        for column, place in places.items()
    }


def _parse(block: Mapping[str, Cells], problems: ProblemList, with_landmarks: bool) -> Annotations:
    files = block[COLUMNS[0]]
    problems.add_cells(
        files, [place for place, text in enumerate(files.texts) if not text], lambda _: "must name a picture"
    )
    expression, valence, arousal = (_labels(block[name], problems) for name in COLUMNS[-3:])
    left, top, width, height = (parse_numbers(block[column], problems) for column in BOX)
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    boxes[~((width > 0) & (height > 0))] = np.nan
    landmarks = block["facial_landmarks"].texts
    corners = [corners_of_text(text) if with_landmarks else NO_CORNERS for text in landmarks]
    return Annotations(
        files=as_bytes(files.texts),
        expression=expression.astype(np.int64),
        affect=np.stack([valence, arousal], axis=1),
        boxes=boxes,
        corners=np.array(corners).reshape(-1, 2, 2),
    )


def _labels(cells: Cells, problems: ProblemList) -> np.ndarray:
    numbers, wrong, rule = check(cells.texts, cells.column == "expression")
    problems.add_cells(cells, wrong, lambda _: rule)
    return numbers


def corners_of_text(text: str) -> tuple[float, ...]:
    """The corners of landmarks that are written `x;y;x;y...`."""
    try:
        return corners_of([*map(float, text.split(";"))])
    except ValueError:
        return NO_CORNERS
