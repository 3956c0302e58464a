"""What is in the data of a stage, found without decoding a picture: counts, coverage, overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from ..plugin import Head, Samples


@attrs.frozen
class Coverage:
    """The labels of one task in a dataset."""

    labelled: int
    partly: int
    summary: Mapping[str, Any]


@attrs.frozen
class FeedSummary:
    """A stream or a validation feed in numbers."""

    title: str
    task: str
    samples: int
    coverage: Mapping[str, Coverage]


@attrs.frozen
class Overlap:
    """Samples that training and validation share."""

    train: str
    validation: str
    column: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.examples) + (", ..." if self.count > len(self.examples) else "")
        return (
            f"training stream {self.train!r} and validation {self.validation!r} share {self.count} "
            f"{self.column}{'s' if self.count != 1 else ''} ({shown})"
        )


def summarise(title: str, task: str, samples: Samples, heads: Mapping[str, Head]) -> FeedSummary:
    """Count the samples and labels of a feed."""
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
    return FeedSummary(title, task, len(samples), coverage)


def find_overlap(
    train: Sequence[tuple[str, Samples]], validation: Sequence[tuple[str, Samples]]
) -> list[Overlap]:
    """Files and groups (identities, videos) that are in training and in validation."""
    found = []
    for column in ("file", "group"):
        seen = [(title, known) for title, samples in train if (known := _values(samples, column)) is not None]
        for title, samples in validation:
            values = _values(samples, column)
            for other, known in seen if values is not None else ():
                common = np.intersect1d(known, np.asarray(values))
                if len(common):
                    examples = tuple(_text(value) for value in common[:3])
                    found.append(Overlap(other, title, column, len(common), examples))
    return found


def fingerprint(samples: Samples) -> str:
    """A hash of what a dataset holds: number, labels, files and groups; not the pictures themselves."""
    digest = hashlib.sha256(str(len(samples)).encode())
    for task, labels in sorted(samples.labels().items()):
        digest.update(f"{task}/{labels.values.dtype}/{labels.values.shape}".encode())
        digest.update(labels.valid.tobytes())
        digest.update(np.where(labels.valid, labels.values, 0).tobytes())
    for column in ("file", "group"):
        values = samples.column(column)
        if values is not None:
            digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def _values(samples: Samples, column: str) -> np.ndarray | None:
    values = samples.column(column)
    return None if values is None else np.unique(values[values != values.dtype.type()])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
