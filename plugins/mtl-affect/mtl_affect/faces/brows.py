"""Brows, and the furrows between and above them."""

import attrs
import torch

from mtl_affect.faces.canvas import Plane
from mtl_affect.faces.records import Identity
from mtl_affect.faces.strokes import line_, ridges_, spot
from mtl_affect.faces.units import Units

LENGTH = 0.235


@attrs.frozen(eq=False)
class BrowShape:
    """Brows, in face units; [n, 1, 1] each.

    A brow is a parabola ``height + slope t + bend t^2`` over t in -1 (inner end) .. 1; ``rest`` is where it
    would lie at rest, raised along by half: wrinkles lie above that.
    """

    centre: torch.Tensor
    height: torch.Tensor
    slope: torch.Tensor
    bend: torch.Tensor
    thickness: torch.Tensor
    rest: torch.Tensor
    frown: torch.Tensor
    knot: torch.Tensor
    inner_wrinkles: torch.Tensor
    outer_wrinkles: torch.Tensor


def brow_shape(identity: Identity, units: Units) -> BrowShape:
    """Brows whose inner and outer ends AU1 and AU2 raise, and which AU4 lowers and draws together."""
    inner, outer, low = 0.19 * units.au1, 0.175 * units.au2, 0.13 * units.au4
    return BrowShape(
        centre=identity.eye_spacing + 0.01 - 0.05 * units.au4,
        height=0.45 * low - 0.25 * (inner + outer) - identity.brow_height,
        slope=identity.brow_slope + 0.5 * (inner - outer) - 0.45 * low,
        bend=identity.brow_arch - 0.25 * (inner + outer) + 0.1 * low,
        thickness=identity.brow_thickness * (1.0 + 0.25 * units.au4),
        rest=identity.brow_height + 0.06 * (units.au1 + units.au2),
        frown=0.75 * units.au4,
        knot=0.3 * units.au4,
        inner_wrinkles=0.5 * units.au1,
        outer_wrinkles=0.5 * units.au2,
    )


def brow_cover(shape: BrowShape, x: Plane, y: Plane, pixels: torch.Tensor) -> Plane:
    """Coverage of the brows, which get thinner outwards."""
    along = (x - shape.centre).mul_(1.0 / LENGTH)
    curve = (along * shape.bend).add_(shape.slope).mul_(along).add_(shape.height)
    taper = (along * -0.45).add_(1.0).clamp_(min=0.1).mul_(shape.thickness)
    ends = along.abs_().neg_().add_(1.04).mul_(5.0).clamp_(0.0, 0.92)
    return line_(curve.sub_(y), taper, pixels).mul_(ends)


def forehead_darkness(shape: BrowShape, x: Plane, y: Plane, pixels: torch.Tensor) -> Plane:
    """Darkness of the furrows between lowered brows and of the wrinkles above raised ones."""
    above = y + shape.rest
    dark = line_(x - 0.05, 0.018, pixels).mul_(spot(x, above - 0.02, 0.2, 0.17, shape.frown))
    dark.add_(spot(x, above - 0.05, 0.16, 0.16, shape.knot))
    top = above + 0.19
    middle = spot(x, top, 0.34, 0.16, shape.inner_wrinkles)
    outside = spot(x - 0.36, top, 0.34, 0.14, shape.outer_wrinkles)
    return dark.add_(ridges_(above.mul_(9.0), 2.5).mul_(torch.maximum(middle, outside)))
