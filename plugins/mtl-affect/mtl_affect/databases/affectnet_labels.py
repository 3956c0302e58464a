"""What both releases of AffectNet come down to, and the rules that their labels keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np

LANDMARKS = 68
IDS = 11  # eight classes, then three reasons for having none
MISSING = -2.0  # valence or arousal that was not annotated
NO_CORNERS = (math.nan,) * 4


@attrs.frozen(eq=False)
class Annotations:
    """What a release says of its faces.

    Attributes:
        files: the pictures, bytes [rows].
        expression: ids from 0 to 10, int64 [rows].
        affect: valence and arousal, -2 where missing, float64 [rows, 2].
        boxes: left, top, right and bottom, NaN where there is no box, float64 [rows, 4].
        corners: upper left and lower right of the landmarks' bounding box, NaN where they are missing or are
            not 68 points, float64 [rows, 2, 2]. No more is needed to cut by them, and all points of all faces
            would take hundreds of megabytes.
    """

    files: np.ndarray
    expression: np.ndarray
    affect: np.ndarray
    boxes: np.ndarray
    corners: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Annotations]) -> Annotations:
        """Lay blocks of rows one after the other."""
        columns = zip(*(attrs.astuple(part, recurse=False) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))


def to_number(text: str) -> float:
    """NaN for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def check(texts: Sequence[str], is_class: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """Labels as float64 [texts], the places where they break their rule (0 stands there), and the rule."""
    numbers = np.array([to_number(text) for text in texts], np.float64)
    if is_class:
        rule, kept = f"must be a class id from 0 to {IDS - 1}", np.isin(numbers, np.arange(IDS))
    else:
        rule = f"must be between -1 and 1, or {MISSING:g} for none"
        kept = ((numbers >= -1) & (numbers <= 1)) | (numbers == MISSING)
    return np.where(kept, numbers, 0), np.flatnonzero(~kept), rule


def corners_of(numbers: Sequence[float]) -> tuple[float, ...]:
    """Left, top, right and bottom of landmarks x, y, x, y...; NaN where they cannot be used."""
    # Python's own floats: for so few at a time numpy would take longer.
    if len(numbers) != 2 * LANDMARKS or not math.isfinite(sum(numbers)):
        return NO_CORNERS
    xs, ys = numbers[::2], numbers[1::2]
    corners = (min(xs), min(ys), max(xs), max(ys))
    return corners if corners[:2] != corners[2:] else NO_CORNERS
