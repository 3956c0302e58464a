"""Occluders in front of the face, and everything between light and pixel values."""

from functools import lru_cache

import numpy as np
import torch

from mtl_affect.faces.canvas import pixel_centres
from mtl_affect.faces.frame import NOISE_STARTS
from mtl_affect.faces.hashing import Draws
from mtl_affect.faces.records import Camera, Occlusion, map_parts
from mtl_affect.faces.strokes import blend_, cover_

BLOCKS = 16


def draw_occlusion_(picture: torch.Tensor, occlusion: Occlusion, size: int) -> None:
    """Draw what hides part of the face, on the pictures that have such a thing."""
    hidden = occlusion.present.flatten().nonzero().flatten()
    if len(hidden) == 0:
        return
    patch = picture[hidden]
    chosen = map_parts(occlusion, lambda part: part[hidden])
    distance = _box_distance(chosen, pixel_centres(size)).mul_(0.5 * size)
    rounding = (distance * (0.08 * 64.0 / size)).clamp_(0.0, 0.35).add_(0.7)
    blend_(patch, chosen.colour * rounding[:, None], cover_(distance))
    picture[hidden] = patch


def _box_distance(box: Occlusion, centres: torch.Tensor) -> torch.Tensor:
    """Distance to the edge of rounded boxes, positive inside, in half pictures [n, size, size]."""
    cosine = torch.sqrt(1.0 - box.roll * box.roll)
    x, y = centres[None, None, :] - box.x, centres[None, :, None] - box.y
    across, along = x * cosine + y * box.roll, y * cosine - x * box.roll
    step = (across / box.spacing.clamp(min=1e-3)).add_(0.5).round_().sub_(0.5)
    step = torch.minimum(torch.maximum(step, -box.copies), box.copies)
    across.sub_(step.mul_(box.spacing))
    beyond_x = across.abs_().sub_(box.half_width - box.radius).clamp_(min=0.0)
    beyond_y = along.abs_().sub_(box.half_height - box.radius).clamp_(min=0.0)
    return box.radius - (beyond_x * beyond_x).add_(beyond_y * beyond_y).sqrt_()


def expose(picture: torch.Tensor, camera: Camera, size: int) -> torch.Tensor:
    """Pixel values uint8 [n, 3, size, size] of pictures in 0..1, which are overwritten."""
    _blur_(picture, camera.blur, max(1, round(size / 64)))
    _compress_(picture, camera.blocks, size)
    gain = camera.cast * camera.contrast[:, None]
    offset = (0.5 * (1.0 - camera.contrast) + camera.brightness)[:, None]
    picture.mul_(gain * 255.0).add_(offset * 255.0 + 0.5)
    grain = _noise(camera, size).mul_((camera.noise * 255.0)[:, None])
    return picture.add_(grain).clamp_(0.0, 255.0).to(torch.uint8)


def _blur_(picture: torch.Tensor, amount: torch.Tensor, reach: int) -> None:
    """Mix each pixel with its neighbours ``reach`` away, on the pictures with an amount 0..1 above zero."""
    blurred = amount.flatten().nonzero().flatten()
    if len(blurred) == 0:
        return
    weight = amount[blurred][:, None] * 0.5
    patch = picture[blurred]
    for axis in (2, 3):
        length = patch.shape[axis] - 2 * reach
        ends = patch.narrow(axis, 0, length) + patch.narrow(axis, 2 * reach, length)
        inner = patch.narrow(axis, reach, length)
        inner.mul_(1.0 - weight).add_(ends.mul_(weight * 0.5))
    picture[blurred] = patch


def _compress_(picture: torch.Tensor, amount: torch.Tensor, size: int) -> None:
    """Draw square blocks of pixels towards the pixel in their middle, as coarse coding does."""
    coded = amount.flatten().nonzero().flatten()
    if len(coded) == 0:
        return
    block = max(1, size // (2 * BLOCKS))
    middles = (torch.arange(size) // block * block + block // 2).clamp(max=size - 1)
    patch = picture[coded]
    weight = amount[coded][:, None]
    coarse = patch.index_select(2, middles).index_select(3, middles)
    picture[coded] = patch.mul_(1.0 - weight).add_(coarse.mul_(weight))


def _noise(camera: Camera, size: int) -> torch.Tensor:
    """Sensor noise of unit strength [n, 3, size, size], alike in the three channels of grey pictures."""
    table = noise_table(3 * size * size + NOISE_STARTS)
    grain = torch.stack(
        [table[start : start + 3 * size * size] for start in camera.noise_start.flatten().tolist()]
    )
    grain = grain.view(-1, 3, size, size)
    grey = (camera.saturation == 0.0).flatten().nonzero().flatten()
    if len(grey):
        grain[grey] = grain[grey, :1].expand(-1, 3, -1, -1)
    return grain


@lru_cache(maxsize=4)
def noise_table(length: int) -> torch.Tensor:
    """Bell-shaped noise of unit deviation [length], of which each picture takes a stretch of its own."""
    values = Draws(0, "noise", np.arange(length, dtype=np.int64)).normal("table")
    return torch.from_numpy(values.astype(np.float32))
