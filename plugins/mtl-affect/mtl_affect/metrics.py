"""How the editions of ABAW score valence-arousal and action units."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from mtl_std.meaning import names_of
from mtl_std.metrics import f1_of, from_counts
from torch import Tensor

from mtl_toolkit import ConfigError, Head, Metric, hookimpl
from mtl_toolkit.validators import between

if TYPE_CHECKING:
    from torchmetrics import Metric as LiveMetric

AXES = ("valence", "arousal")


@attrs.frozen(kw_only=True)
class ValenceArousalScore(Metric):
    """The score of every ABAW: the mean of the CCC of valence and that of arousal, with both parts.

    CCC is pooled over all frames of all videos and has population moments: CCC(x, x) is 1 (Lin, 1989).
    """

    name: ClassVar[str] = "valence-arousal-score"

    def outputs(self, head: Head) -> tuple[str, ...]:
        """`ccc_valence`, `ccc_arousal`, `score`."""
        return (*(f"ccc_{axis}" for axis in AXES), "score")

    def build(self, head: Head) -> LiveMetric:
        """For heads with the axes valence and arousal, in any order."""
        from .live_metrics import PooledScore

        axes = names_of(head, "axes", self.name)
        if lacking := [axis for axis in AXES if axis not in axes]:
            raise ConfigError(
                f"{self.name}: needs a head with the axis {lacking[0]!r} (got {', '.join(axes)})"
            )
        return PooledScore(head, AXES)


@attrs.frozen(kw_only=True)
class ActionUnitScore(Metric):
    """The score of ABAW1 and ABAW2, 0.5 mean F1 + 0.5 total accuracy, with both parts.

    F1 is the mean over all units of the head, where one that never occurs counts as 0; accuracy is the share
    of right decisions among all that have a label, whatever the unit. Kollias et al.: Analysing Affective
    Behavior in the second ABAW2 Competition. ICCV Workshops 2021.
    """

    name: ClassVar[str] = "action-unit-score"
    f1_share: float = attrs.field(
        default=0.5, validator=between(0, 1), metadata={"doc": "share of mean F1; the rest is accuracy"}
    )

    def outputs(self, head: Head) -> tuple[str, ...]:
        """`score`, `mean_f1`, `accuracy`."""
        return ("score", "mean_f1", "accuracy")

    def build(self, head: Head) -> LiveMetric:
        """For multi-label heads."""
        return from_counts(self, head, "units", self._score)

    def _score(self, counts: Tensor) -> dict[str, Tensor]:
        mean_f1, accuracy = f1_of(counts).mean(), decision_accuracy(counts)
        score = self.f1_share * mean_f1 + (1 - self.f1_share) * accuracy
        return {"score": score, "mean_f1": mean_f1, "accuracy": accuracy}


def decision_accuracy(counts: Tensor) -> Tensor:
    """Share of right decisions from counts [units, (tp, fp, tn, fn, support)]; 0 without any."""
    tp, fp, tn, fn, _ = counts.sum(0).double()
    accuracy: Tensor = (tp + tn) / (tp + fp + tn + fn).clamp(min=1)
    return accuracy


@hookimpl
def mtl_metrics() -> list[type[Metric]]:
    """The scores."""
    return [ValenceArousalScore, ActionUnitScore]
