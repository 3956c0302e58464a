"""Distillation through predictive distributions: values against other computations, masks, extremes."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_distill.distillation import Distillation, divergence
from mtl_std.regression import Regression
from torch import Tensor
from torch.distributions import Beta, Categorical, Normal, kl_divergence

from mtl_toolkit import Head, HeadOutput

ROWS = 5
HEADS: dict[str, tuple[Head, tuple[int, ...]]] = {
    "categorical": (Expression(), (7,)),
    "categorical per axis": (ValenceArousal(), (2, 20)),
    "bernoulli": (ActionUnits(), (12,)),
    "normal": (Regression(axes=("x", "y"), scale=0.5), (2,)),
}
each_head = pytest.mark.parametrize("case", HEADS)


def values(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed)) * 3


def distil(
    head: Head, student: Tensor, teacher: Tensor, mask: Tensor | None = None, temperature: float = 1.5
) -> Tensor:
    if mask is None:
        mask = torch.ones(len(student), len(head.units), dtype=torch.bool)
    loss = Distillation(temperature=temperature).build(head)
    return loss(HeadOutput(student, student), HeadOutput(teacher, teacher), mask)


@each_head
@pytest.mark.parametrize("temperature", [1.0, 1.5, 4.0])
def test_it_is_the_mean_kl_of_the_softened_distributions_times_the_temperature_squared(case, temperature):
    head, shape = HEADS[case]
    student, teacher = values(shape, 1), values(shape, 2)
    goal, ours = (head.distribution(side.double(), temperature) for side in (teacher, student))
    expected = temperature**2 * kl_divergence(goal, ours).mean(0)
    found = distil(head, student, teacher, temperature=temperature)
    assert found.shape == (len(head.units),)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_for_classes_it_is_the_published_formula():
    """KL(softmax(t / T), softmax(s / T)), batch mean, times T squared (Hinton et al., 2015)."""
    student, teacher = (values((7,), seed).double().numpy() for seed in (1, 2))

    def softmax(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits / 1.5)
        return powers / powers.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    expected = 1.5**2 * (p * np.log(p / q)).sum(1).mean()
    found = distil(Expression(), values((7,), 1), values((7,), 2))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_for_regression_it_grows_with_the_squared_distance_over_the_variance():
    """At T the variance is T times as large, so T^2 * d^2 / (2 T s^2) is left."""
    head = Regression(scale=0.5)
    found = distil(head, torch.tensor([[0.3]]), torch.tensor([[1.0]]), temperature=2.0)
    assert found.item() == pytest.approx(2.0 * 0.7**2 / (2 * 0.5**2), rel=1e-5)


@each_head
def test_a_student_that_equals_its_teacher_costs_nothing_and_is_not_pulled(case):
    head, shape = HEADS[case]
    student = values(shape, 1).requires_grad_()
    found = distil(head, student, student.detach().clone())
    found.sum().backward()
    torch.testing.assert_close(found, torch.zeros(len(head.units)), rtol=0, atol=1e-6)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), rtol=0, atol=1e-6)


@each_head
def test_no_gradient_reaches_the_teacher(case):
    head, shape = HEADS[case]
    student, teacher = values(shape, 1).requires_grad_(), values(shape, 2).requires_grad_()
    distil(head, student, teacher).sum().backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@each_head
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_masked_units_may_hold_nan_on_both_sides_and_count_for_nothing(case, data):
    head, shape = HEADS[case]
    units = len(head.units)
    bits = data.draw(st.lists(st.booleans(), min_size=ROWS * units, max_size=ROWS * units))
    mask = torch.tensor(bits).reshape(ROWS, units)
    visible = mask.reshape(ROWS, *((units,) if units > 1 else ()), *(1,) * (len(shape) - (units > 1)))
    visible = visible.expand(ROWS, *shape)
    student = values(shape, 1).where(visible, torch.nan).requires_grad_()

    found = distil(head, student, values(shape, 2).where(visible, torch.nan), mask)
    found.sum().backward()

    assert student.grad.isfinite().all()
    assert (student.grad[~visible] == 0).all()
    for unit in range(units):
        rows = mask[:, unit]
        alone = distil(head, values(shape, 1)[rows], values(shape, 2)[rows])[unit] if rows.any() else 0.0
        assert found[unit].item() == pytest.approx(float(alone), rel=1e-5)


def exact_bernoulli_kl(teacher: float, student: float) -> float:
    """KL(teacher, student) of two logits in float64, from log p = -log(1 + exp(-logit))."""

    def log_sigmoid(logit: float) -> float:
        return -math.log1p(math.exp(-logit))

    def sigmoid(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    return sigmoid(teacher) * (log_sigmoid(teacher) - log_sigmoid(student)) + sigmoid(-teacher) * (
        log_sigmoid(-teacher) - log_sigmoid(-student)
    )


@pytest.mark.parametrize("teacher", [-40.0, -17.0, 0.0, 20.0, 40.0])
@pytest.mark.parametrize("student", [-40.0, -17.0, 0.0, 20.0, 40.0])
def test_far_logits_of_units_keep_a_right_and_finite_divergence(teacher, student):
    """The KL that torch has for Bernoulli distributions is infinite or NaN at some of these."""
    head = ActionUnits(names=("AU1",))
    ours = torch.tensor([[student]], requires_grad=True)
    found = distil(head, ours, torch.tensor([[teacher]]), temperature=1.0)
    found.sum().backward()
    assert found.item() == pytest.approx(exact_bernoulli_kl(teacher, student), rel=1e-5, abs=1e-12)
    slope = 1 / (1 + math.exp(-student)) - 1 / (1 + math.exp(-teacher))
    assert ours.grad.item() == pytest.approx(slope, abs=1e-6)


def test_far_logits_of_classes_keep_a_right_and_finite_divergence():
    student = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    head = Expression(classes=("a", "b", "c"))
    found = distil(head, student, torch.tensor([[-200.0, 0.0, 200.0]]), temperature=1.0)
    found.sum().backward()
    assert found.item() == pytest.approx(400.0)
    torch.testing.assert_close(student.grad, torch.tensor([[1.0, 0.0, -1.0]]))


def test_outputs_in_half_precision_are_compared_in_float32():
    student, teacher = (values((7,), seed).bfloat16() for seed in (1, 2))
    found = distil(Expression(), student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, distil(Expression(), student.float(), teacher.float()), rtol=0, atol=0)


@attrs.frozen(kw_only=True)
class Shares(Regression):
    """A third-party head with a distribution that the plugin has never heard of."""

    name: ClassVar[str] = "shares"

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Beta:
        return Beta(values.exp() / temperature, torch.ones_like(values))


def test_any_distribution_will_do_that_torch_can_compare():
    student, teacher = values((1,), 1), values((1,), 2)
    expected = 1.5**2 * kl_divergence(
        Beta(teacher.exp() / 1.5, torch.ones(ROWS, 1)), Beta(student.exp() / 1.5, torch.ones(ROWS, 1))
    )
    torch.testing.assert_close(distil(Shares(), student, teacher), expected.mean(0))


@attrs.frozen(kw_only=True)
class Pairs(Regression):
    """A third-party head whose output has no axis for its units: two classes each, side by side."""

    name: ClassVar[str] = "pairs"

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Categorical:
        return Categorical(logits=values.reshape(-1, 2, 2) / temperature)


def test_a_masked_unit_counts_for_nothing_where_the_output_has_no_axis_for_units():
    student, teacher = values((4,), 1), values((4,), 2)
    mask = torch.tensor([[True, False]]).expand(ROWS, 2)
    first, second = distil(Pairs(axes=("x", "y")), student, teacher, mask)
    alone, _ = distil(Pairs(axes=("x", "y")), student, teacher)
    torch.testing.assert_close(first, alone)
    assert second == 0


def test_distributions_that_cannot_be_compared_are_an_error():
    with pytest.raises(NotImplementedError, match=r"Categorical.*Normal"):
        divergence(Categorical(logits=torch.zeros(1, 2)), Normal(torch.zeros(1), torch.ones(1)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature):
    with pytest.raises(ValueError, match="must be above 0"):
        Distillation(temperature=temperature)
