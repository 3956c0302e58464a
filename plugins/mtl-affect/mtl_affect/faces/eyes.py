"""Brows, eyes, and the furrows around them."""

from typing import NamedTuple

import attrs
import torch

from mtl_affect.faces.brows import BrowShape, brow_cover, brow_shape, forehead_darkness
from mtl_affect.faces.canvas import Anchor, Placement, Plane, anchor, cut, part_coordinates, paste_, window
from mtl_affect.faces.records import Identity, Pose
from mtl_affect.faces.strokes import between, blend_, cover_, darken_, line_, ridges_, spot
from mtl_affect.faces.units import Units

DEPTH = 0.38
MIDDLE = -0.18
HALF = (0.62, 0.43)


@attrs.frozen(eq=False)
class EyeShape:
    """Eyes, in half widths of the eye unless said otherwise; [n, 1, 1] each.

    ``spacing`` (face units) is from the midline to an eye; ``magnify`` is eye widths per face unit; ``upper``
    and ``lower`` are how far the lids are from the line between the corners; ``gaze_right`` is towards the
    picture's right.
    """

    place: Anchor
    brow: BrowShape
    spacing: torch.Tensor
    magnify: torch.Tensor
    pixels: torch.Tensor
    upper: torch.Tensor
    lower: torch.Tensor
    tilt: torch.Tensor
    gaze_right: torch.Tensor
    gaze_down: torch.Tensor
    bags: torch.Tensor
    crows_feet: torch.Tensor
    cheek: torch.Tensor
    iris: torch.Tensor
    brow_colour: torch.Tensor
    glasses: torch.Tensor


class Lids(NamedTuple):
    """Planes of both eyes: place in half widths of the eye, height of the lids, and 1 - x^2."""

    x: Plane
    y: Plane
    upper: Plane
    lower: Plane
    arch: Plane


def eye_shape(identity: Identity, units: Units, pose: Pose, place: Placement) -> EyeShape:
    """Eyes: raised brows open them, raised cheeks and tight lids close them, from below above all."""
    wide = 0.5 * units.au1 * units.au2 + 0.25 * units.au2 - 0.45 * units.au7 - 0.2 * units.au6
    low = 0.62 - 0.6 * units.au6 - 0.4 * units.au7 + 0.15 * units.au2
    sad, angry = units.au1 * (1.0 - units.au2), units.au4 * (1.0 - units.au1)
    return EyeShape(
        place=anchor(pose, DEPTH, MIDDLE),
        brow=brow_shape(identity, units),
        spacing=identity.eye_spacing,
        magnify=1.0 / identity.eye_size,
        pixels=place.pixels * identity.eye_size,
        upper=identity.eye_open * (1.0 + wide - 0.15 * angry),
        lower=identity.eye_open * low,
        tilt=identity.eye_tilt + 0.2 * sad - 0.12 * angry,
        gaze_right=pose.gaze_x + 0.4 * pose.yaw,
        gaze_down=pose.gaze_y - 0.04,
        bags=0.08 + 0.42 * units.au6 + 0.25 * units.au7,
        crows_feet=0.7 * units.au6,
        cheek=0.15 * units.au6,
        iris=identity.eye_colour,
        brow_colour=identity.hair * 0.7,
        glasses=identity.glasses,
    )


def draw_upper_face_(picture: torch.Tensor, shape: EyeShape, place: Placement, size: int) -> None:
    """Draw brows and eyes into pictures [n, 3, size, size]."""
    view = window(place, shape.place, size, HALF)
    x, y = part_coordinates(view, shape.place)
    side = torch.sign(view.grid.u - shape.place.x)
    patch = cut(picture, view)
    lids = _lids(shape, x, y)
    darken_(patch, _darkness(shape, lids).add_(forehead_darkness(shape.brow, x, y, place.pixels)))
    _draw_eyeball_(patch, shape, lids, side)
    blend_(patch, shape.brow_colour, brow_cover(shape.brow, x, y, place.pixels))
    _draw_glasses_(patch, shape, x, y, place.pixels)
    paste_(picture, view, patch)


