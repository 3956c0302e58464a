"""Pictures and labels packed into one HDF5 file; `packed` has the format."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import DataError, DataFacts, Dataset, Head, Labels, Samples, hookimpl
from mtl_toolkit.validators import unique

from .cells import Cells, ProblemList, nearest
from .label_columns import label_kind, rescale, shares, task_range, to_labels
from .packed import PackedFile, PackedLabels, PictureBytes, open_packed
from .pictures import square_picture
from .where import DOC as WHERE
from .where import check_where, parse_where, select_rows


@attrs.frozen(kw_only=True)
class Hdf5(Dataset):
    """Pictures and labels packed into one HDF5 file (format mtl-toolkit, version 1)."""

    name: ClassVar[str] = "hdf5"
    path: Path = attrs.field(metadata={"doc": "the packed file"})
    labels: Mapping[str, str] = attrs.field(
        factory=dict,
        metadata={"doc": "the stored label of each task, by task name; by default the head's own name for it"},
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
            self._check_dropped(stored.values())
            columns = {name: file.column(name) for name in file.columns()}
        return PackedSamples(
            pictures.take(rows),
            {
                task: self._labels(stored[task], rows, facts.tasks[task], task)
                for task in stored
            },
            {name: column[rows] for name, column in columns.items() if column is not None},
            size=facts.image_size,
            on_error=self.on_error,
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
                texts = [text.decode().strip() for text in stored.tolist()]
                columns[rule.column] = Cells(rule.column, np.arange(len(file)), texts)
        problems.check()
        keep = select_rows(rules, columns, problems) if rules else np.ones(len(file), np.bool_)
        problems.check()
        if not keep.any():
            raise DataError(f"{self.path}: no sample is left by `where`, of {len(file)} in the file")
        return np.flatnonzero(keep)

    def _stored(self, file: PackedFile, tasks: Mapping[str, Head]) -> dict[str, PackedLabels]:
        """What the file has for the tasks; a task is passed over only if it was not mapped by name."""
        known = file.label_names()
        wanted = {task: self.labels.get(task, head.label) for task, head in tasks.items()}
        return {
            task: file.labels(name) for task, name in wanted.items() if task in self.labels or name in known
        }
