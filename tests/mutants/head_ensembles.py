"""Heads with one mistake each in how they are averaged, vote, or are tuned."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from torch import Tensor

from mtl_toolkit import Labels
from tests.mutants import Mutant, broken
from tests.mutants.head_layers import of_head


def probabilities(self: Any, values: Tensor, weights: Tensor) -> Tensor:
    return (values.softmax(-1) * weights[:, None, None]).sum(0)


def in_float64(self: Any, values: Tensor, weights: Tensor) -> Tensor:
    return Expression.average(self, values, weights).double()


def mean_of_logits(self: Any, values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights[:, None, None]).sum(0)


def relative_to_the_batch(self: Any, values: Tensor, weights: Tensor) -> Tensor:
    found = Expression.average(self, values, weights)
    return found - found.max()  # means the same, but is another number


def sure_of_itself(self: Any, values: Tensor, weights: Tensor) -> Tensor:
    votes = F.one_hot(values.argmax(-1), values.shape[-1]).float()
    return (votes * weights[:, None, None]).sum(0).log()


def the_first(self: Any, values: Tensor, weights: Tensor) -> Tensor:
    return values[0]


class Tuned:
    """No head."""


def more_units(self: Any, predictions: np.ndarray, labels: Labels) -> Any:
    return attrs.evolve(self, names=(*self.names, "more"))


def more_classes(self: Any, predictions: np.ndarray, labels: Labels) -> Any:
    return Renamed()


def sharper(self: Any, predictions: np.ndarray, labels: Labels) -> Any:
    return Sharper()


def mean_of_all(self: Any, predictions: np.ndarray, labels: Labels) -> Any:
    return attrs.evolve(self, threshold=float(np.nan_to_num(predictions, nan=1.0).mean()))


@attrs.frozen(kw_only=True)
class Renamed(Expression):
    """Another meaning under the same units and columns."""

    def meaning(self) -> dict[str, Any]:
        return {**super().meaning(), "kind": "another"}


@attrs.frozen(kw_only=True)
class Sharper(Expression):
    """Other predictions."""

    def predictions(self, values: Tensor) -> Tensor:
        return super().predictions(2 * values)


def of_expression(mistake: str, caught_by: str, told: str = "", **members: Any) -> Mutant:
    return of_head(mistake, broken(Expression, **members), caught_by, told=told)


def of_units(mistake: str, caught_by: str, told: str = "", **members: Any) -> Mutant:
    return of_head(mistake, broken(ActionUnits, **members), caught_by, told=told)


ENSEMBLES = [
    of_expression("an average in float64", "average-of-copies", "float64", average=in_float64),
    of_expression("averages probabilities, not logits", "average-of-copies", "KL", average=probabilities),
    of_expression("the mean of logits", "average-of-members", "and their mean", average=mean_of_logits),
    of_expression(
        "an average relative to the batch", "average-of-members", "alone", average=relative_to_the_batch
    ),
    of_expression("what nobody votes for is infinite", "vote-of-most", "finite", vote=sure_of_itself),
    of_expression("the first member decides", "vote-of-most", "decided by vote", vote=the_first),
    of_expression("tunes to no head", "tuned-head", "Tuned", tuned=lambda *_: Tuned()),
    of_units("tunes to more units", "tuned-head", "its units", tuned=more_units),
    of_expression("tunes to another meaning", "tuned-head", "its meaning", tuned=more_classes),
    of_expression("tunes to other predictions", "tuned-head", "predictions of both", tuned=sharper),
    of_units("tunes to missing labels too", "tuned-head", "outside the mask", tuned=mean_of_all),
]
