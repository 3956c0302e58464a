"""Heads with one mistake each: the conformance kit catches all, and each of its checks can fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.classification import Classification
from mtl_std.losses import CrossEntropy
from mtl_std.metrics import Accuracy
from torch import Tensor, nn
from torch.distributions import Categorical

from mtl_toolkit import Head, HeadOutput, Labels, Loss, Metric
from mtl_toolkit.testing import check_head
from tests.mutants import Mutant, assert_caught, uncaught


class Linear(nn.Module):
    """A sound layer, for others to break."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(features, 7)

    def forward(self, features: Tensor) -> HeadOutput:
        return HeadOutput(self.last(features), features)


class Squeezed(Linear):
    def forward(self, features):
        values, features = super().forward(features)
        return HeadOutput(values.squeeze(0), features)


class NumpyWeights(Linear):
    def __init__(self, features):
        super().__init__(features)
        random = np.random.default_rng()
        with torch.no_grad():
            self.last.weight.copy_(torch.from_numpy(random.normal(size=(7, features))))


class AlwaysDropout(Linear):
    def forward(self, features):
        return super().forward(F.dropout(features, 0.5, training=True))


class BatchStatistics(Linear):
    def forward(self, features):
        return super().forward(features - features.mean(0))


class UnusedLayer(Linear):
    def __init__(self, features):
        super().__init__(features)
        self.forgotten = nn.Linear(features, features)


class Detached(Linear):
    def forward(self, features):
        return super().forward(features.detach())


class StateOutsideBuffers(Linear):
    def __init__(self, features):
        super().__init__(features)
        self.mean = torch.zeros(features)

    def forward(self, features):
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * features.detach().mean(0)
        return super().forward(features - self.mean)


class OverflowsInBf16(Linear):
    def forward(self, features):
        values, features = super().forward(features)
        return HeadOutput((values * 500).exp().log() / 500, features)


class CountsWithLen(Linear):
    def forward(self, features):
        values, features = super().forward(features)
        return HeadOutput(values.reshape(len(features), 7), features)


@attrs.frozen(kw_only=True)
class Layered(Expression):
    """Expression with other layers."""

    layer: ClassVar[type[nn.Module]] = Linear

    def build(self, features):
        return self.layer(features)


def layered(layer: type[nn.Module]) -> Head:
    """A head with a layer of a kind."""
    return attrs.frozen(type("With", (Layered,), {"layer": layer, "__doc__": "Broken."}), kw_only=True)()


@attrs.frozen(kw_only=True)
class ArrayInMeaning(Expression):
    """Broken."""

    def meaning(self) -> dict[str, Any]:
        return {"classes": np.array(self.classes)}


@attrs.frozen(kw_only=True)
class SelectsNothing(Expression):
    """Broken."""

    def default_selection(self) -> Mapping[str, float]:
        return {"f1": 1.0}


@attrs.frozen(kw_only=True)
class LeakyCrossEntropy(CrossEntropy):
    """Broken."""

    def build(self, head):
        def loss(output, target, mask):
            losses = F.cross_entropy(output.values, target.clamp(0, 6), reduction="none")
            return (losses * mask).sum() / mask.sum().clamp(min=1)

        return loss


@attrs.frozen(kw_only=True)
class LeakyLoss(Expression):
    """Broken."""

    def default_losses(self) -> tuple[Loss, ...]:
        return (LeakyCrossEntropy(),)


@attrs.frozen(kw_only=True)
class MisnamedAccuracy(Accuracy):
    """Broken."""

    def outputs(self, head):
        return ("score",)


@attrs.frozen(kw_only=True)
class MisnamedMetric(Expression):
    """Broken."""

    def default_metrics(self) -> tuple[Metric, ...]:
        return (MisnamedAccuracy(),)


@attrs.frozen(kw_only=True)
class IgnoresMask(ActionUnits):
    """Broken."""

    def unit_mask(self, mask: Tensor) -> Tensor:
        return torch.ones_like(mask)


@attrs.frozen(kw_only=True)
class CountsFromOne(Expression):
    """Broken."""

    def estimate(self, values: Tensor) -> Tensor:
        return values.argmax(-1) + 1


@attrs.frozen(kw_only=True)
class NoSoftmax(ValenceArousal):
    """Broken."""

    def estimate(self, values: Tensor) -> Tensor:
        return (values * torch.linspace(-1, 1, self.bins)).sum(-1)


@attrs.frozen(kw_only=True)
class WritesIntoOutputs(ActionUnits):
    """Broken."""

    def predictions(self, values: Tensor) -> Tensor:
        return values.sigmoid_()


@attrs.frozen(kw_only=True)
class NormalisesOverTheBatch(Expression):
    """Broken."""

    def predictions(self, values: Tensor) -> Tensor:
        return values.softmax(0)


@attrs.frozen(kw_only=True)
class TwoThresholds(ActionUnits):
    """Broken."""

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        return (predictions > 0.7).astype(np.float32)


@attrs.frozen(kw_only=True)
class DoublePredictions(ValenceArousal):
    """Broken."""

    def predictions(self, values: Tensor) -> Tensor:
        return self.estimate(values.double()).double()


@attrs.frozen(kw_only=True)
class NoUnitDimension(Expression):
    """Broken."""

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Categorical:
        return Categorical(logits=values / temperature)


@attrs.frozen(kw_only=True)
class ExpOfLogits(Expression):
    """Broken."""

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Categorical:
        odds = (values[:, None] * 3 / temperature).exp()
        return Categorical(probs=odds / odds.sum(-1, keepdim=True), validate_args=False)


