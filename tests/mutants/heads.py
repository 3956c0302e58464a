"""Heads with one mistake each, in what they say of outputs and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.losses import CrossEntropy
from mtl_std.metrics import Accuracy
from mtl_std.regression import Regression, grid_cell
from torch import Tensor
from torch.distributions import Categorical

from mtl_toolkit import Head, Labels
from mtl_toolkit.testing import Check, check_head
from tests.mutants import Mutant, broken, of_any_kind
from tests.mutants.head_ensembles import ENSEMBLES
from tests.mutants.head_layers import LAYERS, Layered, of_head
from tests.mutants.head_targets import TARGETS


def leaky_loss(self: Any) -> Any:
    def loss(output, target, mask):
        losses = F.cross_entropy(output.values, target.clamp(0, 6), reduction="none")
        return (losses * mask).sum() / mask.sum().clamp(min=1)

    return (broken(CrossEntropy, build=lambda _, _head: loss),)


def misnamed_metric(self: Any) -> Any:
    return (broken(Accuracy, outputs=lambda _, _head: ("score",)),)


def divided_exps(self: Any, values: Tensor) -> Tensor:
    odds = (3 * values).exp()
    return (odds / (1 + odds)).round()


def exp_of_logits(self: Any, values: Tensor, temperature: float = 1.0) -> Categorical:
    odds = (values[:, None] * 3 / temperature).exp()
    return Categorical(probs=odds / odds.sum(-1, keepdim=True), validate_args=False)


def with_noise(self: Any, values: Tensor, temperature: float = 1.0) -> Categorical:
    logits = values[:, None] + torch.rand(values.shape)[:, None]
    return Categorical(logits=logits / temperature, validate_args=False)


def uniform(self: Any, values: Tensor, temperature: float = 1.0) -> Categorical:
    return Categorical(logits=torch.zeros_like(values)[:, None], validate_args=False)


def lets_nan_pass(self: Any, labels: Labels) -> str | None:
    values = labels.values[labels.valid]
    return "values must lie in [-1, 1]" if ((values < -1) | (values > 1)).any() else None


def lets_minus_one_pass(self: Any, labels: Labels) -> str | None:
    return "there are 7 classes" if (labels.values[labels.complete()] > 6).any() else None


def says_true(self: Any, labels: Labels) -> Any:
    return True if np.isnan(labels.values[labels.valid]).any() else None


def checks_missing(self: Any, labels: Labels) -> str | None:
    return None if np.isin(labels.values, range(7)).all() else "ids must be from 0 to 6"


def cells_of_all(self: Any, labels: Labels) -> np.ndarray:
    values = labels.values[:, 0].astype(np.float64)
    return np.where(labels.complete(), grid_cell(values, values, 20), -1)


def numpy_mean(self: Any, labels: Labels) -> dict[str, Any]:
    return {"mean": labels.values[labels.valid].mean() if labels.valid.any() else np.float32(0)}


def one_row_is_flat(self: Any, values: Tensor) -> Tensor:
    return values.float().softmax(-1).squeeze(0)


def of_expression(mistake: str, caught_by: str, told: str = "", **members: Any) -> Mutant:
    return of_head(mistake, broken(Expression, **members), caught_by, told=told)


def of_units(mistake: str, caught_by: str, **members: Any) -> Mutant:
    return of_head(mistake, broken(ActionUnits, **members), caught_by)


def of_affect(mistake: str, caught_by: str, **members: Any) -> Mutant:
    return of_head(mistake, broken(ValenceArousal, **members), caught_by)


def constant(value: Any) -> property:
    return property(lambda _: value)


FACTS = [
    of_units("more units than a label has", "strata", units=property(lambda self: (*self.names, "more"))),
    of_expression("units are a list", "facts", units=constant(["class"])),
    of_expression("two columns of one name", "facts", columns=constant(("same",) * 7)),
    of_expression("no units", "facts", units=constant(())),
    of_expression("the target's shape is a list", "facts", target_shape=constant([])),
    of_units("the target's shape has numpy numbers", "facts", target_shape=constant((np.int64(12),))),
    of_expression("the target's type is a scalar type", "facts", target_dtype=constant(np.int64)),
    of_expression("units are combined by their maximum", "facts", combine="max"),
    of_head("a label that is no text", Expression(label=7), "facts"),
    of_head("an empty label", Expression(label=""), "facts"),
    of_expression("an array in meaning()", "facts", meaning=lambda self: {"classes": np.array(self.classes)}),
    of_expression("a tuple in meaning()", "facts", meaning=lambda self: {"classes": self.classes}),
    of_expression("no default loss", "default-parts", default_losses=lambda _: ()),
    of_expression(
        "no default metric",
        "default-parts",
        default_metrics=lambda _: (),
        default_selection=lambda _: {},
    ),
    of_expression(
        "a default metric comes twice",
        "default-parts",
        default_metrics=lambda _: (Accuracy(), Accuracy()),
        default_selection=lambda _: {"accuracy": 1.0},
    ),
    of_expression(
        "selects by a metric that there is not", "default-parts", default_selection=lambda _: {"f1": 1.0}
    ),
    of_expression(
        "a default loss multiplies with the mask", "default-losses-conform", default_losses=leaky_loss
    ),
    of_expression(
        "a default metric reports another name", "default-metrics-conform", default_metrics=misnamed_metric
    ),
    of_expression("a mask of floats per unit", "unit-mask", unit_mask=lambda _, mask: mask[:, None].float()),
    of_expression("a mask without units", "unit-mask", unit_mask=lambda _, mask: mask),
    of_units("ignores the mask", "unit-mask", unit_mask=lambda _, mask: torch.ones_like(mask)),
]

OUTPUTS = [
    of_expression(
        "columns of classes, predictions of units", "predictions-and-decisions", predictions=Head.predictions
    ),
    of_expression(
        "a dimension too many", "estimate-in-range", estimate=lambda _, x: x.argmax(-1)[:, None, None]
    ),
    of_expression("the best row of each class", "estimate-in-range", estimate=lambda _, x: x.argmax(0)),
    of_units("a quotient of exps overflows", "estimate-in-range", estimate=divided_exps),
    of_head(
        "a root of numbers below zero",
        broken(Regression, estimate=lambda _, x: x.sqrt()),
        "estimate-in-range",
    ),
    of_expression("class ids from 1", "estimate-in-range", estimate=lambda _, x: x.argmax(-1) + 1),
    of_affect(
        "an expectation without a softmax",
        "estimate-in-range",
        estimate=lambda self, x: (x * torch.linspace(-1, 1, self.bins)).sum(-1),
    ),
    of_units("predictions write into the outputs", "estimate-is-pure", predictions=lambda _, x: x.sigmoid_()),
    of_expression(
        "estimates relative to the batch",
        "estimate-is-pure",
        estimate=lambda _, x: (x - x.mean(0)).argmax(-1),
    ),
    of_expression(
        "a distribution relative to the batch",
        "estimate-is-pure",
        distribution=lambda self, x, _temperature=1.0: Expression.distribution(self, x - x.mean(0)),
    ),
    of_expression("softmax over the batch", "estimate-is-pure", predictions=lambda _, x: x.softmax(0)),
    of_expression("one row alone is flat", "estimate-is-pure", predictions=one_row_is_flat),
    of_expression(
        "predictions lack a class",
        "predictions-and-decisions",
        "predictions of shape",
        predictions=lambda _, x: x.float().softmax(-1)[:, 1:],
    ),
    of_affect(
        "predictions in float64",
        "predictions-and-decisions",
        predictions=lambda self, x: self.estimate(x.double()).double(),
    ),
    of_units(
        "decides by another threshold than it estimates",
        "predictions-and-decisions",
        decide=lambda _, predictions: (predictions > 0.7).astype(np.float32),
    ),
    of_expression(
        "probabilities instead of a distribution",
        "distribution-is-valid",
        distribution=lambda _, x, temperature=1.0: (x / temperature).softmax(-1)[:, None],
    ),
    of_expression(
        "a distribution without units",
        "distribution-is-valid",
        "its batch shape",
        distribution=lambda _, x, temperature=1.0: Categorical(logits=x / temperature),
    ),
    of_expression("exp of logits overflows", "distribution-is-valid", distribution=exp_of_logits),
    of_expression("a distribution with noise", "distribution-is-valid", distribution=with_noise),
    of_expression("a uniform distribution", "distribution-is-valid", distribution=uniform),
    of_units(
        "ignores the temperature",
        "temperature-softens",
        distribution=lambda self, x, _temperature=1.0: ActionUnits.distribution(self, x),
    ),
]

LABELS = [
    of_affect("NaN passes as a label", "checks-labels", check_labels=lets_nan_pass),
    of_expression("-1 passes as a class", "checks-labels", check_labels=lets_minus_one_pass),
    of_affect("says that labels are wrong, not why", "checks-labels", check_labels=says_true),
    of_expression("looks at missing labels", "checks-labels", check_labels=checks_missing),
    of_expression("refuses all labels", "checks-labels", check_labels=lambda _, _labels: "no"),
    of_expression(
        "strata of labelled samples only",
        "strata",
        strata=lambda _, labels: labels.values[labels.complete()],
    ),
    of_expression(
        "strata of int32", "strata", strata=lambda self, labels: self.class_ids(labels).astype(np.int32)
    ),
    of_expression(
        "the first class has no stratum",
        "strata",
        strata=lambda self, labels: np.maximum(self.class_ids(labels) - 1, -1),
    ),
    of_expression(
        "missing labels have a stratum",
        "strata",
        strata=lambda self, labels: np.maximum(self.class_ids(labels), 0),
    ),
    of_affect("cells over the range of missing labels too", "strata", strata=cells_of_all),
    of_affect("numpy numbers in summary()", "tells-of-labels", summary=numpy_mean),
    of_expression(
        "describes a label by a number",
        "tells-of-labels",
        describe_label=lambda _, values, valid: int(values) if valid else "",
    ),
    of_expression(
        "describes a missing label",
        "tells-of-labels",
        describe_label=lambda self, values, _valid: self.classes[int(values) % 7],
    ),
]

MUTANTS = [*of_any_kind(check_head, Expression), *LAYERS, *FACTS, *OUTPUTS, *LABELS, *ENSEMBLES, *TARGETS]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return check_head(Layered())
