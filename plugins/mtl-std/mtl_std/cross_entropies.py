"""Cross-entropy over classes and over units, with weights, label smoothing and the focal factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_toolkit import ConfigError, Head, HeadOutput, Labels, Loss
from mtl_toolkit.validators import above, at_least, between, each

from .layers import blank, masked_mean
from .meaning import names_of

LiveLoss = Callable[[HeadOutput, Any, Tensor], Tensor]
Weights: TypeAlias = tuple[float, ...] | Literal["balanced"]


def _weights(instance: Any, attribute: Any, value: Weights) -> None:
    if value != "balanced":
        each(at_least(0))(instance, attribute, value)


@attrs.frozen(kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy with class ids or soft targets (votes).

    With `class_weights` it is the plain mean over the rows of their weighted losses; torch's own divides by
    the sum of the weights. Label smoothing is that of Szegedy et al. (CVPR 2016), votes are those of Barsoum
    et al. (ICMI 2016).

    With `focal_gamma` it is the focal loss of Lin et al. (ICCV 2017): the sum over classes c of
    w_c t_c (1 - p_c)^gamma (-log p_c), where t is the target after smoothing, 1 for the class of an id.
    """

    name: ClassVar[str] = "cross-entropy"
    label_smoothing: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata={"doc": "share of the target spread over all classes"}
    )
    class_weights: Weights = attrs.field(
        default=(),
        validator=_weights,
        metadata={
            "doc": "factor per class, in the head's order; none: all 1; "
            '"balanced": from the stage\'s labels, so that all classes count alike'
        },
    )
    focal_gamma: float = attrs.field(
        default=0.0,
        validator=at_least(0),
        metadata={"doc": "exponent of 1 - p, the focal factor; 0: none; Lin et al. take 2"},
    )

    def fitted(self, head: Head, labels: Labels) -> CrossEntropy:
        """With the weights of "balanced" filled in, see `balanced_weights`."""
        if self.class_weights != "balanced":
            return self
        classes = len(names_of(head, "classes", self.name))
        return attrs.evolve(self, class_weights=balanced_weights(class_counts(labels, classes)))

    def build(self, head: Head) -> LiveLoss:
        """For heads with one categorical distribution: values [rows, classes]."""
        classes = len(names_of(head, "classes", self.name))
        weights = _filled_in(self.name, "class_weights", self.class_weights, classes)
        return _CrossEntropy(weights, self.label_smoothing, self.focal_gamma)


