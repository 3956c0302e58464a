"""A combined task of three members, as the multi-task challenges have it: sampling, losses, validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.combined import Combined
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.samplers import balanced_weights

from mtl_toolkit import Batch, FeedMetrics, HeadOutput, Labels, Objective, StreamTask

MEMBERS = {
    "expr": Expression(),
    "va": ValenceArousal(bins=5),
    "aus": ActionUnits(names=("AU1", "AU2", "AU4")),
}
ROWS = 9


def drawn(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, HeadOutput]]:
    """Targets, masks and outputs; a row may lack one axis or one unit, and every label."""
    generator = torch.Generator().manual_seed(seed)
    targets = {
        "expr": torch.randint(0, 7, (ROWS,), generator=generator),
        "va": torch.rand(ROWS, 2, generator=generator) * 2 - 1,
        "aus": torch.randint(0, 2, (ROWS, 3), generator=generator).float(),
    }
    masks = {name: torch.ones(one.shape, dtype=torch.bool) for name, one in targets.items()}
    masks["expr"][::4] = False
    masks["va"][1, 0] = False
    masks["aus"][2, 1] = False
    for mask in masks.values():
        mask[8] = False
    shapes = {"expr": (7,), "va": (2, 5), "aus": (3,)}
    outputs = {
        name: HeadOutput(torch.randn(ROWS, *shape, generator=generator), torch.zeros(ROWS, 2))
        for name, shape in shapes.items()
    }
    poisoned = {
        name: torch.where(masks[name], one, 99 if one.dtype == torch.int64 else torch.nan)
        for name, one in targets.items()
    }
    return poisoned, masks, outputs


def losses_of(reduction: str) -> dict[str, float]:
    heads = {**MEMBERS, "all": Combined(tasks=tuple(MEMBERS), reduction=reduction)}
    targets, masks, outputs = drawn()
    batch = Batch.from_tensors(torch.zeros(ROWS, 1), targets, masks)
    found = Objective(heads, [StreamTask("mtl", "all")])(outputs, batch)
    return {name: value.item() for name, value in found.tasks.items()}


def by_hand() -> dict[str, float]:
    """Each member's loss over the rows, axes and units that have a label."""
    targets, masks, outputs = drawn()
    expr, va, aus = (outputs[name].values for name in MEMBERS)
    rows = masks["expr"]
    found = {"expr": F.cross_entropy(expr[rows], targets["expr"][rows])}
    # BinnedRegression's default loss is tested with its own head; here it is asked axis by axis.
    (loss, *more) = MEMBERS["va"].default_losses()
    parts = [
        one.weight * one.build(MEMBERS["va"])(HeadOutput(va, va), targets["va"], masks["va"]).sum()
        for one in (loss, *more)
    ]
    found["va"] = torch.stack(parts).sum()
    units = [
        F.binary_cross_entropy_with_logits(aus[masks["aus"][:, u], u], targets["aus"][masks["aus"][:, u], u])
        for u in range(3)
    ]
    found["aus"] = torch.stack(units).mean()
    return {name: value.item() for name, value in found.items()}


def test_the_rows_of_three_members_make_three_losses():
    assert losses_of("members") == pytest.approx(by_hand(), rel=1e-5)


def test_separate_they_make_one():
    assert losses_of("separate") == {"all": pytest.approx(sum(by_hand().values()), rel=1e-5)}


def test_balanced_weights_of_three_members_are_added():
    """A label that is missing, in part or in whole, adds nothing."""
    targets, masks, _ = drawn()
    labels = {name: Labels(targets[name].numpy(), masks[name].numpy()) for name in MEMBERS}
    found = balanced_weights(ROWS, labels, MEMBERS)
    wanted = np.zeros(ROWS)
    for name, head in MEMBERS.items():
        strata = head.strata(labels[name])
        for row, stratum in enumerate(strata):
            wanted[row] += 0 if stratum < 0 else 1 / (strata == stratum).sum()
    np.testing.assert_allclose(found, wanted / wanted.max())
    assert found[8] == 0


def test_each_member_is_validated_on_the_rows_that_have_its_label():
    targets, masks, outputs = drawn()
    batch = Batch.from_tensors(torch.zeros(ROWS, 1), targets, masks)
    feed = FeedMetrics("val", MEMBERS)
    feed.update(outputs, batch)
    found = feed.compute()
    rows = masks["expr"]
    right = (outputs["expr"].values.argmax(1) == targets["expr"])[rows].double().mean()
    assert found["val/expr/accuracy"] == pytest.approx(right.item())
    assert {"val/va/ccc_valence", "val/aus/mean_f1"} <= set(found)
    assert np.isfinite(list(found.values())).all()
