"""Weights of members by greedy selection, against trying every bag of members."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from mtl_affect.action_units import ActionUnits
from mtl_std.classification import Classification
from mtl_std.metrics import Accuracy, UnitF1
from sklearn.metrics import f1_score

from mtl_toolkit.evaluation.selection import SelectionScore, greedy_selection, selecting_metrics


def brute_force(values, score, rounds):
    """Selection by its definition, each bag's mean computed from its members; ties go to the first."""
    bag, bags = [], []
    for _ in range(rounds):
        scores = [score(values[[*bag, one]].mean(0).astype(np.float32)) for one in range(len(values))]
        bag = [*bag, scores.index(max(scores))]
        bags.append((max(scores), bag))
    best = max(found for found, _ in bags)
    return next(np.bincount(bag, minlength=len(values)) for found, bag in bags if found == best)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_forward_selection_with_replacement(seed):
    random = np.random.default_rng(seed)
    target = random.normal(size=(30, 2))
    values = (target + random.normal(size=(4, 30, 2)) * [[[0.5]], [[1.0]], [[2.0]], [[0.7]]]).astype(
        np.float32
    )

    def score(mean):
        return -round(float(((mean - target) ** 2).mean()), 6)

    found = greedy_selection(values, score, rounds=8)
    assert found.tolist() == brute_force(values, score, 8).tolist()


def test_no_bag_of_two_is_better_where_two_are_enough():
    """Members that err in opposite ways: together they are right."""
    target = np.array([[0.0], [1.0], [2.0]])
    values = np.stack([target + 1, target + 3, target - 1]).astype(np.float32)

    def score(mean):
        return -float(np.abs(mean - target).sum())

    assert greedy_selection(values, score).tolist() == [1, 0, 1]
    best = max(
        score(values[list(bag)].mean(0)) for bag in itertools.combinations_with_replacement(range(3), 2)
    )
    assert best == score(values[[0, 2]].mean(0)) == 0


def test_of_equal_members_the_first_is_taken_once():
    values = np.zeros((3, 4, 1), np.float32)
    assert greedy_selection(values, lambda _: 0.5).tolist() == [1, 0, 0]


def test_a_score_that_is_no_number_is_the_worst_and_without_any_all_are_equal():
    values = np.stack([np.full((2, 1), one, np.float32) for one in range(3)])
    assert greedy_selection(values, lambda mean: 1.0 if mean[0, 0] == 2 else float("nan")).tolist() == [
        0,
        0,
        1,
    ]
    assert greedy_selection(values, lambda _: float("nan")).tolist() == [1, 1, 1]


def test_the_score_is_what_the_head_chooses_epochs_by():
    random = np.random.default_rng(0)
    head = Classification(classes=("a", "b", "c"))
    values, target = random.random((50, 3)).astype(np.float32), random.integers(0, 3, 50)
    mask = random.random(50) < 0.8
    found = SelectionScore(head, (), target, mask)(values)
    expected = f1_score(
        target[mask], values.argmax(1)[mask], average="macro", labels=[0, 1, 2], zero_division=0
    )
    assert found == pytest.approx(expected)


def test_metrics_that_lack_what_a_head_chooses_by_give_way_to_its_own():
    head = ActionUnits()
    assert selecting_metrics(head, [Accuracy()]) == list(head.default_metrics())
    assert selecting_metrics(head, [Accuracy(), UnitF1()]) == [UnitF1()]
