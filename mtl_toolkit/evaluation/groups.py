"""Rows divided into groups by facts about them, such as gender or bands of age."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import attrs
import numpy as np

from ..errors import DataError

NONE = "(none)"  # what the rows of no group are called


@attrs.frozen(eq=False)
class Groups:
    """Which group each row is in.

    Attributes:
        names: the groups, in the order in which they are told of.
        codes: the group of each row, -1 for none: int64 [rows].
    """

    names: tuple[str, ...]
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, values: np.ndarray | Sequence[object]) -> Groups:
        """A group for each value, numbers in their order, others in that of the alphabet.

        Args:
            values: texts (str, UTF-8, objects) or numbers, [rows]; '', None and NaN are no group.
        """
        listed = np.asarray(values).tolist()
        known: dict[object, int] = {}
        # A table of hashes: sorting millions of texts takes many times as long.
        found = np.fromiter((known.setdefault(value, len(known)) for value in listed), np.int64, len(listed))
        texts = [_text(value) for value in known]
        names = sorted({text for text in texts if text}, key=_order(texts))
        places = {name: place for place, name in enumerate(names)}
        return cls(tuple(names), _mapped(found, (places.get(text, -1) for text in texts)))

    @classmethod
    def bands(cls, values: np.ndarray | Sequence[object], cuts: Sequence[float]) -> Groups:
        """Numbers cut into bands: below the first cut, from each to below the next, and from the last on.

        Args:
            values: numbers, or texts that are, [rows]; '', None and NaN are no group.
            cuts: ascending.

        Raises:
            ValueError: if the cuts are none, or do not ascend.
            DataError: if a text is no number.
        """
        if not cuts or not all(np.isfinite(cuts)) or any(np.diff(cuts) <= 0):
            raise ValueError(f"cuts must be ascending numbers (got {', '.join(map(str, cuts)) or 'none'})")
        single = cls.of(values)
        numbers = [_number(name) for name in single.names]
        if None in numbers:
            odd = single.names[numbers.index(None)]
            raise DataError(f"must hold numbers to be cut into bands (got {odd!r})")
        shown = [f"{cut:g}" for cut in cuts]
        between = [f"{low} to < {high}" for low, high in itertools.pairwise(shown)]
        places = np.searchsorted(np.asarray(cuts, float), np.asarray(numbers, float), side="right")
        return cls((f"< {shown[0]}", *between, f">= {shown[-1]}"), _mapped(single.codes, places.tolist()))

    def crossed(self, other: Groups) -> Groups:
        """A group for each pair of groups that has rows; a row that is in no group of one is in none."""
        if len(self) != len(other):
            raise ValueError(f"groups must be of the same rows (got {len(self)} and {len(other)})")
        there = (self.codes >= 0) & (other.codes >= 0)
        pairs = np.where(there, self.codes * len(other.names) + other.codes, -1)
        used = np.unique(pairs[there]).tolist()
        names = [divmod(pair, len(other.names)) for pair in used]
        codes = np.where(there, np.searchsorted(used, pairs), -1).astype(np.int64)
        return Groups(tuple(f"{self.names[one]} & {other.names[two]}" for one, two in names), codes)

    def take(self, rows: np.ndarray) -> Groups:
        """The groups of some rows, in the order given."""
        return Groups(self.names, self.codes[rows])


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.12g}"
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


def _order(names: Iterable[str]) -> Callable[[str], tuple[float, str]]:
    """Sort by number where all are numbers, else by text, upper and lower case alike."""
    numbers = {name: _number(name) for name in names if name}
    if all(number is not None for number in numbers.values()):
        return lambda name: (numbers[name] or 0.0, name)
    return lambda name: (0.0, name.casefold())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _mapped(codes: np.ndarray, places: Iterable[int]) -> np.ndarray:
    """Replace each code by what lies at its place, and -1 by itself."""
    table = np.array([*places, -1], np.int64)
    result: np.ndarray = table[codes]
    return result
