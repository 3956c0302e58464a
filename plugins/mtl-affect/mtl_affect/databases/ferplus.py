"""FER+: the pictures of FER2013, each judged by ten people."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from mtl_std.cells import Cells, ProblemList
from mtl_std.csv_table import read_blocks
from mtl_std.label_columns import label_kind
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError, DataFacts, Dataset, hookimpl

from .base import FaceDatabase
from .fer2013 import USAGES, FerTable, Split, check_usages, read_fer2013
from .reading import find, source_of
from .table import FaceSamples, FaceTable

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTES = (*CLASSES, "unknown", "NF")  # NF: no face


@attrs.frozen(kw_only=True)
class FerPlus(FaceDatabase):
    """FER+: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt.

    Barsoum et al.: Training deep networks for facial expression recognition with crowd-sourced label
    distribution. ICMI 2016.

    Reads the votes in `fer2013new.csv` and, row by row, the pictures in `fer2013.csv`; both are in `root`.
    Rows without a picture's name are skipped. A picture that got more votes for unknown or for no face than
    for any class has no label, nor has, under `votes = "majority"`, one whose most votes are a tie. Otherwise
    votes for unknown and no face do not count.
    """

    name: ClassVar[str] = "ferplus"
    split: Split = attrs.field(metadata={"doc": "the part, by the column Usage"})
    votes: Literal["majority", "shares"] = attrs.field(
        default="majority",
        metadata={"doc": "label: the class with the most votes, or every class's share (soft targets)"},
    )

    def table(self) -> FaceTable:
        """Read both tables; the pictures are kept in memory, 2 kB each."""
        path = find(self.root, "fer2013new.csv")
        faces = find(self.root, "fer2013.csv")
        found = read_votes(path, USAGES[self.split])
        fer2013 = read_fer2013(faces, USAGES[self.split])
        check_aligned(found, fer2013, path)
        labels, counts = (majority if self.votes == "majority" else shares)(found.votes)
        counts |= {"rows without a picture's name": int((~found.named).sum())}
        return FaceTable(
            pictures=fer2013.pictures.take(np.flatnonzero(found.named)),
            labels={"expression": labels},
            counts={what: count for what, count in counts.items() if count},
        )

    def build(self, facts: DataFacts) -> FaceSamples:
        """Refuse votes that are not what a head takes, then read.

        Raises:
            DataError: if a file is missing, not in the database's format, or does not fit the tasks.
        """
        fitting = {"class": "majority", "shares": "shares"}
        for task, head in facts.tasks.items():
            fits = fitting.get(label_kind(head), self.votes)
            if self.labels.get(task, head.label) == "expression" and fits != self.votes:
                targets = "soft targets" if fits == "shares" else "class ids"
                raise DataError(
                    f'{self.name} {self.root.name}: task {task!r}: votes must be "{fits}" for a head with '
                    f'{targets} (got "{self.votes}")'
                )
        return super().build(facts)


@attrs.frozen(eq=False)
class VoteTable:
    """What `fer2013new.csv` holds.

    Attributes:
        usages: the part of every row.
        lines: where every row is in the file, from 1: int64 [rows].
        named: of one part, the rows that name a picture: bool [rows of the part].
        votes: of these rows: int64 [named rows, 10].
    """

    usages: list[str]
    lines: np.ndarray
    named: np.ndarray
    votes: np.ndarray


def read_votes(path: Path, usage: str) -> VoteTable:
    """Read the table; votes of other parts, and of rows without a picture's name, are passed over.

    Raises:
        DataError: if it cannot be read.
    """
    problems = ProblemList(source_of(path))
    usages: list[str] = []
    lines, named, votes = [], [], []
    for block in read_blocks(path, ("Usage", "Image name", *VOTES), problems):
        check_usages(block["Usage"], problems)
        part = np.array([text == usage for text in block["Usage"].texts])
        names = np.array([text != "" for text in block["Image name"].texts])
        usages += block["Usage"].texts
        lines.append(block["Usage"].rows)
        named.append(names[part])
        votes.append(np.stack([parse_votes(block[name].take(part & names), problems) for name in VOTES], 1))
    problems.check()
    if not lines:
        raise DataError(f"{problems.source}: has no rows")
    return VoteTable(usages, np.concatenate(lines), np.concatenate(named), np.concatenate(votes))


def parse_votes(cells: Cells, problems: ProblemList) -> np.ndarray:
    """Read a column of numbers of votes: int64 [rows]."""
    good = [text.isascii() and text.isdecimal() for text in cells.texts]
    bad = [place for place, is_number in enumerate(good) if not is_number]
    problems.add_cells(cells, bad, lambda _: "must be a number of votes")
    return np.array([int(text) if ok else 0 for text, ok in zip(cells.texts, good, strict=True)], np.int64)


def check_aligned(found: VoteTable, fer2013: FerTable, path: Path) -> None:
    """Make sure that both tables have the same rows, as far as their parts tell.

    Raises:
        DataError: naming the first row that differs.
    """
    problems = ProblemList(source_of(path))
    pairs = zip(found.usages, fer2013.usages, strict=False)
    differ = [row for row, (ours, theirs) in enumerate(pairs) if ours != theirs]
    if differ:
        row = differ[0]
        wanted, line = fer2013.usages[row], fer2013.lines[row]
        problems.add(
            f"column 'Usage': must be {wanted!r}, as on line {line} of fer2013.csv "
            f"(got {found.usages[row]!r}; rows that differ: {len(differ)})",
            int(found.lines[row]),
        )
    if len(found.usages) != len(fer2013.usages):
        rows = len(fer2013.usages)
        problems.add(f"must have a row for each of the {rows} of fer2013.csv (got {len(found.usages)})")
    problems.check()


def majority(votes: np.ndarray) -> tuple[StoredLabels, dict[str, int]]:
    """The class with the most votes [rows, 10], and how many rows have none, for which reason."""
    first = votes.argmax(axis=1)
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    classless = ~tied & (first >= len(CLASSES))
    valid = ~tied & ~classless
    counts = {"ties": int(tied.sum()), "most votes for unknown or no face": int(classless.sum())}
    return StoredLabels(np.where(valid, first, 0), valid, classes=CLASSES), counts


def shares(votes: np.ndarray) -> tuple[StoredLabels, dict[str, int]]:
    """The votes [rows, 10] for every class, and how many rows have no label, for which reason."""
    classes, others = votes[:, : len(CLASSES)], votes[:, len(CLASSES) :]
    valid = classes.max(axis=1) >= np.maximum(others.max(axis=1), 1)
    counts = {"most votes for unknown or no face": int((~valid).sum())}
    filled = np.repeat(valid[:, None], len(CLASSES), axis=1)
    return StoredLabels(classes.astype(np.float64), filled, classes=CLASSES), counts


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """FER+."""
    return [FerPlus]
