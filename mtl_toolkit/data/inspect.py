"""What is in the data of a stage, found without decoding a picture: counts, coverage, overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from ..plugin import Head
from ..samples import Samples
from .samples import column_bytes

BLOCK = 65536  # values of a column that are Python objects at a time


@attrs.frozen
class Coverage:
    """The labels of one task in a dataset."""

    labelled: int
    partly: int
    summary: Mapping[str, Any]

    @property
    def there(self) -> bool:
        """Whether there is a label, or part of one."""
        return self.labelled > 0 or self.partly > 0


@attrs.frozen
class FeedSummary:
    """A stream or a validation feed in numbers.

    Attributes:
        title: how logs call it.
        task: the task that it is for.
        samples: how many.
        coverage: the labels, by task.
        made: tasks whose targets are made of the inputs.
    """

    title: str
    task: str
    samples: int
    coverage: Mapping[str, Coverage]
    made: tuple[str, ...] = ()


@attrs.frozen
class Overlap:
    """Samples that training and validation share."""

    train: str
    validation: str
    column: str
    count: int
    examples: tuple[str, ...]

    @property
    def shared(self) -> str:
        """What they share: how many, and some of them."""
        shown = ", ".join(self.examples) + (", ..." if self.count > len(self.examples) else "")
        return f"{self.count} {self.column}{'s' if self.count != 1 else ''} ({shown})"

    def __str__(self) -> str:
        return f"training stream {self.train!r} and validation {self.validation!r} share {self.shared}"


def summarise(
    title: str, task: str, samples: Samples, heads: Mapping[str, Head], made: Sequence[str] = ()
) -> FeedSummary:
    """Count the samples and labels of a feed; the tasks `made` have no labels, but targets in every row."""
    return FeedSummary(title, task, len(samples), coverage_of(samples, heads), tuple(made))


def coverage_of(samples: Samples, heads: Mapping[str, Head]) -> dict[str, Coverage]:
    """Count the labels of each task."""
    coverage = {}
    for name, labels in samples.labels().items():
        if name in heads:
            complete = labels.complete()
            some = labels.valid.reshape(len(labels), -1).any(axis=1)
            coverage[name] = Coverage(
                labelled=int(complete.sum()),
                partly=int((some & ~complete).sum()),
                summary=heads[name].summary(labels),
            )
    return coverage


def find_overlap(
    train: Sequence[tuple[str, Samples]], validation: Sequence[tuple[str, Samples]]
) -> list[Overlap]:
    """Files and groups (identities, videos) that are in training and in validation."""
    found = []
    for column in ("file", "group"):
        # Sets: sorting millions of paths would take minutes. Only validation's values are held as objects.
        known = [
            (title, set(filter(None, column_values(column_bytes(samples, column)))))
            for title, samples in validation
        ]
        for other, samples in train if any(values for _, values in known) else ():
            own = column_bytes(samples, column)
            for title, values in known:
                common = values.intersection(column_values(own))
                if common:
                    examples = tuple(value.decode("utf-8", "replace") for value in sorted(common)[:3])
                    found.append(Overlap(other, title, column, len(common), examples))
    return found


def fingerprint(samples: Samples) -> dict[str, str]:
    """Hashes of what a dataset holds: `labels`, and of its files and groups `split`; not of the pictures."""
    return {"labels": _label_hash(samples), "split": _split_hash(samples)}


def _label_hash(samples: Samples) -> str:
    digest = hashlib.sha256(str(len(samples)).encode())
    for task, labels in sorted(samples.labels().items()):
        digest.update(f"{task}/{labels.values.dtype}/{labels.values.shape}".encode())
        digest.update(labels.valid.tobytes())
        digest.update(np.where(labels.valid, labels.values, 0).tobytes())
    return digest.hexdigest()[:16]


def _split_hash(samples: Samples) -> str:
    digest = hashlib.sha256(str(len(samples)).encode())
    for column in ("file", "group"):
        values = column_bytes(samples, column)
        if values is not None:
            digest.update(f"{column}/{values.dtype}".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def column_values(values: np.ndarray | None) -> Iterator[bytes]:
    """The values one by one, without making a list of them all; none of a column that is not there."""
    if values is not None:
        for start in range(0, len(values), BLOCK):
            yield from values[start : start + BLOCK].tolist()
