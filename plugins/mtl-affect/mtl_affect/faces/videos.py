"""Videos of faces as pure functions of (seed, video, frame): their lengths and gaps, and what frames show."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from mtl_affect.faces.disturbance import blinking, disturbed_aus, shaky
from mtl_affect.faces.frame import sample_frame
from mtl_affect.faces.hashing import Draws, Floats, Ints
from mtl_affect.faces.identity import sample_identity, tensor
from mtl_affect.faces.records import Camera, Faces, Frame, Light, Pose, take
from mtl_affect.faces.styles import Style
from mtl_affect.faces.trajectory import Drifts, frame_ids, video_labels

LONGEST_GAP = 8
MOTION_PERIOD = 24
LIGHT_PERIOD = 60

# Of a pose: deviations of its slow course and, at frame_noise = 1, of its jitter; the limits, or None for
# those of the style.
MOTION: tuple[tuple[str, float, float, tuple[float, float] | None], ...] = (
    ("roll", 0.05, 0.04, (-0.25, 0.25)),
    ("yaw", 0.1, 0.08, (-0.5, 0.5)),
    ("pitch", 0.06, 0.05, (-0.3, 0.3)),
    ("scale", 0.03, 0.02, None),
    ("shift_x", 0.05, 0.05, (-0.25, 0.25)),
    ("shift_y", 0.04, 0.05, (-0.25, 0.25)),
    ("gaze_x", 0.12, 0.1, (-0.6, 0.6)),
    ("gaze_y", 0.05, 0.04, (-0.25, 0.25)),
)


def video_lengths(seed: int, videos: Ints, frames: int, spread: float) -> Ints:
    """Numbers of frames of videos [n], evenly spread over frames * (1 -+ spread); at least 1."""
    factor = Draws(seed, "videos", videos).uniform("length", 1.0 - spread, 1.0 + spread)
    return np.maximum(np.floor(frames * factor + 0.5), 1.0).astype(np.int64)


def face_found(seed: int, videos: Ints, frames: Ints, missing: float) -> npt.NDArray[np.bool_]:
    """Whether frames [n] of videos [n] are there; those that are not make up a share, in short runs.

    Each frame starts, with a small and equal chance for each length, runs of 1 .. LONGEST_GAP frames. A frame
    is there if no run covers it: the chance that none does is (1 - chance) ** (1 + 2 + ... + LONGEST_GAP).
    """
    chance = 1.0 - (1.0 - missing) ** (2.0 / (LONGEST_GAP * (LONGEST_GAP + 1)))
    found = np.ones(len(frames), np.bool_)
    for back in range(LONGEST_GAP):
        draws = Draws(seed, "gaps", frame_ids(videos, frames - back))
        for length in range(back + 1, LONGEST_GAP + 1):
            found &= ~draws.chance(f"run of {length}", chance)
    return found


def sample_video_frames(
    seed: int,
    videos: npt.ArrayLike,
    frames: npt.ArrayLike,
    *,
    style: Style,
    class_weights: Sequence[float] | None = None,
    frame_noise: float = 0.0,
) -> Faces:
    """What frames [n] of videos [n] show; each depends on nothing but the arguments, its video and itself.

    The action units of the labels are those that the frame shows; all other labels are those of
    `video_labels`. ``frame_noise`` in 0..1 says how far single frames stray from the smooth course of the
    video.
    """
    video, place = np.asarray(videos, dtype=np.int64), np.asarray(frames, dtype=np.int64)
    ids = frame_ids(video, place)
    noted = video_labels(seed, video, place, style=style, class_weights=class_weights)
    shown = disturbed_aus(seed, ids, noted.aus.astype(np.float64), style, frame_noise)
    unique, rows = np.unique(video, return_inverse=True)
    people = take(sample_identity(seed, unique), rows)
    still = take(sample_frame(seed, frame_ids(unique, np.full_like(unique, -1)), style), rows)
    return Faces(
        identity=blinking(seed, ids, people, frame_noise),
        frame=shaky(seed, ids, _moving(seed, video, place, still, style, frame_noise), style, frame_noise),
        labels=attrs.evolve(noted, aus=shown.astype(np.float32)),
    )


def _moving(seed: int, videos: Ints, frames: Ints, still: Frame, style: Style, frame_noise: float) -> Frame:
    """Frames of a head that moves, in a light that changes, before a background that stays."""
    slow = Drifts.of(seed, "light", videos, frames, LIGHT_PERIOD)
    return attrs.evolve(
        still,
        pose=_pose(seed, videos, frames, still.pose, style, frame_noise),
        light=_light(slow, still.light),
        camera=_exposure(slow, still.camera, style),
    )


def _pose(seed: int, videos: Ints, frames: Ints, still: Pose, style: Style, frame_noise: float) -> Pose:
    slow = Drifts.of(seed, "motion", videos, frames, MOTION_PERIOD)
    jitter = Draws(seed, "jitter", frame_ids(videos, frames))
    values = {}
    for name, drift, shake, limits in MOTION:
        about: Floats = getattr(still, name).numpy().astype(np.float64)
        moved = about + slow.normal(name, drift) + jitter.normal(name, 0.0, frame_noise * shake)
        values[name] = tensor(np.clip(moved, *(limits or style.scale)))
    return Pose(**values)


def _light(slow: Drifts, still: Light) -> Light:
    return attrs.evolve(
        still, x=still.x + tensor(slow.normal("x", 0.15)), y=still.y + tensor(slow.normal("y", 0.1))
    )


def _exposure(slow: Drifts, still: Camera, style: Style) -> Camera:
    brightness = still.brightness + tensor(slow.normal("brightness", 0.02))
    return attrs.evolve(still, brightness=brightness.clamp(*style.brightness))
