"""The nose, and the wrinkles a raised lip folds beside it."""

import attrs
import torch

from mtl_affect.faces.canvas import Anchor, Placement, Plane, anchor, cut, part_coordinates, paste_, window
from mtl_affect.faces.records import Identity, Pose
from mtl_affect.faces.strokes import darken_, line_, ridges_, spot
from mtl_affect.faces.units import Units

DEPTH = 0.52
MIDDLE = 0.16
HALF = (0.34, 0.31)


@attrs.frozen(eq=False)
class NoseShape:
    """Where noses are, and their measures; [n, 1, 1] each."""

    place: Anchor
    width: torch.Tensor
    tip: torch.Tensor
    side: torch.Tensor
    nostril: torch.Tensor
    wrinkles: torch.Tensor


def nose_shape(identity: Identity, units: Units, pose: Pose) -> NoseShape:
    """Noses, which a raised upper lip widens, shortens and wrinkles."""
    width = identity.nose_width * (1.0 + 0.15 * units.au10 + 0.06 * units.au12)
    return NoseShape(
        place=anchor(pose, DEPTH, MIDDLE),
        width=width,
        tip=identity.nose_length - 0.03 * units.au10,
        side=width * 0.6,
        nostril=width * 0.52,
        wrinkles=0.75 * units.au10,
    )


def draw_nose_(picture: torch.Tensor, shape: NoseShape, place: Placement, size: int) -> None:
    """Draw noses into pictures [n, 3, size, size], as light and shadow on the skin."""
    view = window(place, shape.place, size, HALF)
    x, y = part_coordinates(view, shape.place)
    patch = cut(picture, view)
    darken_(patch, _darkness(shape, x, y, view.grid.pixels))
    paste_(picture, view, patch)


def _darkness(shape: NoseShape, x: Plane, y: Plane, pixels: torch.Tensor) -> Plane:
    """Darkness of bridge, underside, wings, nostrils and wrinkles, less the gleam of bridge and tip."""
    tip, wing = y - shape.tip, x - shape.width
    dark = spot(x - shape.side, y - 0.08, 0.09, 0.24, 0.2)
    dark.add_(spot(x, tip - 0.05, 0.17, 0.06, 0.32))
    dark.add_(spot(x - shape.nostril, tip - 0.015, 0.05, 0.035, 0.8))
    dark.sub_(spot(x, tip + 0.03, 0.07, 0.07, 0.15)).sub_(spot(x, y - 0.08, 0.05, 0.22, 0.1))
    crease = line_((tip * tip).mul_(6.0).add_(wing), 0.012, pixels)
    dark.add_(crease.mul_(spot(wing, tip, 0.1, 0.09, 0.5)))
    folds = ridges_((x * 0.5).add_(y).mul_(14.0), 2.0)
    return dark.add_(folds.mul_(spot(x - 0.1, y - 0.02, 0.14, 0.15, shape.wrinkles)))
