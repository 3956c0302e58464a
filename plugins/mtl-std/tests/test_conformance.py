"""Every head, loss, metric and network of this package passes the checks of its kind.

Those of datasets are in the datasets' own tests, which make their files.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from mtl_std.balancers import Sum
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.losses import (
    BinaryCrossEntropy,
    BinCrossEntropy,
    Concordance,
    CrossEntropy,
    MeanSquaredError,
    SmoothL1,
)
from mtl_std.metrics import Accuracy, ConcordanceCorrelation, MacroF1, UnitF1
from mtl_std.multi_label import MultiLabel
from mtl_std.opencv_cascade import OpenCVCascade
from mtl_std.reconstruction import PeakSignalToNoise, PixelError, Reconstruction
from mtl_std.regression import Regression
from mtl_std.samplers import Balanced, Sequential, Shuffle
from mtl_std.shared import Shared
from mtl_std.smoothing import Gaussian, Mean, Median
from mtl_std.temperature import Temperature
from mtl_std.temporal import GRU, TCN, Transformer
from mtl_std.timm_backbone import Timm
from mtl_std.two_branch import TwoBranch

from mtl_toolkit import Labels
from mtl_toolkit.testing import (
    check_architecture,
    check_backbone,
    check_balancer,
    check_head,
    check_loss,
    check_metric,
    check_recipe,
    check_sampler,
    check_temporal,
)

CLASSES = Classification(classes=("a", "b", "c"))
VOTES = Classification(classes=("a", "b", "c"), soft=True, hidden=0)
AXES = Regression(axes=("x", "y"))
BINS = BinnedRegression(axes=("x", "y"), bins=5)
PICTURES = Reconstruction(size=8, channels=16)
UNITS = MultiLabel(names=("p", "q", "r"))
YEARS = Regression(range=(1900, 2100), hidden=0)
SOME_YEARS = Labels(np.linspace(1901, 2100, 40, dtype=np.float32)[:, None], np.ones((40, 1), bool))
# The tasks that architectures are tried with, in two branches; the small backbone has four blocks.
BRANCHES = {"first": ("values", "type"), "second": ("expr.va",)}
TINY = {"channels": [4, 4, 8, 8], "stem_width": 4}

CHECKS = [
    *check_head(CLASSES),
    *check_head(VOTES),
    *check_head(attrs.evolve(CLASSES, output_norm=True)),
    *check_head(AXES),
    *check_head(YEARS, labels=SOME_YEARS),
    *check_head(BINS),
    *check_head(UNITS),
    *check_head(PICTURES),
    *check_head(attrs.evolve(PICTURES, input_norm=True)),
    *check_loss(CrossEntropy(label_smoothing=0.1, class_weights=(1, 2, 0.5)), CLASSES),
    *check_loss(CrossEntropy(), VOTES),
    *check_loss(CrossEntropy(class_weights="balanced", focal_gamma=2.0, label_smoothing=0.1), CLASSES),
    *check_loss(CrossEntropy(class_weights="balanced", focal_gamma=0.5), VOTES),
    *check_loss(BinCrossEntropy(), BINS),
    *check_loss(Concordance(), AXES),
    *check_loss(MeanSquaredError(), AXES),
    *check_loss(SmoothL1(), AXES),
    *check_loss(BinaryCrossEntropy(positive_weights=(1, 3, 9)), UNITS),
    *check_loss(BinaryCrossEntropy(positive_weights="balanced", focal_gamma=2.0), UNITS),
    *check_loss(PixelError(), PICTURES),
    *check_metric(MacroF1(), CLASSES),
    *check_metric(MacroF1(), VOTES),
    *check_metric(Accuracy(), CLASSES),
    *check_metric(UnitF1(), UNITS),
    *check_metric(PeakSignalToNoise(), PICTURES),
    *check_metric(ConcordanceCorrelation(), AXES),
    *check_sampler(Shuffle(), {"class": CLASSES}),
    *check_sampler(Sequential(), {"class": CLASSES}),
    *check_sampler(Balanced(), {"class": CLASSES, "axes": AXES}),
    *check_sampler(Temperature(), {"class": CLASSES}),
    *check_sampler(Temperature(within="balanced"), {"class": CLASSES, "axes": AXES}),
    *check_balancer(Sum()),
    *check_balancer(Sum(weights={"first": 2.0, "third": 0.1})),
    *check_architecture(Shared()),
    *check_architecture(TwoBranch(branches=BRANCHES)),
    *check_architecture(TwoBranch(branches=BRANCHES, split="layers.3")),
    *check_architecture(TwoBranch(branches=BRANCHES, split="layers.1", exchange="cross-attention")),
    *check_architecture(TwoBranch(branches=BRANCHES, split="layers.0", exchange="gated")),
    *check_backbone(Timm(name="resnet10t", options=TINY)),
    *check_backbone(Timm(name="test_vit"), image_size=32),
    *check_temporal(GRU(hidden=6)),
    *check_temporal(TCN()),
    *check_temporal(Transformer()),
    *check_recipe(OpenCVCascade()),
    *check_recipe(Mean()),
    *check_recipe(Median()),
    *check_recipe(Gaussian()),
]


@pytest.mark.parametrize("check", [pytest.param(one, id=f"{one.plugin}-{one.name}") for one in CHECKS])
def test_conforms(check):
    check()
