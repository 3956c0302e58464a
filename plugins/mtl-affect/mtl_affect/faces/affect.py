"""From expressions to action units to valence and arousal."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from mtl_affect.faces.hashing import Draws, Floats, Ints
from mtl_affect.faces.styles import Style

EXPRESSIONS: tuple[str, ...] = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")

ACTION_UNITS: tuple[str, ...] = (
    "AU1",  # inner brow raiser
    "AU2",  # outer brow raiser
    "AU4",  # brow lowerer
    "AU6",  # cheek raiser
    "AU7",  # lid tightener
    "AU10",  # upper lip raiser
    "AU12",  # lip corner puller
    "AU15",  # lip corner depressor
    "AU23",  # lip tightener
    "AU24",  # lip pressor
    "AU25",  # lips part
    "AU26",  # jaw drop
)

AU_THRESHOLD = 0.3
ANNOTATOR_STD = 0.06

# Two variants each: people smile, scowl or sneer with the mouth closed or open.
PROTOTYPES: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]] = MappingProxyType(
    {
        "neutral": ({}, {}),
        "anger": (
            {"AU4": 1.0, "AU7": 0.8, "AU23": 0.8, "AU24": 0.8},
            {"AU4": 1.0, "AU7": 0.8, "AU10": 0.3, "AU23": 0.7, "AU25": 0.7, "AU26": 0.2},
        ),
        "disgust": (
            {"AU4": 0.5, "AU6": 0.3, "AU7": 0.6, "AU10": 1.0, "AU15": 0.4},
            {"AU4": 0.5, "AU6": 0.3, "AU7": 0.6, "AU10": 1.0, "AU25": 0.6},
        ),
        "fear": (
            {"AU1": 1.0, "AU2": 0.7, "AU4": 0.7, "AU15": 0.3, "AU25": 0.9, "AU26": 0.2},
            {"AU1": 1.0, "AU2": 0.6, "AU4": 0.8, "AU25": 0.7, "AU26": 0.4},
        ),
        "happiness": (
            {"AU6": 0.8, "AU12": 1.0},
            {"AU6": 0.9, "AU12": 1.0, "AU25": 0.8, "AU26": 0.2},
        ),
        "sadness": (
            {"AU1": 0.9, "AU4": 0.5, "AU15": 1.0},
            {"AU1": 0.8, "AU4": 0.4, "AU15": 0.8, "AU24": 0.3, "AU7": 0.2},
        ),
        "surprise": (
            {"AU1": 0.9, "AU2": 1.0, "AU25": 0.8, "AU26": 0.9},
            {"AU1": 0.9, "AU2": 0.9, "AU25": 0.6, "AU26": 0.5},
        ),
    }
)


def prototype_table() -> Floats:
    """Prototype intensities [7 expressions, 2 variants, 12 action units]."""
    return np.array(
        [
            [[variant.get(unit, 0.0) for unit in ACTION_UNITS] for variant in PROTOTYPES[name]]
            for name in EXPRESSIONS
        ]
    )


def sample_aus(seed: int, ids: Ints, expression: Ints, style: Style) -> Floats:
    """Action-unit intensities [n, 12] in 0..1 of faces showing an expression [n] in a style.

    The prototype is scaled by an intensity of the face, each unit of it varies and sometimes stays weak; a
    faint second expression and small activations of any unit are laid over it (as probabilities add:
    1-(1-a)(1-b)).
    """
    draws = Draws(seed, "expression", ids)
    table = prototype_table()
    variant = draws.choice("variant", [0.5, 0.5])
    other, other_variant = draws.choice("other", [1.0] * 7), draws.choice("other variant", [0.5, 0.5])
    intensity = draws.uniform("intensity", *style.intensity)
    blend = draws.uniform("blend", 0.0, style.blend)
    units = np.empty((len(ids), len(ACTION_UNITS)))
    for column, unit in enumerate(ACTION_UNITS):
        main = table[expression, variant, column] * intensity
        faint = table[other, other_variant, column] * blend
        varied = main * _variation(draws, unit)
        units[:, column] = 1.0 - (1.0 - varied) * (1.0 - faint) * (
            1.0 - _stray(draws, unit, style.activation)
        )
    clipped: Floats = np.clip(units, 0.0, 1.0)
    return clipped


def _variation(draws: Draws, unit: str) -> Floats:
    """How much of its prototype a unit shows [n]: 0.7..1.1, and one time in seven about a third of that."""
    amount, weak, _, _ = draws.quarters(f"variation {unit}")
    shown: Floats = (0.7 + 0.4 * amount) * np.where(weak < 1.0 / 7.0, 0.35, 1.0)
    return shown


def _stray(draws: Draws, unit: str, probability: float) -> Floats:
    """Activation that has nothing to do with the expression [n]: mostly none, else 0..0.5."""
    gate, amount, _, _ = draws.quarters(f"stray {unit}")
    return np.where(gate < probability, 0.5 * amount, 0.0)


def valence_arousal(aus: Floats) -> Floats:
    """Valence and arousal [n, 2] in -1..1 that action units [n, 12] express, without annotator noise.

    Both are x / sqrt(1 + x^2) of a weighted sum x. Corner pull carries valence, more so with raised cheeks (a
    felt smile); lowered brows, lip raise and depressed corners take it away. Jaw, parted lips, raised outer
    brows and the tension of brows, lids and lips carry arousal; depressed corners, and inner brows raised
    alone, take it away.
    """
    unit = {name: aus[:, column] for column, name in enumerate(ACTION_UNITS)}
    smile = unit["AU12"] * (0.9 + 0.7 * unit["AU6"])
    sneer = unit["AU10"] * (1.0 - 0.5 * unit["AU12"])
    lowered = unit["AU4"] * (0.7 + 0.5 * unit["AU7"])
    valence = 0.05 + smile - 0.8 * sneer - 0.7 * lowered - 0.8 * unit["AU15"]
    valence = (
        valence - 0.25 * unit["AU23"] - 0.2 * unit["AU24"] - 0.4 * unit["AU1"] * (1.0 - 0.6 * unit["AU2"])
    )
    tension = 0.7 * unit["AU4"] * unit["AU7"] + 0.3 * unit["AU23"] + 0.2 * unit["AU7"] + 0.35 * unit["AU10"]
    opened = 0.45 * unit["AU25"] + 0.8 * unit["AU26"] + 0.5 * unit["AU2"]
    alone = unit["AU1"] * (1.0 - unit["AU2"]) * (1.0 - unit["AU25"])
    arousal = -0.12 + tension + opened + 0.35 * smile - 0.55 * unit["AU15"] - 0.45 * alone
    both = np.stack([valence, arousal], axis=1)
    squashed: Floats = both / np.sqrt(1.0 + both * both)
    return squashed


def annotate(seed: int, ids: Ints, aus: Floats) -> npt.NDArray[np.float32]:
    """Valence and arousal [n, 2] as an annotator notes them: with a small error, clipped to -1..1."""
    draws = Draws(seed, "annotator", ids)
    errors = [draws.normal(name, 0.0, ANNOTATOR_STD) for name in ("valence", "arousal")]
    noted = valence_arousal(aus) + np.stack(errors, axis=1)
    return np.clip(noted, -1.0, 1.0).astype(np.float32)


def active(aus: Floats) -> npt.NDArray[np.uint8]:
    """Binary action-unit labels [n, 12]: one where the intensity reaches AU_THRESHOLD."""
    return (aus >= AU_THRESHOLD).astype(np.uint8)
