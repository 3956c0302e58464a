"""The mouth, the folds beside it, and the hair above it."""

from typing import NamedTuple

import attrs
import torch

from mtl_affect.faces.canvas import Anchor, Placement, Plane, anchor, cut, part_coordinates, paste_, window
from mtl_affect.faces.records import Identity, Pose
from mtl_affect.faces.strokes import between, blend_, darken_, line_, spot
from mtl_affect.faces.units import Units

DEPTH = 0.42
MIDDLE = 0.58
HALF = (0.56, 0.38)


@attrs.frozen(eq=False)
class MouthShape:
    """Mouths, in face units; [n, 1, 1] each.

    The middle line is ``shift + bend t^2 + droop t^4`` over t in -1..1 from corner to corner; ``raised`` and
    ``dropped`` part the lips from it in the middle; ``upper`` and ``lower`` are the thickness of the lips;
    ``slit`` is half the least thickness of the dark between them. Fold paths run sideways with height, from
    ``fold_top``.
    """

    place: Anchor
    height: torch.Tensor
    narrow: torch.Tensor
    shift: torch.Tensor
    bend: torch.Tensor
    droop: torch.Tensor
    raised: torch.Tensor
    dropped: torch.Tensor
    upper: torch.Tensor
    lower: torch.Tensor
    slit: torch.Tensor
    teeth: torch.Tensor
    tongue: torch.Tensor
    fold_top: torch.Tensor
    fold_slope: torch.Tensor
    fold_bow: torch.Tensor
    fold_strength: torch.Tensor
    corner_x: torch.Tensor
    corner_y: torch.Tensor
    dimple: torch.Tensor
    shadow: torch.Tensor
    cheek: torch.Tensor
    chin: torch.Tensor
    tense: torch.Tensor
    colour: torch.Tensor
    hair: torch.Tensor
    moustache: torch.Tensor


class Lips(NamedTuple):
    """Planes of y at the edges of the lips, from top to bottom, and 1 - t^2."""

    outer_upper: Plane
    inner_upper: Plane
    inner_lower: Plane
    outer_lower: Plane
    arch: Plane


def mouth_shape(identity: Identity, units: Units, pose: Pose) -> MouthShape:
    """Mouths moved by the units of the lower face."""
    stretch = (
        0.42 * units.au12 + 0.06 * units.au15 - 0.26 * units.au23 - 0.16 * units.au26 - 0.04 * units.au24
    )
    width = identity.mouth_width * (1.0 + stretch)
    thin = (1.0 - 0.65 * units.au24) * (1.0 - 0.35 * units.au23) * (1.0 - 0.2 * units.au12)
    dropped = 0.07 * units.au25 + units.au26 * (0.13 + 0.23 * units.au25)
    raised = 0.01 * units.au25 + units.au10 * (0.03 + 0.04 * units.au25) + 0.4 * dropped
    fold_top = identity.nose_width + 0.03 + 0.02 * units.au10
    folds = (identity.folds + 0.55 * units.au12 + 0.75 * units.au10 + 0.15 * units.au15).clamp(max=0.85)
    return MouthShape(
        place=anchor(pose, DEPTH, MIDDLE),
        height=identity.mouth_height,
        narrow=1.0 / width,
        shift=0.03 * units.au12 - 0.04 * units.au15 + 0.4 * dropped - 0.02 * units.au10,
        bend=identity.mouth_bend - 0.2 * units.au12,
        droop=0.17 * units.au15 * (1.0 - 0.5 * units.au12),
        raised=raised,
        dropped=0.6 * dropped,
        upper=identity.lip_upper * thin,
        lower=identity.lip_lower * thin,
        slit=0.006 + 0.016 * units.au24 + 0.008 * units.au23,
        teeth=0.025 + 0.05 * units.au12 + 0.04 * units.au10,
        tongue=0.6 * units.au26,
        fold_top=fold_top,
        fold_slope=width + 0.09 - fold_top,
        fold_bow=0.12 * units.au12 + 0.1 * units.au10,
        fold_strength=folds * 0.6,
        corner_x=width * 1.08,
        corner_y=identity.mouth_height
        + identity.mouth_bend
        - 0.13 * units.au12
        + 0.12 * units.au15
        + 0.4 * dropped,
        dimple=0.12 + 0.25 * units.au12 + 0.15 * units.au15,
        shadow=0.25 * units.au15,
        cheek=0.12 * units.au6 + 0.1 * units.au12,
        chin=0.1 + 0.1 * units.au15,
        tense=0.14 * units.au24,
        colour=identity.lips,
        hair=identity.hair * 0.85,
        moustache=identity.moustache,
    )


