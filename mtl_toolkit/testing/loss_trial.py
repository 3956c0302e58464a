"""A loss on trial: how it is built and called, and what it gives."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..batch import HeadOutput, Labels
from ..objective import has_lazy
from ..plugin import Head, Loss, TeacherLoss
from ..seeding import seeded
from .check import expect
from .examples import Examples, Rows


class Result(NamedTuple):
    """What a loss gives for some rows."""

    value: Tensor  # scalar or [units]
    total: Tensor  # its sum
    values: Tensor  # the gradient of the head's values: [rows, ...]
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
        """The loss, built once and told its sizes, in eval mode if it is a module."""
        return self.build()

    def build(self, seed: int = 0) -> Any:
        """The loss, with initial values of a seed."""
        with seeded(seed):
            live = self.bare()
            if has_lazy(live):
                self.dry_run(live)
        return live.eval() if isinstance(live, nn.Module) else live

    def bare(self) -> Any:
        """The loss as it is built, fitted to labels before, in eval mode if it is a module."""
        rows = self.examples.rows(32)
        live = self.recipe.fitted(self.head, labels_of(rows)).build(self.head)
        return live.eval() if isinstance(live, nn.Module) else live

    def dry_run(self, live: Any) -> None:
        """Call it with two rows, none of them valid, as is done before training."""
        rows = self.examples.rows(2)
        with torch.no_grad():
            self.call(live, rows.masked(self.head, torch.zeros_like(rows.mask)))

    def result(self, rows: Any, live: Any = None, *, training: bool = False, seed: int = 0) -> Result:
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
        with seeded(seed):
            value, outputs = self.call(live, rows)
        expect(isinstance(value, Tensor), f"gives {type(value).__name__}")
        total = value.sum()
        if total.requires_grad:
            total.backward()
        values = [output.values for output in outputs]
        beside = [part for output in outputs for part in (output.features, *output.extras.values())]
        return Result(value.detach(), total.detach(), _gradients(values), _gradients(beside))

    def call(self, live: Any, rows: Any) -> tuple[Any, list[HeadOutput]]:
        """What the loss gives for rows, and the outputs that it was given, as leaves that take a gradient."""
        output = rows.output()
        against = (rows.teacher, rows.units) if self.teaches else (rows.target, rows.mask)
        return live(output, *against), [output]

    def labels(self, rows: Any) -> dict[str, Tensor]:
        """The labels of rows, by what they are called."""
        return {"target": rows.target, "mask": rows.mask}


def labels_of(rows: Rows) -> Labels:
    """The labels of rows, as a dataset gives them."""
    return Labels(rows.target.numpy(), rows.mask.numpy())


def _gradients(leaves: Sequence[Tensor]) -> Tensor:
    """The gradients of some tensors side by side, zeros where there is none: [rows, ...]."""
    found = [torch.zeros_like(one) if one.grad is None else one.grad for one in leaves]
    return torch.cat([gradient.reshape(len(gradient), -1) for gradient in found], dim=1)
