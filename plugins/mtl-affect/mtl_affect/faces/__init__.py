"""Synthetic faces: labelled pictures that need no licence, drawn from a seed.

>>> faces = sample(0, range(8), style=STYLES["wild"])  # doctest: +SKIP
>>> pictures = render(faces, 64)  # doctest: +SKIP
"""

from mtl_affect.faces.affect import ACTION_UNITS, EXPRESSIONS, sample_aus, valence_arousal
from mtl_affect.faces.appearance import APPEARANCE, appearance
from mtl_affect.faces.drawing import render
from mtl_affect.faces.frame import sample_frame
from mtl_affect.faces.identity import sample_identity
from mtl_affect.faces.records import Faces, Frame, Identity, Labels, take
from mtl_affect.faces.sampling import labels, sample
from mtl_affect.faces.styles import STYLES, Style

__all__ = [
    "ACTION_UNITS",
    "APPEARANCE",
    "EXPRESSIONS",
    "STYLES",
    "Faces",
    "Frame",
    "Identity",
    "Labels",
    "Style",
    "appearance",
    "labels",
    "render",
    "sample",
    "sample_aus",
    "sample_frame",
    "sample_identity",
    "take",
    "valence_arousal",
]
