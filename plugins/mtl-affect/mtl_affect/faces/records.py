"""Frozen records of the parameters of n faces, and how to slice and shape them.

Picture parameters are float32 tensors of leading dimension n; labels are numpy arrays. Lengths are in *face
units* (half the height of the head), x to the right, y downwards, with the origin at the middle of the head.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import torch

Record = TypeVar("Record", bound=attrs.AttrsInstance)


@attrs.frozen(eq=False)
class Identity:
    """What stays the same in every picture of one person; [n] each, colours [n, 3] in 0..1."""

    width: torch.Tensor
    jaw_taper: torch.Tensor
    jaw_square: torch.Tensor
    chin: torch.Tensor
    skin: torch.Tensor
    lips: torch.Tensor
    hair: torch.Tensor
    hair_amount: torch.Tensor
    hair_volume: torch.Tensor
    hair_length: torch.Tensor
    hairline: torch.Tensor
    hair_sides: torch.Tensor
    hair_part: torch.Tensor
    eye_colour: torch.Tensor
    eye_spacing: torch.Tensor
    eye_size: torch.Tensor
    eye_open: torch.Tensor
    eye_tilt: torch.Tensor
    brow_height: torch.Tensor
    brow_thickness: torch.Tensor
    brow_slope: torch.Tensor
    brow_arch: torch.Tensor
    nose_width: torch.Tensor
    nose_length: torch.Tensor
    mouth_width: torch.Tensor
    mouth_height: torch.Tensor
    lip_upper: torch.Tensor
    lip_lower: torch.Tensor
    mouth_bend: torch.Tensor
    folds: torch.Tensor
    beard: torch.Tensor
    moustache: torch.Tensor
    glasses: torch.Tensor
    clothes: torch.Tensor


@attrs.frozen(eq=False)
class Pose:
    """Where the head is and the eyes look; [n] each.

    Angles are sines; shifts are in half pictures, the scale in half pictures per face unit, the gaze in half
    widths of the eye.
    """

    roll: torch.Tensor
    yaw: torch.Tensor
    pitch: torch.Tensor
    scale: torch.Tensor
    shift_x: torch.Tensor
    shift_y: torch.Tensor
    gaze_x: torch.Tensor
    gaze_y: torch.Tensor


@attrs.frozen(eq=False)
class Light:
    """One distant light, (x, y) being the direction it comes from, over an ambient level; [n] each."""

    x: torch.Tensor
    y: torch.Tensor
    ambient: torch.Tensor
    diffuse: torch.Tensor


@attrs.frozen(eq=False)
class Background:
    """Blend of two colours [n, 3]: level, slopes and stripes [n], and blobs by knots [n, 3, 5] along axes."""

    first: torch.Tensor
    second: torch.Tensor
    level: torch.Tensor
    slope_x: torch.Tensor
    slope_y: torch.Tensor
    knots_x: torch.Tensor
    knots_y: torch.Tensor
    stripes_x: torch.Tensor
    stripes_y: torch.Tensor
    frequency: torch.Tensor
    phase: torch.Tensor


@attrs.frozen(eq=False)
class Occlusion:
    """One rounded box in front of the face, or a row of them: the fingers of a hand.

    [n] each, colour [n, 3]; lengths in half pictures. The boxes lie ``spacing`` apart, from -copies to copies
    times that.
    """

    present: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    half_width: torch.Tensor
    half_height: torch.Tensor
    radius: torch.Tensor
    roll: torch.Tensor
    spacing: torch.Tensor
    copies: torch.Tensor
    colour: torch.Tensor


@attrs.frozen(eq=False)
class Camera:
    """From light to pixel values; [n] each, cast [n, 3].

    ``noise`` is its deviation in the range 0..1; ``noise_start`` (int64) is a place in the noise table.
    """

    contrast: torch.Tensor
    brightness: torch.Tensor
    cast: torch.Tensor
    saturation: torch.Tensor
    noise: torch.Tensor
    noise_start: torch.Tensor
    blur: torch.Tensor
    blocks: torch.Tensor


@attrs.frozen(eq=False)
class Frame:
    """What changes from one picture of a person to the next, the expression apart."""

    pose: Pose
    light: Light
    background: Background
    occlusion: Occlusion
    camera: Camera


@attrs.frozen(eq=False)
class Labels:
    """Targets of n faces.

    ``expression`` [n] indexes EXPRESSIONS; ``valence_arousal`` [n, 2] in -1..1 is what an annotator noted;
    ``au_labels`` [n, 12] is 0 or 1; ``aus`` [n, 12] are the intensities in 0..1 behind it; ``identity_id``
    [n] numbers the people of one seed.
    """

    expression: npt.NDArray[np.int64]
    valence_arousal: npt.NDArray[np.float32]
    au_labels: npt.NDArray[np.uint8]
    aus: npt.NDArray[np.float32]
    identity_id: npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class Faces:
    """Everything needed to draw n faces, and their labels (documented at Labels)."""

    identity: Identity
    frame: Frame
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels.expression)


def map_parts(record: Record, change: Callable[..., object]) -> Record:
    """Apply ``change`` to each array of a record, nested records included."""
    values = {}
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        is_part = isinstance(value, torch.Tensor | np.ndarray)
        values[field.name] = change(value) if is_part else map_parts(value, change)
    return type(record)(**values)


def take(record: Record, index: slice | npt.NDArray[np.int64]) -> Record:
    """Select the faces of a record by an index, in its order."""
    return map_parts(record, lambda part: part[index])


def columns(record: Record) -> Record:
    """Shape tensors [n] as [n, 1, 1] and [n, 3] as [n, 3, 1, 1], to broadcast over pictures."""

    def shaped(part: torch.Tensor) -> torch.Tensor:
        if part.ndim == 1:
            return part[:, None, None]
        return part[:, :, None, None] if part.ndim == 2 else part

    return map_parts(record, shaped)
