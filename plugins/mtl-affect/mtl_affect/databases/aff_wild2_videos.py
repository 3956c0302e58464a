"""The videos of Aff-Wild2: annotation files, row by row of a frame, and the pictures of the frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import attrs
import numpy as np
from mtl_std.cells import ProblemList
from mtl_std.picture_files import as_bytes, folder_names

from .aff_wild2_labels import Kind, parse_rows, read_lines


@attrs.frozen(eq=False)
class Video:
    """Frames of one folder of faces that are annotated and have a picture.

    Attributes:
        name: of the folder, and of the annotation file.
        numbers: of the frames, ascending: int64 [rows].
        values: what is annotated: [rows, columns].
        ending: of the pictures' names.
    """

    name: str
    numbers: np.ndarray
    values: np.ndarray
    ending: str

    def take(self, keep: np.ndarray) -> Video:
        """The rows where `keep` (bool [rows]) is true."""
        return attrs.evolve(self, numbers=self.numbers[keep], values=self.values[keep])

    def files(self) -> np.ndarray:
        """The pictures' paths below the folder of all videos: bytes [rows]."""
        return as_bytes([f"{self.name}/{number:05d}{self.ending}" for number in self.numbers.tolist()])


def annotated_videos(folder: Path) -> list[str]:
    """The videos that have an annotation file in a folder, by name; hidden files are none."""
    files = (path for path in folder.iterdir() if path.suffix == ".txt" and not path.name.startswith("."))
    return sorted(path.stem for path in files)


def read_video(folder: Path, name: str, kind: Kind, problems: ProblemList) -> np.ndarray:
    """Read an annotation file: [frames, columns], row i of frame i + 1."""

    def report(problem: str, line: int) -> None:
        problems.add(f"{name}.txt line {line}: {problem}")

    lines = read_lines(folder / f"{name}.txt", kind.header, report)
    values = parse_rows(lines, len(kind.columns), report)
    return kind.empty(len(lines)) if values is None else kind.checked(values, report)


def with_pictures(name: str, values: np.ndarray, kind: Kind, pictures: Path, counts: Counter[str]) -> Video:
    """The annotated frames of a video that have a picture, matched by number."""
    names = folder_names(os.fsencode(pictures / name))
    ending = ".jpg"
    present = frame_numbers(names, ending)
    if not len(present) and len(frame_numbers(names, ".png")):
        ending, present = ".png", frame_numbers(names, ".png")
    numbers = np.flatnonzero(kind.annotated(values)) + 1
    found = np.isin(numbers, present)
    counts["frames without a valid label"] += len(values) - len(numbers)
    counts["labelled frames without a picture"] += len(numbers) - int(found.sum())
    counts["pictures that belong to no row"] += int(((present < 1) | (present > len(values))).sum())
    counts["videos without a picture"] += not len(present)
    return Video(name, numbers[found], values[numbers[found] - 1], ending)


def frame_numbers(names: Collection[bytes], ending: str) -> np.ndarray:
    """The numbers of the pictures among a folder's files: int64."""
    name = re.compile(rb"([0-9]{5}|[1-9][0-9]{5,8})" + re.escape(ending.encode()))
    return np.array([int(match[1]) for match in map(name.fullmatch, names) if match], np.int64)


def rows_of_frames(values: np.ndarray, numbers: np.ndarray, kind: Kind) -> np.ndarray:
    """The rows of an annotation file that belong to some frames; missing where it is too short."""
    found = kind.empty(len(numbers))
    inside = numbers <= len(values)
    found[inside] = values[numbers[inside] - 1]
    return found


def thin(ids: np.ndarray, every: int, every_class: Mapping[int, int]) -> np.ndarray:
    """Keep the first of every so many rows, then of those of some classes: bool [rows].

    Args:
        ids: class of each row, where there are classes.
        every: of how many rows one is kept.
        every_class: the same by class.
    """
    keep: np.ndarray = np.arange(len(ids)) % every == 0
    for number, of in every_class.items():
        places = np.flatnonzero(keep & (ids == number))
        keep[places] = np.arange(len(places)) % of == 0
    return keep
