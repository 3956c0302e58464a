"""Drawing faces from their parameters."""

import attrs
import torch

from mtl_affect.faces.background import draw_background
from mtl_affect.faces.camera import draw_occlusion_, expose
from mtl_affect.faces.canvas import Placement, placement, whole
from mtl_affect.faces.eyes import EyeShape, draw_upper_face_, eye_shape
from mtl_affect.faces.head import (
    HeadShape,
    draw_beard_,
    draw_behind_,
    draw_hair_,
    face_light,
    face_oval,
    hair_outline,
    hair_sheen,
    head_shape,
)
from mtl_affect.faces.mouth import MouthShape, draw_lower_face_, mouth_shape
from mtl_affect.faces.nose import NoseShape, draw_nose_, nose_shape
from mtl_affect.faces.records import (
    Background,
    Camera,
    Faces,
    Light,
    Occlusion,
    Record,
    columns,
    map_parts,
    take,
)
from mtl_affect.faces.strokes import blend_
from mtl_affect.faces.units import split_units

SMALLEST = 16
# Pixels drawn at a time: enough to be worth a call, few enough for the planes in use to stay in the cache.
CHUNK_PIXELS = 40 * 64 * 64
LUMINANCE = (0.299, 0.587, 0.114)


@torch.no_grad()
def render(faces: Faces, size: int) -> torch.Tensor:
    """Pictures uint8 [n, 3, size, size] of n faces; each depends on its own parameters only."""
    if size < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST} pixels, got {size}")
    pictures = torch.empty(len(faces), 3, size, size, dtype=torch.uint8)
    scene = _scene(faces, size)
    step = max(1, CHUNK_PIXELS // (size * size))
    for start in range(0, len(faces), step):
        chunk = slice(start, start + step)
        pictures[chunk] = _draw(take(scene, chunk), size)
    return pictures


@attrs.frozen(eq=False)
class _Scene:
    """What is drawn, shaped for drawing: scalars [n, 1, 1], colours [n, 3, 1, 1]."""

    place: Placement
    background: Background
    head: HeadShape
    nose: NoseShape
    mouth: MouthShape
    eyes: EyeShape
    light: Light
    occlusion: Occlusion
    camera: Camera


def _scene(faces: Faces, size: int) -> _Scene:
    frame, units = columns(faces.frame), split_units(faces.labels.aus)
    saturation, pose = frame.camera.saturation[:, None], frame.pose
    identity, place = _saturate(columns(faces.identity), saturation), placement(frame.pose, size)
    return _Scene(
        place=place,
        background=_saturate(frame.background, saturation),
        head=head_shape(identity, units, pose),
        nose=nose_shape(identity, units, pose),
        mouth=mouth_shape(identity, units, pose),
        eyes=eye_shape(identity, units, pose, place),
        light=frame.light,
        occlusion=_saturate(frame.occlusion, saturation),
        camera=frame.camera,
    )


def _draw(scene: _Scene, size: int) -> torch.Tensor:
    """Pictures of few faces, drawn from back to front."""
    grid = whole(scene.place, size)
    picture = draw_background(scene.background, size)
    hair = hair_outline(scene.head, grid)
    body = draw_behind_(picture, scene.head, grid, hair)
    oval = face_oval(scene.head, grid)
    blend_(picture, scene.head.skin, oval.alpha)
    draw_beard_(picture, scene.head, grid, oval.alpha)
    draw_nose_(picture, scene.nose, scene.place, size)
    draw_lower_face_(picture, scene.mouth, scene.place, size)
    draw_upper_face_(picture, scene.eyes, scene.place, size)
    front = draw_hair_(picture, scene.head, grid, hair)
    shade = face_light(scene.light, oval).mul_(torch.maximum(torch.maximum(body, front), oval.alpha))
    shade.add_(1.0).mul_(hair_sheen(scene.head, grid).mul_(front).add_(1.0))
    picture.mul_(shade[:, None])
    draw_occlusion_(picture, scene.occlusion, size)
    return expose(picture, scene.camera, size)


def _saturate(record: Record, saturation: torch.Tensor) -> Record:
    """Scale the distance of the colours [n, 3, 1, 1] of a record from grey."""

    def saturated(part: torch.Tensor) -> torch.Tensor:
        if part.ndim != 4:
            return part
        red, green, blue = part.unbind(1)
        grey = (red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2])[:, None]
        return grey + (part - grey) * saturation

    return map_parts(record, saturated)
