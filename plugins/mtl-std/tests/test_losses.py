"""Losses against the ground truth: values, masks, gradients, and the heads that they refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.losses import (
    BinaryCrossEntropy,
    BinCrossEntropy,
    Concordance,
    CrossEntropy,
    MeanSquaredError,
    SmoothL1,
    concordance_loss,
    mtl_losses,
)
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression
from torch import Tensor

from mtl_toolkit import ConfigError, Head, HeadOutput, Loss

CLASSES = Classification(classes=("a", "b", "c"))
SHARES = Classification(classes=("a", "b", "c"), soft=True)
AXES = Regression(axes=("x", "y"))
BINS = BinnedRegression(axes=("x", "y"))
UNITS = MultiLabel(names=("u", "v"))
ROWS = 6


def value(loss: Loss, head: Head, values: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return loss.build(head)(HeadOutput(values, values), target, mask)


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed))


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    """CCC with n - 1 in the moments (Lin, 1989)."""
    rho = np.corrcoef(x, y)[0, 1]
    above = 2 * rho * x.std(ddof=1) * y.std(ddof=1)
    return float(above / (x.var(ddof=1) + y.var(ddof=1) + (x.mean() - y.mean()) ** 2))


# Every loss.

IDS = torch.tensor([0, 2, 1, 1, 0, 2])
VOTES = torch.softmax(logits(3, seed=4), 1)
CONTINUOUS = torch.tanh(logits(2, seed=5))
BINARY = (logits(2, seed=6) > 0).float()
CASES: dict[str, tuple[Loss, Head, tuple[int, ...], Tensor]] = {
    "cross-entropy": (CrossEntropy(), CLASSES, (3,), IDS),
    "cross-entropy with weights": (CrossEntropy(class_weights=(1, 2, 3)), CLASSES, (3,), IDS),
    "cross-entropy with votes": (CrossEntropy(label_smoothing=0.1), SHARES, (3,), VOTES),
    "bin-cross-entropy": (BinCrossEntropy(), BINS, (2, 20), CONTINUOUS),
    "ccc": (Concordance(), BINS, (2, 20), CONTINUOUS),
    "mse": (MeanSquaredError(), AXES, (2,), CONTINUOUS),
    "smooth-l1": (SmoothL1(), AXES, (2,), CONTINUOUS),
    "binary-cross-entropy": (BinaryCrossEntropy(positive_weights=(2, 3)), UNITS, (2,), BINARY),
}


def test_every_loss_of_the_package_is_among_the_cases():
    assert {type(case[0]) for case in CASES.values()} == set(mtl_losses())


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_masked_rows_may_hold_nan_and_count_for_nothing(case, data):
    """Value and gradient equal those of the valid rows alone; the others' gradient is exactly zero."""
    loss, head, shape, target = CASES[case]
    units = len(head.units)
    bits = data.draw(st.lists(st.booleans(), min_size=ROWS * units, max_size=ROWS * units))
    by_unit = torch.tensor(bits).reshape(ROWS, units)
    mask = by_unit.expand(ROWS, 3) if target.ndim == 2 and units == 1 else by_unit.reshape(target.shape)
    visible = by_unit.reshape(ROWS, units, *(1,) * (len(shape) - 1)) if units > 1 else by_unit
    values = logits(*shape).where(visible, torch.nan).requires_grad_()
    hidden = torch.tensor(torch.nan if target.is_floating_point() else 99, dtype=target.dtype)

    found = value(loss, head, values, target.where(mask, hidden), mask)
    found.sum().backward()

    assert found.shape == (units,)
    assert (values.grad[~visible.expand(values.shape)] == 0).all()
    assert values.grad.isfinite().all()
    for unit in range(units):
        rows = by_unit[:, unit]
        if rows.any():
            alone = value(loss, head, logits(*shape)[rows], target[rows], torch.ones_like(mask[rows]))
            torch.testing.assert_close(found[unit], alone[unit])
        else:
            assert found[unit] == 0


# One by one.


def test_cross_entropy_equals_torchs():
    mask = torch.tensor([True, True, False, True, False, True])
    found = value(CrossEntropy(label_smoothing=0.2), CLASSES, logits(3), IDS, mask)
    torch.testing.assert_close(found[0], F.cross_entropy(logits(3)[mask], IDS[mask], label_smoothing=0.2))


def test_cross_entropy_takes_votes():
    found = value(CrossEntropy(), SHARES, logits(3), VOTES, torch.ones(ROWS, 3, dtype=torch.bool))
    torch.testing.assert_close(found[0], -(VOTES * logits(3).log_softmax(1)).sum(1).mean())


def test_cross_entropy_takes_votes_that_are_ids():
    one_hot = F.one_hot(IDS, 3).float()
    found = value(CrossEntropy(), SHARES, logits(3), one_hot, torch.ones(ROWS, 3, dtype=torch.bool))
    torch.testing.assert_close(found[0], F.cross_entropy(logits(3), IDS))


def test_class_weights_scale_each_row_and_the_mean_stays_over_rows():
    weights = torch.tensor([1.0, 2.0, 0.5])
    found = value(CrossEntropy(class_weights=(1, 2, 0.5)), CLASSES, logits(3), IDS, IDS >= 0)
    picked = logits(3).log_softmax(1)[torch.arange(ROWS), IDS]
    torch.testing.assert_close(found[0], -(weights[IDS] * picked).mean())


