"""The head keeps the rules of heads, and refuses what is no count."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mtl_toolkit import Labels
from mtl_toolkit.testing import check_head

from mtl_dots.count import Count


@pytest.mark.parametrize("check", check_head(Count()))
def test_conformance(check: Callable[[], None]) -> None:
    check()


def labels_of(*values: float) -> Labels:
    """One label a sample; infinity stands for a missing one."""
    column = np.array(values, np.float32)[:, None]
    return Labels(column, ~np.isinf(column))


@pytest.mark.parametrize("value", [-1, 10, np.nan])
def test_a_label_that_is_no_count_is_refused(value: float) -> None:
    problem = Count(largest=9).check_labels(labels_of(3, value))
    assert problem == f"counts must be from 0 to 9 (got {value:g})"


def test_a_missing_label_may_be_anything() -> None:
    assert Count(largest=9).check_labels(labels_of(0, np.inf, 9)) is None


def test_strata_are_the_counts() -> None:
    assert Count().strata(labels_of(0, np.inf, 9)).tolist() == [0, -1, 9]


def test_the_estimate_is_the_mean_of_the_distribution() -> None:
    values = torch.tensor([[-2.0], [0.0], [1.5]])
    assert torch.allclose(Count().estimate(values), Count().distribution(values).mean)


def test_the_average_is_the_mean_of_the_rates() -> None:
    values = torch.tensor([[[0.0]], [[2.0]]])
    average = Count().average(values, torch.tensor([0.25, 0.75]))
    assert Count().estimate(average).item() == pytest.approx(0.25 + 0.75 * np.exp(2.0))
