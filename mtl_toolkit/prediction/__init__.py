"""Prediction: a trained stage over pictures, folders and videos; and files that hold every listed frame."""

from __future__ import annotations

from .blocks import predict
from .fill import Filled, fill
from .inputs import open_input
from .listing import parse_listing
from .smooth import joined, postprocessed

__all__ = ["Filled", "fill", "joined", "open_input", "parse_listing", "postprocessed", "predict"]
