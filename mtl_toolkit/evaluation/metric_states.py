"""The states of a torchmetrics metric as one vector, where they are sums over the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric as LiveMetric
from torchmetrics.utilities import dim_zero_sum


class Place(NamedTuple):
    """A state: the metric that has it, which may be one inside another, and its name."""

    metric: LiveMetric
    state: str

    @property
    def tensor(self) -> Tensor:
        """What the state is now."""
        found: Tensor = getattr(self.metric, self.state)
        return found


def parts_of(metric: LiveMetric) -> Iterator[LiveMetric]:
    """A metric and the metrics inside it."""
    return (part for part in metric.modules() if isinstance(part, LiveMetric))


def summed_states(metric: LiveMetric) -> list[Place] | None:
    """All states of a metric and the metrics inside it, if all are sums that start at zero, else None.

    Such states of two sets of rows add up to those of both sets: that is what lets processes share the work.
    """
    places = []
    for part in parts_of(metric):
        # torchmetrics has no public way to ask how a state is reduced.
        for state, default in part._defaults.items():
            if part._reductions[state] is not dim_zero_sum:
                return None
            if not isinstance(default, Tensor) or default.is_complex() or bool(default.any()):
                return None
            places.append(Place(part, state))
    return places or None


def read_states(places: Sequence[Place]) -> np.ndarray:
    """The states, one after the other: float64 [numbers]."""
    return np.concatenate([place.tensor.detach().double().cpu().numpy().reshape(-1) for place in places])


def write_states(places: Sequence[Place], numbers: np.ndarray) -> None:
    """Set the states, each in the shape and type that it has now."""
    start = 0
    for place in places:
        now = place.tensor
        part = torch.from_numpy(numbers[start : start + now.numel()])
        setattr(place.metric, place.state, part.reshape(now.shape).to(now))
        start += now.numel()
