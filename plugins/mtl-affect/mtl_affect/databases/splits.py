"""Parts of databases that come without an official split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

import numpy as np

from mtl_toolkit import DataError

Split = Literal["all", "train", "validation"]

BITS = 48  # few enough for a float to hold exactly


def in_split(names: Iterable[bytes], split: Split, validation_share: float) -> np.ndarray:
    """Which names belong to a part: bool [names].

    A name's part follows from its text alone: it is the same on every machine and whatever else there is, and
    a larger share only adds to validation. Shares are met up to chance.
    """
    limit = validation_share * 2**BITS
    held_out = np.array([_draw(name) < limit for name in names], np.bool_)
    return {"all": np.ones_like(held_out), "train": ~held_out, "validation": held_out}[split]


def check_split(keep: np.ndarray, split: Split, validation_share: float, source: str) -> None:
    """Refuse a part in which nothing is left.

    Raises:
        DataError: with what was asked for.
    """
    if not keep.any():
        raise DataError(
            f"{source}: split = {split!r} with validation_share = {validation_share:g} leaves nothing "
            f"of {len(keep)}"
        )


def _draw(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(bytes(name), digest_size=BITS // 8).digest(), "big")
