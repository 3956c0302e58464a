"""What makes a single frame of a video harder than the video: what it shows of the face, and how well."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from mtl_affect.faces.affect import ACTION_UNITS, EXPRESSIONS, sample_aus
from mtl_affect.faces.frame import sample_frame
from mtl_affect.faces.hashing import Draws, Floats, Ints
from mtl_affect.faces.identity import tensor
from mtl_affect.faces.records import Camera, Frame, Identity
from mtl_affect.faces.styles import Style

# At frame_noise = 1, and in proportion below: shares of the frames, and the most that is taken or added.
HIDDEN, BLURRED, CODED = 0.3, 0.6, 0.4
FLITS, SPOKEN, BLINKS = 0.5, 0.4, 0.15
HELD_BACK, GRAIN = 0.3, 0.08

FLIT = (0.3, 0.9)  # how far an expression that flits over a face replaces its own
LID = 0.12  # what a blink leaves of an eye's opening


def disturbed_aus(seed: int, ids: Ints, aus: Floats, style: Style, frame_noise: float) -> Floats:
    """Action units [n, 12] that frames show where [n, 12] are expressed; the same if ``frame_noise`` is 0.

    The expression is half shown, each unit of it differently; in some frames another one flits over it, and
    in some speech moves the mouth.
    """
    draws = Draws(seed, "disturbance", ids)
    most = HELD_BACK * frame_noise
    whole = 1.0 - most * draws.uniform("held back")
    each = 1.0 - most * np.stack([draws.uniform(f"held back {unit}") for unit in ACTION_UNITS], axis=1)
    shown = aus * whole[:, None] * each
    other = sample_aus(seed, ids, draws.choice("flitting", [1.0] * len(EXPRESSIONS)), style)
    share = draws.chance("flits", FLITS * frame_noise) * draws.uniform("flitting share", *FLIT)
    return _speaking(draws, shown + share[:, None] * (other - shown), frame_noise)


def _speaking(draws: Draws, aus: Floats, frame_noise: float) -> Floats:
    """Intensities with those of speech laid over them, as probabilities add."""
    speaks = draws.chance("speech", SPOKEN * frame_noise)
    quiet = 1.0 - aus
    for unit, most in (("AU25", 0.9), ("AU26", 0.6), ("AU10", 0.3), ("AU23", 0.4)):
        quiet[:, ACTION_UNITS.index(unit)] *= 1.0 - speaks * draws.uniform(f"speech {unit}", 0.0, most)
    return 1.0 - quiet


def blinking(seed: int, ids: Ints, identity: Identity, frame_noise: float) -> Identity:
    """People with their eyes shut in some frames."""
    shut = Draws(seed, "disturbance", ids).chance("blink", BLINKS * frame_noise)
    return attrs.evolve(identity, eye_open=identity.eye_open * tensor(np.where(shut, LID, 1.0)))


def shaky(seed: int, ids: Ints, frame: Frame, style: Style, frame_noise: float) -> Frame:
    """Frames with more noise, blur, coarse coding, and things in front of the face, each by itself.

    What hides a face comes and goes with the frames: that of ``frame`` is replaced.
    """
    rough = attrs.evolve(
        style,
        occlusion=frame_noise * min(1.0, HIDDEN + style.occlusion),
        noise=(0.0, frame_noise * GRAIN),
        blur=frame_noise * BLURRED,
        blocks=frame_noise * CODED,
    )
    single = sample_frame(seed, ids, rough)
    return attrs.evolve(frame, occlusion=single.occlusion, camera=_camera(frame.camera, single.camera))


def _camera(steady: Camera, single: Camera) -> Camera:
    return attrs.evolve(
        steady,
        noise=steady.noise + single.noise,
        noise_start=single.noise_start,
        blur=torch.maximum(steady.blur, single.blur),
        blocks=torch.maximum(steady.blocks, single.blocks),
    )
