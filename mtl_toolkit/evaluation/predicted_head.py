"""Metrics read a head's raw output; this lets them read predictions instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import attrs
import numpy as np

from ..errors import ConfigError
from ..plugin import Head, Loss, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import Labels


@attrs.frozen(kw_only=True)
class AsPredicted(Head):
    """A head whose output is what `Head.predictions` gives, not the raw output.

    `estimate` decides as the head does; everything else is the head's own. What needs the raw output is an
    error.

    Args:
        head: the head that made the predictions.
        wanted_by: what reads them, for messages.
    """

    head: Head
    wanted_by: str = "predictions"

    def __getattr__(self, name: str) -> Any:
        """What only this kind of head has, such as its classes or its threshold."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.head, name)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The head's own name."""
        return self.head.name

    @property
    def combine(self) -> Literal["sum", "mean"]:  # type: ignore[override]
        """As the head has it."""
        return self.head.combine

    @property
    def label(self) -> str:
        """As the head has it."""
        return self.head.label

    @property
    def members(self) -> tuple[str, ...]:
        """As the head has them."""
        return self.head.members

    @property
    def separate(self) -> bool:
        """As the head has it."""
        return self.head.separate

    @property
    def units(self) -> tuple[str, ...]:
        """As the head has them."""
        return self.head.units

    @property
    def columns(self) -> tuple[str, ...]:
        """As the head has them."""
        return self.head.columns

    @property
    def target_shape(self) -> tuple[int, ...]:
        """As the head has it."""
        return self.head.target_shape

    @property
    def target_dtype(self) -> np.dtype:
        """As the head has it."""
        return self.head.target_dtype

    def meaning(self) -> dict[str, Any]:
        """What the head's output stands for."""
        return self.head.meaning()

    @property
    def self_supervised(self) -> bool:
        """As the head has it."""
        return self.head.self_supervised

    def target_of(self, inputs: Tensor) -> Tensor:
        """As the head does."""
        return self.head.target_of(inputs)

    def check_labels(self, labels: Labels) -> str | None:
        """As the head does."""
        return self.head.check_labels(labels)

    def strata(self, labels: Labels) -> np.ndarray:
        """As the head does."""
        return self.head.strata(labels)

    def summary(self, labels: Labels) -> dict[str, Any]:
        """As the head does."""
        return self.head.summary(labels)

    def describe_label(self, values: np.ndarray, valid: np.ndarray) -> str:
        """As the head does."""
        return self.head.describe_label(values, valid)

    def unit_mask(self, mask: Tensor) -> Tensor:
        """As the head does."""
        return self.head.unit_mask(mask)

    def estimate(self, values: Tensor) -> Tensor:
        """Decide from predictions [rows, columns]: class ids [rows], or values [rows, units]."""
        import torch

        decided = np.ascontiguousarray(self.decide(values.detach().cpu().numpy()))
        return torch.from_numpy(decided).to(values.device)

    def predictions(self, values: Tensor) -> Tensor:
        """The values as they are: they are predictions."""
        return values

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """As the head does."""
        return self.head.decide(predictions)

    def tuned(self, predictions: np.ndarray, labels: Labels) -> AsPredicted:
        """As the head does."""
        return attrs.evolve(self, head=self.head.tuned(predictions, labels))

    def average(self, values: Tensor, weights: Tensor) -> NoReturn:
        """There is none: it is of raw outputs."""
        raise self._needs_output("the average")

    def vote(self, values: Tensor, weights: Tensor) -> NoReturn:
        """There is none: it is of raw outputs."""
        raise self._needs_output("the vote")

    def build(self, features: int) -> NoReturn:
        """There are no layers."""
        raise self._needs_output("layers")

    def build_last(self, features: int) -> NoReturn:
        """There are no layers."""
        raise self._needs_output("layers")

    def distribution(self, values: Tensor, temperature: float = 1.0) -> NoReturn:
        """There is none: it is made of raw outputs."""
        raise self._needs_output("the predictive distribution")

    def default_losses(self) -> tuple[Loss, ...]:
        """As the head has them."""
        return self.head.default_losses()

    def default_metrics(self) -> tuple[Metric, ...]:
        """As the head has them."""
        return self.head.default_metrics()

    def default_selection(self) -> Mapping[str, float]:
        """As the head has it."""
        return self.head.default_selection()

    def _needs_output(self, part: str) -> ConfigError:
        return ConfigError(
            f"{self.wanted_by}: must be found from predictions alone "
            f"(got one that needs {part} of head {self.name!r})"
        )
