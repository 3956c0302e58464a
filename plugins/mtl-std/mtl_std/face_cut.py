"""Cutting the face out of a picture: a square round a box, which a table gives or a detector finds."""

from __future__ import annotations

import os
from typing import Any, Protocol

import attrs
import numpy as np
from torch import Tensor

from mtl_toolkit import Detector

DETECTOR = "finds the face in each picture, which is cut out; none: the picture is the face"
MARGIN = "room round the face's box on each side, as a share of its longer side"


class Faces(Protocol):
    """Where the faces are."""

    def box(self, picture: Tensor, index: int) -> np.ndarray | None:
        """The face of a sample's picture (uint8 [3, height, width]): left, top, right, bottom; or None."""


@attrs.frozen(eq=False)
class GivenFaces:
    """Boxes that are known.

    Attributes:
        boxes: left, top, right and bottom in pixels: [samples, 4], NaN where there is no face.
    """

    boxes: np.ndarray

    def box(self, picture: Tensor, index: int) -> np.ndarray | None:
        """The sample's box."""
        box: np.ndarray = self.boxes[index]
        return None if np.isnan(box).any() else box


class DetectedFaces:
    """Boxes that a detector finds; it is built in each process when it is first needed."""

    def __init__(self, detector: Detector) -> None:
        self._recipe = detector
        self._live: Any = None
        self._process = 0

    def box(self, picture: Tensor, index: int) -> np.ndarray | None:
        """The detector's best box."""
        if self._live is None or self._process != os.getpid():  # what it holds may not survive a fork
            self._live, self._process = self._recipe.build(), os.getpid()
        boxes = self._live(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
        return boxes[0] if len(boxes) else None

    def __getstate__(self) -> dict[str, Any]:
        """Another process builds its own."""
        return self.__dict__ | {"_live": None}


def cut_face(picture: Tensor, box: np.ndarray, margin: float) -> Tensor:
    """Cut out the square round a face: uint8 [3, side, side], a view of the picture.

    Raises:
        ValueError: as `face_square`.
    """
    left, top, side = face_square(box, picture.shape[2], picture.shape[1], margin)
    return picture[:, top : top + side, left : left + side]


def face_square(box: np.ndarray, width: int, height: int, margin: float) -> tuple[int, int, int]:
    """The square round a box with a margin, moved and at last shrunk to stay in the picture.

    Args:
        box: left, top, right and bottom in pixels.
        width: of the picture.
        height: of the picture.
        margin: on each side, as a share of the box's longer side.

    Returns:
        Its left and top edge and its side, in whole pixels; the side is at least 1.

    Raises:
        ValueError: if the box is empty or no part of it is in the picture; the message says so.
    """
    left, top, right, bottom = (float(edge) for edge in box)
    inside = 0 < right < np.inf and left < width and 0 < bottom < np.inf and top < height
    if not (inside and -np.inf < left < right and -np.inf < top < bottom):
        shown = ", ".join(f"{edge:g}" for edge in (left, top, right, bottom))
        raise ValueError(f"the face's box must be in the picture of {width}x{height} pixels (got {shown})")
    longer = max(right - left, bottom - top)
    side = min(max(round(longer * (1 + 2 * margin)), 1), width, height)
    x, y = (round((low + high - side) / 2) for low, high in ((left, right), (top, bottom)))
    return min(max(x, 0), width - side), min(max(y, 0), height - side), side
