"""What holds for losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor, nn

from ..batch import HeadOutput, Labels
from ..plugin import Head, Loss, TeacherLoss
from ..seeding import seeded
from .check import Broken, Check, Rule, checks_of, expect, expect_equal, expect_finite
from .examples import Examples, Rows
from .recipes import check_recipe


def check_loss(
    recipe: Loss,
    head: Head,
    *,
    labels: Labels | None = None,
    extras: Mapping[str, tuple[int, ...]] | None = None,
) -> list[Check]:
    """The checks of a loss on the outputs of a head; of a `TeacherLoss` too.

    The head is built on 16 features, so `output.features` is [rows, 16].

    Args:
        recipe: the loss.
        head: a task that it is for.
        labels: labels to try it on; by default made from the head's own estimates.
        extras: of the network's extras that it looks at, the shape of one row's, by name.
    """
    trial = LossTrial(recipe, head, labels, extras)
    return [*check_recipe(recipe), *checks_of(recipe, trial, LOSS_RULES)]


class Result(NamedTuple):
    """What a loss gives for some rows."""

    value: Tensor  # scalar or [units]
    total: Tensor  # its sum
    values: Tensor  # the gradient of the head's values
    features: Tensor  # the gradients of the features and the extras, side by side: [rows, ...]


class LossTrial:
    """A loss, and rows to try it on."""

    def __init__(
        self,
        recipe: Loss,
        head: Head,
        labels: Labels | None = None,
        extras: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.recipe = recipe
        self.head = head
        self.examples = Examples(head, labels, extras or {})
        self.teaches = isinstance(recipe, TeacherLoss)

    @cached_property
    def live(self) -> Any:
        """The loss, built once, in eval mode if it is a module."""
        with seeded():
            built = self.recipe.build(self.head)
        return built.eval() if isinstance(built, nn.Module) else built

    def result(self, rows: Rows, live: Any = None, *, training: bool = False, seed: int = 0) -> Result:
        """Value and gradients.

        Args:
            rows: of outputs and labels.
            live: the loss, if it is another one.
            training: take a copy in training mode, so that its state stays.
            seed: of dropout.
        """
        live = live or self.live
        if training and isinstance(live, nn.Module):
            live = copy.deepcopy(live).train()
        output = rows.output()
        with seeded(seed):
            value = live(output, *self.arguments(rows))
        expect(isinstance(value, Tensor), f"gives {type(value).__name__}")
        total = value.sum()
        if total.requires_grad:
            total.backward()
        leaves = (output.values, output.features, *output.extras.values())
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in leaves]
        beside = torch.cat([gradient.flatten(1) for gradient in gradients[1:]], dim=1)
        return Result(value.detach(), total.detach(), gradients[0], beside)

    def arguments(self, rows: Rows) -> tuple[Any, Tensor]:
        """Target and mask, or the teacher's output and the mask per unit."""
        if not self.teaches:
            return rows.target, rows.mask
        return HeadOutput(rows.teacher, rows.features, rows.extras), rows.units


def shape(trial: LossTrial) -> None:
    """A loss gives a finite float scalar, or one value per unit of the head, for one row and for more."""
    units = len(trial.head.units)
    for count in (1, 2, 7):
        value = trial.result(trial.examples.rows(count)).value
        shapes = f"shape {tuple(value.shape)} for {count} rows and {units} units"
        expect(value.shape in ((), (units,)), shapes)
        expect(value.is_floating_point(), f"{value.dtype}")
        expect_finite([value], f"the loss of {count} rows")


def gradient_reaches_outputs(trial: LossTrial) -> None:
    """A loss has a finite gradient, not zero everywhere, to the head's values, its features or extras."""
    result = trial.result(trial.examples.rows(8))
    expect_finite([result.values, result.features], "the gradient")
    moved = max(float(one.abs().max()) for one in (result.values, result.features))
    expect(moved > 0, "it is zero: is something detached, or rounded?")


def masked_rows_change_nothing(trial: LossTrial) -> None:
    """What lies outside the mask (NaN, any integer) must change neither the value nor the gradient.

    Put zeros there before you compute: NaN times zero is NaN, in the backward pass too.
    """
    rows = trial.examples.some_missing(12)
    for training in (True, False):
        _expect_mask_holds(trial, rows, training)


def _expect_mask_holds(trial: LossTrial, rows: Rows, training: bool) -> None:
    clean = trial.result(rows, training=training)
    poisoned = trial.result(rows.poisoned(), training=training)
    expect_equal(poisoned.value, clean.value, "the loss with NaN outside the mask, and without")
    expect_equal(poisoned.values, clean.values, "its gradient with NaN outside the mask, and without")
    expect_equal(
        poisoned.features, clean.features, "the features' gradient with NaN outside the mask, and without"
    )
    outside = clean.values[~rows.units.any(1)]
    expect(not outside.any(), f"the gradient of a row without a label is {outside.abs().max():g}")


