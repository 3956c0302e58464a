"""Pictures in files, their labels in a CSV table."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import DataError, DataFacts, Dataset, Labels, Samples, hookimpl
from mtl_toolkit.validators import not_empty

from .cells import SHOWN, Cells, ProblemList
from .csv_table import read_blocks
from .label_columns import LabelColumns, Parser, to_labels
from .pictures import load_picture
from .where import DOC as WHERE
from .where import Rule, check_where, parse_where, select_rows


@attrs.frozen(kw_only=True)
class ImageCsv(Dataset):
    """Pictures in files, their labels in a CSV table with a header; an empty field is a missing label."""

    name: ClassVar[str] = "image-csv"
    csv: Path = attrs.field(metadata={"doc": "the table: UTF-8, commas, column names in the first line"})
    root: Path | None = attrs.field(
        default=None, metadata={"doc": "folder that the pictures' paths start from; none: that of the table"}
    )
    file: str = attrs.field(
        default="file", validator=not_empty(), metadata={"doc": "column with the picture's path"}
    )
    group: str | None = attrs.field(
        default=None,
        metadata={"doc": "column that ties samples together (person, video), for checks of the splits"},
    )
    where: Mapping[str, Any] = attrs.field(factory=dict, validator=check_where, metadata={"doc": WHERE})
    duplicates: Literal["error", "keep"] = attrs.field(
        default="error", metadata={"doc": "what to do about a picture that is listed twice"}
    )
    on_error: Literal["stop", "skip"] = attrs.field(
        default="stop", metadata={"doc": "what to do about a picture that cannot be read"}
    )
    labels: Mapping[str, LabelColumns] = attrs.field(
        factory=dict, metadata={"doc": "the columns of each task's label, by task name"}
    )

    def build(self, facts: DataFacts) -> CsvSamples:
        """Read the table.

        Raises:
            DataError: if the table is missing or cannot be used; up to 20 problems are told in full.
        """
        source = f"{self.csv.parent.name}/{self.csv.name}"
        problems = ProblemList(source)
        heads = {task: head for task, head in facts.tasks.items() if task in self.labels}
        parsers: dict[str, Parser] = {}
        for task, head in heads.items():
            try:
                parsers[task] = self.labels[task].parser(head)
            except ValueError as error:
                problems.add(f"task {task!r}: {error}")
        problems.check()
        table = self._read(parsers, problems)
        if self.duplicates == "error":
            find_duplicates(table, problems)
            problems.check()
        labels = {task: to_labels(table.values[task], head, task, source) for task, head in heads.items()}
        return CsvSamples(
            table,
            labels,
            root=self.root or self.csv.parent,
            size=facts.image_size,
            on_error=self.on_error,
            source=source,
        )

    def _read(self, parsers: Mapping[str, Parser], problems: ProblemList) -> CsvTable:
        rules = parse_where(self.where)
        columns = [self.file, *([self.group] if self.group else []), *(rule.column for rule in rules)]
        columns += [name for task in parsers for name in self.labels[task].names]
        rows = 0
        parts = []
        for block in read_blocks(self.csv, columns, problems):
            rows += len(block[self.file].rows)
            parts.append(self._select(block, rules, parsers, problems))
        problems.check()
        if not any(len(part.files) for part in parts):
            raise DataError(f"{problems.source}: no row is left by `where`, of {rows} in the table")
        return CsvTable.joined(parts)

    def _select(
        self,
        block: Mapping[str, Cells],
        rules: Sequence[Rule],
        parsers: Mapping[str, Parser],
        problems: ProblemList,
    ) -> CsvTable:
        keep = select_rows(rules, block, problems)
        block = {column: cells.take(keep) for column, cells in block.items()}
        files = block[self.file]
        nameless = [place for place, text in enumerate(files.texts) if not text]
        problems.add_cells(files, nameless, lambda _: "must name a picture")
        return CsvTable(
            lines=files.rows,
            files=as_bytes(files.texts),
            groups=as_bytes(block[self.group].texts) if self.group else None,
            values={task: parse(block, problems) for task, parse in parsers.items()},
        )


@attrs.frozen(eq=False)
class CsvTable:
    """The rows to use, as arrays, which forked loader processes share.

    Attributes:
        lines: where each row ends in the file, from 1: int64 [rows].
        files: pictures as the table names them, UTF-8: bytes [rows].
        groups: the group of each row, UTF-8: bytes [rows].
        values: per task the label values [rows, ...], NaN where they are missing.
    """

    lines: np.ndarray
    files: np.ndarray
    groups: np.ndarray | None
    values: Mapping[str, np.ndarray]

    @classmethod
    def joined(cls, parts: Sequence[CsvTable]) -> CsvTable:
        """Lay blocks of rows one after the other."""
        groups = [part.groups for part in parts if part.groups is not None]
        return cls(
            lines=np.concatenate([part.lines for part in parts]),
            files=np.concatenate([part.files for part in parts]),
            groups=np.concatenate(groups) if groups else None,
            values={task: np.concatenate([part.values[task] for part in parts]) for task in parts[0].values},
        )


class CsvSamples(Samples):
    """The pictures of a table; they are decoded when they are read."""

    def __init__(
        self,
        table: CsvTable,
        labels: Mapping[str, Labels],
        *,
        root: Path,
        size: int,
        on_error: Literal["stop", "skip"],
        source: str,
    ) -> None:
        self.on_error = on_error
        self._files = table.files
        self._groups = table.groups
        self._lines = table.lines
        self._labels = labels
        self._root = str(root.absolute())
        self._size = size
        self._source = source

    def __len__(self) -> int:
        return len(self._files)

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read pictures: uint8 [len(indices), 3, size, size].

        Raises:
            UnreadableSampleError: if one cannot be read; the message names its file.
        """
        paths = [os.path.join(self._root, self.id(index)) for index in indices]  # noqa: PTH118 - it is hot
        return torch.stack([load_picture(path, self._size) for path in paths])

    def id(self, index: int) -> str:
        """The picture's path as the table has it."""
        return bytes(self._files[index]).decode()

    def column(self, name: str) -> np.ndarray | None:
        """`file`: absolute paths; `group`: the group column under the pictures' folder; bytes [samples]."""
        if name == "file":
            return absolute_paths(self._root, self._files)
        if name == "group" and self._groups is not None:
            # Tables of other pictures may number their groups alike.
            named = np.char.add(f"{self._root}: ".encode(), self._groups)
            return np.where(self._groups == b"", b"", named)
        return None

    def problems(self) -> list[str]:
        """One line for each of the first missing pictures, and how many more there are."""
        missing = missing_files(self._root, self._files)
        lines = [
            f"{self._source} line {self._lines[index]}: there is no picture {self.id(index)} in {self._root}"
            for index in missing[:SHOWN]
        ]
        more = len(missing) - len(lines)
        return [*lines, f"{self._source}: ... and {more} more missing pictures"] if more else lines


def as_bytes(texts: Sequence[str]) -> np.ndarray:
    """Pack texts into one array of UTF-8 of a fixed width: a fraction of the memory of a list."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def find_duplicates(table: CsvTable, problems: ProblemList) -> None:
    """Note every picture that an earlier row names too."""
    hashes = np.fromiter((hash(file) for file in table.files), np.int64, len(table.files))
    order = np.argsort(hashes, kind="stable")
    equal = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    for first, second in zip(order[equal], order[equal + 1], strict=True):
        if table.files[first] == table.files[second]:
            file, line = table.files[second].decode(), int(table.lines[second])
            problems.add(
                f"each picture must be listed once; {file!r} is on line {table.lines[first]} too "
                '(narrow `where`, or set duplicates = "keep")',
                line,
            )


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


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The CSV dataset."""
    return [ImageCsv]
