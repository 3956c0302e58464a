"""The objective: rows grouped by (stream, task, labelled or not), a reduction per group, weighted terms.

The rule is that of Vu, Beurton-Aimar and Marchand (ICCV Workshops 2021), for any number of streams and tasks:

* rows that have the label: the ground-truth losses, and the teacher losses with their `weight`;
* rows that lack it: the teacher losses with their `unlabelled_weight`;
* a stream's term for a task is the mean of the groups that have rows (and a loss), taken per unit (axis,
  action unit), and the units are summed or averaged as the head says;
* a task's loss is the mean of its streams' terms.

A task with no term in a step is absent from the result: never NaN, never a zero that pulls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor, nn

from .batch import Batch, Count, HeadOutput
from .errors import suggestion
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
        terms: every term without gradient, by name: "stream/task/ground-truth" is the sum of the ground-truth
            losses with their weights; "stream/task/<loss>" and "stream/task/<loss>-unlabelled" are a teacher
            loss on the labelled rows and on the others, without its weights.
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
        ground_truth_weight: factor on the ground-truth losses of a labelled row; by task, 1 for the others.
        sharing: whether labels that are not the stream's own count as labels.

    Raises:
        ValueError: if a stream is for a task without a head, or two streams have one name.
    """

    def __init__(
        self,
        heads: Mapping[str, Head],
        streams: Sequence[StreamTask],
        *,
        losses: Mapping[str, Sequence[Loss]] | None = None,
        extra: Sequence[Loss] = (),
        ground_truth_weight: float | Mapping[str, float] = 1.0,
        sharing: bool = True,
    ) -> None:
        super().__init__()
        _check_streams(streams, heads)
        self.heads = dict(heads)
        self.streams = tuple(streams)
        self.sharing = sharing
        self._terms: dict[str, TaskTerms] = {}
        for task, head in heads.items():
            if not head.members:
                own = (losses or {}).get(task) or head.default_losses()
                self._terms[task] = TaskTerms(head, [*own, *extra], _weight_of(task, ground_truth_weight))
        self.stateful = nn.ModuleList(module for terms in self._terms.values() for module in terms.modules)
        self.needs_teacher = any(terms.teacher for terms in self._terms.values())

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
            ValueError: if the batch has other streams, or a loss needs a teacher and there is none.
        """
        if len(batch.sizes) != len(self.streams):
            raise ValueError(f"the batch must have {len(self.streams)} streams (got {len(batch.sizes)})")
        if self.needs_teacher and teacher is None:
            raise ValueError("a loss compares with a teacher: pass the teacher's outputs")
        parts: dict[tuple[str, str], list[Tensor]] = {}
        logged: dict[str, Tensor] = {}
        for index, stream in enumerate(self.streams):
            for task in self._terms:
                term, named = self._stream_term(index, task, outputs, batch, teacher or {})
                logged |= {f"{stream.name}/{task}/{name}": value for name, value in named.items()}
                if term is not None:
                    parts.setdefault((self._loss_name(stream, task), task), []).append(term)
        tasks: dict[str, Tensor] = {}
        for (name, _), terms in parts.items():
            mean = _total(terms) / len(terms)
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
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        rows = batch.rows(index)
        if task not in outputs or rows.start == rows.stop:
            return None, {}
        return self._terms[task](
            _cut(outputs[task], rows),
            self._group(index, task, batch, rows),
            _cut(teacher[task], rows) if task in teacher else None,
        )

    def _group(self, index: int, task: str, batch: Batch, rows: slice) -> Group:
        stream, head = self.streams[index], self.heads[task]
        own = task in (stream.task, *self.heads[stream.task].members)
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
        names = _distinct(one.name for one, _ in teacher)
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

    def _mean(self, sides: Sequence[Sequence[Part]]) -> Tensor:
        """The mean of the groups, unit by unit, or of whole groups where a loss gives a scalar."""
        parts = [part for side in sides for part in side]
        if any(part.value.ndim == 0 for part in parts):
            whole = _total([part.weight * self._combine(part.value, part.units) for part in parts])
            return whole / len(sides)
        groups = torch.stack([side[0].units for side in sides]).sum(0)
        total = _total([part.weight * part.value for part in parts])
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


def _check_streams(streams: Sequence[StreamTask], heads: Mapping[str, Head]) -> None:
    names = [stream.name for stream in streams]
    for stream in streams:
        if stream.task not in heads:
            raise ValueError(
                f"stream {stream.name!r}: there is no head of task {stream.task!r}"
                f"{suggestion(stream.task, heads)}"
            )
        if names.count(stream.name) > 1:
            raise ValueError(f"the names of streams must differ (got {stream.name!r} twice)")


def _weight_of(task: str, weights: float | Mapping[str, float]) -> float:
    return weights.get(task, 1.0) if isinstance(weights, Mapping) else weights


def _cut(output: HeadOutput, rows: slice) -> HeadOutput:
    return output.map(lambda tensor: tensor[rows].float())


def _total(values: Sequence[Tensor]) -> Tensor:
    return sum(values[1:], start=values[0])


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Number a name from its second time on: "kl", "kl-2"."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"
