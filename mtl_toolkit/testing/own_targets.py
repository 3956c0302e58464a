"""What holds for self-supervised heads: the targets that they make of the network's inputs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..batch import Labels
from .check import Rule, expect, expect_equal
from .head_trial import HeadTrial


def makes_targets(trial: HeadTrial) -> None:
    """`target_of` maps inputs to valid labels: [rows, *target_shape] in the head's target type.

    Only heads are asked whose `self_supervised` is true.
    """
    head = trial.recipe
    if not head.self_supervised:
        return
    for rows in (1, 2, 7):
        inputs = trial.inputs(rows)
        before = inputs.clone()
        found = head.target_of(inputs)
        expect(torch.equal(inputs, before), "the inputs are written into")
        expect(isinstance(found, Tensor), f"gives {type(found).__name__}")
        wanted = (rows, *head.target_shape)
        expect(found.shape == wanted, f"gives {tuple(found.shape)} for {rows} rows, not {wanted}")
        values = found.numpy()
        kinds = f"{values.dtype}, target_dtype is {head.target_dtype}"
        expect(values.dtype == head.target_dtype, f"gives {kinds}")
        problem = head.check_labels(Labels(values, np.ones(values.shape, np.bool_)))
        expect(problem is None, f"check_labels says of them: {problem}")


def targets_of_rows(trial: HeadTrial) -> None:
    """`target_of` looks at one row at a time, and says the same of bytes and of floats in [0, 1]."""
    head = trial.recipe
    if not head.self_supervised:
        return
    inputs = trial.inputs(5)
    whole = head.target_of(inputs)
    expect_equal(head.target_of(inputs[3:4])[0], whole[3], "the target of a row alone and among others")
    if inputs.dtype == torch.uint8:
        expect_equal(head.target_of(inputs / 255), whole, "the targets of floats and of bytes", 1e-3, 1e-3)


OWN_TARGET_RULES: tuple[Rule[HeadTrial], ...] = (makes_targets, targets_of_rows)
