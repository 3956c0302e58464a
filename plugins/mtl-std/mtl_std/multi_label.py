"""Several yes-or-no units, each of which may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from mtl_toolkit import Head, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import Rule, not_empty, unique

from .cross_entropies import BinaryCrossEntropy
from .layers import HeadLayers, LayeredHead
from .metrics import UnitF1
from .thresholds import best_threshold
from .votes import LEAST, TIE, decided, weighted_mean


def _between_0_and_1(value: float | tuple[float, ...]) -> bool:
    return all(0 <= one <= 1 for one in (value if isinstance(value, tuple) else (value,)))


@attrs.frozen(kw_only=True)
class MultiLabel(LayeredHead):
    """Several yes-or-no units; the loss is the mean over the units that are labelled."""

    name: ClassVar[str] = "multi-label"
    combine = "mean"
    names: tuple[str, ...] = attrs.field(
        validator=[not_empty(), unique()], metadata={"doc": "names of the units, in order"}
    )
    threshold: float | tuple[float, ...] = attrs.field(
        default=0.5,
        validator=Rule("must be between 0 and 1", _between_0_and_1),
        metadata={"doc": "probability above which a unit is there; one for all units, or one for each"},
    )
    label: str = attrs.field(default="labels", metadata={"doc": "the name datasets give to this label"})

    def __attrs_post_init__(self) -> None:
        if isinstance(self.threshold, tuple) and len(self.threshold) != len(self.names):
            rule = f"threshold must be one number, or one for each of the {len(self.names)} units"
            raise ValueError(f"{rule} (got {len(self.threshold)})")

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The threshold of each unit."""
        return self.threshold if isinstance(self.threshold, tuple) else (self.threshold,) * len(self.names)

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
        return self.last_layer(features, len(self.names))

    def estimate(self, values: Tensor) -> Tensor:
        """1 where the probability is above the unit's threshold: float [rows, units]."""
        return (values.float().sigmoid() > self._thresholds(values)).float()

    def predictions(self, values: Tensor) -> Tensor:
        """The units' probabilities: [rows, units]."""
        return values.float().sigmoid()

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """1 where the probability is above the unit's threshold: float32 [rows, units]."""
        return (predictions > np.array(self.threshold, np.float32)).astype(np.float32)

    def vote(self, values: Tensor, weights: Tensor) -> Tensor:
        """Logits of the votes for each unit; a tie goes by the mean probability.

        The probability is the share of the votes where the threshold is 0.5; with another threshold, half of
        the votes lies there.
        """
        threshold = self._thresholds(values)
        shares = weighted_mean(self.estimate(values), weights)
        probable = weighted_mean(self.predictions(values), weights) > threshold
        there = torch.where((shares - 0.5).abs() < TIE, probable, shares > 0.5)
        shares = decided(shares, there.float())
        above = threshold + (2 * shares - 1) * (1 - threshold)
        return torch.where(there, above, 2 * shares * threshold).logit(LEAST)

    def tuned(self, predictions: np.ndarray, labels: Labels) -> MultiLabel:
        """With the threshold of each unit that has the best F1, see `best_threshold`."""
        known = labels.valid & ~np.isnan(predictions)
        found = [
            best_threshold(predictions[rows, unit], labels.values[rows, unit] == 1, present)
            for unit, (rows, present) in enumerate(zip(known.T, self.thresholds, strict=True))
        ]
        return attrs.evolve(self, threshold=tuple(found))

    def _thresholds(self, values: Tensor) -> Tensor:
        """Broadcast over rows; numbers are compared in float32, as predictions are."""
        return torch.tensor(self.threshold, dtype=torch.float32, device=values.device)

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
