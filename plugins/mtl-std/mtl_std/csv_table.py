"""Reading a CSV file of any length in bounded memory, a block of rows at a time.

Fields are separated by commas; in a file with the suffix .tsv, by tabs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mtl_toolkit import DataError

from .cells import Cells, ProblemList, nearest
from .picture_files import as_bytes

if TYPE_CHECKING:
    from _csv import Reader  # the type of csv.reader, which has no public name

BLOCK = 2048  # rows held as text at a time; small enough to stay in the processor's cache


def read_blocks(path: Path, columns: Sequence[str], problems: ProblemList) -> Iterator[dict[str, Cells]]:
    """Yield the given columns of all rows, block by block; blank lines are passed over.

    Rows with too few or too many fields are left out and become problems, as does text that cannot be read
    as CSV, after which nothing more is read.

    Raises:
        DataError: if there is no such file, it is empty, or columns are missing.
    """
    try:
        with path.open("rb") as file:
            reader = _reader(path, file)
            header = [name.strip() for name in next(reader, [])]
            places = _places(header, columns, problems)
            yield from _blocks(reader, len(header), places, problems)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except _NotTextError as error:
        problems.add("must be UTF-8 text; save the file as UTF-8", error.line)
    except csv.Error as error:
        problems.add(f"cannot be read as CSV ({error})", reader.line_num)


def read_header(path: Path) -> list[str]:
    """Read the names of the columns.

    Raises:
        DataError: if there is no such file, or its first line does not name columns.
    """
    try:
        with path.open("rb") as file:
            header = [name.strip() for name in next(_reader(path, file), [])]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except _NotTextError as error:
        raise DataError(f"{path} line {error.line}: must be UTF-8 text; save the file as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} line 1: cannot be read as CSV ({error})") from None
    if not any(header):
        raise DataError(f"{path}: is empty; the first line must name the columns")
    return header


def read_column(path: Path, column: str, lines: np.ndarray, source: str) -> np.ndarray:
    """Read one column of some rows: UTF-8, bytes [rows].

    Args:
        path: the table.
        column: its name.
        lines: where the rows end in the file, from 1, ascending: int64 [rows].
        source: the start of messages.

    Raises:
        DataError: if it cannot be read, or no longer has these rows.
    """
    problems = ProblemList(source)
    found, rows = [], 0
    for block in read_blocks(path, [column], problems):
        cells = block[column]
        near = np.minimum(np.searchsorted(lines, cells.rows), len(lines) - 1)
        wanted = cells.take(lines[near] == cells.rows)
        found.append(as_bytes(wanted.texts))
        rows += len(wanted.rows)
    problems.check()
    if rows != len(lines):
        raise DataError(f"{source}: has changed since it was opened: {len(lines) - rows} rows are gone")
    return np.concatenate(found)


class _NotTextError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def _reader(path: Path, file: BinaryIO) -> Reader:
    # Decoded line by line, so that the line of a byte that is not UTF-8 is known.
    lines = (_decode(line, number) for number, line in enumerate(file, 1))
    return csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)


def _decode(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise _NotTextError(number) from None


def _places(header: Sequence[str], columns: Sequence[str], problems: ProblemList) -> dict[str, int]:
    if not any(header):
        raise DataError(f"{problems.source}: is empty; the first line must name the columns")
    for column in dict.fromkeys(columns):
        if column not in header:
            problems.add(f"there is no column {column!r}{nearest(column, header)}")
        elif header.count(column) > 1:
            problems.add(f"column {column!r} must be there once (got {header.count(column)} of that name)", 1)
    problems.check()
    return {column: header.index(column) for column in columns}


def _blocks(
    reader: Reader, width: int, places: dict[str, int], problems: ProblemList
) -> Iterator[dict[str, Cells]]:
    lines: list[int] = []
    rows: list[list[str]] = []
    for row in reader:
        if len(row) == width:
            lines.append(reader.line_num)
            rows.append(row)
        elif row:
            problems.add(f"must have {width} fields, as the header (got {len(row)})", reader.line_num)
        if len(rows) == BLOCK:
            yield _columns(lines, rows, places)
            lines, rows = [], []
    if rows:
        yield _columns(lines, rows, places)


def _columns(lines: list[int], rows: list[list[str]], places: dict[str, int]) -> dict[str, Cells]:
    numbers = np.asarray(lines, np.int64)
    return {
        column: Cells(column, numbers, [row[place].strip() for row in rows])
        for column, place in places.items()
    }
