"""Seeds for parts of a run, each a function of the run's seed and the part's name or position."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *position: int | str) -> int:
    """A 63-bit seed for one place in a run."""
    text = "/".join(map(str, (seed, *position)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
