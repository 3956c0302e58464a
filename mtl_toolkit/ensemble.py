"""Several trained networks as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from .batch import HeadOutput
from .plugin import Head


class Ensemble(nn.Module):
    """Runs its members one after the other and combines their outputs; called as a `MultiTaskModel` is.

    A task is combined over the members that have it with a weight above zero; the others are not run for it.
    The features of its output are those of the members side by side.

    Args:
        members: networks that are called as a `MultiTaskModel` is, and name their `tasks`.
        heads: of every task of a member, which say how outputs are combined.
        weights: by task, a number from 0 for each member; a task not named: 1 for each. They are scaled to
            add up to 1 over the members that have the task.
        majority: tasks whose members vote instead of being averaged.

    Raises:
        ValueError: if the weights are of another length, negative, or zero for all members with a task.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        heads: Mapping[str, Head],
        *,
        weights: Mapping[str, Sequence[float]] | None = None,
        majority: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.tasks = tuple(heads)
        self.heads = dict(heads)
        self.majority = frozenset(majority)
        self.readers: dict[str, tuple[int, ...]] = {}  # by task, the members that are run for it
        for task in heads:
            given = (weights or {}).get(task, [1.0] * len(members))
            shares = shares_of(task, members, given)
            self.readers[task] = tuple(place for place, share in enumerate(shares) if share > 0)
            kept = torch.tensor([share for share in shares if share > 0], dtype=torch.float32)
            self.register_buffer(f"{task}_weights", kept, persistent=False)

    def forward(
        self, inputs: Tensor, tasks: Sequence[str] | None = None, windows: Sequence[int] | None = None
    ) -> dict[str, HeadOutput]:
        """The combined outputs of one pass of each member; arguments as of `MultiTaskModel`."""
        wanted = self.tasks if tasks is None else tasks
        found: dict[str, list[HeadOutput]] = {task: [] for task in wanted}
        for place, member in enumerate(self.members):
            own = [task for task in wanted if place in self.readers[task]]
            outputs: Mapping[str, HeadOutput] = member(inputs, own, windows) if own else {}
            for task, output in outputs.items():
                found[task].append(output)
        return {task: self._combined(task, outputs) for task, outputs in found.items()}

    def features(
        self, inputs: Tensor, tasks: Sequence[str], windows: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """What the members' heads read, side by side: [rows, features] by task."""
        found: dict[str, list[Tensor]] = {task: [] for task in tasks}
        for place, member in enumerate(self.members):
            own = [task for task in tasks if place in self.readers[task]]
            for task, values in (member.features(inputs, own, windows) if own else {}).items():  # type: ignore[operator]
                found[task].append(values)
        return {task: torch.cat(values, 1) for task, values in found.items()}

    def _combined(self, task: str, outputs: Sequence[HeadOutput]) -> HeadOutput:
        head, weights = self.heads[task], self.get_buffer(f"{task}_weights")
        combine = head.vote if task in self.majority else head.average
        values = combine(torch.stack([output.values.float() for output in outputs]), weights)
        return HeadOutput(values, torch.cat([output.features for output in outputs], 1))


def shares_of(task: str, members: Sequence[nn.Module], weights: Sequence[float]) -> list[float]:
    """Weights of the members of a task that add up to 1; 0 for those that lack it."""
    if len(weights) != len(members):
        found = f"(got {len(weights)} weights, {len(members)} members)"
        raise ValueError(f"task {task!r}: must have a weight for each member {found}")
    has = [task in member.tasks for member in members]  # type: ignore[operator]
    kept = [float(weight) if there else 0.0 for weight, there in zip(weights, has, strict=True)]
    if not all(weight >= 0 for weight in kept) or not sum(kept) > 0:
        raise ValueError(f"weights of task {task!r} must not be negative, and one above 0 (got {kept})")
    return [weight / sum(kept) for weight in kept]
