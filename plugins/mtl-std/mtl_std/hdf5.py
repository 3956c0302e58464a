"""Pictures and labels packed into one HDF5 file; `packed` has the format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
        metadata={
            "doc": "the stored label of each task, by task name; by default the head's own name for it"
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
        self._check_dropped(stored.values())
        return PackedSamples(
            pictures.take(rows),
            {task: self._labels(task, facts.tasks[task], found, rows) for task, found in stored.items()},
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

    def _stored(self, file: PackedFile, tasks: Mapping[str, Head]) -> dict[str, PackedLabels]:
        """What the file has for the tasks; one may be absent that was not mapped to a stored name."""
        known = file.label_names()
        wanted = {task: self.labels.get(task, head.label) for task, head in tasks.items()}
        return {
            task: file.labels(name) for task, name in wanted.items() if task in self.labels or name in known
        }

    def _check_dropped(self, stored: Iterable[PackedLabels]) -> None:
        known = {name for label in stored for name in label.classes}
        unknown = [name for name in self.drop_classes if name not in known]
        if unknown and known:
            raise DataError(
                *(
                    f"{self.path}: drop_classes: there is no class {name!r}{nearest(name, sorted(known))}"
                    for name in unknown
                )
            )

    def _labels(self, task: str, head: Head, stored: PackedLabels, rows: np.ndarray) -> Labels:
        try:
            values = target_values(stored, head, self.drop_classes)[rows]
        except ValueError as error:
            raise DataError(f"{self.path}: task {task!r}: {error}") from None
        return to_labels(values, head, task, str(self.path))


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
            pictures[place] = square_picture(encoded, self._size, name)
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


def target_values(stored: PackedLabels, head: Head, dropped: Collection[str] = ()) -> np.ndarray:
    """Bring stored labels into a head's terms: float64 [samples, ...], NaN where they are missing.

    Classes and units are matched by name, a stored range is scaled to the head's.

    Raises:
        ValueError: if they do not fit the head, or a valid one is not finite; the message says why.
    """
    broken = stored.valid & ~np.isfinite(stored.values)
    if broken.any():
        raise ValueError(f"a valid value must be finite (sample {int(np.argwhere(broken)[0][0])} is not)")
    values = np.where(stored.valid, stored.values, np.nan).astype(np.float64)
    kind = label_kind(head)
    if kind == "class":
        return class_ids(values, stored.classes, head.meaning()["classes"], dropped)
    wanted = tuple(head.meaning()["classes"]) if kind == "shares" else head.units
    values = named_columns(values, stored.classes or stored.units, wanted)
    if kind == "shares":
        return shares(values)
    if kind == "yes-no":
        return values
    check_range(values, stored.range)
    return rescale(values, stored.range, task_range(head))


def check_range(values: np.ndarray, span: tuple[float, float] | None) -> None:
    """Raise a ValueError if a value that is not missing lies outside the stored range."""
    if span is None:
        return
    wrong = values[(values < span[0]) | (values > span[1])]
    if len(wrong):
        raise ValueError(f"must lie in the stored range [{span[0]:g}, {span[1]:g}] (got {wrong[0]:g})")


def class_ids(
    values: np.ndarray, stored: Sequence[str], wanted: Sequence[str], dropped: Collection[str]
) -> np.ndarray:
    """Turn ids of stored classes [samples], NaN where missing, into ids of the wanted ones by name."""
    if values.ndim != 1 or not stored:
        raise ValueError(
            f"must be class ids [samples] with class names (got {values.shape}, {len(stored)} names)"
        )
    for name in stored:
        if name not in wanted and name not in dropped:
            raise ValueError(
                f"the task has no class {name!r}{nearest(name, wanted)} (drop_classes leaves its labels out)"
            )
    present = ~np.isnan(values)
    ids = values[present]
    wrong = ids[(ids < 0) | (ids >= len(stored)) | (ids != np.floor(ids))]
    if len(wrong):
        raise ValueError(f"class ids must be from 0 to {len(stored) - 1} (got {wrong[0]:g})")
    table = np.array([wanted.index(name) if name not in dropped else np.nan for name in stored])
    result = np.full(len(values), np.nan)
    result[present] = table[ids.astype(np.int64)]
    return result


def named_columns(values: np.ndarray, stored: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """The columns of the wanted names, in their order; by position where the stored ones have no names."""
    names = stored or wanted
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"must have the shape [samples, {len(names)}] (got {values.shape})")
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValueError(f"there is no unit {absent[0]!r}{nearest(absent[0], names)}")
    return values[:, [names.index(name) for name in wanted]]


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The HDF5 dataset."""
    return [Hdf5]
