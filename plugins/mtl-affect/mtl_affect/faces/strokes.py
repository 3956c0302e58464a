"""Antialiased strokes and soft shades, as planes [n, h, w], and how to lay them on pictures."""

import torch

from mtl_affect.faces.canvas import Plane, Scalar


def cover_(distance: Plane) -> Plane:
    """Coverage 0..1 from a signed distance in pixels, positive inside: a ramp one pixel wide."""
    return distance.add_(0.5).clamp_(0.0, 1.0)


def line_(distance: Plane, half_width: Scalar, pixels: torch.Tensor) -> Plane:
    """Coverage of a line from the signed distance to its middle, all in one length of ``pixels`` pixels."""
    return cover_(distance.abs_().neg_().add_(half_width).mul_(pixels))


def between(low: Plane, value: Plane, high: Plane, pixels: torch.Tensor) -> Plane:
    """Coverage of the region where low < value < high, vanishing with its thickness."""
    above, below = (value - low).mul_(pixels), (high - value).mul_(pixels)
    thickness = above + below
    return torch.minimum(torch.minimum(above, below).add_(0.5), thickness).clamp_(0.0, 1.0)


def spot(x: Plane, y: Plane, half_x: Scalar, half_y: Scalar, strength: Scalar) -> Plane:
    """Soft elliptic spot: a strength at the origin of x and y, falling to zero at the half axes."""
    across, along = x * (1.0 / half_x), y * (1.0 / half_y)
    level = across.mul_(across).add_(along.mul_(along)).clamp_(max=1.0)
    return level.sub_(1.0).mul_(-strength)


def ridges_(phase: Plane, sharpness: float) -> Plane:
    """Parallel lines, one at each whole phase, 0..1; the sharper, the thinner."""
    return (
        phase.sub_(torch.floor(phase))
        .sub_(0.5)
        .abs_()
        .mul_(2.0 * sharpness)
        .add_(1.0 - sharpness)
        .clamp_(min=0.0)
    )


def blend_(picture: torch.Tensor, colour: Scalar, alpha: Plane) -> None:
    """Lay a colour (or picture) over a picture with a coverage 0..1."""
    layer = alpha[:, None]
    picture.mul_(1.0 - layer).add_(layer * colour)


def darken_(picture: torch.Tensor, darkness: Plane) -> None:
    """Darken a picture by a plane of darkness, overwritten: 0 leaves it as it is; negative values lighten."""
    picture.mul_(darkness.clamp_(max=0.85).neg_().add_(1.0)[:, None])
