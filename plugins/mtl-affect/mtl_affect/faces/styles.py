"""Named styles: how pictures of one imitated database differ from those of another."""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

Range = tuple[float, float]


@attrs.frozen
class Style:
    """Ranges (low, high) and probabilities from which the frame parameters of a face are drawn.

    Standard deviations of roll, yaw and pitch are those of the sine of the angle; ``shift`` is in half
    pictures; ``scale`` is half the head's height in half pictures. ``backgrounds`` weighs plain, gradient,
    blobs, stripes.
    """

    name: str
    intensity: Range
    blend: float
    activation: float
    roll: float
    yaw: float
    pitch: float
    shift: float
    scale: Range
    ambient: Range
    diffuse: Range
    side_light: float
    backgrounds: tuple[float, float, float, float]
    occlusion: float
    contrast: Range
    brightness: Range
    cast: tuple[float, float, float]
    saturation: Range
    noise: Range
    blur: float
    blocks: float


STUDIO = Style(
    name="studio",
    intensity=(0.55, 1.0),
    blend=0.1,
    activation=0.12,
    roll=0.07,
    yaw=0.1,
    pitch=0.08,
    shift=0.09,
    scale=(0.78, 0.98),
    ambient=(0.5, 0.6),
    diffuse=(0.4, 0.55),
    side_light=0.25,
    backgrounds=(0.6, 0.4, 0.0, 0.0),
    occlusion=0.0,
    contrast=(0.95, 1.08),
    brightness=(-0.02, 0.06),
    cast=(1.0, 1.0, 1.0),
    saturation=(0.85, 1.1),
    noise=(0.004, 0.015),
    blur=0.1,
    blocks=0.0,
)

WILD = Style(
    name="wild",
    intensity=(0.45, 1.0),
    blend=0.22,
    activation=0.2,
    roll=0.12,
    yaw=0.2,
    pitch=0.12,
    shift=0.12,
    scale=(0.74, 1.0),
    ambient=(0.35, 0.6),
    diffuse=(0.3, 0.75),
    side_light=0.55,
    backgrounds=(0.1, 0.25, 0.4, 0.25),
    occlusion=0.2,
    contrast=(0.7, 1.2),
    brightness=(-0.08, 0.1),
    cast=(1.0, 1.0, 1.0),
    saturation=(0.5, 1.2),
    noise=(0.01, 0.05),
    blur=0.35,
    blocks=0.1,
)

FILM = Style(
    name="film",
    intensity=(0.5, 1.0),
    blend=0.18,
    activation=0.18,
    roll=0.1,
    yaw=0.26,
    pitch=0.11,
    shift=0.11,
    scale=(0.76, 1.0),
    ambient=(0.25, 0.4),
    diffuse=(0.45, 0.8),
    side_light=0.7,
    backgrounds=(0.2, 0.4, 0.35, 0.05),
    occlusion=0.08,
    contrast=(0.6, 0.85),
    brightness=(-0.1, 0.02),
    cast=(1.08, 0.98, 0.84),
    saturation=(0.5, 0.85),
    noise=(0.015, 0.04),
    blur=0.4,
    blocks=0.0,
)

GREY = Style(
    name="grey",
    intensity=(0.5, 1.0),
    blend=0.15,
    activation=0.16,
    roll=0.09,
    yaw=0.16,
    pitch=0.1,
    shift=0.1,
    scale=(0.78, 1.0),
    ambient=(0.4, 0.6),
    diffuse=(0.35, 0.65),
    side_light=0.45,
    backgrounds=(0.35, 0.35, 0.2, 0.1),
    occlusion=0.06,
    contrast=(0.75, 1.1),
    brightness=(-0.05, 0.08),
    cast=(1.0, 1.0, 1.0),
    saturation=(0.0, 0.0),
    noise=(0.015, 0.04),
    blur=0.8,
    blocks=0.8,
)

STYLES: Mapping[str, Style] = MappingProxyType({style.name: style for style in (STUDIO, WILD, FILM, GREY)})
