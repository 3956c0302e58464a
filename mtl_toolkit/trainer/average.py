"""An exponential moving average of the weights, which is validated, kept as best, and may teach."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(AveragedModel):
    """A copy of a model that follows its weights and buffers: average = d * average + (1 - d) * weights.

    Before the first update it is the model itself; the first one makes it the model after that step. Then d
    grows with the number n of updates, min(decay, (1 + n) / (10 + n)), so that the average of a short
    training does not hang on its first weights (the rule of TensorFlow's `ExponentialMovingAverage` with
    `num_updates`).

    Args:
        model: on its device; it is copied. Called, the average is called as the model is.
        decay: d in the end, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._follow, use_buffers=True)
        self.decay = decay
        self.eval().requires_grad_(requires_grad=False)

    def _follow(self, averages: Any, weights: Any, _updates: Tensor | int) -> None:
        # The count that lies on the host: to read the one handed over here would wait for the device.
        decay = warmed_up(self.decay, int(self.n_averaged))
        get_ema_multi_avg_fn(decay)(averages, weights, _updates)


def warmed_up(decay: float, updates: int) -> float:
    """The decay after a number of updates."""
    return min(decay, (1 + updates) / (10 + updates))
