"""The objective: rows grouped by (stream, task, labelled or not), a reduction per group, weighted terms.

The rule is that of Vu, Beurton-Aimar and Marchand (ICCV Workshops 2021), for any number of streams and tasks:

* rows that have the label: the ground-truth losses, and the teacher losses with their `weight`;
* rows that lack it: the teacher losses with their `unlabelled_weight`;
* a stream's term for a task is the mean of the groups that have rows, taken per unit (axis, action unit),
  and the units are summed or averaged as the head says;
* a task's loss is the mean of its streams' terms.

A task with no term in a step is absent from the result: never NaN, never a zero that pulls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from .batch import Batch, Count, HeadOutput
from .plugin import Head, Loss, TeacherLoss


@attrs.frozen
class StreamTask:
    """A stream, as the objective sees it: its name, and the task it is for."""

    name: str
    task: str


@attrs.frozen(eq=False)
class Losses:
    """What the objective makes of a step.

    Attributes:
        tasks: scalar losses with gradient, by task (or separate combined task); only those present.
        terms: every term without gradient and weight, by "stream/task/ground-truth" or "stream/task/<loss>".
    """

    tasks: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]

    @property
    def total(self) -> Tensor | None:
        """The plain sum of the tasks' losses; None if nothing is present."""
        return torch.stack(list(self.tasks.values())).sum() if self.tasks else None


class Objective(nn.Module):
    """Turns the outputs of a batch into losses.

    Args:
        heads: all tasks of the stage by name, combined ones included.
        streams: the streams, in the order of the batch.
        losses: the ground-truth losses by task; a task not named has its head's default losses.
        extra: further losses on every task, against labels or against the teacher.
        ground_truth_weight: factor on the ground-truth losses of a labelled row.
        sharing: whether labels that are not the stream's own count as labels.
    """

    def __init__(
        self,
        heads: Mapping[str, Head],
        streams: Sequence[StreamTask],
        *,
        losses: Mapping[str, Sequence[Loss]] | None = None,
        extra: Sequence[Loss] = (),
        ground_truth_weight: float = 1.0,
        sharing: bool = True,
    ) -> None:
        super().__init__()
        self.heads = dict(heads)
        self.streams = tuple(streams)
        self.sharing = sharing
        self.needs_teacher = any(isinstance(loss, TeacherLoss) for loss in extra)
        self.terms = nn.ModuleDict()
        for task, head in heads.items():
            if not head.members:
                own = (losses or {}).get(task) or head.default_losses()
                self.terms[task] = TaskTerms(head, [*own, *extra], ground_truth_weight)

    def forward(
        self,
        outputs: Mapping[str, HeadOutput],
        batch: Batch,
        teacher: Mapping[str, HeadOutput] | None = None,
    ) -> Losses:
        """Compute the losses of a step, in fp32.

        Args:
            outputs: by task, over all rows of the batch.
            batch: labels, masks and counts; its inputs are not looked at.
            teacher: the teacher's outputs for the same rows.

        Raises:
            ValueError: if a loss needs a teacher and there is none.
        """
        if self.needs_teacher and teacher is None:
            raise ValueError("a loss compares with a teacher: pass the teacher's outputs")
        parts: dict[tuple[str, str], list[Tensor]] = {}
        logged: dict[str, Tensor] = {}
        for index, stream in enumerate(self.streams):
            for task in self.terms:
                term = self._stream_term(index, task, outputs, batch, teacher or {}, logged)
                if term is not None:
                    parts.setdefault((self._loss_name(stream, task), task), []).append(term)
        tasks: dict[str, Tensor] = {}
        for (name, _), terms in parts.items():
            mean = sum(terms[1:], start=terms[0]) / len(terms)
            tasks[name] = tasks[name] + mean if name in tasks else mean
        return Losses(tasks, logged)

    def _loss_name(self, stream: StreamTask, task: str) -> str:
        head = self.heads[stream.task]
        return stream.task if head.separate and task in head.members else task

    def _stream_term(
        self,
        index: int,
        task: str,
        outputs: Mapping[str, HeadOutput],
        batch: Batch,
        teacher: Mapping[str, HeadOutput],
        logged: dict[str, Tensor],
    ) -> Tensor | None:
        rows = batch.rows(index)
        if task not in outputs or rows.start == rows.stop:
            return None
        term, named = self.terms[task](
            _cut(outputs[task], rows),
            self._group(index, task, batch, rows),
            _cut(teacher[task], rows) if task in teacher else None,
        )
        logged.update({f"{self.streams[index].name}/{task}/{name}": value for name, value in named.items()})
        return term

    def _group(self, index: int, task: str, batch: Batch, rows: slice) -> Group:
        stream, head = self.streams[index], self.heads[task]
        own = task == stream.task or task in self.heads[stream.task].members
        if task in batch.masks and (own or self.sharing):
            mask = batch.masks[task][rows]
            return Group(batch.targets[task][rows], mask, head.unit_mask(mask), batch.counts[index, task])
        size = rows.stop - rows.start
        nothing = torch.zeros(size, len(head.units), dtype=torch.bool, device=batch.stream.device)
        return Group(None, nothing, nothing, Count(0, nothing.numel()))


