"""Pictures in files, their labels in a CSV table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from mtl_toolkit import DataError, DataFacts, Dataset, Detector, hookimpl
from mtl_toolkit.validators import at_least, not_empty, unique

from .cells import Cells, ProblemList
from .csv_rows import BoxForm, CsvTable, find_duplicates, parse_boxes, parse_frames
from .csv_samples import CsvSamples
from .csv_table import read_blocks, read_header
from .face_cut import DETECTOR, MARGIN
from .label_columns import LabelColumns, Parser, to_labels
from .picture_files import as_bytes
from .where import DOC as WHERE
from .where import Rule, check_where, parse_where, select_rows

FILES = ("file", "path", "image", "image_location", "name", "filename", "subDirectory_filePath")
BOXES: tuple[tuple[tuple[str, ...], BoxForm], ...] = (
    (("left", "top", "right", "bottom"), "corners"),
    (("x", "y", "width", "height"), "size"),
    (("face_x", "face_y", "face_width", "face_height"), "size"),
)


@attrs.frozen(kw_only=True)
class ImageCsv(Dataset):
    """Pictures in files, their labels in a CSV table with a header; an empty field is a missing label."""

    name: ClassVar[str] = "image-csv"
    csv: Path = attrs.field(
        metadata={"doc": "the table: UTF-8, commas (tabs in a .tsv file), column names in the first line"}
    )
    root: Path | None = attrs.field(
        default=None, metadata={"doc": "folder that the pictures' paths start from; none: that of the table"}
    )
    file: str = attrs.field(
        default="file", validator=not_empty(), metadata={"doc": "column with the picture's path"}
    )
    group: str | None = attrs.field(
        default=None,
        metadata={"doc": "column that ties samples together (person, video), for checks of the splits"},
    )
    video: str | None = attrs.field(
        default=None, metadata={"doc": "column with the video that a picture is a frame of; may be empty"}
    )
    frame: str | None = attrs.field(
        default=None, metadata={"doc": "column with the frame's number in its video"}
    )
    box: tuple[str, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={
            "doc": "the four columns of the face's box, in pixels; a square round it is cut out; "
            "a row in which they are empty has no face"
        },
    )
    box_form: BoxForm = attrs.field(
        default="corners",
        metadata={"doc": "what they say: left, top, right, bottom; or left, top, width, height"},
    )
    detector: Detector | None = attrs.field(default=None, metadata={"doc": DETECTOR})
    margin: float = attrs.field(default=0.0, validator=at_least(0), metadata={"doc": MARGIN})
    where: Mapping[str, Any] = attrs.field(factory=dict, validator=check_where, metadata={"doc": WHERE})
    duplicates: Literal["error", "keep"] = attrs.field(
        default="error", metadata={"doc": "what to do about a picture (or box in it) that is listed twice"}
    )
    on_error: Literal["stop", "skip"] = attrs.field(
        default="stop", metadata={"doc": "what to do about a picture that cannot be read"}
    )
    labels: Mapping[str, LabelColumns] = attrs.field(
        factory=dict, metadata={"doc": "the columns of each task's label, by task name", "keys": "tasks"}
    )

    def __attrs_post_init__(self) -> None:
        if self.box and len(self.box) != len(BOXES[0][0]):
            raise ValueError(f"box must name four columns (got {len(self.box)})")
        if self.box and self.detector:
            raise ValueError("must have either box or detector, not both")
        if self.frame and not self.video:
            raise ValueError("frame must come with video")

    def build(self, facts: DataFacts) -> CsvSamples:
        """Read the table.

        Raises:
            DataError: if the table is missing or cannot be used; up to 20 problems are told in full.
        """
        source = f"{self.csv.parent.name}/{self.csv.name}"
        problems = ProblemList(source)
        heads = {task: head for task, head in facts.tasks.items() if task in self.labels}
        parsers: dict[str, Parser] = {}
        for task, head in heads.items():
            try:
                parsers[task] = self.labels[task].parser(head)
            except ValueError as error:
                problems.add(f"task {task!r}: {error}")
        problems.check()
        table = self._read(parsers, problems)
        if self.duplicates == "error":
            find_duplicates(table, problems)
            problems.check()
        labels = {task: to_labels(table.values[task], head, task, source) for task, head in heads.items()}
        return CsvSamples(
            self.csv,
            table,
            labels,
            root=self.root or self.csv.parent,
            size=facts.image_size,
            on_error=self.on_error,
            source=source,
            detector=self.detector,
            margin=self.margin,
        )

    @classmethod
    def for_path(
        cls,
        path: Path,
        *,
        detector: Detector | None = None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> ImageCsv | None:
        """The dataset of a .csv or .tsv file, by the names of its columns; a picture may be listed twice.

        Raises:
            DataError: if it cannot be read, or has no column with the pictures' paths.
        """
        if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
            return None
        header = read_header(path)
        known = {name.casefold(): name for name in reversed(header)}
        file = next((known[name.casefold()] for name in FILES if name.casefold() in known), None)
        if file is None:
            raise DataError(
                f"{path}: must have a column with the pictures' paths, called {', '.join(FILES[:-1])} or "
                f"{FILES[-1]} (got {', '.join(map(repr, header[:12]))}{', ...' if len(header) > 12 else ''})"
            )
        boxes = ((names, form) for names, form in BOXES if all(name in known for name in names))
        box, form = next(boxes, ((), "corners"))
        video = known.get("video")
        return cls(
            csv=path,
            file=file,
            group=known.get("group"),
            video=video,
            frame=known.get("frame") if video else None,
            box=tuple(known[name] for name in box),
            box_form=form,
            detector=None if box else detector,
            duplicates="keep",
            on_error=on_error,
        )

    def _read(self, parsers: Mapping[str, Parser], problems: ProblemList) -> CsvTable:
        rules = parse_where(self.where)
        named = (self.file, self.group, self.video, self.frame, *self.box)
        columns = [*(name for name in named if name), *(rule.column for rule in rules)]
        columns += [name for task in parsers for name in self.labels[task].names]
        rows = 0
        parts = []
        for block in read_blocks(self.csv, columns, problems):
            rows += len(block[self.file].rows)
            parts.append(self._select(block, rules, parsers, problems))
        problems.check()
        if not any(len(part.files) for part in parts):
            raise DataError(f"{problems.source}: no row is left by `where`, of {rows} in the table")
        return CsvTable.joined(parts)

    def _select(
        self,
        block: Mapping[str, Cells],
        rules: Sequence[Rule],
        parsers: Mapping[str, Parser],
        problems: ProblemList,
    ) -> CsvTable:
        keep = select_rows(rules, block, problems)
        block = {column: cells.take(keep) for column, cells in block.items()}
        files = block[self.file]
        nameless = [place for place, text in enumerate(files.texts) if not text]
        problems.add_cells(files, nameless, lambda _: "must name a picture")
        return CsvTable(
            lines=files.rows,
            files=as_bytes(files.texts),
            groups=as_bytes(block[self.group].texts) if self.group else None,
            videos=as_bytes(block[self.video].texts) if self.video else None,
            frames=parse_frames(block[self.frame], problems) if self.frame else None,
            boxes=parse_boxes([block[name] for name in self.box], self.box_form, problems)
            if self.box
            else None,
            values={task: parse(block, problems) for task, parse in parsers.items()},
        )


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The CSV dataset."""
    return [ImageCsv]
