"""The rows of a submission: read in blocks, whatever the length of the file, and every problem told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from mtl_toolkit import FileProblems

from .parts import Part

BLOCK = 8192  # rows held as text at a time


@attrs.frozen
class Layout:
    """What a line holds: a picture's name, unless the file has none, then the fields of the parts.

    Attributes:
        header: the first line, in full.
        parts: what follows in the other lines.
        named: they begin with a picture's name.
    """

    header: str
    parts: tuple[Part, ...]
    named: bool = True

    @property
    def columns(self) -> list[slice]:
        """Where each part's values are."""
        ends = np.cumsum([len(part.fields) for part in self.parts]).tolist()
        return [slice(end - len(part.fields), end) for part, end in zip(self.parts, ends, strict=True)]

    @property
    def width(self) -> int:
        """Values in a row."""
        return sum(len(part.fields) for part in self.parts)


@attrs.frozen(eq=False)
class Rows:
    """Some rows that follow each other.

    Attributes:
        first: the line of the first.
        names: the pictures' names; empty where the file has none.
        values: float64 [rows, fields].
        right: nothing is wrong with a row: bool [rows].
    """

    first: int
    names: list[str]
    values: np.ndarray
    right: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


def find_layout(path: Path, layouts: Sequence[Layout], problems: FileProblems) -> Layout | None:
    """The layout that the header tells, with spaces and case ignored; the only one, if there is one only."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline().strip()
    except OSError as error:
        problems.add(error.strerror or str(error), path)
        return None
    for layout in layouts:
        if "".join(header.split()).lower() == layout.header.lower():
            return layout
    expected = " or ".join(repr(layout.header) for layout in layouts)
    problems.add(f"the header must be {expected} (got {header[:80]!r})", path, 1)
    return layouts[0] if len(layouts) == 1 else None


def read_rows(path: Path, layout: Layout, problems: FileProblems) -> Iterator[Rows]:
    """Yield all rows, block by block, problems of any line noted; blank lines at the end are no rows."""
    try:
        # Of a byte that is no UTF-8, the line is told where its name or number is read.
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            file.readline()
            for first, lines in _blocks(file):
                yield _parse(path, layout, first, lines, problems)
    except OSError as error:
        problems.add(error.strerror or str(error), path)


def _blocks(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Lines by the block, with the number of the first."""
    first, block, blank = 2, list[str](), 0
    for text in map(str.strip, lines):
        if not text:
            blank += 1
            continue
        block += [*[""] * blank, text]
        blank = 0
        if len(block) >= BLOCK:
            yield first, block
            first, block = first + len(block), []
    if block:
        yield first, block


def _parse(path: Path, layout: Layout, first: int, lines: list[str], problems: FileProblems) -> Rows:
    names: list[str] = []
    texts = lines
    if layout.named:
        split = [line.partition(",") for line in lines]
        names = [name.strip() for name, _, _ in split]
        texts = [rest for _, _, rest in split]
    values, right = _numbers(texts, layout, path, first, problems)
    for part, columns in zip(layout.parts, layout.columns, strict=True):
        wrong = ~part.right(values[:, columns]) & right[:, None]
        for row, place in np.argwhere(wrong).tolist():
            found = values[row, columns][place]
            problems.add(f"{part.fields[place]} {part.rule} (got {found:.10g})", path, first + row)
        right &= ~wrong.any(axis=1)
    return Rows(first, names, values, right)


def _numbers(
    texts: list[str], layout: Layout, path: Path, first: int, problems: FileProblems
) -> tuple[np.ndarray, np.ndarray]:
    """Values [rows, fields], and which rows could be read."""
    if all(texts):
        try:
            values = np.loadtxt(texts, delimiter=",", comments=None, ndmin=2)
        except ValueError:
            pass
        else:
            if values.shape == (len(texts), layout.width):
                return values, np.ones(len(texts), np.bool_)
    # Line by line, to say which are wrong.
    values = np.zeros((len(texts), layout.width))
    right = np.ones(len(texts), np.bool_)
    for row, text in enumerate(texts):
        try:
            values[row] = _row(text, layout.width, before=int(layout.named))
        except ValueError as error:
            right[row] = False
            problems.add(str(error), path, first + row)
    return values, right


def _row(text: str, width: int, before: int) -> list[float]:
    fields = text.split(",") if text else []
    if len(fields) != width:
        plural = "" if width + before == 1 else "s"
        raise ValueError(f"must have {width + before} field{plural} (got {len(fields) + before})")
    return [_number(field.strip()) for field in fields]


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"must be numbers (got {field[:80]!r})") from None