@attrs.frozen(eq=False)
class Group:
    """The labels of one task on the rows of one stream."""

    target: Tensor | None
    mask: Tensor
    units: Tensor  # bool [rows, units]
    count: Count


class TaskTerms(nn.Module):
    """The losses of one task, and how they make the term of one stream."""

    def __init__(self, head: Head, losses: Sequence[Loss], ground_truth_weight: float) -> None:
        super().__init__()
        self.head = head
        self.ground_truth_weight = ground_truth_weight
        built = [(loss, loss.build(head)) for loss in losses]
        self.with_state = nn.ModuleList(live for _, live in built if isinstance(live, nn.Module))
        self.labels = [(one, live) for one, live in built if not isinstance(one, TeacherLoss)]
        self.teacher = [(one, live) for one, live in built if isinstance(one, TeacherLoss)]

    def forward(
        self, output: HeadOutput, group: Group, teacher: HeadOutput | None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The stream's weighted term (None if no group has rows), and its parts by name, unweighted."""
        labelled: list[Tensor] = []
        unlabelled: list[Tensor] = []
        named: dict[str, Tensor] = {}

        def add(name: str, weight: float, value: Tensor, *, missing: bool = False) -> None:
            named[name] = self._combine(value, ~group.units if missing else group.units).detach()
            (unlabelled if missing else labelled).append(weight * value)

        if group.count.valid and self.ground_truth_weight:
            values = [one.weight * live(output, group.target, group.mask) for one, live in self.labels]
            add("ground-truth", self.ground_truth_weight, _total(values))
        for one, live in self.teacher if teacher is not None else ():
            if group.count.valid and one.weight:
                add(one.name, one.weight, live(output, teacher, group.units))
            if group.count.missing and one.unlabelled_weight:
                value = live(output, teacher, ~group.units)
                add(f"{one.name}-unlabelled", one.unlabelled_weight, value, missing=True)
        return self._mean_of_groups(labelled, unlabelled, group.units), named

    def _mean_of_groups(
        self, labelled: list[Tensor], unlabelled: list[Tensor], units: Tensor
    ) -> Tensor | None:
        if not (labelled and unlabelled):
            alone = labelled or unlabelled
            return self._combine(_total(alone), units if labelled else ~units) if alone else None
        both = _total(labelled) + _total(unlabelled)
        if both.ndim == 0 or len(self.head.units) == 1:
            return self._combine(both, units) / 2
        groups = units.any(0).to(both.dtype) + (~units).any(0).to(both.dtype)
        return self._combine(both / groups, torch.ones_like(units))

    def _combine(self, value: Tensor, units: Tensor) -> Tensor:
        """Sum the units, or average those that have a label; a scalar is the whole task's already."""
        if value.ndim == 0 or self.head.combine == "sum":
            return value.sum()
        return value.sum() / units.any(0).sum().clamp(min=1)


def _cut(output: HeadOutput, rows: slice) -> HeadOutput:
    return HeadOutput(output.values[rows].float(), output.features[rows].float())


def _total(values: Sequence[Tensor]) -> Tensor:
    """Add up values per unit; where one is a scalar, the others are summed to scalars first."""
    if any(value.ndim == 0 for value in values):
        values = [value.sum() for value in values]
    return sum(values[1:], start=values[0])
