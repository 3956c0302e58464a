"""Cutting faces out of pictures, by a box or by 68 landmarks in the order of iBUG 300-W."""

from __future__ import annotations

import math
from typing import Protocol

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EYES = (slice(36, 42), slice(42, 48))
MOUTH_CORNERS = (48, 54)


class Crop(Protocol):
    """How the face of a row is cut out of its picture."""

    def cut(self, picture: Tensor, row: int) -> Tensor:
        """From uint8 [3, height, width] to a part of it, in its own resolution."""


@attrs.frozen
class Square:
    """A square in a picture; pixel i of a row covers i to i + 1.

    Attributes:
        x: centre from the left, in pixels.
        y: centre from the top.
        side: in pixels.
        angle: clockwise turn of its upper edge, in radians.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0


@attrs.frozen(eq=False)
class BoxCrop:
    """Cut out the given boxes; what lies outside the picture is black.

    Attributes:
        boxes: [rows, 4], left, top, right and bottom in pixels.
    """

    boxes: np.ndarray

    def cut(self, picture: Tensor, row: int) -> Tensor:
        """The row's box."""
        left, top, right, bottom = (round(float(edge)) for edge in self.boxes[row])
        return cut_box(picture, left, top, max(right, left + 1), max(bottom, top + 1))


@attrs.frozen(eq=False)
class EyeCrop:
    """Level the eyes and cut out a square round eyes and mouth; see `eye_square`.

    Attributes:
        landmarks: [rows, 68, 2], x and y in pixels.
    """

    landmarks: np.ndarray

    def cut(self, picture: Tensor, row: int) -> Tensor:
        """The square of the row's landmarks."""
        return cut_square(picture, eye_square(self.landmarks[row]))


@attrs.frozen(eq=False)
class LandmarkCrop:
    """Cut out a square round the landmarks; see `landmark_square`.

    Attributes:
        landmarks: [rows, points, 2], x and y in pixels.
        margin: on each side, as a share of the landmarks' longer extent.
    """

    landmarks: np.ndarray
    margin: float = 0.05

    def cut(self, picture: Tensor, row: int) -> Tensor:
        """The square of the row's landmarks."""
        height, width = picture.shape[1:]
        return cut_square(picture, landmark_square(self.landmarks[row], width, height, self.margin))


def eye_square(landmarks: np.ndarray) -> Square:
    """The square that Vu et al. (ICCV Workshops 2021) cut from AFEW-VA.

    Its upper edge is parallel to the line through the eyes' centres (the means of six landmarks each). It
    lies round the middle between the eyes' centre and that of the mouth's corners. Its side is twice the
    longer of the distance between the eyes and the distance from the eyes to the mouth.

    Args:
        landmarks: [68, 2], x and y in pixels.
    """
    left, right = (landmarks[eye].mean(axis=0) for eye in EYES)
    eyes, mouth = (left + right) / 2, landmarks[list(MOUTH_CORNERS)].mean(axis=0)
    across, down = right - left, mouth - eyes
    x, y = (eyes + mouth) / 2
    side = 2 * max(math.hypot(*across), math.hypot(*down))
    return Square(float(x), float(y), side, math.atan2(across[1], across[0]))


def landmark_square(landmarks: np.ndarray, width: int, height: int, margin: float = 0.05) -> Square:
    """The square that Vu et al. (ICCV Workshops 2021) cut from AffectNet.

    It lies round the landmarks' bounding box with a margin, moved and at last shrunk to stay in the picture,
    and has at least a pixel.

    Args:
        landmarks: [points, 2], x and y in pixels.
        width: of the picture.
        height: of the picture.
        margin: on each side, as a share of the box's longer side.
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = min(max(float((high - low).max()) * (1 + 2 * margin), 1), width, height)
    x, y = (low + high) / 2
    return Square(_within(x, side, width), _within(y, side, height), side)


def cut_box(picture: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Cut out whole pixels; what lies outside the picture is black."""
    inside = picture[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    before = (min(max(-left, 0), right - left), min(max(-top, 0), bottom - top))
    after = (right - left - before[0] - inside.shape[2], bottom - top - before[1] - inside.shape[1])
    if not any((*before, *after)):
        return inside
    return F.pad(inside, (before[0], after[0], before[1], after[1]))


def cut_square(picture: Tensor, square: Square) -> Tensor:
    """Cut out a square in the picture's own resolution: uint8 [3, side, side], black outside the picture.

    A turned one is interpolated between pixels, which loses nothing to aliasing at this scale.
    """
    side = max(1, round(square.side))
    if square.angle == 0:
        left, top = round(square.x - side / 2), round(square.y - side / 2)
        return cut_box(picture, left, top, left + side, top + side)
    steps = (torch.arange(side, dtype=torch.float64) + 0.5 - side / 2) * (square.side / side)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    cos, sin = math.cos(square.angle), math.sin(square.angle)
    x = square.x + across * cos - down * sin
    y = square.y + across * sin + down * cos
    height, width = picture.shape[1:]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1).float()
    turned = F.grid_sample(picture[None].float(), grid[None], mode="bilinear", align_corners=False)
    return turned[0].round().clamp(0, 255).to(torch.uint8)


def _within(centre: float, side: float, length: int) -> float:
    return min(max(float(centre), side / 2), length - side / 2)
