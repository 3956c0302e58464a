"""The losses of one task, and how those of a stream's rows become one term."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor, nn

from ..batch import Count, HeadOutput
from ..plugin import Head, Loss, TeacherLoss
from .lazy import has_lazy, no_labels


@attrs.frozen(eq=False)
class Group:
    """The labels of one task on the rows of one stream."""

    target: Tensor | None
    mask: Tensor
    units: Tensor  # bool [rows, units]
    count: Count


class Part(NamedTuple):
    """A loss on the labelled or the unlabelled rows of a stream."""

    name: str
    weight: float
    value: Tensor  # a scalar, or [units]
    units: Tensor  # bool [units]: those that have rows


class TaskTerms:
    """The losses of one task, and how they make the term of one stream."""

    def __init__(self, head: Head, losses: Sequence[Loss], ground_truth_weight: float) -> None:
        self.head = head
        self.ground_truth_weight = ground_truth_weight
        built = [(loss, loss.build(head)) for loss in losses]
        self.modules = [live for _, live in built if isinstance(live, nn.Module)]
        self.labels = [(one, live) for one, live in built if not isinstance(one, TeacherLoss)]
        teacher = [(one, live) for one, live in built if isinstance(one, TeacherLoss)]
        names = distinct(one.name for one, _ in teacher)
        self.teacher = [(name, one, live) for name, (one, live) in zip(names, teacher, strict=True)]

    def __call__(
        self, output: HeadOutput, group: Group, teacher: HeadOutput | None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The stream's weighted term (None if no group has rows and a loss), and its parts by name."""
        labelled = list(self._on_labelled(output, group, teacher)) if group.count.valid else []
        unlabelled = list(self._on_unlabelled(output, group, teacher)) if group.count.missing else []
        named: dict[str, Tensor] = {}
        for part in (*labelled, *unlabelled):
            value = self._combine(part.value, part.units).detach()
            named[part.name] = named[part.name] + value if part.name in named else value
        sides = [side for side in (labelled, unlabelled) if side]
        return self._mean(sides) if sides else None, named

    def _on_labelled(self, output: HeadOutput, group: Group, teacher: HeadOutput | None) -> Iterator[Part]:
        units = group.units.any(0)
        for one, live in self.labels if self.ground_truth_weight else ():
            value = one.weight * self._checked(one, live(output, group.target, group.mask))
            yield Part("ground-truth", self.ground_truth_weight, value, units)
        for name, one, live in self.teacher if teacher is not None else ():
            if one.weight:
                yield Part(name, one.weight, self._checked(one, live(output, teacher, group.units)), units)

    def _on_unlabelled(self, output: HeadOutput, group: Group, teacher: HeadOutput | None) -> Iterator[Part]:
        missing = ~group.units
        for name, one, live in self.teacher if teacher is not None else ():
            if one.unlabelled_weight:
                value = self._checked(one, live(output, teacher, missing))
                yield Part(f"{name}-unlabelled", one.unlabelled_weight, value, missing.any(0))

    def initialise(self, output: HeadOutput, teacher: HeadOutput | None) -> None:
        """Call the losses that have lazy parameters, with no valid row."""
        output = output.map(Tensor.float)
        target, mask = no_labels(self.head, len(output.values), output.values.device)
        for _, live in self.labels:
            if has_lazy(live):
                live(output, target, mask)
        for _, _, live in self.teacher:
            if has_lazy(live) and teacher is not None:
                live(output, teacher.map(Tensor.float), self.head.unit_mask(mask))

    def _mean(self, sides: Sequence[Sequence[Part]]) -> Tensor:
        """The mean of the groups, unit by unit, or of whole groups where a loss gives a scalar."""
        parts = [part for side in sides for part in side]
        if any(part.value.ndim == 0 for part in parts):
            whole = total_of([part.weight * self._combine(part.value, part.units) for part in parts])
            return whole / len(sides)
        groups = torch.stack([side[0].units for side in sides]).sum(0)
        total = total_of([part.weight * part.value for part in parts])
        return self._combine(total / groups.clamp(min=1), groups > 0)

    def _combine(self, value: Tensor, units: Tensor) -> Tensor:
        """Sum the units, or average those that have rows; a scalar is the whole task's already."""
        if value.ndim == 0 or self.head.combine == "sum":
            return value.sum()
        return value.sum() / units.sum().clamp(min=1)

    def _checked(self, loss: Loss, value: Tensor) -> Tensor:
        units = len(self.head.units)
        if value.shape not in ((), (units,)):
            raise ValueError(
                f"loss {loss.name!r} must give a scalar or one value per unit, {units} in all "
                f"(got shape {tuple(value.shape)})"
            )
        return value


def total_of(values: Sequence[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    return sum(values[1:], start=values[0])


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Number a name from its second time on: "kl", "kl-2"."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"
