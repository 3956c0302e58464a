"""What holds for losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..batch import Labels
from ..objective import has_lazy
from ..plugin import CouplingLoss, Head, Loss
from .check import Broken, Check, Rule, checks_of, expect, expect_equal, expect_finite
from .couplings import COUPLING_OWN_RULES, CouplingTrial
from .examples import Rows
from .loss_trial import LossTrial, Result, labels_of
from .recipes import check_recipe


def check_loss(
    recipe: Loss,
    head: Head | Mapping[str, Head],
    *,
    labels: Labels | None = None,
    extras: Mapping[str, tuple[int, ...]] | None = None,
    without_gradient: Sequence[str] = (),
) -> list[Check]:
    """The checks of a loss on the outputs of a head; of a `TeacherLoss` and a `CouplingLoss` too.

    The head is built on 16 features, so `output.features` is [rows, 16].

    Args:
        recipe: the loss.
        head: a task that it is for; for a `CouplingLoss` the heads of the tasks that it couples, by task.
        labels: labels to try it on; by default made from the head's own estimates. Not for a `CouplingLoss`.
        extras: of the network's extras that it looks at, the shape of one row's, by name.
        without_gradient: the tasks of a `CouplingLoss` that it only looks at, and does not train.
    """
    if isinstance(recipe, CouplingLoss):
        assert isinstance(head, Mapping), "a coupling loss is checked with the heads of its tasks, by task"
        joint = CouplingTrial(recipe, head, extras, without_gradient)
        return [*check_recipe(recipe), *checks_of(recipe, joint, COUPLING_RULES, "coupling")]
    assert isinstance(head, Head), "a loss of one task is checked with the head of one"
    trial = LossTrial(recipe, head, labels, extras)
    return [*check_recipe(recipe), *checks_of(recipe, trial, LOSS_RULES)]


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
    before = copy.deepcopy(trial.labels(rows))
    one, other = trial.result(rows), trial.result(rows, seed=1)
    expect(torch.equal(one.value, other.value), f"{one.value.tolist()} and {other.value.tolist()}")
    for name, now in trial.labels(rows).items():
        expect(torch.equal(before[name], now), f"it writes into the {name}")


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
    again = trial.build(seed=1)
    again.load_state_dict(live.state_dict())
    rows = trial.examples.rows(8, seed=3)
    for training in (True, False):
        one, other = (trial.result(rows, it.eval(), training=training) for it in (live, again))
        expect_equal(other.value, one.value, "the loss before and after its state is stored")


def lazy_parameters_get_sizes(trial: LossTrial) -> None:
    """Lazy parameters, as of `nn.LazyLinear`, get their sizes from one call in which no row is valid.

    That call is made before training, so that there are parameters to train: do not return early in it.
    """
    live = trial.bare()
    if has_lazy(live):
        trial.dry_run(live)
        expect(not has_lazy(live), "some have none")


def fitted_to_labels(trial: LossTrial) -> None:
    """`fitted` gives a loss of the same class, and reads no label that is missing; there may be none at all.

    A stage may be checked before its data can be read.
    """
    recipe, head = trial.recipe, trial.head
    for labels in (
        Labels.missing(0, head.target_shape, head.target_dtype),
        labels_of(trial.examples.rows(12)),
    ):
        found = recipe.fitted(head, labels)
        expect(type(found) is type(recipe), f"gives {type(found).__name__} for {len(labels)} labels")
    rows = trial.examples.some_missing(12)
    one, other = (recipe.fitted(head, labels_of(some)) for some in (rows, rows.poisoned()))
    expect(one == other, "what lies where labels are missing changes it")


def large_outputs(trial: LossTrial) -> None:
    """Confident outputs give finite losses and gradients.

    Logits of 60 are met in training. Compute in log space: exp and log of probabilities overflow.
    """
    rows = trial.examples.rows(8)
    result = trial.result(rows.scaled(30))
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
    lazy_parameters_get_sizes,
    fitted_to_labels,
    large_outputs,
    on_a_gpu,
)

COUPLING_RULES: tuple[Rule[CouplingTrial], ...] = (
    *COUPLING_OWN_RULES,
    mean_over_rows,
    order_of_rows_does_not_matter,
    same_when_called_again,
    parameters_learn,
    lazy_parameters_get_sizes,
    large_outputs,
    on_a_gpu,
)
