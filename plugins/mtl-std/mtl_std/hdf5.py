"""Pictures and labels packed into one HDF5 file; `packed` has the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import DataError, DataFacts, Dataset, Head, Labels, Samples, hookimpl
from mtl_toolkit.validators import unique

from .cells import Cells, ProblemList, nearest
from .packed import PackedFile, PictureBytes, open_packed
from .pictures import decode_sample, square
from .stored_labels import StoredLabels, check_dropped, task_labels
from .where import DOC as WHERE
from .where import check_where, parse_where, select_rows


@attrs.frozen(kw_only=True)
class Hdf5(Dataset):
    """Pictures and labels packed into one HDF5 file (format mtl-toolkit, version 1)."""

    name: ClassVar[str] = "hdf5"
    path: Path = attrs.field(metadata={"doc": "the packed file"})
    labels: Mapping[str, str] = attrs.field(
        factory=dict,
        metadata={
            "doc": "the stored label of each task, by task name; by default the head's own name for it",
            "keys": "tasks",
        },
    )
    drop_classes: tuple[str, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={"doc": "stored classes that the tasks do not have; their labels count as missing"},
    )
    where: Mapping[str, Any] = attrs.field(factory=dict, validator=check_where, metadata={"doc": WHERE})
    on_error: Literal["stop", "skip"] = attrs.field(
        default="stop", metadata={"doc": "what to do about a picture that cannot be read"}
    )

    def build(self, facts: DataFacts) -> PackedSamples:
        """Read everything but the pictures.

        Raises:
            DataError: if the file is missing, damaged, of another format, or does not fit the tasks.
        """
        with open_packed(self.path) as file:
            pictures = file.pictures()
            rows = self._rows(file)
            stored = self._stored(file, facts.tasks)
            columns = {name: file.column(name) for name in file.columns()}
        check_dropped(self.drop_classes, stored.values(), str(self.path))
        return PackedSamples(
            pictures.take(rows),
            {
                task: task_labels(
                    task, facts.tasks[task], found, rows, dropped=self.drop_classes, source=str(self.path)
                )
                for task, found in stored.items()
            },
            {name: column[rows] for name, column in columns.items() if column is not None},
            size=facts.image_size,
            on_error=self.on_error,
            folder=str(self.path.absolute().parent),
        )

    def _rows(self, file: PackedFile) -> np.ndarray:
        """The samples that comply with `where`: int64."""
        rules = parse_where(self.where)
        problems = ProblemList(str(self.path), "sample")
        columns = {}
        for rule in rules:
            stored = file.column(rule.column)
            if stored is None:
                problems.add(f"there is no column {rule.column!r}{nearest(rule.column, file.columns())}")
            else:
                texts = [text.decode(errors="replace").strip() for text in stored.tolist()]
                columns[rule.column] = Cells(rule.column, np.arange(len(file)), texts)
        problems.check()
        keep = select_rows(rules, columns, problems) if rules else np.ones(len(file), np.bool_)
        problems.check()
        if not keep.any():
            raise DataError(f"{self.path}: no sample is left by `where`, of {len(file)} in the file")
        return np.flatnonzero(keep)

    def _stored(self, file: PackedFile, tasks: Mapping[str, Head]) -> dict[str, StoredLabels]:
        """What the file has for the tasks; one may be absent that was not mapped to a stored name."""
        known = file.label_names()
        wanted = {task: self.labels.get(task, head.label) for task, head in tasks.items()}
        return {
            task: file.labels(name) for task, name in wanted.items() if task in self.labels or name in known
        }


class PackedSamples(Samples):
    """The pictures of a packed file; they are decoded when they are read."""

    def __init__(
        self,
        pictures: PictureBytes,
        labels: Mapping[str, Labels],
        columns: Mapping[str, np.ndarray],
        *,
        size: int,
        on_error: Literal["stop", "skip"],
        folder: str,
    ) -> None:
        self.on_error = on_error
        self._folder = folder
        self._pictures = pictures
        self._labels = labels
        self._columns = columns
        self._size = size

    def __len__(self) -> int:
        return len(self._pictures.starts)

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read pictures, in the order they lie in the file: uint8 [len(indices), 3, size, size].

        Raises:
            UnreadableSampleError: if one cannot be read; the message names it.
        """
        wanted = np.asarray(indices)
        order = np.argsort(self._pictures.starts[wanted], kind="stable")
        pictures = torch.empty((len(wanted), 3, self._size, self._size), dtype=torch.uint8)
        for place, encoded in zip(order, self._pictures.read(wanted[order]), strict=True):
            name = f"{self._pictures.path}: {self.id(wanted[place])}"
            pictures[place] = square(decode_sample(encoded, name), self._size)
        return pictures

    def id(self, index: int) -> str:
        """The stored id, or the sample's number among those chosen."""
        if "id" not in self._columns:
            return str(index)
        return bytes(self._columns["id"][index]).decode(errors="replace")

    def column(self, name: str) -> np.ndarray | None:
        """The columns of text that are stored, as bytes [samples].

        `file` is the id, and like `group` it stands under its `source`, or under the pack's folder where
        none is stored: other databases may use the same names.
        """
        found = self._columns.get("id" if name == "file" else name)
        if found is None or name not in ("file", "group"):
            return found
        source = self._columns.get("source", np.array(self._folder.encode()))
        return np.where(found == b"", b"", np.char.add(np.char.add(source, b": "), found))


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The HDF5 dataset."""
    return [Hdf5]
