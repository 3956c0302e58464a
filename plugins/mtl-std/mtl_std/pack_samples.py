"""Any dataset as a packed file: what goes into it, in steps that can be taken up again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtl_toolkit import DataError, Head, RunError, Samples

from .pack_parts import LEFT_OUT, PART, Parts
from .packed import NUMBERS, TEXTS, VERSION
from .packing import Contents, write_file
from .picture_files import as_bytes
from .stored_labels import StoredLabels, to_stored
from .worker_processes import share_out

BLOCK = 65536  # ids that are Python objects at a time


def pack_samples(
    path: Path,
    samples: Samples,
    heads: Mapping[str, Head],
    *,
    size: int,
    quality: int,
    workers: int,
    origin: Mapping[str, Any] | None,
    progress: Callable[[int], None],
) -> int:
    """Write samples to a packed file; arguments and errors as for `Dataset.write`.

    Pictures are encoded into parts in a folder beside the file, and copied into it when all are there. Memory
    holds the labels, the columns and, for each worker, the decoded pictures of a single read.
    """
    contents = contents_of(samples, heads, {"origin": origin, "size": size, "quality": quality})
    parts = Parts(path.with_name(f".{path.name}.parts"), len(samples), size, quality, PART)
    parts.prepare(
        {
            "version": VERSION,
            "part": parts.part,
            "samples": len(samples),
            "preprocessing": dict(contents.preprocessing),
            "contents": digest(contents),
        }
    )
    unfinished = parts.unfinished()
    done = len(samples) - sum(len(parts.indices(number)) for number in unfinished)
    progress(done)
    make = functools.partial(parts.make, samples=samples)
    with contextlib.closing(share_out(make, unfinished, workers)) as finished:
        for number in finished:
            done += len(parts.indices(number))
            progress(done)
    sizes = parts.sizes()
    kept = np.flatnonzero(sizes["length"] != LEFT_OUT)
    if not len(kept):
        raise RunError(f"none of {len(samples)} samples can be read")
    sizes = sizes[kept]
    write_file(path, parts.pictures(), sizes["length"], sizes["crc32"], contents.take(kept))
    parts.remove()
    return len(kept)


def contents_of(samples: Samples, heads: Mapping[str, Head], preprocessing: Mapping[str, Any]) -> Contents:
    """The labels under the heads' names for them, and all columns that are known.

    Raises:
        DataError: if labels cannot be stored, or two tasks have different ones of one name.
    """
    labels: dict[str, StoredLabels] = {}
    for task, found in samples.labels().items():
        if task in heads:
            name = heads[task].label
            stored = to_stored(task, heads[task], found)
            if name in labels and hash_labels(labels[name]) != hash_labels(stored):
                raise DataError(f"task {task!r}: another task has other labels of the name {name!r}")
            labels[name] = stored
    columns = {"id": ids_of(samples)}
    for name in (*TEXTS[1:], *NUMBERS):
        values = samples.column(name)
        if values is not None:
            columns[name] = values.astype(np.int64) if name in NUMBERS else text_column(values)
    return Contents(labels, columns, preprocessing, whole_names=True)


def ids_of(samples: Samples) -> np.ndarray:
    """The samples' names: UTF-8, bytes [samples]."""
    blocks = [
        as_bytes([samples.id(index) for index in range(start, min(start + BLOCK, len(samples)))])
        for start in range(0, len(samples), BLOCK)
    ]
    return np.concatenate([np.zeros(0, "S1"), *blocks])


def text_column(values: np.ndarray) -> np.ndarray:
    """A column of any type as UTF-8: bytes [samples], None as the empty text."""
    if values.dtype.kind == "S":
        return values
    return as_bytes(["" if value is None else str(value) for value in values.tolist()])


def digest(contents: Contents) -> str:
    """A hash of all labels and columns."""
    found = hashlib.sha256()
    for name, label in sorted(contents.labels.items()):
        found.update(f"{name}/{hash_labels(label)}".encode())
    for name, column in sorted(contents.columns.items()):
        found.update(f"{name}/{column.dtype}/{column.shape}".encode())
        found.update(np.ascontiguousarray(column).data)
    return found.hexdigest()


def hash_labels(label: StoredLabels) -> str:
    """A hash of labels with their names and range."""
    found = hashlib.sha256(repr((label.classes, label.units, label.range)).encode())
    for values in (label.values, label.valid):
        found.update(f"{values.dtype}/{values.shape}".encode())
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()
