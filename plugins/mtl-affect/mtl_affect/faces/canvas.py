"""Coordinates, windows and blending shared by everything that draws.

Scalars of n faces are [n, 1, 1], colours [n, 3, 1, 1], planes [n, h, w], pictures [n, 3, h, w] in 0..1. Only
elementwise, exactly rounded operations are used (no fused, trigonometric or summing kernels), so that a face
comes out byte for byte the same whichever faces are drawn beside it. Functions with a trailing underscore
overwrite their first argument.

What depends on the face but not on the pixel is computed beforehand for all faces, as *shapes*: such
operations cost little per face, but much per call.
"""

from typing import NamedTuple

import attrs
import torch

from mtl_affect.faces.records import Pose

Plane = torch.Tensor
Scalar = torch.Tensor | float

MAX_SCALE = 1.0
MAX_ROLL = 0.1


@attrs.frozen(eq=False)
class Placement:
    """Where faces lie in pictures of one size; [n, 1, 1] each.

    ``cosine`` and ``sine`` are of the roll, ``zoom`` is face units per half picture, the shift is in half
    pictures, and ``pixels`` is pixels per face unit.
    """

    cosine: torch.Tensor
    sine: torch.Tensor
    zoom: torch.Tensor
    shift_x: torch.Tensor
    shift_y: torch.Tensor
    pixels: torch.Tensor


@attrs.frozen(eq=False)
class Anchor:
    """Where a part lies on turned heads; [n, 1, 1] each.

    x, y are its shift on the face, ``right`` and ``left`` undo the foreshortening of its sides, and
    ``column`` and ``row`` are the place of its window's centre in the picture, which spans -1..1.
    """

    x: torch.Tensor
    y: torch.Tensor
    right: torch.Tensor
    left: torch.Tensor
    column: torch.Tensor
    row: torch.Tensor


class Grid(NamedTuple):
    """Where pixels lie on the face, as planes u and v, and how many there are per face unit [n, 1, 1]."""

    u: Plane
    v: Plane
    pixels: torch.Tensor


class Window(NamedTuple):
    """A rectangle of each picture: its grid, and the flat indices of its pixels [n, 3, h * w]."""

    grid: Grid
    pixels: torch.Tensor


def placement(pose: Pose, size: int) -> Placement:
    """Placement of faces in pictures of a size."""
    cosine = torch.sqrt(1.0 - pose.roll * pose.roll)
    return Placement(
        cosine, pose.roll, 1.0 / pose.scale, pose.shift_x, pose.shift_y, pose.scale * (0.5 * size)
    )


def anchor(pose: Pose, depth: float, middle: float) -> Anchor:
    """Anchor of a part ``depth`` in front of the axis the head turns about, with its middle at a height."""
    cosine = torch.sqrt(1.0 - pose.roll * pose.roll)
    x, y = pose.yaw * depth, pose.pitch * depth
    column = pose.shift_x + pose.scale * (x * cosine - (y + middle) * pose.roll)
    row = pose.shift_y + pose.scale * (x * pose.roll + (y + middle) * cosine)
    return Anchor(x, y, 1.0 / (1.0 - 0.4 * pose.yaw), -1.0 / (1.0 + 0.4 * pose.yaw), column, row)


def pixel_centres(size: int) -> torch.Tensor:
    """Positions [size] of pixel centres, the picture spanning -1..1."""
    return (torch.arange(size, dtype=torch.float32) * 2.0 + 1.0 - size) * (1.0 / size)


def face_grid(place: Placement, x: torch.Tensor, y: torch.Tensor) -> Grid:
    """Grid of pixels at columns x [n, 1, w] and rows y [n, h, 1] of the picture, both in -1..1."""
    x, y = (x - place.shift_x) * place.zoom, (y - place.shift_y) * place.zoom
    u = x * place.cosine + y * place.sine
    v = y * place.cosine - x * place.sine
    return Grid(u, v, place.pixels)


def whole(place: Placement, size: int) -> Grid:
    """Grid of whole pictures."""
    centres = pixel_centres(size)
    return face_grid(place, centres[None, None, :], centres[None, :, None])


def window(place: Placement, part: Anchor, size: int, half: tuple[float, float]) -> Window:
    """Window around a part of each face, reaching ``half`` (width, height) in face units each way.

    All windows of one kind have the same number of pixels, enough for the largest face and usual roll; they
    are moved inwards where they would leave the picture.
    """
    columns = _extent(size, half[0] + MAX_ROLL * half[1])
    rows = _extent(size, half[1] + MAX_ROLL * half[0])
    left, top = _start(part.column, size, columns), _start(part.row, size, rows)
    column, row = left + torch.arange(columns)[None, None, :], top + torch.arange(rows)[None, :, None]
    index = (row * size + column).reshape(len(row), 1, -1).expand(-1, 3, -1)
    centres = pixel_centres(size)
    return Window(face_grid(place, centres[column], centres[row]), index)


def _extent(size: int, half: float) -> int:
    return min(size, int(half * MAX_SCALE * size) + 2)


def _start(centre: torch.Tensor, size: int, extent: int) -> torch.Tensor:
    """First pixel [n, 1, 1] of an extent around a centre in -1..1."""
    first = torch.floor((centre + 1.0) * (0.5 * size) - 0.5 * extent + 0.5).long()
    return first.clamp(0, size - extent)


def cut(picture: torch.Tensor, view: Window) -> torch.Tensor:
    """Copy of the pixels of a window [n, 3, h, w]."""
    count, rows, columns = view.grid.u.shape
    return picture.flatten(2).gather(2, view.pixels).view(count, 3, rows, columns)


def paste_(picture: torch.Tensor, view: Window, patch: torch.Tensor) -> None:
    """Put the pixels of a window back."""
    picture.view(*picture.shape[:2], -1).scatter_(2, view.pixels, patch.flatten(2))


def part_coordinates(view: Window, part: Anchor) -> tuple[Plane, Plane]:
    """Coordinates of a part as on a head seen from the front: distance from its midline, and height."""
    across = view.grid.u - part.x
    return torch.maximum(across * part.right, across.mul_(part.left)), view.grid.v - part.y
