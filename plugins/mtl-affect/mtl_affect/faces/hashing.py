"""Counter-based random numbers: every value is a pure function of (seed, group, name, id).

Nothing here keeps a state, so values do not depend on which other ids are asked for, nor in which order. Each
parameter has a stream of its own, named by its group and name: adding a parameter never changes another.
Only exactly rounded operations are used after hashing, so values are the same on every machine.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_IRWIN_HALL_STD = (4.0 / 12.0) ** 0.5


def mix(values: Bits) -> Bits:
    """Splitmix64 finaliser: a bijection of 64-bit integers that scatters every bit."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def stream_key(seed: int, group: str, name: str) -> np.uint64:
    """64-bit key of one named stream under a seed (any Python integer)."""
    text = f"{seed}/{group}/{name}".encode()
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


@attrs.frozen(eq=False)
class Draws:
    """Random values of one parameter group for n ids."""

    seed: int
    group: str
    ids: Ints

    def bits(self, name: str) -> Bits:
        """Uniform 64-bit integers [n]."""
        return mix(mix(self.ids.astype(np.uint64) * _GOLDEN) ^ stream_key(self.seed, self.group, name))

    def quarters(self, name: str) -> Floats:
        """Four independent uniforms in (0, 1) per id [4, n], of 16 bits each, for the price of one hash."""
        shifts = np.array([0, 16, 32, 48], dtype=np.uint64)[:, None]
        fields = (self.bits(name)[None, :] >> shifts) & np.uint64(0xFFFF)
        return (fields.astype(np.float64) + 0.5) * 2.0**-16

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Floats:
        """Uniform values in [low, high) [n]."""
        unit = (self.bits(name) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * unit

    def normal(self, name: str, mean: float = 0.0, std: float = 1.0) -> Floats:
        """Bell-shaped values [n]: a sum of four uniforms, hence bounded by mean +- 3.47 std."""
        first, second, third, fourth = self.quarters(name)
        values: Floats = mean + (std / _IRWIN_HALL_STD) * (((first + second) + (third + fourth)) - 2.0)
        return values

    def chance(self, name: str, probability: float) -> npt.NDArray[np.bool_]:
        """Draw booleans [n], true with a probability."""
        return self.uniform(name) < probability

    def choice(self, name: str, weights: Sequence[float]) -> Ints:
        """Index of a weighted choice [n]; the weights need not sum to one."""
        edges = cumulative(weights)
        return np.searchsorted(edges[:-1], self.uniform(name), side="right").astype(np.int64)

    def pick(self, name: str, table: npt.NDArray[Any]) -> Floats:
        """Uniformly chosen rows of a table [m, k] as [n, k]."""
        rows = self.choice(name, [1.0] * len(table))
        return np.asarray(table, dtype=np.float64)[rows]


def cumulative(weights: Sequence[float]) -> Floats:
    """Cumulative distribution of non-negative weights; raises ValueError where they cannot be one."""
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or not np.all(np.isfinite(values)) or np.any(values < 0) or values.sum() <= 0:
        raise ValueError(f"weights must be finite, non-negative and not all zero: {weights}")
    edges: Floats = np.cumsum(values / values.sum())
    return edges
