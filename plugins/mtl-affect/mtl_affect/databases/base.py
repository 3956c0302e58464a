"""What the recipes of all databases share."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

import attrs
import numpy as np
from mtl_std.cells import nearest
from mtl_std.stored_labels import StoredLabels, check_dropped, task_labels

from mtl_toolkit import DataError, DataFacts, Dataset, Labels
from mtl_toolkit.validators import unique

from .table import FaceSamples, FaceTable


@attrs.frozen(kw_only=True)
class FaceDatabase(Dataset):
    """A database of faces in the layout in which its owners give it out."""

    root: Path = attrs.field(metadata={"doc": "the database's folder"})
    labels: Mapping[str, str] = attrs.field(
        factory=dict,
        metadata={
            "doc": "the database's label for each task, by task name; by default the head's own name",
            "keys": "tasks",
        },
    )
    drop_classes: tuple[str, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={"doc": "classes that the tasks do not have; their labels count as missing"},
    )
    unlabelled: bool = attrs.field(default=False, metadata={"doc": "keep faces without a label of the tasks"})
    require: tuple[str, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={
            "doc": "labels of the database, such as expression, that a face must have (at least in part, and "
            "of no dropped class); others are left out"
        },
    )
    on_error: Literal["stop", "skip"] = attrs.field(
        default="stop", metadata={"doc": "what to do about a picture that cannot be read"}
    )

    @abc.abstractmethod
    def table(self) -> FaceTable:
        """Read the part of the database that the recipe asks for, without decoding a picture.

        Raises:
            DataError: if a file is missing or not in the database's format.
        """

    def build(self, facts: DataFacts) -> FaceSamples:
        """Read the labels and match classes and units with those of the tasks by name.

        Raises:
            DataError: if a file is missing, not in the database's format, or does not fit the tasks.
        """
        table = self.table()
        source = f"{self.name} {self.root.name}"
        if not len(table):
            raise DataError(f"{source}: there are no faces")
        labels = self._labels(facts, table, source)
        required = self._required(table, source)
        wanted = required if self.unlabelled else required & labelled(labels.values(), len(table))
        if not wanted.any():
            known = ", ".join(table.labels) or "none"
            raise DataError(
                f"{source}: none of {required.sum()} faces has a label of the tasks (its labels: {known})"
            )
        rows = np.flatnonzero(wanted)
        return FaceSamples(
            table,
            rows,
            {task: Labels(found.values[rows], found.valid[rows]) for task, found in labels.items()},
            size=facts.image_size,
            on_error=self.on_error,
            source=source,
            left_out={
                f"faces that lack a required label ({', '.join(self.require)})": int((~required).sum()),
                "faces without a label of the tasks": int((required & ~wanted).sum()),
            },
        )

    def _labels(self, facts: DataFacts, table: FaceTable, source: str) -> dict[str, Labels]:
        """The tasks' labels of all rows of the table."""
        names = self._names(facts, table, source)
        check_dropped(self.drop_classes, [table.labels[name] for name in names.values()], source)
        rows, dropped = np.arange(len(table)), self.drop_classes
        return {
            task: task_labels(
                task, facts.tasks[task], table.labels[name], rows, dropped=dropped, source=source
            )
            for task, name in names.items()
        }

    def _names(self, facts: DataFacts, table: FaceTable, source: str) -> dict[str, str]:
        """The database's label of each task; a task that was not mapped may have none."""
        for task, name in self.labels.items():
            if task in facts.tasks and name not in table.labels:
                hint = nearest(name, table.labels)
                raise DataError(f"{source}: labels.{task}: there is no label {name!r}{hint}")
        wanted = {task: self.labels.get(task, head.label) for task, head in facts.tasks.items()}
        return {task: name for task, name in wanted.items() if name in table.labels}

    def _required(self, table: FaceTable, source: str) -> np.ndarray:
        """Which rows have all labels that `require` names: bool [rows]."""
        found = np.ones(len(table), np.bool_)
        for name in self.require:
            if name not in table.labels:
                hint = nearest(name, table.labels)
                raise DataError(f"{source}: require: there is no label {name!r}{hint}")
            found &= present(table.labels[name], self.drop_classes)
        if not found.any():
            raise DataError(
                f"{source}: require: none of {len(table)} faces has all of {', '.join(self.require)}"
            )
        return found


def labelled(labels: Iterable[Labels], rows: int) -> np.ndarray:
    """Which rows have a label of any task, at least in part: bool [rows]."""
    found = np.zeros(rows, np.bool_)
    for label in labels:
        found |= label.valid.reshape(rows, -1).any(axis=1)
    return found


def present(stored: StoredLabels, dropped: Collection[str]) -> np.ndarray:
    """Which rows have a label, at least in part, when dropped classes count as missing: bool [rows]."""
    there = stored.valid
    gone = np.array([name in dropped for name in stored.classes], np.bool_)
    if stored.classes and there.ndim == 1:
        there = there & ~np.isin(stored.values, np.flatnonzero(gone))
    elif stored.classes:  # votes for each class
        there = there & (stored.values > 0) & ~gone
    return np.asarray(there.reshape(len(there), -1).any(axis=1))
