"""The hint: values against other computations, widths, extras, and what is told where they do not fit."""

from __future__ import annotations

import pytest
import torch
from mtl_distill.hint import Hint
from mtl_std.classification import Classification
from mtl_std.multi_label import MultiLabel
from torch import Tensor
from torch.nn import functional

from mtl_toolkit import ConfigError, HeadOutput
from mtl_toolkit.seeding import seeded

HEAD = Classification(classes=("a", "b"))
ROWS, NARROW, WIDE = 5, 3, 4
ALL = torch.ones(ROWS, 1, dtype=torch.bool)


def output(width: int, seed: int, **extras: Tensor) -> HeadOutput:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(ROWS, width, generator=generator).requires_grad_()
    return HeadOutput(torch.zeros(ROWS, 2), features, extras)


def test_it_is_the_mean_squared_error_of_the_projected_features():
    student, teacher = output(NARROW, 1), output(WIDE, 2)
    live = Hint().build(HEAD)
    found = live(student, teacher, ALL)
    weight, bias = (tensor.detach().double() for tensor in (live.projection.weight, live.projection.bias))
    assert weight.shape == (WIDE, NARROW)
    expected = 0.0
    for ours, goal in zip(*(side.features.detach().double() for side in (student, teacher)), strict=True):
        expected += float(((weight @ ours + bias - goal) ** 2).sum()) / (ROWS * WIDE)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_normalised_it_is_two_minus_two_cosine():
    student, teacher = output(WIDE, 1), output(WIDE, 2)
    found = Hint(projection="none", normalise=True).build(HEAD)(student, teacher, ALL)
    cosine = functional.cosine_similarity(student.features.double(), teacher.features.double())
    assert found.item() == pytest.approx((2 - 2 * cosine).mean().item(), rel=1e-5)


def test_initial_values_are_those_of_a_linear_layer_from_the_generator():
    with seeded(4):
        layer = torch.nn.Linear(NARROW, WIDE)
    with seeded(4):
        live = Hint().build(HEAD)
        live(output(NARROW, 1), output(WIDE, 2), ALL)
    assert torch.equal(live.projection.weight, layer.weight)
    assert torch.equal(live.projection.bias, layer.bias)


def test_a_state_can_be_loaded_before_the_widths_are_known():
    live, again = Hint().build(HEAD), Hint().build(HEAD)
    found = live(output(NARROW, 1), output(WIDE, 2), ALL)
    again.load_state_dict(live.state_dict())
    torch.testing.assert_close(again(output(NARROW, 1), output(WIDE, 2), ALL), found)


def test_the_gradient_reaches_student_and_projection_but_not_the_teacher():
    student, teacher = output(NARROW, 1), output(WIDE, 2)
    live = Hint().build(HEAD)
    live(student, teacher, ALL).backward()
    assert student.features.grad.abs().sum() > 0
    assert live.projection.weight.grad.abs().sum() > 0
    assert teacher.features.grad is None


def test_an_extra_of_any_shape_is_compared_row_by_row():
    student, teacher = (torch.rand(ROWS, 2, 3, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    live = Hint(of="map", projection="none").build(HEAD)
    found = live(output(NARROW, 1, map=student), output(WIDE, 2, map=teacher), ALL)
    torch.testing.assert_close(found, functional.mse_loss(student, teacher))


def test_rows_outside_the_mask_may_be_nan_and_a_row_counts_where_some_unit_does():
    units = MultiLabel(names=("p", "q"))
    mask = torch.tensor([[True, False], [False, False], [True, True], [False, True], [False, False]])
    rows = mask.any(1)
    student, teacher = output(WIDE, 1), output(WIDE, 2)
    live = Hint(projection="none").build(units)
    hidden = [
        side._replace(features=side.features.where(rows[:, None], torch.nan)) for side in (student, teacher)
    ]
    expected = functional.mse_loss(student.features[rows], teacher.features[rows])
    torch.testing.assert_close(live(*hidden, mask), expected)


def test_what_does_not_fit_is_told():
    widths = r'projection = "none" needs as many features of the student as of the teacher \(got 3 and 4\)'
    with pytest.raises(ConfigError, match=widths):
        Hint(projection="none").build(HEAD)(output(NARROW, 1), output(WIDE, 2), ALL)
    with pytest.raises(ConfigError, match="hint: the teacher's network gives no 'map'; did you mean 'maps'"):
        Hint(of="map").build(HEAD)(
            output(NARROW, 1, map=torch.ones(ROWS, 2)), output(WIDE, 2, maps=torch.ones(ROWS, 2)), ALL
        )
