"""Distillation passes the checks of losses on every sort of head."""

from __future__ import annotations

import pytest
from mtl_distill.distillation import Distillation
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression

from mtl_toolkit.testing import check_loss

HEADS = [
    Classification(classes=("a", "b", "c")),
    Classification(classes=("a", "b", "c"), soft=True),
    BinnedRegression(axes=("x", "y")),
    MultiLabel(names=("p", "q", "r")),
    Regression(axes=("x", "y")),
]
CHECKS = [(head, check) for head in HEADS for check in check_loss(Distillation(temperature=2.0), head)]


@pytest.mark.parametrize("check", [pytest.param(one, id=f"{head.name}-{one.name}") for head, one in CHECKS])
def test_conforms(check):
    check()
