"""Labels under their own names and range, and how they become a task's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import attrs
import numpy as np

from mtl_toolkit import DataError, Head, Labels

from .cells import nearest
from .label_columns import label_kind, rescale, shares, task_range, to_labels

BLOCK = 65536  # rows converted at a time


@attrs.frozen(eq=False)
class StoredLabels:
    """One kind of label as a file or a database has it, with its own names and range.

    Attributes:
        values: [samples, ...]: class ids where `classes` is given, else numbers, one column per unit. An
            array, or what gives one when it is sliced.
        valid: bool, the shape of `values`.
        classes: class names, by id.
        units: names of the columns of `values`.
        range: lowest and highest value.
    """

    values: np.ndarray
    valid: np.ndarray
    classes: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    range: tuple[float, float] | None = None

    def part(self, start: int, stop: int) -> StoredLabels:
        """Some of the samples, as arrays."""
        return attrs.evolve(self, values=self.values[start:stop], valid=self.valid[start:stop])


def task_labels(
    task: str, head: Head, stored: StoredLabels, rows: np.ndarray, *, dropped: Collection[str], source: str
) -> Labels:
    """A task's labels on some rows of the stored ones, which are converted in blocks.

    Args:
        task: its name, for messages.
        head: its head.
        stored: labels of all rows.
        rows: the rows wanted, ascending: int64.
        dropped: classes whose labels count as missing.
        source: the start of messages.

    Raises:
        DataError: if they do not fit the task.
    """
    labels = Labels.missing(len(rows), head.target_shape, head.target_dtype)
    for start in range(0, len(stored.values), BLOCK):
        first, last = np.searchsorted(rows, (start, start + BLOCK))
        try:
            values = target_values(stored.part(start, start + BLOCK), head, dropped, first=start)
            part = to_labels(values[rows[first:last] - start], head, task, source)
            labels.values[first:last], labels.valid[first:last] = part.values, part.valid
        except ValueError as error:
            raise DataError(f"{source}: task {task!r}: {error}") from None
    return labels


def to_stored(task: str, head: Head, labels: Labels) -> StoredLabels:
    """A task's labels under the head's own names and range; `task_labels` makes the same labels of them.

    Raises:
        DataError: if that is not so: they break the task's rule, or the head is of an unknown kind.
    """
    kind = label_kind(head)
    stored = StoredLabels(
        np.where(labels.valid, labels.values, 0),
        labels.valid,
        classes=tuple(head.meaning()["classes"]) if kind in ("class", "shares") else (),
        units=tuple(head.units) if kind in ("yes-no", "values") else (),
        range=task_range(head) if kind == "values" else None,
    )
    back = task_labels(task, head, stored, np.arange(len(labels)), dropped=(), source="labels to store")
    if not (np.array_equal(back.valid, labels.valid) and np.array_equal(back.values, stored.values)):
        raise DataError(f"task {task!r}: labels of the head {head.name!r} would not read back as they are")
    return stored


def check_dropped(dropped: Collection[str], stored: Iterable[StoredLabels], source: str) -> None:
    """Refuse names of classes to leave out that no stored label has.

    Raises:
        DataError: with one line per unknown name.
    """
    known = {name for label in stored for name in label.classes}
    unknown = [name for name in dropped if name not in known]
    if unknown and known:
        raise DataError(
            *(
                f"{source}: drop_classes: there is no class {name!r}{nearest(name, sorted(known))}"
                for name in unknown
            )
        )


def target_values(
    stored: StoredLabels, head: Head, dropped: Collection[str] = (), *, first: int = 0
) -> np.ndarray:
    """Bring stored labels into a head's terms: float64 [samples, ...], NaN where they are missing.

    Classes and units are matched by name, a stored range is scaled to the head's. `first` is the number of
    the first sample, for messages.

    Raises:
        ValueError: if they do not fit the head, or a valid one is not finite; the message says why.
    """
    broken = stored.valid & ~np.isfinite(stored.values)
    if broken.any():
        sample = first + int(np.argwhere(broken)[0][0])
        raise ValueError(f"a valid value must be finite (sample {sample} is not)")
    values = np.where(stored.valid, stored.values, np.nan)
    kind = label_kind(head)
    if kind == "class":
        return class_ids(values, stored.classes, head.meaning()["classes"], dropped)
    wanted = tuple(head.meaning()["classes"]) if kind == "shares" else head.units
    if kind == "shares":
        check_classes(stored.classes, wanted, dropped)
    values = named_columns(values, stored.classes or stored.units, wanted)
    if kind == "values":
        # In the stored precision: 0.7 as float32 lies inside a range up to 0.7, as float64 outside.
        check_range(values, stored.range)
    values = values.astype(np.float64)
    if kind == "shares":
        values[:, [name in dropped for name in wanted]] = 0
        return shares(values)
    return values if kind == "yes-no" else rescale(values, stored.range, task_range(head))


def check_range(values: np.ndarray, span: tuple[float, float] | None) -> None:
    """Raise a ValueError if a value that is not missing lies outside the stored range."""
    if span is None:
        return
    wrong = values[(values < span[0]) | (values > span[1])]
    if len(wrong):
        raise ValueError(f"must lie in the stored range [{span[0]:g}, {span[1]:g}] (got {wrong[0]:g})")


def check_classes(stored: Sequence[str], wanted: Sequence[str], dropped: Collection[str]) -> None:
    """Raise a ValueError for a stored class that the task lacks and that is not to be dropped."""
    for name in stored:
        if name not in wanted and name not in dropped:
            raise ValueError(
                f"the task has no class {name!r}{nearest(name, wanted)} (drop_classes leaves its labels out)"
            )


def class_ids(
    values: np.ndarray, stored: Sequence[str], wanted: Sequence[str], dropped: Collection[str]
) -> np.ndarray:
    """Turn ids of stored classes [samples], NaN where missing, into ids of the wanted ones by name."""
    if values.ndim != 1 or not stored:
        raise ValueError(
            f"must be class ids [samples] with class names (got {values.shape}, {len(stored)} names)"
        )
    check_classes(stored, wanted, dropped)
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
