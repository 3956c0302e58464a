"""The losses of a combined task that couple its members' outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..batch import HeadOutput
from ..errors import suggestion
from ..plugin import CouplingLoss, Head, Loss
from .lazy import has_lazy, no_labels
from .terms import distinct, total_of


class CouplingTerms:
    """The coupling losses of one combined task, over all rows of a step.

    Args:
        task: the combined task.
        heads: all tasks by name, the combined one and its members among them.
        losses: its losses.

    Raises:
        ValueError: if a member has no head, or a loss is one for a single task.
    """

    def __init__(self, task: str, heads: Mapping[str, Head], losses: Sequence[Loss]) -> None:
        self.task = task
        for member in heads[task].members:
            if member not in heads:
                raise ValueError(f"task {task!r}: there is no head of {member!r}{suggestion(member, heads)}")
        self.members = {member: heads[member] for member in heads[task].members}
        self._live: list[tuple[str, CouplingLoss, Any]] = []
        for name, loss in zip(distinct(one.name for one in losses), losses, strict=True):
            if not isinstance(loss, CouplingLoss):
                raise ValueError(f"task {task!r}: {loss.name!r} is a loss of one task and couples none")
            self._live.append((name, loss, loss.build_joint(self.members)))
        self.modules = [live for _, _, live in self._live if isinstance(live, nn.Module)]

    def __call__(
        self,
        outputs: Mapping[str, HeadOutput],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The weighted loss, and its terms by name without their weights; None where a member has no output.

        Args:
            outputs: by task.
            targets: of the members that have some.
            masks: of the same.
        """
        if not all(member in outputs for member in self.members):
            return None, {}
        ours = {member: outputs[member].map(Tensor.float) for member in self.members}
        labels = {member: (targets[member], masks[member]) for member in self.members if member in masks}
        for member, output in ours.items():
            if member not in labels:
                values = output.values
                labels[member] = no_labels(self.members[member], len(values), values.device)
        target, mask = ({member: labels[member][side] for member in ours} for side in (0, 1))
        found = [
            (name, loss.weight, self._checked(loss, live(ours, target, mask)))
            for name, loss, live in self._live
            if loss.weight
        ]
        named = {f"{self.task}/{name}": value.detach() for name, _, value in found}
        return (total_of([weight * value for _, weight, value in found]) if found else None), named

    def initialise(self, outputs: Mapping[str, HeadOutput]) -> None:
        """Call the losses that have lazy parameters, with no label."""
        if any(has_lazy(live) for _, _, live in self._live):
            self(outputs, {}, {})

    def _checked(self, loss: CouplingLoss, value: Tensor) -> Tensor:
        if value.shape != ():
            raise ValueError(f"loss {loss.name!r} must give a scalar (got shape {tuple(value.shape)})")
        return value
