"""The objective against the published code's own results (Vu et al., ICCV Workshops 2021)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mtl_affect.action_units import ActionUnits
from mtl_affect.combined import Combined
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_distill.distillation import Distillation
from mtl_std.metrics import ConcordanceCorrelation
from mtl_std.regression import Regression

from mtl_toolkit import Batch, HeadOutput, Objective, StreamTask

MISSING = -2
HERE = Path(__file__).parent / "data" / "abaw2021-losses"
STREAMS = {"EXPR": "expr", "VA": "va", "EXPR_VA": "expr_va"}
HEADS = {
    "expr": Expression(),
    "va": ValenceArousal(),
    "expr_va": Combined(tasks=("expr", "va")),
}
CASES = {
    "teacher": {"sharing": False},
    "student_shared": {"sharing": True},
    "student_noshare": {"sharing": False},
}


@pytest.fixture(scope="module")
def reference():
    prefix = Path(os.environ.get("MTL_REFERENCE_LOSSES", HERE))
    results = json.loads(prefix.with_name(prefix.name + ".json").read_text())
    return np.load(prefix.with_name(prefix.name + ".npz")), results


def leaves(arrays, side):
    """The logits of each stream, as leaves that collect gradients."""
    return {
        name: (
            torch.tensor(arrays[f"in/{side}_expr_logits/{name}"], requires_grad=True),
            torch.tensor(arrays[f"in/{side}_va_logits/{name}"], requires_grad=True),
        )
        for name in STREAMS
    }


def outputs_of(logits):
    expr = torch.cat([pair[0] for pair in logits.values()])
    va = torch.cat([pair[1] for pair in logits.values()])
    nothing = torch.zeros(len(expr), 0)
    return {"expr": HeadOutput(expr, nothing), "va": HeadOutput(va.reshape(len(va), 2, 20), nothing)}


def batch_of(arrays):
    expr = torch.cat([torch.tensor(arrays[f"in/expr_label/{name}"]) for name in STREAMS]).long()
    va = torch.cat([torch.tensor(arrays[f"in/va_label/{name}"]) for name in STREAMS]).float()
    masks = {"expr": expr != MISSING, "va": va != MISSING}
    va = torch.where(masks["va"], va, torch.nan)
    sizes = [len(arrays[f"in/expr_label/{name}"]) for name in STREAMS]
    return Batch.from_tensors(torch.zeros(len(expr), 1), {"expr": expr, "va": va}, masks, sizes=sizes)


@pytest.mark.parametrize("case", CASES)
def test_total_loss_and_every_logit_gradient_agree_with_the_published_code(reference, case):
    arrays, results = reference
    student = leaves(arrays, "student")
    distils = case != "teacher"
    objective = Objective(
        HEADS,
        [StreamTask(name, task) for name, task in STREAMS.items()],
        extra=[Distillation(temperature=1.5, weight=0.4)] if distils else [],
        ground_truth_weight=0.6 if distils else 1.0,
        **CASES[case],
    )
    teacher = outputs_of(leaves(arrays, "teacher")) if distils else None

    total = objective(outputs_of(student), batch_of(arrays), teacher).total
    total.backward()

    assert total.item() == pytest.approx(results[case]["loss"], rel=1e-5)
    for name, pair in student.items():
        for kind, logits in zip(("expr", "va"), pair, strict=True):
            expected = arrays[f"grad/{case}/student_{kind}_logits/{name}"]
            np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=0, atol=1e-5)


def test_estimates_agree_with_the_published_code(reference):
    arrays, _ = reference
    outputs = outputs_of({"EXPR_VA": leaves(arrays, "student")["EXPR_VA"]})
    expr = HEADS["expr"].estimate(outputs["expr"].values)
    va = HEADS["va"].estimate(outputs["va"].values)
    np.testing.assert_array_equal(expr.numpy(), arrays["estimate/expr"])
    np.testing.assert_allclose(va.detach().numpy(), arrays["estimate/va"], atol=1e-6)


def test_metrics_agree_with_the_published_code(reference):
    arrays, results = reference
    (metric,) = HEADS["expr"].default_metrics()
    live = metric.build(HEADS["expr"])
    truth = torch.tensor(arrays["metric_in/expr_true"])
    logits = torch.nn.functional.one_hot(torch.tensor(arrays["metric_in/expr_pred"]).long(), 7).float()
    live.update(HeadOutput(logits, logits), truth, torch.ones_like(truth, dtype=torch.bool))
    found = live.compute()
    assert found["macro_f1"].item() == pytest.approx(results["metrics"]["expr_f1"], abs=1e-6)
    assert found["accuracy"].item() == pytest.approx(results["metrics"]["expr_acc"], abs=1e-6)
    assert found["score"].item() == pytest.approx(results["metrics"]["expr_criterion"], abs=1e-6)


def test_ccc_agrees_with_the_published_code(reference):
    """Both pool population moments in float64, so only the order of the sums differs."""
    arrays, results = reference
    head = Regression(axes=("valence", "arousal"))
    live = ConcordanceCorrelation().build(head)
    truth, guess = (torch.tensor(arrays[f"metric_in/va_{side}"]) for side in ("true", "pred"))
    live.update(HeadOutput(guess, guess), truth, torch.ones_like(truth, dtype=torch.bool))
    found = live.compute()
    for axis in ("valence", "arousal"):
        expected = results["metrics"][f"ccc_{axis}"]
        assert found[f"ccc_{axis}"].item() == pytest.approx(expected, rel=1e-9)


def test_mean_f1_of_action_units_agrees_with_the_published_code(reference):
    arrays, results = reference
    head = ActionUnits()
    (metric,) = head.default_metrics()
    live = metric.build(head)
    truth = torch.tensor(arrays["metric_in/au_true"]).float()
    logits = torch.tensor(arrays["metric_in/au_pred"]) * 2.0 - 1.0
    live.update(HeadOutput(logits, logits), truth, torch.ones_like(truth, dtype=torch.bool))
    assert live.compute()["mean_f1"].item() == pytest.approx(results["metrics"]["au_f1"], rel=1e-12)
