"""One class out of several."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical

from mtl_toolkit import Head, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import not_empty, unique

from .cross_entropies import CrossEntropy
from .layers import HeadLayers, LayeredHead
from .metrics import Accuracy, MacroF1
from .votes import LEAST, TIE, decided, weighted_mean


@attrs.frozen(kw_only=True)
class ClassHead(LayeredHead):
    """What heads for one class out of several share: class ids or soft targets, classes as strata."""

    soft: bool = attrs.field(
        default=False, metadata={"doc": "targets are shares per class instead of class ids"}
    )
    label: str = attrs.field(default="class", metadata={"doc": "the name datasets give to this label"})

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their ids."""

    @property
    def units(self) -> tuple[str, ...]:
        """One: the class."""
        return ("class",)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """() for class ids, (classes,) for soft targets."""
        return (len(self.classes),) if self.soft else ()

    @property
    def target_dtype(self) -> np.dtype:
        """int64 for class ids, float32 for soft targets."""
        return np.dtype(np.float32 if self.soft else np.int64)

    def meaning(self) -> dict[str, Any]:
        """The classes, in order."""
        return {"kind": "classification", "classes": list(self.classes)}

    def check_labels(self, labels: Labels) -> str | None:
        """Ids must name classes; shares must not be negative and must add up to 1."""
        values = labels.values[labels.complete()]
        if not self.soft:
            wrong = values[(values < 0) | (values >= len(self.classes))]
            rule = f"class ids must be from 0 to {len(self.classes) - 1}"
            return f"{rule} (got {wrong[0]})" if len(wrong) else None
        if (labels.valid.any(1) != labels.valid.all(1)).any():
            return "shares must be there for all classes or for none (got some)"
        wrong = values[(values < 0).any(1) | ~np.isclose(values.sum(1), 1, atol=1e-4)]
        rule = "shares must not be negative and must add up to 1"
        return f"{rule} (got {wrong[0].tolist()})" if len(wrong) else None

    def class_ids(self, labels: Labels) -> np.ndarray:
        """The class of each sample, -1 where it is missing."""
        ids = labels.values.argmax(1) if self.soft else labels.values
        return np.where(labels.complete(), ids, -1)

    def strata(self, labels: Labels) -> np.ndarray:
        """The class."""
        return self.class_ids(labels)

    def summary(self, labels: Labels) -> dict[str, Any]:
        """Samples per class."""
        ids = self.class_ids(labels)
        counts = np.bincount(ids[ids >= 0], minlength=len(self.classes))
        return {"classes": dict(zip(self.classes, counts.tolist(), strict=True))}

    def describe_label(self, values: np.ndarray, valid: np.ndarray) -> str:
        """The class's name."""
        if not np.all(valid):
            return ""
        return self.classes[int(values.argmax() if self.soft else values)]

    def build(self, features: int) -> HeadLayers:
        """Logits [rows, classes]."""
        return self.layers(features, len(self.classes))

    def build_last(self, features: int) -> HeadLayers:
        """One layer to logits [rows, classes]."""
        return self.last_layer(features, len(self.classes))

    def estimate(self, values: Tensor) -> Tensor:
        """The class with the largest logit: int64 [rows]."""
        return values.argmax(-1)

    @property
    def columns(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def predictions(self, values: Tensor) -> Tensor:
        """The classes' probabilities: [rows, classes]."""
        return values.float().softmax(-1)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """The most probable class: int64 [rows]."""
        return np.asarray(predictions.argmax(-1))

    def vote(self, values: Tensor, weights: Tensor) -> Tensor:
        """Logarithms of the classes' shares of the votes; of a tie, the more probable in the mean wins."""
        votes = F.one_hot(values.argmax(-1), len(self.classes)).float()
        shares = weighted_mean(votes, weights)
        leads = shares > shares.amax(-1, keepdim=True) - TIE
        probable = weighted_mean(self.predictions(values), weights)
        winner = probable.masked_fill(~leads, -1.0).argmax(-1)
        shares = decided(shares, F.one_hot(winner, len(self.classes)).float())
        return shares.clamp(min=LEAST).log()

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Categorical:
        """Categorical with batch shape [rows, 1]."""
        return Categorical(logits=values.float().unsqueeze(1) / temperature, validate_args=False)

    def unit_mask(self, mask: Tensor) -> Tensor:
        """[rows, 1]: a soft target is there in full or not at all."""
        return mask.all(1, keepdim=True) if self.soft else mask[:, None]

    def default_losses(self) -> tuple[Loss, ...]:
        """Cross-entropy."""
        return (CrossEntropy(),)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Macro F1 over the fixed class list, and accuracy."""
        return (MacroF1(), Accuracy())

    def default_selection(self) -> Mapping[str, float]:
        """Macro F1."""
        return {"macro_f1": 1.0}


@attrs.frozen(kw_only=True)
class Classification(ClassHead):
    """One class out of several, from class ids or soft targets (votes).

    Votes as targets are those of Barsoum et al. (ICMI 2016).
    """

    name: ClassVar[str] = "classification"
    classes: tuple[str, ...] = attrs.field(
        validator=[not_empty(), unique()], metadata={"doc": "class names, in the order of their ids"}
    )


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The classification head."""
    return [Classification]
