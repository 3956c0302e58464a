"""Consistency: values against other computations for every sort of distribution, masks, the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_distill.consistency import Consistency
from mtl_std.regression import Regression
from torch import Tensor

from mtl_toolkit import Head, HeadOutput

ROWS = 5


def values(*shape: int, seed: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed)) * 2


def consistency(head: Head, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    if mask is None:
        mask = torch.ones(len(student), len(head.units), dtype=torch.bool)
    return Consistency().build(head)(HeadOutput(student, student), HeadOutput(teacher, teacher), mask)


def softmax(logits: Tensor) -> np.ndarray:
    powers = np.exp(logits.double().numpy())
    return powers / powers.sum(-1, keepdims=True)


def test_for_classes_it_is_the_mean_squared_difference_of_the_softmax():
    student, teacher = values(7, seed=1), values(7, seed=2)
    expected = ((softmax(student) - softmax(teacher)) ** 2).mean()
    found = consistency(Expression(), student, teacher)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_for_binned_values_it_is_that_of_each_axis():
    student, teacher = values(2, 20, seed=1), values(2, 20, seed=2)
    expected = ((softmax(student) - softmax(teacher)) ** 2).mean((0, 2))
    np.testing.assert_allclose(consistency(ValenceArousal(), student, teacher).numpy(), expected, rtol=1e-5)


def test_for_units_it_is_that_of_each_units_probability():
    student, teacher = values(12, seed=1), values(12, seed=2)
    p, q = (1 / (1 + np.exp(-side.double().numpy())) for side in (student, teacher))
    found = consistency(ActionUnits(), student, teacher).numpy()
    np.testing.assert_allclose(found, ((p - q) ** 2).mean(0), rtol=1e-5)


def test_for_regression_it_is_the_squared_difference_of_the_values():
    student, teacher = values(2, seed=1), values(2, seed=2)
    found = consistency(Regression(axes=("x", "y")), student, teacher)
    torch.testing.assert_close(found, (student - teacher).square().mean(0))


def test_the_gradient_reaches_the_student_alone():
    student, teacher = (values(7, seed=seed).requires_grad_() for seed in (1, 2))
    consistency(Expression(), student, teacher).sum().backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_only_masked_units_count_and_others_may_be_nan():
    student, teacher = values(12, seed=1), values(12, seed=2)
    mask = torch.zeros(ROWS, 12, dtype=torch.bool)
    mask[:2, 3] = True
    alone = (student[:2, 3].sigmoid() - teacher[:2, 3].sigmoid()).square().mean()
    hidden = (side.where(mask, torch.nan) for side in (student, teacher))
    found = consistency(ActionUnits(), *hidden, mask)
    torch.testing.assert_close(found[3], alone)
    assert found.count_nonzero() == 1


def test_it_is_at_most_one_for_probabilities_however_far_the_logits_are():
    far = torch.full((ROWS, 12), 80.0)
    torch.testing.assert_close(consistency(ActionUnits(), far, -far), torch.ones(12))
