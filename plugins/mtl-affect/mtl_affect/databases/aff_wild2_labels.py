"""The annotations of Aff-Wild2: columns, values, those of them that stand for none, and names of videos."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataError

Report = Callable[[str, int], None]  # takes a problem and its line

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
UNITS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")
UNITS_ABAW1 = ("AU1", "AU2", "AU4", "AU6", "AU12", "AU15", "AU20", "AU25")

PERSON = re.compile("_(left|right)$")


@attrs.frozen
class Kind:
    """One kind of annotation.

    Attributes:
        columns: what the values of a row are called.
        low: lowest value.
        high: highest value.
        missing: the value of what is not annotated.
        whole: there is nothing between whole numbers.
        classes: class names by id, where the values are ids.
    """

    columns: tuple[str, ...]
    low: float
    high: float
    missing: float
    whole: bool = True
    classes: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """The first line of its files."""
        return ",".join(name.capitalize() for name in self.classes) or ",".join(self.columns)

    @property
    def rule(self) -> str:
        """What a value must be."""
        span = f"from {self.low:g} to {self.high:g}"
        what = f"a class {span}" if self.classes else "0 or 1" if self.whole else span
        return f"must be {what}, or {self.missing:g} for none"

    def empty(self, rows: int) -> np.ndarray:
        """Rows without annotation: [rows, columns]."""
        return np.full((rows, len(self.columns)), self.missing, np.int8 if self.whole else np.float32)

    def checked(self, values: np.ndarray, report: Report) -> np.ndarray:
        """Report values that break the rule; return all in the type of `empty`."""
        right = (values >= self.low) & (values <= self.high)
        if self.whole:
            right &= values == np.floor(values)
        wrong = ~right & (values != self.missing)
        for row in np.flatnonzero(wrong.any(axis=1)):
            column = int(wrong[row].argmax())
            report(f"{self.columns[column]} {self.rule} (got {values[row, column]:g})", int(row) + 2)
        checked = self.empty(len(values))
        np.copyto(checked, values, casting="unsafe", where=~wrong)
        return checked

    def annotated(self, values: np.ndarray) -> np.ndarray:
        """Rows with at least one value that is not missing: bool [rows]."""
        found: np.ndarray = (values != self.missing).any(axis=1)
        return found

    def stored(self, values: np.ndarray) -> StoredLabels:
        """Values as labels, with the missing ones marked."""
        valid = values != self.missing
        values = np.where(valid, values, values.dtype.type(0))
        if self.classes:
            return StoredLabels(values[:, 0], valid[:, 0], classes=self.classes)
        span = None if self.whole else (self.low, self.high)
        return StoredLabels(values, valid, units=self.columns, range=span)


VALENCE_AROUSAL = Kind(("valence", "arousal"), low=-1, high=1, missing=-5, whole=False)


def expression(classes: tuple[str, ...]) -> Kind:
    """One class id per row."""
    return Kind(("expression",), low=0, high=len(classes) - 1, missing=-1, classes=classes)


def action_units(units: tuple[str, ...]) -> Kind:
    """Yes or no per unit; each may be missing."""
    return Kind(units, low=0, high=1, missing=-1)


def video_of(folder: str) -> str:
    """The video that a folder of faces is from: two people in it have folders of their own."""
    return PERSON.sub("", folder)


def group_of(folder: str) -> str:
    """What ties all frames of a video together, in every database made of Aff-Wild2."""
    return f"aff-wild2: {video_of(folder)}"


def read_lines(path: Path, header: str, report: Report) -> list[str]:
    """The lines after the header, which is checked with spaces and case ignored.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        # Of a byte that is no UTF-8, the line is told where its numbers are read.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    first, *lines = text.rstrip().split("\n")
    if "".join(first.split()).lower() != header.lower():
        report(f"must be {header!r} (got {first[:80]!r})", 1)
    return lines


def parse_rows(lines: Sequence[str], width: int, report: Report, *, before: int = 0) -> np.ndarray | None:
    """Read the numbers of the lines after a header: float64 [lines, width], None if there were problems.

    Args:
        lines: numbers with commas between.
        width: how many numbers a line must have.
        report: takes the problems.
        before: fields of a row that are not in its line, for messages.
    """
    values = np.empty((0, width))
    if any(line.strip() for line in lines):
        try:
            values = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
        except ValueError:
            return _parse_slowly(lines, width, report, before)
    # Blank lines are passed over, after which rows would belong to other frames.
    return values if values.shape == (len(lines), width) else _parse_slowly(lines, width, report, before)


def _parse_slowly(lines: Sequence[str], width: int, report: Report, before: int) -> np.ndarray | None:
    """Read line by line, to say which are wrong."""
    values = np.empty((len(lines), width))
    broken = False
    for row, line in enumerate(lines):
        fields = line.split(",") if line.strip() else []
        try:
            if len(fields) != width:
                raise ValueError(f"must have {width + before} fields (got {len(fields) + before})")
            values[row] = [_number(field) for field in fields]
        except ValueError as error:
            report(str(error), row + 2)
            broken = True
    return None if broken else values


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"must be numbers (got {field.strip()[:80]!r})") from None
