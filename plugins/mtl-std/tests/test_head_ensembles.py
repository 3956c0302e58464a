"""What the generic heads make of several networks' outputs, and of predictions to tune thresholds on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression
from mtl_std.thresholds import best_threshold

from mtl_toolkit import ConfigError, Labels

CLASSES = Classification(classes=("a", "b", "c"))
UNITS = MultiLabel(names=("u", "v", "w"))
BINS = BinnedRegression(axes=("x", "y"), bins=5)
AXES = Regression(axes=("x", "y"))
HEADS = [(CLASSES, (3,)), (UNITS, (3,)), (BINS, (2, 5)), (AXES, (2,))]


def softmax(values: np.ndarray) -> np.ndarray:
    odds = np.exp(values - values.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def said_by(head: object, values: np.ndarray) -> np.ndarray:
    """The predictions, in float64."""
    if head is CLASSES:
        return softmax(values)
    if head is UNITS:
        return sigmoid(values)
    return (softmax(values) * np.linspace(-1, 1, 5)).sum(-1) if head is BINS else values


# Averages.


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_the_predictions_of_an_average_are_the_mean_of_the_predictions(head, shape):
    random = np.random.default_rng(0)
    values, weights = random.normal(size=(4, 20, *shape)) * 3, random.dirichlet(np.ones(4))
    found = head.average(torch.tensor(values, dtype=torch.float32), torch.tensor(weights))
    expected = np.einsum("m,m...->...", weights, np.stack([said_by(head, one) for one in values]))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(head.predictions(found).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", [CLASSES, UNITS])
def test_very_confident_logits_keep_their_distance(head):
    """In float32 a probability beyond a logit of 17 is 1, and its logarithm nothing."""
    values = torch.tensor([[[50.0, -50.0, 0.0]], [[50.0, -50.0, 0.0]]])
    found = head.average(values, torch.tensor([0.5, 0.5]))
    differences = found[0] - (found[0, 2] if head is CLASSES else 0)
    torch.testing.assert_close(differences, values[0, 0])


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_a_member_without_weight_changes_nothing(head, shape):
    values = torch.randn(2, 5, *shape)
    values[1] = 80.0
    found = head.average(values, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(head.predictions(found), head.predictions(values[0]))


# Votes.


def test_classes_are_voted_for_by_weight_and_a_tie_goes_by_the_mean_probability():
    random = np.random.default_rng(1)
    for weights in ([0.25] * 4, [0.4, 0.3, 0.2, 0.1], [0.5, 0.25, 0.25, 0.0]):
        values = random.normal(size=(4, 200, 3)).astype(np.float32) * 2
        found = CLASSES.vote(torch.tensor(values), torch.tensor(weights))
        probable = np.einsum("m,mrc->rc", weights, softmax(values.astype(np.float64)))
        for row in range(200):
            shares = np.zeros(3)
            for member, weight in enumerate(weights):
                shares[values[member, row].argmax()] += weight
            leaders = np.flatnonzero(np.isclose(shares, shares.max()))
            assert int(CLASSES.estimate(found)[row]) == max(leaders, key=lambda one: probable[row, one])
            predicted = CLASSES.predictions(found)[row].numpy()
            np.testing.assert_allclose(predicted, shares, atol=2e-3)
            assert CLASSES.decide(predicted[None])[0] == CLASSES.estimate(found)[row]


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.93, (0.5, 0.1, 0.7)])
def test_units_are_voted_for_one_by_one_each_against_its_threshold(threshold):
    head = MultiLabel(names=("u", "v", "w"), threshold=threshold)
    random = np.random.default_rng(2)
    for weights in ([0.25] * 4, [0.4, 0.3, 0.2, 0.1]):
        values = random.normal(size=(4, 200, 3)).astype(np.float32) * 2
        found = head.vote(torch.tensor(values), torch.tensor(weights))
        chances = sigmoid(values.astype(np.float64))
        shares = np.einsum("m,mru->ru", weights, chances > np.array(threshold))
        mean = np.einsum("m,mru->ru", weights, chances)
        expected = np.where(np.isclose(shares, 0.5), mean > np.array(threshold), shares > 0.5)
        assert (head.estimate(found).numpy() == expected).all()
        assert (head.decide(head.predictions(found).numpy()) == expected).all()
        if threshold == 0.5:
            np.testing.assert_allclose(head.predictions(found).numpy(), shares, atol=2e-3)


@pytest.mark.parametrize("head", [BINS, AXES])
def test_values_have_no_majority(head):
    with pytest.raises(ConfigError, match='combine its outputs by "mean" or "weighted"'):
        head.vote(torch.zeros(2, 1, 2), torch.ones(2) / 2)


# Thresholds.


def f1_above(threshold: float, scores: np.ndarray, positive: np.ndarray) -> float:
    said = scores > np.float32(threshold)
    hits, wrong = (said & positive).sum(), (said != positive).sum()
    return float(2 * hits / max(2 * hits + wrong, 1))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30),
    present=st.sampled_from([0.0, 0.3, 0.5, 0.77, 1.0]),
)
def test_no_threshold_is_better_than_the_best(rows, present):
    """Scores are multiples of 0.05, so that thresholds in between can be listed."""
    scores = np.array([score for score, _ in rows], np.float32) / np.float32(20)
    positive = np.array([there for _, there in rows])
    found = best_threshold(scores, positive, present)
    best = max(f1_above(one, scores, positive) for one in [0.0, *(np.arange(21) + 0.5) / 20])
    assert 0 <= found <= 1
    assert f1_above(found, scores, positive) == best
    if f1_above(present, scores, positive) == best:
        assert found == present


def test_a_threshold_lies_between_two_scores_and_of_equals_the_nearest_to_the_present_one_is_taken():
    scores = np.array([0.1, 0.2, 0.6, 0.9], np.float32)
    right = np.array([False, False, True, True])
    assert best_threshold(scores, right, 0.7) == pytest.approx(0.4)
    assert best_threshold(scores, right, 0.5) == 0.5
    # One of one says yes rightly, or two of four: F1 is 2 / (1 + 2) and 4 / (4 + 2).
    one_of_each = np.array([True, False, False, True])
    assert best_threshold(scores, one_of_each, 0.95) == pytest.approx(0.75)
    assert best_threshold(scores, one_of_each, 0.12) == pytest.approx(0.05)


def test_neighbours_in_float32_are_told_apart():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    scores, right = np.array([low, high]), np.array([False, True])
    head = MultiLabel(names=("u",), threshold=best_threshold(scores, right, 0.5))
    assert head.decide(scores[:, None])[:, 0].tolist() == [0.0, 1.0]
    assert head.estimate(torch.tensor(scores)[:, None].logit()).shape == (2, 1)


def test_each_unit_gets_its_own_threshold_from_its_valid_rows_and_keeps_it_without_a_positive():
    head = MultiLabel(names=("u", "v", "w"), threshold=0.6)
    predictions = np.array([[0.1, 0.7, 0.9], [0.3, 0.8, 0.2], [0.2, 0.9, 0.4], [np.nan] * 3], np.float32)
    values = np.array([[0, 0, np.nan], [1, 1, 0], [0, 1, 0], [1, 1, 1]], np.float32)
    found = head.tuned(predictions, Labels(values, ~np.isnan(values)))
    assert found == MultiLabel(names=("u", "v", "w"), threshold=found.threshold)
    assert found.threshold == (pytest.approx(0.25), pytest.approx(0.75), 0.6)
    assert found.meaning() == head.meaning()


def test_thresholds_are_one_number_or_one_for_each_unit():
    with pytest.raises(ValueError, match=r"one for each of the 2 units \(got 3\)"):
        MultiLabel(names=("u", "v"), threshold=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        MultiLabel(names=("u", "v"), threshold=(0.1, 1.2))


@pytest.mark.parametrize(("head", "shape"), [(CLASSES, (3,)), (AXES, (2,)), (BINS, (2,))])
def test_other_heads_have_nothing_to_tune(head, shape):
    predictions = np.zeros((2, *shape), np.float32)
    assert head.tuned(predictions, Labels.missing(2, head.target_shape, head.target_dtype)) is head
