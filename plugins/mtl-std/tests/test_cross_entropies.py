"""Balanced weights and the focal factor of the cross-entropies, against computations written out."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
import torch
from mtl_std.classification import Classification
from mtl_std.cross_entropies import BinaryCrossEntropy, CrossEntropy
from mtl_std.multi_label import MultiLabel
from torch import Tensor

from mtl_toolkit import ConfigError, HeadOutput, Labels

CLASSES = Classification(classes=("a", "b", "c"))
SHARES = Classification(classes=("a", "b", "c"), soft=True)
UNITS = MultiLabel(names=("u", "v"))
ROWS = 6
WEIGHTS = (0.5, 2.0, 1.0)


def logits(width: int) -> Tensor:
    return torch.randn(ROWS, width, generator=torch.Generator().manual_seed(3)) * 2


def value(loss, head, values: Tensor, target: Tensor) -> Tensor:
    mask = torch.ones(target.shape, dtype=torch.bool)
    return loss.build(head)(HeadOutput(values, values), target, mask)


def labels(values, valid=None, dtype=np.int64) -> Labels:
    values = np.asarray(values, dtype)
    return Labels(values, np.ones(values.shape, np.bool_) if valid is None else np.asarray(valid, np.bool_))


# Balanced weights.


def test_balanced_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    ids = np.array([0, 0, 0, 1, 2, 2])
    found = CrossEntropy(class_weights="balanced").fitted(CLASSES, labels(ids)).class_weights
    expected = compute_class_weight("balanced", classes=np.arange(3), y=ids)
    assert found == pytest.approx(tuple(expected))


def test_a_class_without_samples_has_weight_0_and_the_others_a_mean_of_1_over_the_samples():
    found = CrossEntropy(class_weights="balanced").fitted(CLASSES, labels([0, 0, 0, 2])).class_weights
    assert found == pytest.approx((4 / (2 * 3), 0.0, 4 / 2))
    assert np.mean([found[i] for i in (0, 0, 0, 2)]) == pytest.approx(1)


def test_missing_labels_do_not_count_and_no_label_at_all_is_borne():
    some = labels([0, 1, 10**6, 1], [True, True, False, True])
    balanced = CrossEntropy(class_weights="balanced")
    assert balanced.fitted(CLASSES, some) == balanced.fitted(CLASSES, labels([0, 1, 1]))
    assert balanced.fitted(CLASSES, labels([])).class_weights == (0.0, 0.0, 0.0)


def test_soft_labels_count_by_their_shares():
    votes = labels([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.25, 0.75]], dtype=np.float32)
    found = CrossEntropy(class_weights="balanced").fitted(SHARES, votes).class_weights
    assert found == pytest.approx((3 / (3 * 1.5), 3 / (3 * 0.75), 3 / (3 * 0.75)))


def test_balanced_positive_weights_are_negatives_over_positives_of_each_unit():
    known = [[True, True], [True, False], [True, True], [True, True]]
    ones = labels([[1, 1], [0, 1], [0, 1], [0, 0]], known, np.float32)
    found = BinaryCrossEntropy(positive_weights="balanced").fitted(UNITS, ones).positive_weights
    assert found == pytest.approx((3.0, 1 / 2))


def test_a_unit_without_positives_or_negatives_has_weight_1():
    ones = labels([[0, 1], [0, 1]], dtype=np.float32)
    found = BinaryCrossEntropy(positive_weights="balanced").fitted(UNITS, ones).positive_weights
    assert found == (1.0, 1.0)
    none = BinaryCrossEntropy(positive_weights="balanced").fitted(UNITS, labels(np.zeros((0, 2)), dtype="f4"))
    assert none.positive_weights == (1.0, 1.0)


def test_balanced_positive_weights_are_cut_to_the_largest():
    ones = labels([[1, 1], [0, 0], [0, 1], [0, 0]], dtype=np.float32)
    loss = BinaryCrossEntropy(positive_weights="balanced", largest_weight=2.5)
    assert loss.fitted(UNITS, ones).positive_weights == pytest.approx((2.5, 1.0))


def test_weights_that_are_given_are_not_fitted():
    for loss, head in (
        (CrossEntropy(class_weights=WEIGHTS), CLASSES),
        (BinaryCrossEntropy(positive_weights=(1.0, 2.0)), UNITS),
    ):
        empty = Labels.missing(0, head.target_shape, head.target_dtype)
        assert loss.fitted(head, empty) is loss


def test_balanced_weights_that_were_not_fitted_are_refused():
    with pytest.raises(ConfigError, match=r"class_weights = 'balanced' is made from labels: call fitted"):
        CrossEntropy(class_weights="balanced").build(CLASSES)
    with pytest.raises(ConfigError, match=r"positive_weights = 'balanced' is made from labels"):
        BinaryCrossEntropy(positive_weights="balanced").build(UNITS)


# The focal factor.


def focal(values: Tensor, shares: np.ndarray, gamma: float, weights=(1.0, 1.0, 1.0)) -> float:
    """The sum over classes of w t (1 - p)^gamma (-log p), the mean over rows."""
    total = 0.0
    for row, goal in zip(values.double().tolist(), shares.tolist(), strict=True):
        powers = [math.exp(logit) for logit in row]
        for power, share, weight in zip(powers, goal, weights, strict=True):
            p = power / sum(powers)
            total += weight * share * (1 - p) ** gamma * -math.log(p)
    return total / len(values)


IDS = torch.tensor([0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_the_focal_loss_of_classes_is_the_sum_over_the_smoothed_target(gamma, smoothing, weights):
    loss = CrossEntropy(focal_gamma=gamma, label_smoothing=smoothing, class_weights=weights)
    shares = np.eye(3)[IDS.numpy()] * (1 - smoothing) + smoothing / 3
    expected = focal(logits(3), shares, gamma, weights or (1.0, 1.0, 1.0))
    assert value(loss, CLASSES, logits(3), IDS).item() == pytest.approx(expected, rel=1e-5)


def test_the_focal_loss_of_soft_targets_weighs_each_class_by_its_share():
    votes = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(1))
    votes = votes / votes.sum(1, keepdim=True)
    found = value(CrossEntropy(focal_gamma=2.0), SHARES, logits(3), votes)
    assert found.item() == pytest.approx(focal(logits(3), votes.double().numpy(), 2.0), rel=1e-5)


@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_a_tiny_exponent_gives_nearly_the_plain_cross_entropy(weights):
    plain = CrossEntropy(label_smoothing=0.1, class_weights=weights)
    near = attrs.evolve(plain, focal_gamma=1e-7)
    torch.testing.assert_close(value(near, CLASSES, logits(3), IDS), value(plain, CLASSES, logits(3), IDS))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("weights", [(), (3.0, 0.5)])
def test_the_focal_loss_of_units_has_a_factor_for_positives_and_one_for_negatives(gamma, weights):
    target = torch.tensor([[1.0, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 0]])
    expected = np.zeros(2)
    for row, goal in zip(logits(2).double().tolist(), target.tolist(), strict=True):
        for unit, (logit, on) in enumerate(zip(row, goal, strict=True)):
            p = 1 / (1 + math.exp(-logit))
            factor = weights[unit] if weights else 1.0
            loss = factor * (1 - p) ** gamma * -math.log(p) if on else p**gamma * -math.log(1 - p)
            expected[unit] += loss / ROWS
    found = value(BinaryCrossEntropy(focal_gamma=gamma, positive_weights=weights), UNITS, logits(2), target)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("size", [20.0, 200.0])
def test_sure_predictions_keep_finite_focal_losses_and_gradients(gamma, size):
    """Below an exponent of 1 the power's own slope is infinite at 0."""
    for loss, head, target in (
        (CrossEntropy(focal_gamma=gamma), CLASSES, torch.tensor([0, 1])),
        (BinaryCrossEntropy(focal_gamma=gamma), UNITS, torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
    ):
        values = torch.zeros(2, 3 if head is CLASSES else 2)
        values[:, 0] = size
        values.requires_grad_()
        found = value(loss, head, values, target).sum()
        found.backward()
        assert found.isfinite()
        assert values.grad.isfinite().all()


def test_what_is_easy_counts_less():
    sure, unsure = torch.tensor([[4.0, 0, 0]]), torch.tensor([[0.5, 0, 0]])
    ratios = []
    for gamma in (0.0, 2.0):
        loss = CrossEntropy(focal_gamma=gamma)
        ids = torch.tensor([0])
        ratios.append(float(value(loss, CLASSES, sure, ids) / value(loss, CLASSES, unsure, ids)))
    assert ratios[1] < ratios[0] / 50


def test_what_weights_may_be_is_checked():
    with pytest.raises(ValueError, match="every item must be at least 0"):
        CrossEntropy(class_weights=(1.0, -1.0))
    with pytest.raises(ValueError, match="must be at least 0"):
        CrossEntropy(focal_gamma=-1)
    with pytest.raises(ValueError, match="must be above 0"):
        BinaryCrossEntropy(largest_weight=0)
