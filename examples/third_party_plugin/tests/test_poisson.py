"""The loss keeps the rules of losses, and is the likelihood."""

import math
from collections.abc import Callable

import pytest
import torch
from mtl_toolkit import HeadOutput
from mtl_toolkit.testing import check_loss

from mtl_dots.count import Count
from mtl_dots.poisson import PoissonLikelihood


@pytest.mark.parametrize("check", check_loss(PoissonLikelihood(), Count()))
def test_conformance(check: Callable[[], None]) -> None:
    check()


def test_is_the_mean_of_minus_the_log_likelihood_over_the_valid_rows() -> None:
    """The probability of k is exp(-rate) rate^k / k!."""
    log_rate = torch.tensor([[0.3], [-1.2], [2.0], [0.0]], dtype=torch.float64)
    count = torch.tensor([[2.0], [0.0], [5.0], [torch.nan]], dtype=torch.float64)
    mask = torch.tensor([[True], [True], [False], [False]])
    loss = PoissonLikelihood(constant=True).build(Count())
    found = loss(HeadOutput(log_rate, log_rate), count, mask)
    rates = math.exp(0.3), math.exp(-1.2)
    two, none = math.exp(-rates[0]) * rates[0] ** 2 / math.factorial(2), math.exp(-rates[1])
    assert found.item() == pytest.approx(-(math.log(two) + math.log(none)) / 2, rel=1e-12)


def test_the_constant_changes_no_gradient() -> None:
    gradients = []
    for constant in (False, True):
        log_rate = torch.tensor([[0.3], [-1.2]], requires_grad=True)
        loss = PoissonLikelihood(constant=constant).build(Count())
        value = loss(HeadOutput(log_rate, log_rate), torch.tensor([[2.0], [7.0]]), torch.ones(2, 1).bool())
        gradients.append(torch.autograd.grad(value.sum(), log_rate)[0])
    assert torch.equal(*gradients)
