"""Pictures in files, their labels in a CSV table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import DataError, DataFacts, Dataset, Labels, Samples, hookimpl
from mtl_toolkit.validators import not_empty

from .cells import Cells, ProblemList
from .csv_table import read_blocks
from .label_columns import LabelColumns, Parser, to_labels
from .picture_files import PictureFiles, as_bytes
from .pictures import square
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
        factory=dict, metadata={"doc": "the columns of each task's label, by task name", "keys": "tasks"}
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
        self._pictures = PictureFiles(root, table.files)
        self._groups = table.groups
        self._lines = table.lines
        self._labels = labels
        self._size = size
        self._source = source

    def __len__(self) -> int:
        return len(self._pictures)

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read pictures: uint8 [len(indices), 3, size, size].

        Raises:
            UnreadableSampleError: if one cannot be read; the message names its file.
        """
        return torch.stack([square(self._pictures.load(int(index)), self._size) for index in indices])

    def id(self, index: int) -> str:
        """The picture's path as the table has it."""
        return self._pictures.name(index)

    def column(self, name: str) -> np.ndarray | None:
        """`file`: absolute paths; `group`: the group column under the pictures' folder; bytes [samples]."""
        if name == "file":
            return self._pictures.paths()
        if name == "group" and self._groups is not None:
            # Tables of other pictures may number their groups alike.
            named = np.char.add(f"{self._pictures.root}: ".encode(), self._groups)
            return np.where(self._groups == b"", b"", named)
        return None

    def problems(self) -> list[str]:
        """One line for each of the first missing pictures, and how many more there are."""
        return self._pictures.problems(
            lambda index: f"{self._source} line {self._lines[index]}", self._source
        )


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


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The CSV dataset."""
    return [ImageCsv]
