"""Sampling of what changes from one picture to the next: pose, light, background, occlusion, camera."""

import numpy as np
import torch

from mtl_affect.faces.hashing import Draws, Floats, Ints
from mtl_affect.faces.identity import tensor
from mtl_affect.faces.records import Background, Camera, Frame, Light, Occlusion, Pose
from mtl_affect.faces.styles import Style

NOISE_STARTS = 1 << 16

# Rows are kinds: hand, bar, blob, hat. Columns: half width, half height, radius, spacing, copies.
OCCLUDERS = np.array(
    [
        [0.07, 0.34, 0.07, 0.155, 1.5],
        [1.60, 0.10, 0.02, 0.0, 0.0],
        [0.24, 0.20, 0.19, 0.0, 0.0],
        [0.84, 0.27, 0.15, 0.0, 0.0],
    ]
)
HAND, BAR, BLOB, HAT = range(4)
HAND_COLOURS = np.array([[0.92, 0.73, 0.60], [0.80, 0.60, 0.45], [0.60, 0.42, 0.30], [0.38, 0.25, 0.18]])


def sample_frame(seed: int, frame_ids: Ints, style: Style) -> Frame:
    """Frame parameters of pictures numbered by ids [n] under a seed, in a style."""
    ids = np.asarray(frame_ids, dtype=np.int64)
    return Frame(
        pose=_pose(Draws(seed, "pose", ids), style),
        light=_light(Draws(seed, "light", ids), style),
        background=_background(Draws(seed, "background", ids), style),
        occlusion=_occlusion(Draws(seed, "occlusion", ids), style),
        camera=_camera(Draws(seed, "camera", ids), style),
    )


def _pose(draws: Draws, style: Style) -> Pose:
    return Pose(
        roll=tensor(np.clip(draws.normal("roll", 0.0, style.roll), -0.25, 0.25)),
        yaw=tensor(np.clip(draws.normal("yaw", 0.0, style.yaw), -0.5, 0.5)),
        pitch=tensor(np.clip(draws.normal("pitch", 0.0, style.pitch), -0.3, 0.3)),
        scale=tensor(draws.uniform("scale", *style.scale)),
        shift_x=tensor(np.clip(draws.normal("shift x", 0.0, style.shift), -0.25, 0.25)),
        shift_y=tensor(np.clip(draws.normal("shift y", -0.05, style.shift), -0.25, 0.25)),
        gaze_x=tensor(draws.normal("gaze x", 0.0, 0.12)),
        gaze_y=tensor(draws.normal("gaze y", 0.0, 0.05)),
    )


def _light(draws: Draws, style: Style) -> Light:
    return Light(
        x=tensor(draws.normal("x", 0.0, style.side_light)),
        y=tensor(draws.normal("y", -0.35, 0.25)),
        ambient=tensor(draws.uniform("ambient", *style.ambient)),
        diffuse=tensor(draws.uniform("diffuse", *style.diffuse)),
    )


def _colour(draws: Draws, name: str, low: float, high: float) -> torch.Tensor:
    """Colours [n, 3] around a grey level in low..high."""
    level = draws.uniform(f"{name} level", low, high)
    tints = [draws.normal(f"{name} {channel}", 0.0, 0.12) for channel in "rgb"]
    return tensor(np.clip(level[:, None] + np.stack(tints, axis=1), 0.02, 0.98))


def _knots(draws: Draws, axis: str, amount: Floats) -> torch.Tensor:
    """Knots [n, 3, 5] of three smooth profiles along an axis, scaled by an amount [n]."""
    values = [
        draws.uniform(f"knot {axis}{field}{place}", -1.0, 1.0) for field in range(3) for place in range(5)
    ]
    return tensor((np.stack(values, axis=1) * amount[:, None]).reshape(len(amount), 3, 5))


def _background(draws: Draws, style: Style) -> Background:
    kind = draws.choice("kind", style.backgrounds)
    slope = np.array([0.06, 0.5, 0.2, 0.15])[kind]
    blobs = np.array([0.0, 0.15, 0.9, 0.3])[kind]
    stripes = (kind == 3) * 1.0
    across, along = draws.chance("stripes across", 0.6), draws.chance("stripes along", 0.5)
    return Background(
        first=_colour(draws, "first", 0.1, 0.95),
        second=_colour(draws, "second", 0.1, 0.95),
        level=tensor(draws.uniform("level", 0.2, 0.8)),
        slope_x=tensor(slope * draws.uniform("slope x", -1.0, 1.0)),
        slope_y=tensor(slope * draws.uniform("slope y", -1.0, 1.0)),
        knots_x=_knots(draws, "x", blobs),
        knots_y=_knots(draws, "y", np.ones_like(blobs)),
        stripes_x=tensor(stripes * (across | ~along)),
        stripes_y=tensor(stripes * along),
        frequency=tensor(draws.uniform("frequency", 1.5, 5.0)),
        phase=tensor(draws.uniform("phase")),
    )


def _occlusion(draws: Draws, style: Style) -> Occlusion:
    kind = draws.choice("kind", [0.35, 0.2, 0.3, 0.15])
    size = OCCLUDERS[kind] * draws.uniform("size", 0.85, 1.15)[:, None]
    x, y = draws.uniform("x", -0.75, 0.75), draws.uniform("y", -0.8, 0.95)
    roll = np.where(kind == HAT, 0.0, draws.uniform("roll", -0.9, 0.9) * np.where(kind == BAR, 0.4, 1.0))
    plain = _colour(draws, "colour", 0.08, 0.85)
    hand = tensor(draws.pick("hand colour", HAND_COLOURS))
    return Occlusion(
        present=tensor(draws.chance("present", style.occlusion).astype(np.float64)),
        x=tensor(np.where(kind == HAT, 0.0, x)),
        y=tensor(np.select([kind == HAT, kind == HAND], [np.full_like(y, -0.95), 0.35 + 0.5 * y], y)),
        half_width=tensor(size[:, 0]),
        half_height=tensor(size[:, 1]),
        radius=tensor(size[:, 2]),
        roll=tensor(roll),
        spacing=tensor(size[:, 3]),
        copies=tensor(np.where(kind == HAND, 1.5, 0.0)),
        colour=torch.where(torch.from_numpy(kind == HAND)[:, None], hand, plain),
    )


def _camera(draws: Draws, style: Style) -> Camera:
    cast = np.stack([draws.normal(f"cast {channel}", 0.0, 0.03) for channel in "rgb"], axis=1)
    saturation = draws.uniform("saturation", *style.saturation)
    blur = draws.chance("blur", style.blur) * draws.uniform("blur amount", 0.3, 1.0)
    blocks = draws.chance("blocks", style.blocks) * draws.uniform("blocks amount", 0.3, 0.8)
    return Camera(
        contrast=tensor(draws.uniform("contrast", *style.contrast)),
        brightness=tensor(draws.uniform("brightness", *style.brightness)),
        cast=tensor(np.asarray(style.cast) + cast * np.minimum(saturation, 1.0)[:, None]),
        saturation=tensor(saturation),
        noise=tensor(draws.uniform("noise", *style.noise)),
        noise_start=torch.from_numpy(draws.uniform("noise start", 0.0, NOISE_STARTS).astype(np.int64)),
        blur=tensor(blur),
        blocks=tensor(blocks),
    )
