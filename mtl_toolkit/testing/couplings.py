"""What holds for losses that couple tasks, beside what holds for all losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ..batch import HeadOutput
from ..plugin import CouplingLoss, Head
from .check import Rule, expect, expect_equal, expect_finite
from .examples import Examples, Rows
from .loss_trial import LossTrial, Result


@attrs.frozen(eq=False)
class JointRows:
    """The same rows for several tasks, by task."""

    parts: Mapping[str, Rows]

    def each(self, change: Callable[[Tensor], Tensor]) -> JointRows:
        """The same change of every part."""
        return JointRows({task: part.each(change) for task, part in self.parts.items()})

    def take(self, rows: Tensor) -> JointRows:
        """Some of the rows."""
        return JointRows({task: part.take(rows) for task, part in self.parts.items()})

    def scaled(self, factor: float) -> JointRows:
        """With larger outputs."""
        return JointRows({task: part.scaled(factor) for task, part in self.parts.items()})

    def unlabelled(self, heads: Mapping[str, Head]) -> JointRows:
        """None of them with a label."""
        return JointRows(
            {task: part.masked(heads[task], torch.zeros_like(part.mask)) for task, part in self.parts.items()}
        )

    def poisoned(self) -> JointRows:
        """NaN, or the largest integer, in the targets outside the masks; the outputs are whole."""
        return JointRows(
            {task: attrs.evolve(part, target=part.poisoned().target) for task, part in self.parts.items()}
        )


@attrs.frozen(eq=False)
class JointExamples:
    """Makes rows for several heads."""

    examples: Mapping[str, Examples]

    def rows(self, count: int, seed: int = 0) -> JointRows:
        """Rows that all tasks have a label for."""
        return JointRows({task: one.rows(count, seed) for task, one in self.examples.items()})

    def some_missing(self, count: int, seed: int = 0) -> JointRows:
        """Rows of which some have no label, for each task others."""
        parts = {}
        for shift, (task, one) in enumerate(self.examples.items()):
            rows = one.some_missing(count, seed)
            parts[task] = rows.masked(one.head, rows.mask.roll(shift, 0))
        return JointRows(parts)


class CouplingTrial(LossTrial):
    """A coupling loss, and rows to try it on."""

    def __init__(
        self,
        recipe: CouplingLoss,
        heads: Mapping[str, Head],
        extras: Mapping[str, tuple[int, ...]] | None,
        without_gradient: Sequence[str],
    ) -> None:
        self.recipe: Any = recipe
        self.heads = dict(heads)
        self.without_gradient = tuple(without_gradient)
        self.examples: Any = JointExamples(
            {task: Examples(head, None, extras or {}) for task, head in heads.items()}
        )

    def bare(self) -> Any:
        """The loss as it is built, in eval mode if it is a module."""
        live = self.recipe.build_joint(self.heads)
        return live.eval() if isinstance(live, nn.Module) else live

    def dry_run(self, live: Any) -> None:
        """Call it with two rows, none of them labelled."""
        with torch.no_grad():
            self.call(live, self.examples.rows(2).unlabelled(self.heads))

    def call(self, live: Any, rows: Any) -> tuple[Any, list[HeadOutput]]:
        """What the loss gives for rows, and the outputs that it was given, as leaves that take a gradient."""
        outputs = {task: part.output() for task, part in rows.parts.items()}
        targets = {task: part.target for task, part in rows.parts.items()}
        masks = {task: part.mask for task, part in rows.parts.items()}
        return live(outputs, targets, masks), list(outputs.values())

    def labels(self, rows: Any) -> dict[str, Tensor]:
        """The labels of rows, by what they are called."""
        return {
            f"{name} of {task}": tensor
            for task, part in rows.parts.items()
            for name, tensor in (("target", part.target), ("mask", part.mask))
        }

    def moved(self, rows: JointRows) -> dict[str, float]:
        """The largest gradient of each task's output."""
        value, outputs = self.call(self.live, rows)
        if value.requires_grad:
            value.backward()
        return {
            task: max(0.0 if one.grad is None else float(one.grad.abs().max()) for one in _leaves(output))
            for task, output in zip(self.heads, outputs, strict=True)
        }


def scalar(trial: CouplingTrial) -> None:
    """A coupling loss gives a finite float scalar, for one row and for more."""
    for count in (1, 2, 7):
        value = trial.result(trial.examples.rows(count)).value
        expect(value.shape == (), f"shape {tuple(value.shape)} for {count} rows")
        expect(value.is_floating_point(), f"{value.dtype}")
        expect_finite([value], f"the loss of {count} rows")


def gradient_reaches_every_task(trial: CouplingTrial) -> None:
    """It has a finite gradient to each task's output, not zero everywhere, unless stated otherwise.

    Tasks that it only looks at are named in the check's `without_gradient`.
    """
    rows = trial.examples.rows(8)
    result = trial.result(rows)
    expect_finite([result.values, result.features], "the gradient")
    for task, largest in trial.moved(rows).items():
        expect(largest > 0 or task in trial.without_gradient, f"that of {task!r} is zero: is it detached?")


def labels_outside_the_masks_change_nothing(trial: CouplingTrial) -> None:
    """What lies in targets outside the masks (NaN, any integer) changes neither the value nor the gradient.

    Put zeros there before you compute: NaN times zero is NaN, in the backward pass too.
    """
    rows = trial.examples.some_missing(12)
    for training in (True, False):
        _expect_same(trial.result(rows, training=training), trial.result(rows.poisoned(), training=training))


def _expect_same(clean: Result, poisoned: Result) -> None:
    expect_equal(poisoned.value, clean.value, "the loss with NaN outside the masks, and without")
    expect_equal(poisoned.values, clean.values, "its gradient with NaN outside the masks, and without")
    expect_equal(poisoned.features, clean.features, "the features' gradient with NaN outside the masks")


def without_labels(trial: CouplingTrial) -> None:
    """Where no row has a label it is finite, and so is its gradient; zero, if it needs labels."""
    rows = trial.examples.rows(4).unlabelled(trial.heads).poisoned()
    for training in (True, False):
        result = trial.result(rows, training=training)
        expect_finite([result.value, result.values, result.features], "the loss or its gradient")


def _leaves(output: HeadOutput) -> list[Tensor]:
    return [output.values, output.features, *output.extras.values()]


COUPLING_OWN_RULES: tuple[Rule[CouplingTrial], ...] = (
    scalar,
    gradient_reaches_every_task,
    labels_outside_the_masks_change_nothing,
    without_labels,
)