def test_bin_cross_entropy_equals_torchs_on_numpys_bins():
    mask = torch.ones(ROWS, 2, dtype=torch.bool)
    bins = torch.tensor(np.digitize(CONTINUOUS.numpy(), np.linspace(-1, 1, 21)) - 1)
    found = value(BinCrossEntropy(), BINS, logits(2, 20), CONTINUOUS, mask)
    for axis in (0, 1):
        torch.testing.assert_close(found[axis], F.cross_entropy(logits(2, 20)[:, axis], bins[:, axis]))


def test_mse_and_smooth_l1_equal_torchs():
    mask = torch.ones(ROWS, 2, dtype=torch.bool)
    squared = value(MeanSquaredError(), AXES, logits(2), CONTINUOUS, mask)
    smooth = value(SmoothL1(beta=0.3), AXES, logits(2), CONTINUOUS, mask)
    torch.testing.assert_close(squared.mean(), F.mse_loss(logits(2), CONTINUOUS))
    torch.testing.assert_close(smooth.mean(), F.smooth_l1_loss(logits(2), CONTINUOUS, beta=0.3))


def test_mse_of_a_binned_head_is_that_of_its_expectation():
    found = value(MeanSquaredError(), BINS, logits(2, 20), CONTINUOUS, torch.ones(ROWS, 2, dtype=torch.bool))
    torch.testing.assert_close(found.mean(), F.mse_loss(BINS.estimate(logits(2, 20)), CONTINUOUS))


def test_positive_weights_scale_the_positives_of_their_unit():
    mask = torch.ones(ROWS, 2, dtype=torch.bool)
    found = value(BinaryCrossEntropy(positive_weights=(2, 0.5)), UNITS, logits(2), BINARY, mask)
    p = logits(2).sigmoid()
    rows = torch.tensor([2, 0.5]) * BINARY * p.log() + (1 - BINARY) * (1 - p).log()
    torch.testing.assert_close(found, -rows.mean(0))


# CCC.


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_the_concordance_loss_equals_numpys_with_unbiased_moments(rows, seed):
    random = np.random.default_rng(seed)
    x, y = random.normal(0.3, 0.5, (2, rows, 2))
    found = concordance_loss(torch.tensor(x), torch.tensor(y), torch.ones(rows, 2, dtype=torch.bool))
    expected = [1 - ccc(x[:, axis], y[:, axis]) for axis in (0, 1)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_perfect_agreement_costs_nothing_and_perfect_disagreement_two():
    x = torch.tensor([[-0.5], [0.1], [0.4]])
    everywhere = torch.ones(3, 1, dtype=torch.bool)
    assert concordance_loss(x, x, everywhere).item() == pytest.approx(0, abs=1e-6)
    assert concordance_loss(x, -x, everywhere).item() == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_cost_nothing_and_pull_at_nothing(rows):
    x = torch.randn(4, 2, requires_grad=True)
    mask = (torch.arange(4) < rows)[:, None].expand(4, 2)
    found = concordance_loss(x, torch.randn(4, 2), mask)
    found.sum().backward()
    assert (found == 0).all()
    assert (x.grad == 0).all()


@pytest.mark.parametrize(
    ("estimate", "target", "expected"),
    [
        ([0.2, 0.2, 0.2], [0.1, 0.5, -0.3], 1),  # no covariance
        ([0.1, 0.5, -0.3], [0.2, 0.2, 0.2], 1),
        ([0.2, 0.2, 0.2], [0.7, 0.7, 0.7], 1),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 1),  # 0 / 0
    ],
)
def test_constant_sides_have_a_finite_gradient(estimate, target, expected):
    x = torch.tensor(estimate)[:, None].requires_grad_()
    found = concordance_loss(x, torch.tensor(target)[:, None], torch.ones(3, 1, dtype=torch.bool))
    found.sum().backward()
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert x.grad.isfinite().all()


# What does not fit.


@pytest.mark.parametrize(
    ("loss", "head", "message"),
    [
        (CrossEntropy(), AXES, "cross-entropy: needs a head with classes (got 'regression')"),
        (BinCrossEntropy(), AXES, "bin-cross-entropy: needs a head with bins (got 'regression')"),
        (Concordance(), CLASSES, "ccc: needs a head with axes (got 'classification')"),
        (MeanSquaredError(), UNITS, "mse: needs a head with axes (got 'multi-label')"),
        (SmoothL1(), UNITS, "smooth-l1: needs a head with axes (got 'multi-label')"),
        (
            BinaryCrossEntropy(),
            CLASSES,
            "binary-cross-entropy: needs a head with units (got 'classification')",
        ),
        (
            CrossEntropy(class_weights=(1.0,)),
            CLASSES,
            "cross-entropy: class_weights must have 3 values (got 1)",
        ),
        (
            BinaryCrossEntropy(positive_weights=(1.0,)),
            UNITS,
            "binary-cross-entropy: positive_weights must have 2 values (got 1)",
        ),
    ],
)
def test_a_loss_refuses_a_head_that_it_does_not_fit(loss, head, message):
    with pytest.raises(ConfigError) as caught:
        loss.build(head)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "make",
    [
        lambda: CrossEntropy(label_smoothing=1.5),
        lambda: CrossEntropy(class_weights=(1.0, -1.0)),
        lambda: BinaryCrossEntropy(positive_weights=(-1.0,)),
        lambda: SmoothL1(beta=0.0),
        lambda: MeanSquaredError(weight=-1.0),
    ],
)
def test_options_outside_their_range_are_refused(make: Callable[[], Loss]):
    with pytest.raises(ValueError, match="must be"):
        make()
