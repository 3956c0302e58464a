"""Sampling of what stays the same in every picture of one person."""

import numpy as np
import numpy.typing as npt
import torch

from mtl_affect.faces.hashing import Draws, Floats, Ints
from mtl_affect.faces.records import Identity

# From lightest to darkest; a person's tone lies anywhere between.
SKIN_TONES = np.array(
    [[0.97, 0.83, 0.74], [0.92, 0.73, 0.60], [0.80, 0.60, 0.45], [0.60, 0.42, 0.30], [0.38, 0.25, 0.18]]
)
HAIR_COLOURS = np.array(
    [
        [0.07, 0.06, 0.06],
        [0.16, 0.11, 0.08],
        [0.30, 0.19, 0.11],
        [0.45, 0.28, 0.15],
        [0.76, 0.60, 0.34],
        [0.52, 0.24, 0.11],
        [0.62, 0.61, 0.60],
    ]
)
EYE_COLOURS = np.array(
    [[0.24, 0.14, 0.08], [0.38, 0.24, 0.12], [0.30, 0.40, 0.24], [0.30, 0.46, 0.62], [0.42, 0.48, 0.52]]
)

# Rows are styles: bald, short, long, fringe, big. Columns: amount, volume, length, hairline, sides, part.
HAIR_STYLES = np.array(
    [
        [0.0, 0.02, -0.3, -0.80, 0.8, 0.0],
        [1.0, 0.07, -0.1, -0.60, 1.1, 0.10],
        [1.0, 0.13, 1.5, -0.62, 2.2, 0.12],
        [1.0, 0.10, 0.7, -0.42, 1.4, 0.08],
        [1.0, 0.28, 0.4, -0.58, 1.5, 0.0],
    ]
)
HAIR_STYLE_WEIGHTS = (0.1, 0.35, 0.25, 0.18, 0.12)

TRAITS = ("skin_tone", "glasses")

Texts = npt.NDArray[np.str_]


def tensor(values: Floats) -> torch.Tensor:
    """Float32 tensor of sampled values."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def sample_identity(seed: int, identity_ids: Ints) -> Identity:
    """Identities of people numbered by ids [n] under a seed."""
    draws = Draws(seed, "identity", np.asarray(identity_ids, dtype=np.int64))
    values = _shape(draws) | _eyes(draws) | _lower(draws) | _hair(draws) | _colours(draws)
    return Identity(**{name: tensor(value) for name, value in values.items()})


def _colours(draws: Draws) -> dict[str, Floats]:
    skin = _skin(draws)
    redness = draws.uniform("lips", -0.04, 0.04)[:, None]
    shade = draws.uniform("hair shade", 0.8, 1.2)[:, None]
    clothes = [draws.uniform(f"clothes {channel}", 0.08, 0.85) for channel in "rgb"]
    return {
        "skin": skin,
        "lips": np.clip(skin * [0.82, 0.58, 0.58] + [0.08, 0.01, 0.03] + redness, 0.0, 1.0),
        "hair": np.clip(draws.pick("hair colour", HAIR_COLOURS) * shade, 0.0, 1.0),
        "eye_colour": draws.pick("eye colour", EYE_COLOURS),
        "clothes": np.stack(clothes, axis=1),
    }


def trait(name: str, seed: int, identity_ids: Ints) -> Floats | Texts | None:
    """A fact about people by which results can be split, [n]; None for an unknown one.

    `skin_tone` goes from 0, the lightest, to 4; `glasses` is yes or no.
    """
    draws = Draws(seed, "identity", np.asarray(identity_ids, dtype=np.int64))
    if name == "skin_tone":
        return _tones(draws)
    return np.where(_glasses(draws), "yes", "no") if name == "glasses" else None


def _tones(draws: Draws) -> Floats:
    return draws.uniform("skin tone", 0.0, len(SKIN_TONES) - 1.0)


def _glasses(draws: Draws) -> npt.NDArray[np.bool_]:
    return draws.chance("glasses", 0.13)


def _skin(draws: Draws) -> Floats:
    """Skin colours [n, 3]: a tone between neighbours of SKIN_TONES, slightly more yellow or more pink."""
    tone = _tones(draws)
    below = np.minimum(tone.astype(np.int64), len(SKIN_TONES) - 2)
    part = (tone - below)[:, None]
    colour = SKIN_TONES[below] * (1.0 - part) + SKIN_TONES[below + 1] * part
    undertone = draws.uniform("undertone", -0.025, 0.025)[:, None]
    toned: Floats = np.clip(colour + undertone * [1.0, -0.3, -1.0], 0.0, 1.0)
    return toned


def _shape(draws: Draws) -> dict[str, Floats]:
    return {
        "width": draws.uniform("width", 0.68, 0.82),
        "jaw_taper": draws.uniform("jaw taper", 0.12, 0.4),
        "jaw_square": draws.uniform("jaw square", 0.0, 1.0),
        "chin": draws.uniform("chin", 0.94, 1.08),
        "nose_width": draws.uniform("nose width", 0.11, 0.18),
        "nose_length": draws.uniform("nose length", 0.25, 0.33),
        "folds": draws.uniform("folds", 0.0, 0.25),
    }


def _eyes(draws: Draws) -> dict[str, Floats]:
    return {
        "eye_spacing": draws.uniform("eye spacing", 0.32, 0.37),
        "eye_size": draws.uniform("eye size", 0.175, 0.215),
        "eye_open": draws.uniform("eye open", 0.36, 0.50),
        "eye_tilt": draws.normal("eye tilt", -0.03, 0.05),
        "brow_height": draws.uniform("brow height", 0.20, 0.27),
        "brow_thickness": draws.uniform("brow thickness", 0.018, 0.045),
        "brow_slope": draws.normal("brow slope", -0.015, 0.015),
        "brow_arch": draws.uniform("brow arch", 0.02, 0.07),
        "glasses": _glasses(draws).astype(np.float64),
    }


def _lower(draws: Draws) -> dict[str, Floats]:
    return {
        "mouth_width": draws.uniform("mouth width", 0.24, 0.31),
        "mouth_height": draws.uniform("mouth height", 0.50, 0.56),
        "lip_upper": draws.uniform("upper lip", 0.030, 0.065),
        "lip_lower": draws.uniform("lower lip", 0.045, 0.085),
        "mouth_bend": draws.normal("mouth bend", 0.0, 0.009),
        "beard": draws.chance("beard", 0.12) * draws.uniform("beard density", 0.3, 0.9),
        "moustache": draws.chance("moustache", 0.12) * draws.uniform("moustache density", 0.5, 0.95),
    }


def _hair(draws: Draws) -> dict[str, Floats]:
    style = HAIR_STYLES[draws.choice("hair style", HAIR_STYLE_WEIGHTS)]
    jitter = {
        "hair_volume": draws.uniform("hair volume", -0.02, 0.04),
        "hair_length": draws.uniform("hair length", -0.1, 0.2),
        "hairline": draws.normal("hairline", 0.0, 0.04),
        "hair_sides": draws.uniform("hair sides", -0.2, 0.3),
    }
    names = ("hair_amount", "hair_volume", "hair_length", "hairline", "hair_sides", "hair_part")
    values = {name: style[:, column] + jitter.get(name, 0.0) for column, name in enumerate(names)}
    values["hair_part"] = values["hair_part"] * draws.uniform("hair part", -2.0, 2.0)
    return values
