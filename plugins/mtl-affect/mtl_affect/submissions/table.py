"""Submissions of one file: a header, then a picture's name and the predictions in each line."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import attrs
import numpy as np

from mtl_toolkit import FileProblems, Head, Listing, Predictions, RunError, replacing_file

from .coverage import coverage_of, video_and_frame
from .edition import EditionWriter
from .parts import Part
from .rows import BLOCK, Layout, Rows, find_layout, read_rows
from .tasks import or_list


@attrs.frozen(kw_only=True)
class TableWriter(EditionWriter):
    """Writes all rows to one file."""

    @abc.abstractmethod
    def layouts(self) -> tuple[Layout, ...]:
        """What such a file may look like."""

    @abc.abstractmethod
    def readable(self, heads: Mapping[str, Head], layout: Layout) -> tuple[dict[str, Part], list[str]]:
        """The tasks that a file has, and what keeps them from being read."""

    def write(self, path: Path, predictions: Predictions) -> list[Path]:
        """Write the rows in the order given.

        Raises:
            ConfigError: if `problems` has any.
            RunError: if a prediction is missing, or the file cannot be written.
        """
        tasks = self.ready(path, predictions)
        layout = next(one for one in self.layouts() if one.parts == tuple(tasks.values()))
        with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(f"{layout.header}\n")
            for first in range(0, len(predictions), BLOCK):
                rows = slice(first, first + BLOCK)
                names = [_plain(path, name) for name in predictions.names[rows].tolist()]
                write_rows(file, predictions, tasks, rows, names)
        return [path]

    def read(self, path: Path, heads: Mapping[str, Head]) -> Predictions:
        """Read the tasks that the file has; a class is 1 for the one that is told and 0 for the others.

        Raises:
            ConfigError: if it is not clear which task is meant, or there is none.
            DataError: if something is wrong with the file.
        """
        problems = FileProblems()
        layout = find_layout(path, self.layouts(), problems)
        if layout is None:
            problems.check()
        assert layout is not None
        tasks, unclear = self.readable(heads, layout)
        if not tasks and not unclear:
            unclear = [f"there is no task with the label {or_list([part.label for part in layout.parts])}"]
        self.refuse(unclear)
        blocks = [
            (np.array(rows.names, np.str_), decode(rows, layout, tasks, heads, path, problems))
            for rows in read_rows(path, layout, problems)
        ]
        problems.check()
        return _gather(blocks, {task: heads[task] for task in tasks})

    def check(self, path: Path, listing: Listing) -> list[str]:
        """Check header, fields, values, and that there is one row for each frame on the list."""
        problems = FileProblems()
        layout = find_layout(path, self.layouts(), problems)
        if layout is not None:
            coverage = coverage_of(listing)
            for rows in read_rows(path, layout, problems):
                coverage.add(rows.names, rows.first, lambda problem, line: problems.add(problem, path, line))
            coverage.finish(lambda problem, line: problems.add(problem, path, line))
        return problems.lines()


def write_rows(
    file: TextIO,
    predictions: Predictions,
    tasks: Mapping[str, Part],
    rows: slice | np.ndarray,
    names: Sequence[str] | None = None,
) -> None:
    """Write some rows, with names in front if there are any."""
    fields = [] if names is None else [names]
    for task, part in tasks.items():
        fields += part.encode(predictions.heads[task], predictions.values[task][rows])
    file.writelines(f"{','.join(row)}\n" for row in zip(*fields, strict=True))


def decode(
    rows: Rows,
    layout: Layout,
    tasks: Mapping[str, Part],
    heads: Mapping[str, Head],
    path: Path,
    problems: FileProblems,
) -> dict[str, np.ndarray]:
    """The predictions of each task in some rows: [rows, columns of its head]; classes it lacks are noted."""
    found = {}
    for task, part in tasks.items():
        head, values = heads[task], rows.values[:, layout.columns[layout.parts.index(part)]]
        for row in np.flatnonzero(part.unknown(head, values) & rows.right).tolist():
            name = part.names[int(values[row, 0])]
            problems.add(f"class {name!r} is none of task {task!r}", path, rows.first + row)
        found[task] = part.decode(head, values)
    return found


def _plain(path: Path, name: str) -> str:
    if any(sign in name for sign in ",\r\n"):
        raise RunError(f"{path}: the name of a picture must have no comma and no line break (got {name!r})")
    return name


def _gather(
    blocks: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]], heads: Mapping[str, Head]
) -> Predictions:
    names = np.concatenate([np.empty(0, "U1"), *(names for names, _ in blocks)])
    values = {
        task: np.concatenate(
            [np.empty((0, len(head.columns)), np.float32), *(values[task] for _, values in blocks)]
        )
        for task, head in heads.items()
    }
    videos, frames = _whereabouts(names)
    return Predictions(heads, values, names, videos, frames, np.ones(len(names), np.bool_))


def _whereabouts(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The video of each picture, and the number of its frame there."""

    def told() -> Iterator[tuple[str, int]]:
        return (video_and_frame(name) for name in names.tolist())

    videos = np.array([video for video, _ in told()], np.str_)
    return videos, np.fromiter((frame for _, frame in told()), np.int64, len(names))
