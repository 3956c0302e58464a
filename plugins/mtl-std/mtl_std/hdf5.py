"""Pictures and labels packed into one HDF5 file; `packed` has the format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import h5py
import numpy as np

from mtl_toolkit import DataError, DataFacts, Dataset, Detector, Head, Samples, hookimpl
from mtl_toolkit.validators import unique

from .cells import Cells, ProblemList, nearest
from .pack_samples import pack_samples
from .packed import BLOCK, FORMAT, PackedFile, chosen, open_packed
from .packed_samples import PackedSamples
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
        source = str(self.path)
        with open_packed(self.path) as file:
            pictures = file.pictures()
            rows = self._rows(file)
            pictures = pictures.take(rows)
            stored = self._stored(file, facts.tasks)
            check_dropped(self.drop_classes, stored.values(), source)
            labels = {
                task: task_labels(
                    task, facts.tasks[task], found, rows, dropped=self.drop_classes, source=source
                )
                for task, found in stored.items()
            }
            ids = file.column("id")
        return PackedSamples(
            self.path.absolute(),
            rows,
            pictures=pictures,
            labels=labels,
            ids=None if ids is None else chosen(ids, rows),
            size=facts.image_size,
            on_error=self.on_error,
        )

    @classmethod
    def for_path(
        cls,
        path: Path,
        *,
        detector: Detector | None = None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> Hdf5 | None:
        """The dataset of a packed file; its pictures show what is to be seen, and need no detector.

        Raises:
            DataError: if it is no sound HDF5 file, or of another version.
        """
        if path.suffix.lower() not in (".h5", ".hdf5") or not path.is_file() or _is_other(path):
            return None
        with open_packed(path):
            return cls(path=path, on_error=on_error)

    @classmethod
    def write(
        cls,
        path: Path,
        samples: Samples,
        heads: Mapping[str, Head],
        *,
        size: int,
        quality: int = 95,
        workers: int = 0,
        origin: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> int:
        """Pack samples into one file, with JPEG pictures.

        Raises:
            UserError: if labels cannot be stored, a sample cannot be read, or the file cannot be written.
        """
        return pack_samples(
            path,
            samples,
            heads,
            size=size,
            quality=quality,
            workers=workers,
            origin=origin,
            progress=progress,
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
                columns[rule.column] = stored
        problems.check()
        keep = np.ones(len(file), np.bool_)
        for start in range(0, len(file) if rules else 0, BLOCK):
            cells = {name: _cells(name, column, start) for name, column in columns.items()}
            keep[start : start + BLOCK] = select_rows(rules, cells, problems)
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


def _is_other(path: Path) -> bool:
    """Whether a file is sound HDF5, but of another format."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bool(file.attrs.get("format") != FORMAT)
    except OSError:
        return False


def _cells(name: str, column: np.ndarray, start: int) -> Cells:
    """A block of a column as texts."""
    values = column[start : start + BLOCK]
    if values.dtype.kind == "S":
        texts = [text.decode(errors="replace").strip() for text in values.tolist()]
    else:
        texts = [str(number) for number in values.tolist()]
    return Cells(name, np.arange(start, start + len(texts)), texts)


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The HDF5 dataset."""
    return [Hdf5]
