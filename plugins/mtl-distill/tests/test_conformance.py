"""The losses of this package pass the checks of losses on every sort of head."""

from __future__ import annotations

import pytest
from mtl_distill.consistency import Consistency
from mtl_distill.distillation import Distillation
from mtl_distill.hint import Hint
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
HINTS = {
    "projected": Hint(),
    "normalised": Hint(normalise=True),
    "as they are": Hint(projection="none"),
    "of an extra": Hint(of="map", normalise=True),
}
OF_OUTPUTS = [
    (f"{head.name}-{loss.name}", check)
    for head in HEADS
    for loss in (Distillation(temperature=2.0), Consistency())
    for check in check_loss(loss, head)
]
OF_FEATURES = [
    (f"{head.name}-hint {how}", check)
    for head in (HEADS[0], HEADS[3])
    for how, loss in HINTS.items()
    for check in check_loss(loss, head, extras={"map": (2, 3)} if loss.of == "map" else None)
]


@pytest.mark.parametrize(
    "check", [pytest.param(one, id=f"{what}-{one.name}") for what, one in (*OF_OUTPUTS, *OF_FEATURES)]
)
def test_conforms(check):
    check()
