"""Prediction: a trained stage over pictures, folders and videos; and files that hold every listed frame."""

from __future__ import annotations

from .blocks import outline, predict
from .fill import Filled, as_pictures, fill
from .inputs import adjusted, open_input
from .listing import parse_listing
from .smooth import joined, postprocessed

__all__ = [
    "Filled",
    "adjusted",
    "as_pictures",
    "fill",
    "joined",
    "open_input",
    "outline",
    "parse_listing",
    "postprocessed",
    "predict",
]
