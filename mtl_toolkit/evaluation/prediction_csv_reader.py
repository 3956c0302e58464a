"""Reads the default file of predictions back, a block of rows at a time."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from ..errors import DataError, FileProblems, shown, suggestion
from ..plugin import Head, Predictions

if TYPE_CHECKING:
    from _csv import Reader  # the type of csv.reader, which has no public name

ROW_COLUMNS = ("name", "video", "frame", "face")
BLOCK = 16384  # rows held as text at a time

Texts = Sequence[str]
Parser = Callable[[Texts], np.ndarray]


def read_predictions(path: Path, heads: Mapping[str, Head]) -> Predictions:
    """Read a file that `PredictionCsv` wrote; a task that it does not have is left out.

    The column of a task's decided class may be missing; where it is there, it agrees with the probabilities.

    Raises:
        DataError: if it cannot be read, with one line per problem that names file and line.
    """
    problems = _Problems(path)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = _header(reader, problems)
            there = _tasks(header, heads, problems)
            parts = [_predictions(block, there, problems) for block in _blocks(reader, header, problems)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    problems.check()
    return _joined(parts, there)


def class_names(head: Head) -> tuple[str, ...]:
    """The names of a task's classes, in the order of their ids; none where it has no classes."""
    return tuple(head.meaning().get("classes", ()))


def decided_names(head: Head, values: np.ndarray) -> np.ndarray:
    """The name of each row's decided class, '' where `values` [rows, columns] has NaN: str [rows]."""
    names = np.array(class_names(head))
    predicted = ~np.isnan(values).any(axis=1)
    result = np.full(len(values), "", names.dtype)
    result[predicted] = names[head.decide(values[predicted])]
    return result


class _Problems(FileProblems):
    """The problems of one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def tell(self, line: int, message: str) -> None:
        self.add(message, self.path, line)


@attrs.frozen(eq=False)
class _Block:
    """Some rows: their line numbers, and their cells by column."""

    lines: list[int]
    cells: Mapping[str, Texts]

    def parse(self, column: str, parser: Parser, rule: str, problems: _Problems) -> np.ndarray:
        """Read a column; where a cell breaks the rule, note it and return zeros."""
        texts = self.cells[column]
        try:
            return parser(texts)
        except ValueError:
            bad = [row for row, text in enumerate(texts) if not _can(parser, text)]
        self.note(column, bad, rule, problems)
        return parser(["0"] * len(texts))

    def note(self, column: str, rows: Iterable[int], rule: str, problems: _Problems) -> None:
        for row in rows:
            problems.tell(
                self.lines[row], f"column {column!r}: {rule} (got {shown(self.cells[column][row])})"
            )


def _header(reader: Reader, problems: _Problems) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{problems.path} line 1: cannot be read as CSV ({error})") from None
    if not header:
        raise DataError(f"{problems.path}: is empty; the first line must name the columns")
    return header


def _tasks(header: Sequence[str], heads: Mapping[str, Head], problems: _Problems) -> dict[str, Head]:
    """The tasks that the file has, once its columns are known to be right."""
    columns = {task: [f"{task}.{name}" for name in head.columns] for task, head in heads.items()}
    there = {task: head for task, head in heads.items() if {task, *columns[task]} & set(header)}
    needed = [*ROW_COLUMNS, *itertools.chain.from_iterable(columns[task] for task in there)]
    decided = [task for task, head in heads.items() if class_names(head)]
    known = [*ROW_COLUMNS, *itertools.chain.from_iterable(columns.values()), *decided]
    unknown = [column for column in header if column not in known]
    for column in unknown:
        problems.tell(1, f"there must be no column {column!r}{suggestion(column, known)}")
    for column in needed:
        if column not in header:
            problems.tell(1, f"there must be a column {column!r}{suggestion(column, unknown or header)}")
    for column in dict.fromkeys(header):
        if header.count(column) > 1:
            problems.tell(
                1, f"column {column!r} must be there once (got {header.count(column)} of that name)"
            )
    problems.check()
    return there


def _blocks(reader: Reader, header: Sequence[str], problems: _Problems) -> Iterator[_Block]:
    numbered = _rows(reader, len(header), problems)
    while batch := list(itertools.islice(numbered, BLOCK)):
        lines, rows = zip(*batch, strict=True)
        yield _Block(list(lines), dict(zip(header, zip(*rows, strict=True), strict=True)))


def _rows(reader: Reader, width: int, problems: _Problems) -> Iterator[tuple[int, list[str]]]:
    """The rows with their line numbers; blank lines are passed over."""
    try:
        for row in reader:
            if len(row) == width:
                yield reader.line_num, row
            elif row:
                problems.tell(reader.line_num, f"must have {width} fields, as the header (got {len(row)})")
    except csv.Error as error:
        problems.tell(reader.line_num, f"cannot be read as CSV ({error})")


def _predictions(block: _Block, heads: Mapping[str, Head], problems: _Problems) -> Predictions:
    found = Predictions(
        heads=heads,
        values={task: _values(block, task, head, problems) for task, head in heads.items()},
        names=np.array(block.cells["name"], np.str_),
        videos=np.array(block.cells["video"], np.str_),
        frames=block.parse("frame", _frames, "must be the number of a frame, or 0", problems),
        faces=block.parse("face", _faces, "must be 1 or 0", problems),
    )
    if not problems.lines():
        for task, values in found.values.items():
            _check_classes(block, task, heads[task], values, problems)
    return found


def _values(block: _Block, task: str, head: Head, problems: _Problems) -> np.ndarray:
    rule = "must be a finite number, or empty"
    columns = [block.parse(f"{task}.{name}", _numbers, rule, problems) for name in head.columns]
    return np.stack(columns, axis=1)


def _check_classes(block: _Block, task: str, head: Head, values: np.ndarray, problems: _Problems) -> None:
    """The class named must be the one that the probabilities decide, and '' where there are none."""
    if task in block.cells:
        wanted = decided_names(head, values)
        for row in np.flatnonzero(wanted != np.array(block.cells[task])):
            block.note(task, [int(row)], f"must be {str(wanted[row])!r}, as its probabilities say", problems)


def _can(parser: Parser, text: str) -> bool:
    try:
        parser([text])
    except ValueError:
        return False
    return True


def _numbers(texts: Texts) -> np.ndarray:
    """Numbers that float32 can hold, NaN for ''."""
    if "" in texts:
        texts = [text or "nan" for text in texts]
    numbers = np.array(list(map(float, texts)))
    if (np.abs(numbers) > np.finfo(np.float32).max).any():
        raise ValueError
    return numbers.astype(np.float32)


def _frames(texts: Texts) -> np.ndarray:
    numbers = list(map(int, texts))
    if not 0 <= min(numbers) <= max(numbers) < 2**62:
        raise ValueError
    return np.array(numbers, np.int64)


def _faces(texts: Texts) -> np.ndarray:
    if not set(texts) <= {"0", "1"}:
        raise ValueError
    return np.array([text == "1" for text in texts])


def _joined(parts: Sequence[Predictions], heads: Mapping[str, Head]) -> Predictions:
    def column(name: str, kind: Any) -> np.ndarray:
        return np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])

    return Predictions(
        heads=heads,
        values={
            task: np.concatenate(
                [np.zeros((0, len(head.columns)), np.float32), *(part.values[task] for part in parts)]
            )
            for task, head in heads.items()
        },
        names=column("names", np.str_),
        videos=column("videos", np.str_),
        frames=column("frames", np.int64),
        faces=column("faces", np.bool_),
    )
