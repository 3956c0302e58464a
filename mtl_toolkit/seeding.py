"""Seeds for parts of a run, each a function of the run's seed and the part's name or position."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator


def derive_seed(seed: int, *position: int | str) -> int:
    """A 63-bit seed for one place in a run."""
    text = "/".join(map(str, (seed, *position)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextlib.contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed torch's generator on the CPU for what is built inside; the process finds it as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would seed the GPUs' generators too, and those are not put back.
        torch.default_generator.manual_seed(seed)
        yield