def draw_lower_face_(picture: torch.Tensor, shape: MouthShape, place: Placement, size: int) -> None:
    """Draw mouth, folds and moustache into pictures [n, 3, size, size]."""
    view = window(place, shape.place, size, HALF)
    x, y = part_coordinates(view, shape.place)
    lips = _lips(shape, x)
    y = y - shape.height
    patch = cut(picture, view)
    darken_(patch, _fold_darkness(shape, x, y, place.pixels).add_(_chin_darkness(shape, lips, x, y)))
    _draw_moustache_(patch, shape, lips, x, y)
    _draw_lips_(patch, shape, lips, y, place.pixels)
    paste_(picture, view, patch)


def _lips(shape: MouthShape, x: Plane) -> Lips:
    """Edges of the lips: parabolas over the width of the mouth, bent at its corners."""
    across = x * shape.narrow
    square = (across * across).clamp_(max=1.4)
    middle = (square * shape.droop).add_(shape.bend).mul_(square).add_(shape.shift)
    arch = square.neg_().add_(1.0)
    inner_upper, inner_lower = middle - shape.raised * arch, middle.add_(shape.dropped * arch)
    bow = across.mul_(1.0).clamp_(max=0.25).add_(0.75).mul_(arch).mul_(shape.upper)
    return Lips(inner_upper - bow, inner_upper, inner_lower, inner_lower + arch * shape.lower, arch)


def _draw_lips_(patch: torch.Tensor, shape: MouthShape, lips: Lips, y: Plane, pixels: torch.Tensor) -> None:
    """Draw lips, and what shows between them: teeth, tongue and the dark."""
    corners = (lips.arch * 6.0).clamp_(0.0, 1.0)
    below = y - lips.inner_lower
    relief = (below * 2.5).clamp_(-0.14, 0.1).add_(1.0)
    cover = between(lips.outer_upper, y, lips.outer_lower, pixels).mul_(corners)
    blend_(patch, shape.colour * relief[:, None], cover)
    slit = corners * shape.slit
    opening = between(lips.inner_upper - slit, y, lips.inner_lower + slit, pixels)
    tongue = below.mul_(9.0).add_(1.1).clamp_(0.0, 1.0).mul_(shape.tongue).add_(0.24)
    blend_(patch, shape.colour * tongue[:, None], opening)
    gap = (lips.inner_lower - lips.inner_upper).mul_(0.6)
    teeth = between(lips.inner_upper, y, torch.minimum(gap, shape.teeth).add_(lips.inner_upper), pixels)
    shade = (lips.arch * 0.7).clamp_(0.0, 0.33).add_(0.6)
    blend_(patch, shade[:, None], teeth.mul_(corners))


def _fold_darkness(shape: MouthShape, x: Plane, y: Plane, pixels: torch.Tensor) -> Plane:
    """Darkness of the folds from nose to mouth corners, and of these, less the light on raised cheeks."""
    down = (y + 0.27).mul_(3.2).clamp_(0.0, 1.3)
    path = (1.3 - down).mul_(shape.fold_bow).add_(shape.fold_slope).mul_(down).add_(shape.fold_top)
    edge = x - path
    reach = spot(x, y + 0.13, 1.5, 0.26, shape.fold_strength)
    inside = (edge * 7.0).add_(1.0).clamp_(0.0, 1.0).mul_(0.3)
    inside.mul_((edge * -40.0).clamp_(0.0, 1.0))
    dark = line_(edge, 0.014, pixels).add_(inside).mul_(reach)
    beside, under = x - shape.corner_x, y - (shape.corner_y - shape.height)
    dark.add_(spot(beside, under, 0.06, 0.07, shape.dimple))
    dark.add_(spot(beside, under - 0.08, 0.07, 0.12, shape.shadow))
    return dark.sub_(spot(x - 0.42, y + 0.24, 0.22, 0.16, shape.cheek))


def _chin_darkness(shape: MouthShape, lips: Lips, x: Plane, y: Plane) -> Plane:
    """Darkness under the lower lip and above the upper one, less the light on chin and tense lips."""
    below, above = y - lips.outer_lower, y - lips.outer_upper
    dark = spot(x, below - 0.05, 0.2, 0.07, 0.22)
    dark.add_(spot(x, above + 0.07, 0.035, 0.09, 0.12))
    dark.sub_(spot(x, below - 0.15, 0.16, 0.09, shape.chin))
    return dark.sub_(spot(x, above + 0.04, 0.26, 0.05, shape.tense))


def _draw_moustache_(patch: torch.Tensor, shape: MouthShape, lips: Lips, x: Plane, y: Plane) -> None:
    """Draw hair between nose and mouth on those who wear it."""
    if not bool(shape.moustache.any()):
        return
    hair = spot(x, (y - lips.outer_upper).add_(0.05), 0.34, 0.085, 2.5).clamp_(max=1.0)
    blend_(patch, shape.hair, hair.mul_(shape.moustache))