@attrs.frozen(kw_only=True)
class IgnoresTemperature(ActionUnits):
    """Broken."""

    def distribution(self, values: Tensor, temperature: float = 1.0):
        return super().distribution(values)


@attrs.frozen(kw_only=True)
class LetsNaNPass(ValenceArousal):
    """Broken."""

    def check_labels(self, labels: Labels) -> str | None:
        values = labels.values[labels.valid]
        return "values must lie in [-1, 1]" if ((values < -1) | (values > 1)).any() else None


@attrs.frozen(kw_only=True)
class LetsMinusOnePass(Expression):
    """Broken."""

    def check_labels(self, labels: Labels) -> str | None:
        return "there are 7 classes" if (labels.values[labels.complete()] > 6).any() else None


@attrs.frozen(kw_only=True)
class ChecksMissingLabels(Expression):
    """Broken."""

    def check_labels(self, labels: Labels) -> str | None:
        return None if np.isin(labels.values, range(7)).all() else "ids must be from 0 to 6"


@attrs.frozen(kw_only=True)
class StrataOfMissing(Classification):
    """Broken."""

    def strata(self, labels: Labels) -> np.ndarray:
        return labels.values.astype(np.int64)


@attrs.frozen(kw_only=True)
class DescribesMissing(Expression):
    """Broken."""

    def describe_label(self, values: np.ndarray, valid: np.ndarray) -> str:
        return self.classes[int(values) % 7]


@attrs.frozen(kw_only=True)
class NumpyInSummary(ValenceArousal):
    """Broken."""

    def summary(self, labels: Labels) -> dict[str, Any]:
        return {"mean": labels.values[labels.valid].mean() if labels.valid.any() else np.float32(0)}


@attrs.frozen(kw_only=True)
class NoDoc(Expression):
    """Broken."""

    sharpness: float = 1.0


@attrs.frozen(kw_only=True)
class Undocumented(Expression): ...


@attrs.frozen(kw_only=True)
class Doubles(Expression):
    """Broken."""

    sharpness: float = attrs.field(default=1.0, converter=lambda value: 2 * value, metadata={"doc": "factor"})


class NotDecorated(Expression):
    """Broken."""


def local_class() -> Head:
    """A recipe whose class pickle cannot find."""

    @attrs.frozen(kw_only=True)
    class Local(Expression):
        """Broken."""

    return Local()


def mutant(mistake: str, head: Head | type[Head], caught_by: str) -> Mutant:
    recipe = head if isinstance(head, Head) else head()
    return Mutant(mistake, lambda: check_head(recipe), caught_by)


MUTANTS = [
    mutant("its class is not decorated", NotDecorated, "loadable"),
    mutant("a field without a doc", NoDoc, "documented"),
    mutant("no docstring", Undocumented, "documented"),
    mutant("a converter changes what was converted", Doubles, "toml-round-trip"),
    mutant("its class cannot be found by name", local_class(), "pickles"),
    mutant("an array in meaning()", ArrayInMeaning, "facts"),
    mutant("a batch of one loses its dimension", layered(Squeezed), "shape"),
    mutant("selects by a metric that there is not", SelectsNothing, "default-parts"),
    mutant("a default loss multiplies with the mask", LeakyLoss, "default-losses-conform"),
    mutant("a default metric reports another name", MisnamedMetric, "default-metrics-conform"),
    mutant("ignores the mask", IgnoresMask, "unit-mask"),
    mutant("class ids from 1", CountsFromOne, "estimate-in-range"),
    mutant("an expectation without a softmax", NoSoftmax, "estimate-in-range"),
    mutant("predictions write into the outputs", WritesIntoOutputs, "estimate-is-pure"),
    mutant("softmax over the batch", NormalisesOverTheBatch, "estimate-is-pure"),
    mutant("decides by another threshold than it estimates", TwoThresholds, "predictions-and-decisions"),
    mutant("predictions in float64", DoublePredictions, "predictions-and-decisions"),
    mutant("a distribution without units", NoUnitDimension, "distribution-is-valid"),
    mutant("exp of logits overflows", ExpOfLogits, "distribution-is-valid"),
    mutant("ignores the temperature", IgnoresTemperature, "temperature-softens"),
    mutant("NaN passes as a label", LetsNaNPass, "checks-labels"),
    mutant("-1 passes as a class", LetsMinusOnePass, "checks-labels"),
    mutant("looks at missing labels", ChecksMissingLabels, "checks-labels"),
    mutant("missing labels have a stratum", StrataOfMissing(classes=("a", "b", "c")), "strata"),
    mutant("describes a missing label", DescribesMissing, "tells-of-labels"),
    mutant("numpy numbers in summary()", NumpyInSummary, "tells-of-labels"),
    mutant("weights from numpy", layered(NumpyWeights), "built-alike"),
    mutant("dropout in eval mode", layered(AlwaysDropout), "same-in-eval-mode"),
    mutant("statistics of the batch in eval mode", layered(BatchStatistics), "rows-apart"),
    mutant("a layer that nothing uses", layered(UnusedLayer), "gradient-reaches-parameters"),
    mutant("detaches the features", layered(Detached), "gradient-reaches-inputs"),
    mutant("state that is no buffer", layered(StateOutsideBuffers), "state-round-trip"),
    mutant("exp overflows", layered(OverflowsInBf16), "bf16-autocast"),
    mutant("len() of a tensor", layered(CountsWithLen), "exports"),
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_mistake_is_caught(mutant):
    assert_caught(mutant)


def test_every_check_can_fail():
    """A check that no mistake makes fail would promise nothing."""
    assert uncaught(MUTANTS, check_head(Expression())) == set()


def test_sound_layers_pass_so_that_it_is_the_mistake_that_is_caught():
    for check in check_head(Layered()):
        check()
