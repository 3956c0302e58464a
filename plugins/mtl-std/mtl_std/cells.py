"""Columns of text from tables: numbers in them, and the problems found, told row by row."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Collection, Iterable

import attrs
import numpy as np

from mtl_toolkit import DataError

SHOWN = 20  # problems told in full; the rest are counted


@attrs.frozen(eq=False)
class Cells:
    """One column of some rows of a table.

    Attributes:
        column: its name.
        rows: where the rows are, for messages (line numbers): int64 [rows].
        texts: what the rows hold, without spaces around it; '' where nothing is filled in.
    """

    column: str
    rows: np.ndarray
    texts: list[str]

    def take(self, keep: np.ndarray) -> Cells:
        """The rows where `keep` (bool [rows]) is true."""
        return Cells(self.column, self.rows[keep], list(itertools.compress(self.texts, keep)))


class ProblemList:
    """What is wrong with a table: the first problems in full, the rest as a count.

    Args:
        source: the table's name, in front of every line.
        row: what a row is called: `line` of a text file, `sample` of a packed one.
    """

    def __init__(self, source: str, row: str = "line") -> None:
        self.source = source
        self.row = row
        self._found: list[tuple[int, str]] = []
        self._more = 0

    def add(self, message: str, row: int = 0) -> None:
        """Note a problem of the table (row 0) or of one row."""
        place = f"{self.source} {self.row} {row}" if row else self.source
        if len(self._found) < SHOWN:
            self._found.append((row, f"{place}: {message}"))
        else:
            self._more += 1

    def add_cells(self, cells: Cells, bad: Iterable[int], rule: Callable[[str], str]) -> None:
        """Note the cells at the places `bad`; `rule` says of a cell's text what it must be."""
        for place in bad:
            if len(self._found) < SHOWN:
                text = cells.texts[place]
                message = f"column {cells.column!r}: {rule(text)} (got {text!r})"
                self.add(message, int(cells.rows[place]))
            else:
                self._more += 1

    def check(self) -> None:
        """Go on only if nothing was found.

        Raises:
            DataError: with one line per problem, in the order of the rows.
        """
        if self._found:
            lines = [line for _, line in sorted(self._found, key=lambda found: found[0])]
            raise DataError(*lines, *([f"{self.source}: ... and {self._more} more"] if self._more else []))


def nearest(name: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, else the list of what there is."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    listed = ", ".join(list(known)[:12]) + (", ..." if len(known) > 12 else "")
    return f"; there are: {listed}" if listed else "; there are none"


def parse_numbers(
    cells: Cells,
    problems: ProblemList,
    *,
    span: tuple[float, float] | None = None,
    missing: Collection[str] = (),
) -> np.ndarray:
    """Read a column of numbers: float64 [rows], NaN where the field is empty or one of `missing`.

    What is not a finite number, or lies outside the closed interval `span`, becomes a problem.
    """
    low, high = span or (-math.inf, math.inf)
    numbers = np.full(len(cells.texts), math.nan)
    bad = []
    for place, text in enumerate(cells.texts):
        if not text or text in missing:
            continue
        try:
            number = float(text)
        except ValueError:
            bad.append(place)
            continue
        if math.isfinite(number) and low <= number <= high:
            numbers[place] = number
        else:
            bad.append(place)
    problems.add_cells(cells, bad, lambda text: _number_rule(text, low, high))
    return numbers


def _number_rule(text: str, low: float, high: float) -> str:
    try:
        number = float(text)
    except ValueError:
        return "must be a number"
    if math.isnan(number):
        return "must be a number; leave the field empty for a missing label"
    if math.isinf(number):
        return "must be a finite number"
    return f"must be between {low:g} and {high:g}"
