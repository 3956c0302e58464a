"""What a recipe of `metrics` builds; a module of its own because torchmetrics takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_std.live_metrics import PooledConcordance
from mtl_std.metrics import Values, concordance

from mtl_toolkit import Head


class PooledScore(PooledConcordance):
    """The mean of the CCC of some axes, and each of them.

    Args:
        head: turns raw outputs into estimates [rows, axes].
        axes: those that count, by name.
    """

    def __init__(self, head: Head, axes: Sequence[str]) -> None:
        super().__init__(head)
        self.axes = tuple(axes)
        self.places = [head.units.index(axis) for axis in axes]

    def compute(self) -> Values:
        """CCC per axis, and the score."""
        values = concordance(self.sums)[self.places]
        named = {f"ccc_{axis}": values[place] for place, axis in enumerate(self.axes)}
        return named | {"score": values.mean()}
