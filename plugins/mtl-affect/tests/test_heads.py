"""The affect heads: what sets them apart from the generic ones that they build on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_affect.action_units import ACTION_UNITS, ActionUnits
from mtl_affect.combined import Combined
from mtl_affect.expression import EXPRESSIONS, Expression, ExpressionScore
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.losses import BinaryCrossEntropy, BinCrossEntropy, Concordance, CrossEntropy
from torch import Tensor

from mtl_toolkit import ConfigError, Head, HeadOutput, Labels, Metric

HEADS = [(Expression(), (7,)), (ValenceArousal(), (2, 20)), (ActionUnits(), (12,))]


def compute(metric: Metric, head: Head, values: Tensor, target: Tensor) -> dict[str, float]:
    live = metric.build(head)
    live.update(HeadOutput(values, values), target, torch.ones(target.shape, dtype=torch.bool))
    found = live.compute()
    assert tuple(found) == metric.outputs(head)
    return {name: value.item() for name, value in found.items()}


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_heads_have_the_layers_and_outputs_of_the_method(head, shape):
    values, features, _ = head.build(2048).eval()(torch.randn(1, 2048))
    assert values.shape == (1, *shape)
    assert features.shape == (1, 128)
    assert head.distribution(values, 1.5).batch_shape == (1, len(head.units))


def test_names_come_in_the_order_of_abaw():
    assert EXPRESSIONS == ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert ValenceArousal().units == ("valence", "arousal")
    numbers = [int(unit.removeprefix("AU")) for unit in ACTION_UNITS]
    assert numbers == [1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26]


def test_losses_and_selection_are_those_of_the_method():
    assert Expression().default_losses() == (CrossEntropy(),)
    assert ValenceArousal().default_losses() == (BinCrossEntropy(), Concordance())
    assert ActionUnits().default_losses() == (BinaryCrossEntropy(),)
    assert Expression().default_selection() == {"score": 1.0}
    assert ValenceArousal().default_selection() == {"ccc_valence": 1.0, "ccc_arousal": 1.0}
    assert ActionUnits().default_selection() == {"mean_f1": 1.0}


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_the_default_metrics_report_what_the_best_epoch_is_chosen_by(head, shape):
    reported = {name for metric in head.default_metrics() for name in metric.outputs(head)}
    assert set(head.default_selection()) <= reported


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_score_is_067_macro_f1_over_all_seven_classes_and_033_accuracy(pairs):
    truth, guess = np.array(pairs).T
    hits = [np.sum((truth == c) & (guess == c)) for c in range(7)]
    f1 = [2 * h / max(np.sum(truth == c) + np.sum(guess == c), 1) for c, h in enumerate(hits)]
    logits = F.one_hot(torch.tensor(guess), 7).float()
    found = compute(ExpressionScore(), Expression(), logits, torch.tensor(truth))
    accuracy = np.mean(truth == guess)
    assert found == pytest.approx(
        {"score": 0.67 * np.mean(f1) + 0.33 * accuracy, "macro_f1": np.mean(f1), "accuracy": accuracy}
    )


def test_the_share_of_f1_in_the_score_is_an_option():
    """ABAW3 and later rank by macro F1 alone."""
    logits = F.one_hot(torch.tensor([0, 0]), 7).float()
    found = compute(ExpressionScore(f1_share=1.0), Expression(), logits, torch.tensor([0, 1]))
    assert found["score"] == found["macro_f1"] == pytest.approx(2 / 3 / 7)


def test_the_score_refuses_a_head_without_classes():
    with pytest.raises(ConfigError, match="expression-score: needs a head with classes"):
        ExpressionScore().build(ValenceArousal())


def test_a_head_with_contempt_or_other_is_another_task():
    eight = Expression(classes=(*EXPRESSIONS, "other"))
    assert eight.build(16).eval()(torch.randn(2, 16)).values.shape == (2, 8)
    assert eight.meaning() != Expression().meaning()


def test_action_units_are_averaged_and_the_axes_of_valence_arousal_added():
    assert ActionUnits().combine == "mean"
    assert ValenceArousal().combine == "sum"


# Combined.


def test_a_combined_head_stands_for_its_members():
    head = Combined(tasks=("expr", "va"))
    assert head.members == ("expr", "va")
    assert not head.separate
    assert Combined(tasks=("expr", "va"), reduction="separate").separate
    assert head.meaning() == {"kind": "combined", "tasks": ["expr", "va"]}


def test_a_combined_head_has_nothing_of_its_own():
    head = Combined(tasks=("expr", "va"))
    assert head.units == ()
    assert (head.default_losses(), head.default_metrics(), head.default_selection()) == ((), (), {})
    assert head.check_labels(Labels.missing(3, head.target_shape, head.target_dtype)) is None


@pytest.mark.parametrize("use", ["build", "estimate", "distribution"])
def test_asking_a_combined_head_for_outputs_is_a_mistake(use):
    with pytest.raises(TypeError, match="no outputs of its own; use its members'"):
        getattr(Combined(tasks=("expr", "va")), use)(1)


@pytest.mark.parametrize(("tasks", "rule"), [((), "must not be empty"), (("a", "a"), "twice")])
def test_members_are_given_and_differ(tasks, rule):
    with pytest.raises(ValueError, match=rule):
        Combined(tasks=tasks)