def masked_rows_do_not_count(trial: LossTrial) -> None:
    """A loss is a mean over the valid rows: others leave it as if they were not there."""
    rows = trial.examples.rows(12)
    mask = rows.mask.clone()
    mask[1::3] = False
    masked = rows.masked(trial.head, mask)
    there = masked.units.any(1)
    alone = trial.result(masked.take(there)).value
    expect_equal(trial.result(masked).value, alone, "the loss with and without rows that have no label")


def all_masked_is_zero(trial: LossTrial) -> None:
    """Where no row is valid the loss is zero, and so is its gradient: never NaN."""
    rows = trial.examples.rows(4)
    rows = rows.masked(trial.head, torch.zeros_like(rows.mask)).poisoned()
    for training in (True, False):
        _expect_zero(trial.result(rows, training=training))


def _expect_zero(result: Result) -> None:
    expect(not result.value.any(), f"it is {result.value.tolist()}")
    gradients = torch.cat([result.values.reshape(-1), result.features.reshape(-1)])
    expect(not gradients.any(), "its gradient is not zero")


def mean_over_rows(trial: LossTrial) -> None:
    """A loss is a mean, not a sum: of sixteen times as many rows it has about the same size."""
    few, others, many = (
        trial.result(trial.examples.rows(*one)).total for one in ((16, 1), (16, 2), (256, 3))
    )
    near = (many - few).abs() <= 3 * (few.abs() + (few - others).abs()) + 1e-4
    expect(near, f"{few:g} of 16 rows, {many:g} of 256")


def order_of_rows_does_not_matter(trial: LossTrial) -> None:
    """A batch is a set of rows: in another order they give the same loss, and each its own gradient."""
    rows = trial.examples.some_missing(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    one = trial.result(rows)
    other = trial.result(rows.take(order))
    expect_equal(other.value, one.value, "the loss in another order")
    expect_equal(other.values, one.values[order], "the gradient in another order")


def same_when_called_again(trial: LossTrial) -> None:
    """In eval mode the same arguments give the same loss, and stay as they were."""
    rows = trial.examples.some_missing(9)
    before = copy.deepcopy((rows.target, rows.mask))
    one, other = trial.result(rows), trial.result(rows, seed=1)
    expect(torch.equal(one.value, other.value), f"{one.value.tolist()} and {other.value.tolist()}")
    for name, was, now in zip(("target", "mask"), before, (rows.target, rows.mask), strict=True):
        expect(torch.equal(was, now), f"it writes into the {name}")


def parameters_learn(trial: LossTrial) -> None:
    """Parameters of a loss get a finite gradient, and its state dict holds all of its state.

    A loss with parameters or state is an `nn.Module`; others are not asked.
    """
    live = trial.live
    if not isinstance(live, nn.Module):
        return
    live = copy.deepcopy(live).train()
    live.zero_grad()
    trial.result(trial.examples.rows(8), live)
    for name, parameter in live.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise Broken(f"{name} gets none")
        if parameter.grad is not None:
            expect_finite([parameter.grad], f"the gradient of {name}")
    with seeded(1):
        again: Any = trial.recipe.build(trial.head)
    again.load_state_dict(live.state_dict())
    rows = trial.examples.rows(8, seed=3)
    for training in (True, False):
        one, other = (trial.result(rows, it.eval(), training=training) for it in (live, again))
        expect_equal(other.value, one.value, "the loss before and after its state is stored")


def large_outputs(trial: LossTrial) -> None:
    """Confident outputs give finite losses and gradients.

    Logits of 60 are met in training. Compute in log space: exp and log of probabilities overflow.
    """
    rows = trial.examples.rows(8)
    result = trial.result(attrs.evolve(rows, values=rows.values * 30, teacher=rows.teacher * 30))
    expect_finite([result.value], "the loss")
    expect_finite([result.values, result.features], "its gradient")


def on_a_gpu(trial: LossTrial) -> None:
    """On a GPU a loss is what it is on the CPU.

    Make tensors on the device of the arguments. Only tried where there is a GPU.
    """
    rows = trial.examples.some_missing(12)
    live = copy.deepcopy(trial.live)
    moved = rows.each(lambda part: part.cuda())
    found = trial.result(moved, live.cuda() if isinstance(live, nn.Module) else live)
    expect(found.value.device.type == "cuda", f"it is on {found.value.device}")
    expect_equal(found.value, trial.result(rows).value, "the loss on the GPU and on the CPU", 1e-3, 1e-4)


LOSS_RULES: tuple[Rule[LossTrial], ...] = (
    shape,
    gradient_reaches_outputs,
    masked_rows_change_nothing,
    masked_rows_do_not_count,
    all_masked_is_zero,
    mean_over_rows,
    order_of_rows_does_not_matter,
    same_when_called_again,
    parameters_learn,
    large_outputs,
    on_a_gpu,
)
