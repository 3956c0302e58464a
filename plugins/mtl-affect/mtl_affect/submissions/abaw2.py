"""The submissions of ABAW1 and ABAW2: a text file per video, as the annotations are.

Kollias, Zafeiriou: Analysing Affective Behavior in the second ABAW2 Competition. ICCV Workshops 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np

from mtl_toolkit import FileProblems, Head, Listing, Metric, Predictions, Writer, hookimpl, replacing_file
from mtl_toolkit.validators import unique

from ..databases.aff_wild2 import EDITIONS, PARTS
from ..expression import ExpressionScore
from ..metrics import ActionUnitScore, ValenceArousalScore
from .coverage import whole_videos
from .edition import EditionWriter
from .parts import Part, affect_parts
from .rows import Layout, read_rows
from .table import decode, write_rows
from .tasks import fitting, or_list, rivals
from .videos import SUFFIX, files_in, join, rows_by_video, with_layouts


@attrs.frozen(kw_only=True)
class Abaw2(EditionWriter):
    """ABAW1 or ABAW2: a folder with `<video>.txt` for each video, the annotations' header, a row per frame.

    A task with the label `expression` is written as class ids in the order neutral, anger, disgust, fear,
    happiness, sadness, surprise; `valence-arousal` as two numbers; `action-units` as zeros and ones. Classes
    and units are matched by name. The files of one task are in the folder itself, those of several in the
    folders `EXPR_Set`, `VA_Set` and `AU_Set` in it.
    """

    name: ClassVar[str] = "abaw2"
    edition: Literal["abaw1", "abaw2"] = attrs.field(
        default="abaw2", metadata={"doc": "the competition: abaw1 has 8 action units, abaw2 has 12"}
    )
    tasks: tuple[str, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={"doc": "the tasks to write; none: all with a label of the edition"},
    )

    def sets(self) -> dict[str, Layout]:
        """What the files of each set hold, by its folder."""
        edition = EDITIONS[self.edition]
        parts = {part.label: part for part in affect_parts(edition.classes, edition.units)}
        return {
            folder: Layout(parts[label].header, (parts[label],), named=False)
            for label, folder in zip(PARTS, edition.sets, strict=True)
        }

    def parts(self) -> list[Part]:
        """The kinds of labels."""
        return [part for layout in self.sets().values() for part in layout.parts]

    def chosen(self, heads: Mapping[str, Head]) -> tuple[dict[str, Part], list[str]]:
        """The tasks, at most one of a label."""
        parts = self.parts()
        found, problems = fitting(heads, parts, self.tasks)
        if not found and not problems:
            problems = [f"there is no task with the label {or_list([part.label for part in parts])}"]
        return found, [*problems, *rivals(found, "tasks")]

    def judged_by(self) -> Mapping[str, Metric]:
        """The scores of ABAW2."""
        return {
            "expression": ExpressionScore(),
            "valence-arousal": ValenceArousalScore(),
            "action-units": ActionUnitScore(),
        }

    def write(self, path: Path, predictions: Predictions) -> list[Path]:
        """Write a file per task and video, each of them whole or not at all.

        Raises:
            ConfigError: if `problems` has any.
            RunError: if a prediction or a frame of a video is missing, or a file cannot be written.
        """
        tasks = self.ready(path, predictions)
        videos = rows_by_video(path, predictions)
        folders = {layout.parts[0].label: path / folder for folder, layout in self.sets().items()}
        files = []
        for task, part in tasks.items():
            folder = path if len(tasks) == 1 else folders[part.label]
            for video, rows in videos.items():
                files.append(folder / f"{video}{SUFFIX}")
                with replacing_file(files[-1]) as temporary:
                    _write(temporary, predictions, {task: part}, rows)
        return files

    def read(self, path: Path, heads: Mapping[str, Head]) -> Predictions:
        """Read the files of the tasks; a class is 1 for the one that is told and 0 for the others.

        What one task has a file or row for and another has not is NaN for the other.

        Raises:
            ConfigError: if it is not clear which tasks are meant, or there are none.
            DataError: if something is wrong with the files.
        """
        tasks, unclear = self.chosen(heads)
        self.refuse(unclear)
        by_label = {part.label: task for task, part in tasks.items()}
        problems = FileProblems()
        found: dict[str, dict[str, np.ndarray]] = {}
        labels = []
        for folder, layouts in self._folders(path, problems).items():
            for video, file, layout in with_layouts(files_in(folder, problems), layouts, problems):
                labels.append(layout.parts[0].label)
                task = by_label.get(labels[-1])
                if task is not None:
                    one = {task: tasks[task]}
                    values = _read(file, layout, one, heads, problems)
                    found.setdefault(task, {})[video] = values
        problems.check()
        if not found:
            self.refuse([f"there is no task with the label {or_list(dict.fromkeys(labels))}"])
        return join(found, heads)

    def check(self, path: Path, listing: Listing) -> list[str]:
        """Check headers, fields, values, and that each video on the list has a file with a row per frame."""
        problems = FileProblems()
        videos, partial = whole_videos(listing)
        for problem in partial:
            problems.add(problem, path)
        for folder, layouts in self._folders(path, problems).items():
            there = files_in(folder, problems)
            for video in videos:
                if there and video not in there:
                    problems.add(f"there is no {video}{SUFFIX}, though the video is on the list", folder)
            for video, file, layout in with_layouts(there, layouts, problems):
                count = sum(len(rows) for rows in read_rows(file, layout, problems))
                wrong = _miscount(video, count, videos)
                if wrong:
                    problems.add(wrong, file)
        return problems.lines()

    def _folders(self, path: Path, problems: FileProblems) -> dict[Path, tuple[Layout, ...]]:
        """The folders with files, and what these may hold: those of the sets, else the folder itself."""
        sets = self.sets()
        found = {path / folder: (layout,) for folder, layout in sets.items() if (path / folder).is_dir()}
        if not found:
            return {path: tuple(sets.values())}
        for file in files_in(path, FileProblems()).values():
            problems.add(f"must be in one of the folders {', '.join(folder.name for folder in found)}", file)
        return dict(found)


def _write(path: Path, predictions: Predictions, tasks: Mapping[str, Part], rows: np.ndarray) -> None:
    (part,) = tasks.values()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{part.header}\n")
        write_rows(file, predictions, tasks, rows)


def _read(
    path: Path, layout: Layout, tasks: Mapping[str, Part], heads: Mapping[str, Head], problems: FileProblems
) -> np.ndarray:
    """The predictions of the one task: [frames, columns of its head]."""
    (task,) = tasks
    blocks = [
        decode(rows, layout, tasks, heads, path, problems)[task] for rows in read_rows(path, layout, problems)
    ]
    return np.concatenate([np.empty((0, len(heads[task].columns)), np.float32), *blocks])


def _miscount(video: str, count: int, videos: Mapping[str, int | None]) -> str | None:
    """What is wrong with a file's number of rows."""
    if videos and video not in videos:
        return f"video {video!r} is not on the list"
    expected = videos.get(video)
    if expected is not None and count != expected:
        return f"must have {expected} rows, one per frame (got {count})"
    return None if count else "must have at least one row (got none)"


@hookimpl
def mtl_writers() -> list[type[Writer]]:
    """ABAW1 and ABAW2."""
    return [Abaw2]
