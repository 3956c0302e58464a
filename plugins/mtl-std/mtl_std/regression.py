"""Continuous values, one or several axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from mtl_toolkit import Head, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import above, at_least, not_empty, unique

from .layers import HeadLayers, LayeredHead
from .losses import MeanSquaredError
from .metrics import ConcordanceCorrelation


@attrs.frozen(kw_only=True)
class AxesHead(LayeredHead):
    """What heads with continuous axes share: targets float32 [rows, axes], a range, cells as strata."""

    axes: tuple[str, ...] = attrs.field(
        default=("value",), validator=[not_empty(), unique()], metadata={"doc": "names of the axes"}
    )
    range: tuple[float, float] | None = attrs.field(
        default=None, metadata={"doc": "lowest and highest valid target; none: any"}
    )
    cells: int = attrs.field(
        default=20, validator=at_least(1), metadata={"doc": "cells per axis for balanced sampling"}
    )
    label: str = attrs.field(default="value", metadata={"doc": "the name datasets give to this label"})

    def __attrs_post_init__(self) -> None:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range must go from low to high (got {list(self.range)})")

    @property
    def units(self) -> tuple[str, ...]:
        """The axes."""
        return self.axes

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(axes,)."""
        return (len(self.axes),)

    def check_labels(self, labels: Labels) -> str | None:
        """Values must be finite and inside the range."""
        values = labels.values[labels.valid]
        low, high = self.range or (-np.inf, np.inf)
        wrong = values[~(np.isfinite(values) & (values >= low) & (values <= high))]
        rule = f"must lie in [{low:g}, {high:g}]" if self.range else "must be finite"
        return f"values {rule} (got {wrong[0]:g})" if len(wrong) else None

    def strata(self, labels: Labels) -> np.ndarray:
        """The cell of a grid over the data's own range, axis by axis (20x20 for valence-arousal)."""
        complete = labels.complete()
        cells = np.zeros(len(labels), np.int64)
        for axis in range(len(self.axes)):
            column = labels.values[:, axis].astype(np.float64)
            cells = cells * self.cells + grid_cell(column, column[complete], self.cells)
        return np.where(complete, cells, -1)

    def summary(self, labels: Labels) -> dict[str, Any]:
        """Lowest, mean and highest value per axis."""
        result = {}
        for axis, name in enumerate(self.axes):
            values = labels.values[labels.valid[:, axis], axis]
            if len(values):
                result[name] = {
                    "min": float(values.min()),
                    "mean": float(values.mean()),
                    "max": float(values.max()),
                }
        return {"range": result}

    def default_metrics(self) -> tuple[Metric, ...]:
        """CCC of each axis and their mean."""
        return (ConcordanceCorrelation(),)

    def default_selection(self) -> Mapping[str, float]:
        """The sum of the axes' CCC."""
        return {f"ccc_{axis}": 1.0 for axis in self.axes} if len(self.axes) > 1 else {"ccc": 1.0}


@attrs.frozen(kw_only=True)
class Regression(AxesHead):
    """Continuous values, predicted directly; the predictive distribution is normal with a fixed scale."""

    name: ClassVar[str] = "regression"
    scale: float = attrs.field(
        default=1.0,
        validator=above(0),
        metadata={"doc": "standard deviation of the predictive distribution, in the target's unit"},
    )

    def meaning(self) -> dict[str, Any]:
        """The axes and their range."""
        return {
            "kind": "regression",
            "axes": list(self.axes),
            "range": list(self.range) if self.range else None,
            "scale": self.scale,
        }

    def build(self, features: int) -> HeadLayers:
        """Values [rows, axes]."""
        return self.layers(features, len(self.axes))

    def build_last(self, features: int) -> HeadLayers:
        """One layer to values [rows, axes]."""
        return self.last_layer(features, len(self.axes))

    def estimate(self, values: Tensor) -> Tensor:
        """The values as they are: [rows, axes]."""
        return values

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Distribution:
        """Normal with batch shape [rows, axes]; a density to the power 1/T has T times the variance."""
        scale = torch.full_like(values, self.scale * temperature**0.5, dtype=torch.float32)
        return Normal(values.float(), scale, validate_args=False)

    def default_losses(self) -> tuple[Loss, ...]:
        """Squared error."""
        return (MeanSquaredError(),)


def grid_cell(values: np.ndarray, known: np.ndarray, cells: int) -> np.ndarray:
    """The cell of each value, from 0: equal cells over the range of the known ones, as numpy's histogram."""
    if not len(known):
        return np.zeros(len(values), np.int64)
    low, high = float(known.min()), float(known.max())
    edges = np.linspace(low, high, cells + 1) if high > low else np.linspace(low - 0.5, high + 0.5, cells + 1)
    found = np.searchsorted(edges, values, side="right") - 1
    return np.clip(found, 0, cells - 1)


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The regression head."""
    return [Regression]