@attrs.frozen(kw_only=True)
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each unit, with a weight for the positives.

    With `focal_gamma` it is the focal loss of Lin et al. (ICCV 2017): the term of a positive has the factor
    (1 - p)^gamma, that of a negative p^gamma.
    """

    name: ClassVar[str] = "binary-cross-entropy"
    positive_weights: Weights = attrs.field(
        default=(),
        validator=_weights,
        metadata={
            "doc": "factor on positives per unit; none: all 1; "
            '"balanced": negatives for each positive among the stage\'s labels'
        },
    )
    largest_weight: float | None = attrs.field(
        default=None, validator=above(0), metadata={"doc": '"balanced" weights are cut to it; none: no limit'}
    )
    focal_gamma: float = attrs.field(
        default=0.0,
        validator=at_least(0),
        metadata={"doc": "exponent of the focal factor; 0: none; Lin et al. take 2"},
    )

    def fitted(self, head: Head, labels: Labels) -> BinaryCrossEntropy:
        """With the weights of "balanced" filled in, see `positive_weights_of`."""
        if self.positive_weights != "balanced":
            return self
        names_of(head, "units", self.name)
        limit = np.inf if self.largest_weight is None else self.largest_weight
        weights = tuple(min(weight, limit) for weight in positive_weights_of(labels))
        return attrs.evolve(self, positive_weights=weights)

    def build(self, head: Head) -> LiveLoss:
        """For multi-label heads: values, targets and mask [rows, units]."""
        units = len(names_of(head, "units", self.name))
        weights = _filled_in(self.name, "positive_weights", self.positive_weights, units)
        return _BinaryCrossEntropy(weights, self.focal_gamma)


def class_counts(labels: Labels, classes: int) -> np.ndarray:
    """Labelled samples of each class, soft targets as shares: float64 [classes]."""
    values = labels.values[labels.complete()]
    if values.ndim > 1:
        return np.asarray(values.sum(0, dtype=np.float64))
    return np.bincount(values, minlength=classes).astype(np.float64)


def balanced_weights(counts: np.ndarray) -> tuple[float, ...]:
    """Weights n / (k n_c) of the k classes that have samples, as scikit-learn's "balanced"; others have 0.

    The mean weight of a sample is 1, whatever classes are absent.
    """
    there = counts > 0
    shares = np.divide(counts.sum(), there.sum() * counts, out=np.zeros(len(counts)), where=there)
    return tuple(float(weight) for weight in shares)


def positive_weights_of(labels: Labels) -> tuple[float, ...]:
    """Negatives / positives of each unit, among the labels that are there; 1 where either are lacking."""
    positives = np.where(labels.valid, labels.values, 0).sum(0, dtype=np.float64)
    negatives = labels.valid.sum(0) - positives
    both = (positives > 0) & (negatives > 0)
    ratios = np.divide(negatives, positives, out=np.ones(len(positives)), where=both)
    return tuple(float(weight) for weight in ratios)


def _filled_in(loss: str, field: str, weights: Weights, wanted: int) -> tuple[float, ...]:
    """The weights, as many as wanted or none."""
    if isinstance(weights, str):
        raise ConfigError(
            f"{loss}: {field} = {weights!r} is made from labels: call fitted(head, labels) first"
        )
    if len(weights) not in (0, wanted):
        raise ConfigError(f"{loss}: {field} must have {wanted} values (got {len(weights)})")
    return weights


class _Weighted(nn.Module):
    """Holds weights where the objective is, so that no step copies them to the device."""

    weights: Tensor | None

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        held = torch.tensor(weights, dtype=torch.float32) if weights else None
        self.register_buffer("weights", held, persistent=False)


class _CrossEntropy(_Weighted):
    def __init__(self, weights: Sequence[float], label_smoothing: float, focal_gamma: float) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma

    def forward(self, output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
        rows = mask if mask.ndim == 1 else mask.all(1)
        values, goal = blank(output.values, rows), blank(target, rows)
        losses = self._focal(values, goal) if self.focal_gamma else self._plain(values, goal)
        return masked_mean(losses[:, None], rows[:, None])

    def _plain(self, values: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(
            values, goal, weight=self.weights, label_smoothing=self.label_smoothing, reduction="none"
        )

    def _focal(self, values: Tensor, goal: Tensor) -> Tensor:
        logs = values.log_softmax(-1)
        shares = goal if goal.ndim > 1 else F.one_hot(goal, logs.shape[1])
        shares = shares * (1 - self.label_smoothing) + self.label_smoothing / logs.shape[1]
        # The power of 0 has no finite gradient below 1; the loss there is 0 all the same.
        factor = (-torch.expm1(logs)).clamp(min=torch.finfo(logs.dtype).tiny) ** self.focal_gamma
        losses = -shares * factor * logs
        return (losses if self.weights is None else losses * self.weights).sum(1)


class _BinaryCrossEntropy(_Weighted):
    def __init__(self, weights: Sequence[float], focal_gamma: float) -> None:
        super().__init__(weights)
        self.focal_gamma = focal_gamma

    def forward(self, output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
        values, goal = blank(output.values, mask), blank(target, mask)
        return masked_mean(self._focal(values, goal) if self.focal_gamma else self._plain(values, goal), mask)

    def _plain(self, values: Tensor, goal: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(values, goal, pos_weight=self.weights, reduction="none")

    def _focal(self, values: Tensor, goal: Tensor) -> Tensor:
        """In log space: sigmoids of confident logits are 0 or 1."""
        yes, no = F.logsigmoid(values), F.logsigmoid(-values)
        positive = -goal * torch.exp(self.focal_gamma * no) * yes
        negative = -(1 - goal) * torch.exp(self.focal_gamma * yes) * no
        return (positive if self.weights is None else positive * self.weights) + negative
