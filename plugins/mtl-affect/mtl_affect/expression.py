"""Facial expression: one of seven classes, in the order of ABAW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs
from mtl_std.classification import Classification
from mtl_std.metrics import accuracy_of, f1_of, from_counts
from torch import Tensor

from mtl_toolkit import Head, Metric, hookimpl
from mtl_toolkit.validators import between, not_empty, unique

if TYPE_CHECKING:
    from torchmetrics import Metric as LiveMetric

EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")


@attrs.frozen(kw_only=True)
class Expression(Classification):
    """Facial expression: neutral, anger, disgust, fear, happiness, sadness, surprise.

    The classes, in the order of ABAW2 (Kollias and Zafeiriou, ICCV Workshops 2021).
    """

    name: ClassVar[str] = "expression"
    classes: tuple[str, ...] = attrs.field(
        default=EXPRESSIONS,
        validator=[not_empty(), unique()],
        metadata={"doc": "class names, in the order of their ids"},
    )
    label: str = attrs.field(default="expression", metadata={"doc": "the name datasets give to this label"})

    def default_metrics(self) -> tuple[Metric, ...]:
        """The score of ABAW 2021 with its two parts."""
        return (ExpressionScore(),)

    def default_selection(self) -> Mapping[str, float]:
        """The score."""
        return {"score": 1.0}


@attrs.frozen(kw_only=True)
class ExpressionScore(Metric):
    """The score of ABAW 2021, 0.67 macro F1 + 0.33 accuracy, with both parts.

    F1 is the mean over all classes of the head; a class that never occurs counts as 0.
    """

    name: ClassVar[str] = "expression-score"
    f1_share: float = attrs.field(
        default=0.67, validator=between(0, 1), metadata={"doc": "share of macro F1; the rest is accuracy"}
    )

    def outputs(self, head: Head) -> tuple[str, ...]:
        """`score`, `macro_f1`, `accuracy`."""
        return ("score", "macro_f1", "accuracy")

    def build(self, head: Head) -> LiveMetric:
        """For heads whose estimate is a class id."""
        return from_counts(self, head, "classes", self._score)

    def _score(self, counts: Tensor) -> dict[str, Tensor]:
        macro_f1, accuracy = f1_of(counts).mean(), accuracy_of(counts)
        score = self.f1_share * macro_f1 + (1 - self.f1_share) * accuracy
        return {"score": score, "macro_f1": macro_f1, "accuracy": accuracy}


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The expression head."""
    return [Expression]


@hookimpl
def mtl_metrics() -> list[type[Metric]]:
    """The expression score."""
    return [ExpressionScore]
