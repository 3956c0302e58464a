"""Hair, ears, neck, shoulders, the oval of the face, and the light on it."""

from typing import NamedTuple

import attrs
import torch

from mtl_affect.faces.canvas import Grid, Plane
from mtl_affect.faces.records import Identity, Light, Pose
from mtl_affect.faces.strokes import blend_, cover_, spot
from mtl_affect.faces.units import Units

SKULL = 0.98


@attrs.frozen(eq=False)
class HeadShape:
    """Outlines of head and hair, in face units or reciprocals of them, and colours; shaped by ``columns``."""

    width: torch.Tensor
    narrow: torch.Tensor
    flat: torch.Tensor
    taper: torch.Tensor
    square: torch.Tensor
    round: torch.Tensor
    hair_narrow: torch.Tensor
    hair_flat: torch.Tensor
    hair_length: torch.Tensor
    hair_amount: torch.Tensor
    hair_shift: torch.Tensor
    hairline: torch.Tensor
    hair_sides: torch.Tensor
    hair_part: torch.Tensor
    strands_across: torch.Tensor
    strands_along: torch.Tensor
    beard: torch.Tensor
    skin: torch.Tensor
    shadow: torch.Tensor
    hair: torch.Tensor
    hair_behind: torch.Tensor
    clothes: torch.Tensor


class Oval(NamedTuple):
    """The face: ``level`` is 0 in its middle and 1 on its outline; x, y place it on an egg of radius 1."""

    level: Plane
    x: Plane
    y: Plane
    alpha: Plane


def head_shape(identity: Identity, units: Units, pose: Pose) -> HeadShape:
    """Heads, whose chin sinks with the jaw."""
    return HeadShape(
        width=identity.width,
        narrow=1.0 / identity.width,
        flat=1.0 / (identity.chin * (1.0 + 0.12 * units.au26)),
        taper=-identity.jaw_taper,
        square=identity.jaw_square,
        round=1.0 - identity.jaw_square,
        hair_narrow=1.0 / (identity.width + identity.hair_volume),
        hair_flat=1.0 / (SKULL + identity.hair_volume),
        hair_length=identity.hair_length,
        hair_amount=identity.hair_amount,
        hair_shift=0.15 * pose.yaw,
        hairline=identity.hairline + 0.2 * pose.pitch,
        hair_sides=identity.hair_sides,
        hair_part=identity.hair_part,
        strands_across=4.0 + 10.0 * identity.hair_volume,
        strands_along=2.0 + 8.0 * identity.hair_part,
        beard=identity.beard,
        skin=identity.skin,
        shadow=identity.skin * 0.72,
        hair=identity.hair,
        hair_behind=identity.hair * 0.75,
        clothes=identity.clothes,
    )


def face_oval(shape: HeadShape, grid: Grid) -> Oval:
    """Outline of the face: half an ellipse above, a tapering jaw below."""
    upper = (grid.v * (1.0 / SKULL)).clamp_(max=0.0)
    lower = (grid.v * shape.flat).clamp_(0.0, 1.3)
    square = lower * lower
    x = (grid.u * shape.narrow).div_((square * shape.taper).add_(1.0))
    level = (x * x).add_(upper * upper).add_((square * shape.square).add_(shape.round).mul_(square))
    alpha = cover_((1.0 - level).mul_(shape.width * grid.pixels * 0.5))
    return Oval(level, x, upper.add_(lower), alpha)


def hair_outline(shape: HeadShape, grid: Grid) -> Plane:
    """Coverage of all hair, seen without the face: a cap hanging down to the length of the hair."""
    x = grid.u * shape.hair_narrow
    y = (grid.v * shape.hair_flat).clamp_(max=0.0)
    cap = cover_(x.mul_(x).add_(y.mul_(y)).neg_().add_(1.0).mul_(grid.pixels * 0.4))
    ends = cover_((shape.hair_length - grid.v).mul_(grid.pixels * 0.5))
    return cap.mul_(ends).mul_(shape.hair_amount)


def draw_behind_(picture: torch.Tensor, shape: HeadShape, grid: Grid, hair: Plane) -> Plane:
    """Draw hair behind the head, neck, ears and shoulders; return their joint coverage."""
    across = grid.u.abs()
    ears = cover_(
        spot(across - shape.width, grid.v - 0.02, 0.1, 0.18, 1.0).mul_(grid.pixels * 0.05).sub_(0.5)
    )
    neck = cover_((0.4 - across).mul_(grid.pixels)).mul_(cover_((grid.v - 0.4).mul_(grid.pixels)))
    skin = torch.maximum(neck, ears)
    blend_(picture, shape.hair_behind, hair)
    blend_(picture, shape.shadow, skin)
    body = torch.maximum(hair, skin)
    _draw_shoulders_(picture, body, shape, grid)
    return body


def _draw_shoulders_(picture: torch.Tensor, body: Plane, shape: HeadShape, grid: Grid) -> None:
    """Draw clothed shoulders, which reach the lowest rows only, and add them to the coverage of the body."""
    first = int(0.7 * picture.shape[2])
    u, v = grid.u[:, first:], grid.v[:, first:]
    torso = cover_((v - 1.14).sub_((u * u).mul_(0.15)).mul_(grid.pixels))
    blend_(picture[:, :, first:], shape.clothes, torso)
    body[:, first:] = torch.maximum(body[:, first:], torso)


def draw_beard_(picture: torch.Tensor, shape: HeadShape, grid: Grid, face: Plane) -> None:
    """Darken jaw and chin of those with a beard, over the coverage of the face, before the mouth is drawn."""
    bearded = shape.beard.flatten().nonzero().flatten()
    if len(bearded) == 0:
        return
    across = grid.u[bearded]
    edge = (grid.v[bearded] - 0.62).add_(across.mul_(across).mul_(0.8))
    hair = cover_(edge.mul_(4.0)).mul_(face[bearded]).mul_(shape.beard[bearded])
    patch = picture[bearded]
    blend_(patch, shape.hair[bearded], hair)
    picture[bearded] = patch


def draw_hair_(picture: torch.Tensor, shape: HeadShape, grid: Grid, hair: Plane) -> Plane:
    """Draw what of the hair lies above a hairline that drops at the sides; return its coverage."""
    across = grid.u - shape.hair_shift
    square = across * across
    line = square.mul_(square).mul_(shape.hair_sides).add_(across.mul_(shape.hair_part))
    line.add_(shape.hairline).sub_(grid.v)
    alpha = torch.minimum(cover_(line.mul_(grid.pixels * 0.6)), hair)
    blend_(picture, shape.hair, alpha)
    return alpha


def hair_sheen(shape: HeadShape, grid: Grid) -> Plane:
    """How much brighter or darker combed hair is along its strands, -0.15..0.15."""
    phase = (grid.u * shape.strands_across).add_(grid.v * shape.strands_along)
    return phase.sub_(torch.floor(phase)).sub_(0.5).abs_().sub_(0.25).mul_(0.6)


def face_light(light: Light, oval: Oval) -> Plane:
    """Brightness that the light adds to an egg in the shape of the face, which has 1 unlit."""
    depth = (oval.level * -0.9).add_(1.0).clamp_(min=0.0)
    depth = (2.0 - depth).mul_(depth)  # close to the square root, and much faster
    toward = depth.mul_(0.9).add_(oval.x * light.x).add_(oval.y * light.y).clamp_(-0.25, 1.3)
    return toward.mul_(light.diffuse).add_(light.ambient - 1.0)
