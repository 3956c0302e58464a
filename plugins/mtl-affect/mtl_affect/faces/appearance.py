"""What people look like as numbers: the parameters of an identity, each scaled to -1..1."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs
import numpy as np
import numpy.typing as npt

from mtl_affect.faces.identity import sample_identity
from mtl_affect.faces.records import Identity

CHANNELS = ("red", "green", "blue")
COLOURS = ("skin", "lips", "hair", "eye_colour", "clothes")

# What -1 and 1 stand for: the bounds between which people are drawn, in the units of Identity. Those of the
# bell-shaped ones are where the last of them lie.
BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "width": (0.68, 0.82),
        "jaw_taper": (0.12, 0.4),
        "jaw_square": (0.0, 1.0),
        "chin": (0.94, 1.08),
        **{f"{part}_{channel}": (0.0, 1.0) for part in COLOURS for channel in CHANNELS},
        "hair_amount": (0.0, 1.0),
        "hair_volume": (0.0, 0.32),
        "hair_length": (-0.4, 1.7),
        "hairline": (-0.94, -0.28),
        "hair_sides": (0.6, 2.5),
        "hair_part": (-0.24, 0.24),
        "eye_spacing": (0.32, 0.37),
        "eye_size": (0.175, 0.215),
        "eye_open": (0.36, 0.5),
        "eye_tilt": (-0.204, 0.144),
        "brow_height": (0.2, 0.27),
        "brow_thickness": (0.018, 0.045),
        "brow_slope": (-0.0671, 0.0371),
        "brow_arch": (0.02, 0.07),
        "nose_width": (0.11, 0.18),
        "nose_length": (0.25, 0.33),
        "mouth_width": (0.24, 0.31),
        "mouth_height": (0.5, 0.56),
        "lip_upper": (0.03, 0.065),
        "lip_lower": (0.045, 0.085),
        "mouth_bend": (-0.0313, 0.0313),
        "folds": (0.0, 0.25),
        "beard": (0.0, 0.9),
        "moustache": (0.0, 0.95),
        "glasses": (0.0, 1.0),
    }
)

APPEARANCE: tuple[str, ...] = tuple(BOUNDS)


def appearance(seed: int, identity_ids: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The parameters APPEARANCE [n, axes] of people numbered by ids [n] under a seed, in -1..1."""
    people, rows = np.unique(np.asarray(identity_ids, dtype=np.int64), return_inverse=True)
    values = _columns(sample_identity(seed, people))
    low, high = np.array(list(BOUNDS.values())).T
    scaled = np.clip(2.0 * (values - low) / (high - low) - 1.0, -1.0, 1.0).astype(np.float32)
    return np.asarray(scaled[rows.reshape(-1)])


def _columns(identity: Identity) -> npt.NDArray[np.float64]:
    """All parameters [n, axes], the three channels of a colour apart, in the order of APPEARANCE."""
    named: dict[str, npt.NDArray[np.float32]] = {}
    for name, value in attrs.asdict(identity, recurse=False).items():
        if name in COLOURS:
            named |= {f"{name}_{channel}": value[:, place].numpy() for place, channel in enumerate(CHANNELS)}
        else:
            named[name] = value.numpy()
    return np.stack([named[name] for name in APPEARANCE], axis=1).astype(np.float64)