def _lids(shape: EyeShape, x: Plane, y: Plane) -> Lids:
    across = (x - shape.spacing).mul_(shape.magnify)
    down = (y * shape.magnify).sub_(across * shape.tilt)
    arch = (across * across).neg_().add_(1.0)
    return Lids(across, down, arch * -shape.upper, arch * shape.lower, arch)


def _darkness(shape: EyeShape, lids: Lids) -> Plane:
    """Darkness of sockets, lid creases, bags and crow's feet, less the light on raised cheeks."""
    dark = spot(lids.x + 0.25, lids.y + 0.45, 1.5, 1.1, 0.25)
    within = (lids.arch * 4.0).add_(1.0).clamp_(0.0, 1.0)
    crease = line_((lids.y - lids.upper).add_(0.3), 0.07, shape.pixels).mul_(0.25)
    bag = line_((lids.y - lids.lower).sub_(0.26), 0.07, shape.pixels).mul_(shape.bags)
    dark.add_(crease.add_(bag).mul_(within))
    rays = ridges_((lids.y * 2.2).sub_(lids.x * 0.6), 2.0)
    dark.add_(rays.mul_(spot(lids.x - 1.45, lids.y, 0.5, 0.8, shape.crows_feet)))
    return dark.sub_(spot(lids.x, lids.y - 1.0, 1.3, 0.5, shape.cheek))


def _draw_eyeball_(patch: torch.Tensor, shape: EyeShape, lids: Lids, side: Plane) -> None:
    """Draw the white, iris, pupil, glint and lashes."""
    opening = between(lids.upper, lids.y, lids.lower, shape.pixels)
    x, y = lids.x - side * shape.gaze_right, lids.y - shape.gaze_down
    distance = (x * x).add_(y * y)
    pupil = cover_((0.045 - distance).mul_(shape.pixels * 2.2)).mul_(-0.85).add_(1.0)
    iris = cover_((0.2 - distance).mul_(shape.pixels * 1.1)).mul_(opening)
    glint = spot((x * side).add_(0.14), y + 0.16, 0.22, 0.22, 0.8).mul_(opening)
    rim = (lids.y - lids.upper).mul_(1.7).add_(0.5).clamp_(0.5, 0.93)
    blend_(patch, rim[:, None], opening)
    blend_(patch, shape.iris * pupil[:, None], iris)
    patch.add_(glint[:, None])
    ends = (lids.arch * 5.0).add_(0.6).clamp_(0.0, 1.0)
    lashes = line_((lids.y - lids.upper).add_(0.05), 0.1, shape.pixels).mul_(0.85)
    lower = line_(lids.y - lids.lower, 0.05, shape.pixels).mul_(0.35)
    darken_(patch, torch.maximum(lashes, lower).mul_(ends))


def _draw_glasses_(patch: torch.Tensor, shape: EyeShape, x: Plane, y: Plane, pixels: torch.Tensor) -> None:
    """Draw dark rims around the eyes, and a bridge, on those who wear glasses."""
    wearing = shape.glasses.flatten().nonzero().flatten()
    if len(wearing) == 0:
        return
    x, y, pixels = x[wearing], y[wearing], pixels[wearing]
    across = (x - shape.spacing[wearing]).abs_().sub_(0.15).clamp_(min=0.0)
    down = (y - 0.02).abs_().sub_(0.09).clamp_(min=0.0)
    rim = line_((across * across).add_(down * down).sqrt_().sub_(0.11), 0.016, pixels)
    bridge = line_(y.add(0.01), 0.016, pixels).mul_(cover_((0.08 - x).mul_(pixels)))
    frame = torch.maximum(rim, bridge).mul_(0.85)
    patch[wearing] = patch[wearing].mul_((1.0 - frame)[:, None])
