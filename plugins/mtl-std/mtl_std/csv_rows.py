"""The rows of a table of pictures: files, groups, videos, frame numbers, boxes of faces and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np

from .cells import Cells, ProblemList, parse_numbers

BoxForm = Literal["corners", "size"]
LARGEST = 2**53  # whole numbers up to it are exact in float64


@attrs.frozen(eq=False)
class CsvTable:
    """The rows to use, as arrays, which forked loader processes share.

    Attributes:
        lines: where each row ends in the file, from 1: int64 [rows].
        files: pictures as the table names them, UTF-8: bytes [rows].
        groups: the group of each row, UTF-8: bytes [rows].
        videos: the video that each row is a frame of, UTF-8, empty for none: bytes [rows].
        frames: number of the frame in its video, 0 where there is none: int64 [rows].
        boxes: left, top, right and bottom of the face in pixels, NaN where there is none: float32 [rows, 4].
        values: per task the label values [rows, ...], NaN where they are missing.
    """

    lines: np.ndarray
    files: np.ndarray
    groups: np.ndarray | None = None
    videos: np.ndarray | None = None
    frames: np.ndarray | None = None
    boxes: np.ndarray | None = None
    values: Mapping[str, np.ndarray] = attrs.field(factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[CsvTable]) -> CsvTable:
        """Lay blocks of rows one after the other."""
        columns: dict[str, Any] = {}
        for name in ("lines", "files", "groups", "videos", "frames", "boxes"):
            blocks = [getattr(part, name) for part in parts]
            columns[name] = None if blocks[0] is None else np.concatenate(blocks)
        values = {task: np.concatenate([part.values[task] for part in parts]) for task in parts[0].values}
        return cls(**columns, values=values)


def parse_frames(cells: Cells, problems: ProblemList) -> np.ndarray:
    """Read a column of frame numbers: int64 [rows], 0 where the field is empty."""
    numbers = np.nan_to_num(parse_numbers(cells, problems, span=(0, LARGEST)), nan=0.0)
    problems.add_cells(
        cells, np.flatnonzero(numbers != np.floor(numbers)), lambda _: "must be a whole number"
    )
    whole: np.ndarray = numbers.astype(np.int64)
    return whole


def parse_boxes(columns: Sequence[Cells], form: BoxForm, problems: ProblemList) -> np.ndarray:
    """Read the four columns of a box as left, top, right and bottom: float32 [rows, 4].

    A row in which all four are empty has no face: NaN. One in which some are, or whose box has no area,
    becomes a problem.

    Args:
        columns: left and top, then right and bottom, or width and height.
        form: which of the two.
        problems: gets what is wrong.
    """
    boxes = np.stack([parse_numbers(cells, problems) for cells in columns], axis=1)
    empty = np.array([[not text for text in cells.texts] for cells in columns], np.bool_).T
    partly = empty.any(axis=1) & ~empty.all(axis=1)
    for place, cells in enumerate(columns):
        bad = np.flatnonzero(partly & empty[:, place])
        problems.add_cells(cells, bad, lambda _: "must be filled in, as other columns of the box are")
    if form == "size":
        boxes[:, 2:] += boxes[:, :2]
    for place, edge in ((2, "left"), (3, "top")):
        rule = f"must be greater than the {edge} edge" if form == "corners" else "must be above 0"
        bad = np.flatnonzero(boxes[:, place] <= boxes[:, place - 2])
        problems.add_cells(columns[place], bad, lambda _, rule=rule: rule)  # type: ignore[misc]
    return boxes.astype(np.float32)


def find_duplicates(table: CsvTable, problems: ProblemList) -> None:
    """Note every picture that an earlier row names too; in a table with boxes, with an equal box."""
    boxes = [b""] * len(table.files) if table.boxes is None else [box.tobytes() for box in table.boxes]
    faces = zip(table.files, boxes, strict=True)
    hashes = np.fromiter((hash(face) for face in faces), np.int64, len(table.files))
    order = np.argsort(hashes, kind="stable")
    equal = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    for first, second in zip(order[equal], order[equal + 1], strict=True):
        if table.files[first] == table.files[second] and boxes[first] == boxes[second]:
            file, line = table.files[second].decode(), int(table.lines[second])
            problems.add(
                f"each picture must be listed once; {file!r} is on line {table.lines[first]} too "
                '(narrow `where`, or set duplicates = "keep")',
                line,
            )
