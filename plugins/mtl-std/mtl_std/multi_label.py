"""Several yes-or-no units, each of which may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
from torch import Tensor
from torch.distributions import Bernoulli

from mtl_toolkit import Head, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import between, not_empty, unique

from .layers import HeadLayers, LayeredHead
from .losses import BinaryCrossEntropy
from .metrics import UnitF1


@attrs.frozen(kw_only=True)
class MultiLabel(LayeredHead):
    """Several yes-or-no units; the loss is the mean over the units that are labelled."""

    name: ClassVar[str] = "multi-label"
    combine = "mean"
    names: tuple[str, ...] = attrs.field(
        validator=[not_empty(), unique()], metadata={"doc": "names of the units, in order"}
    )
    threshold: float = attrs.field(
        default=0.5, validator=between(0, 1), metadata={"doc": "probability above which a unit is there"}
    )
    label: str = attrs.field(default="labels", metadata={"doc": "the name datasets give to this label"})

    @property
    def units(self) -> tuple[str, ...]:
        """The units."""
        return self.names

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(units,)."""
        return (len(self.names),)

    def meaning(self) -> dict[str, Any]:
        """The units, in order."""
        return {"kind": "multi-label", "units": list(self.names)}

    def check_labels(self, labels: Labels) -> str | None:
        """Labels must be 0 or 1."""
        values = labels.values[labels.valid]
        wrong = values[~np.isin(values, (0, 1))]
        return f"labels must be 0 or 1 (got {wrong[0]:g})" if len(wrong) else None

    def strata(self, labels: Labels) -> np.ndarray:
        """The combination of units: samples with the same ones are one stratum."""
        complete = labels.complete()
        known = np.where(labels.valid, labels.values, 0)
        _, strata = np.unique(known, axis=0, return_inverse=True)
        return np.where(complete, strata.reshape(-1), -1)

    def summary(self, labels: Labels) -> dict[str, Any]:
        """Positives and labelled samples per unit."""
        positives = (labels.values == 1) & labels.valid
        return {
            "positives": {
                name: f"{int(positives[:, unit].sum())} of {int(labels.valid[:, unit].sum())}"
                for unit, name in enumerate(self.names)
            }
        }

    def describe_label(self, values: np.ndarray, valid: np.ndarray) -> str:
        """The units that are there."""
        return " ".join(
            name for name, on, known in zip(self.names, values == 1, valid, strict=True) if on and known
        )

    def build(self, features: int) -> HeadLayers:
        """Logits [rows, units]."""
        return self.layers(features, len(self.names))

    def build_last(self, features: int) -> HeadLayers:
        """One layer to logits [rows, units]."""
        return HeadLayers(features, (len(self.names),), hidden=0, dropout=0.0)

    def estimate(self, values: Tensor) -> Tensor:
        """1 where the probability is above the threshold: float [rows, units]."""
        return (values.float().sigmoid() > self.threshold).float()

    def predictions(self, values: Tensor) -> Tensor:
        """The units' probabilities: [rows, units]."""
        return values.float().sigmoid()

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """1 where the probability is above the threshold: float32 [rows, units]."""
        return (predictions > self.threshold).astype(np.float32)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Bernoulli:
        """Bernoulli with batch shape [rows, units]."""
        return Bernoulli(logits=values.float() / temperature, validate_args=False)

    def default_losses(self) -> tuple[Loss, ...]:
        """Binary cross-entropy."""
        return (BinaryCrossEntropy(),)

    def default_metrics(self) -> tuple[Metric, ...]:
        """F1 of each unit and their mean."""
        return (UnitF1(),)

    def default_selection(self) -> Mapping[str, float]:
        """Mean F1."""
        return {"mean_f1": 1.0}


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The multi-label head."""
    return [MultiLabel]
