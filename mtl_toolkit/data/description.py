"""A dataset in numbers, for people; no picture is decoded."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from ..plugin import Head
from ..samples import Samples
from .inspect import Coverage, column_values, coverage_of, fingerprint
from .samples import column_bytes


@attrs.frozen
class Description:
    """What is known of a dataset.

    Attributes:
        samples: how many.
        pictures: distinct files, or None where samples are no files.
        faces: how many pictures give one sample, two, ...
        groups: distinct persons or videos, or None where there is no such column.
        coverage: the labels, by task.
        together: samples with a label of both, by two tasks.
        counts: what was left out or odd while opening, by description.
        problems: one line for each of the first pictures that are missing.
        hashes: of the labels, and of which files and groups there are.
    """

    samples: int
    pictures: int | None
    faces: Mapping[int, int]
    groups: int | None
    coverage: Mapping[str, Coverage]
    together: Mapping[tuple[str, str], int]
    counts: Mapping[str, int]
    problems: Sequence[str]
    hashes: Mapping[str, str]


def describe(samples: Samples, heads: Mapping[str, Head]) -> Description:
    """Look at everything but the pictures."""
    files, groups = (column_bytes(samples, column) for column in ("file", "group"))
    per_file = Counter(column_values(files))
    return Description(
        samples=len(samples),
        pictures=len(per_file) if files is not None else None,
        faces=dict(sorted(Counter(per_file.values()).items())),
        groups=len(set(filter(None, column_values(groups)))) if groups is not None else None,
        coverage=coverage_of(samples, heads),
        together=labelled_together(samples, heads),
        counts=samples.counts(),
        problems=samples.problems(),
        hashes=fingerprint(samples),
    )


def labelled_together(samples: Samples, heads: Mapping[str, Head]) -> dict[tuple[str, str], int]:
    """Samples that have a label of both of two tasks, at least in part, for each two of them."""
    some = {
        task: labels.valid.reshape(len(labels), -1).any(axis=1)
        for task, labels in samples.labels().items()
        if task in heads
    }
    return {
        (one, other): int(np.count_nonzero(some[one] & some[other]))
        for one, other in itertools.combinations(some, 2)
    }
