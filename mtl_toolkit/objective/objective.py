"""The objective: rows grouped by (stream, task, labelled or not), a reduction per group, weighted terms.

The rule is that of Vu, Beurton-Aimar and Marchand (ICCV Workshops 2021), for any number of streams and tasks:

* rows that have the label: the ground-truth losses, and the teacher losses with their `weight`;
* rows that lack it: the teacher losses with their `unlabelled_weight`;
* a stream's term for a task is the mean of the groups that have rows (and a loss), taken per unit (axis,
  action unit), and the units are summed or averaged as the head says;
* a task's loss is the mean of its streams' terms.

The coupling losses of a combined task are taken over all rows of the step, and are a loss of their own.

A task with no term in a step is absent from the result: never NaN, never a zero that pulls.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from ..batch import Batch, Count, HeadOutput
from ..errors import suggestion
from ..plugin import Head, Loss
from .coupling import CouplingTerms
from .lazy import has_lazy
from .terms import Group, TaskTerms, total_of


@attrs.frozen
class StreamTask:
    """A stream, as the objective sees it: its name, and the task it is for."""

    name: str
    task: str


@attrs.frozen(eq=False)
class Losses:
    """What the objective makes of a step.

    Attributes:
        tasks: scalar losses with gradient, by task (combined ones that are separate or have coupling losses
            too); only those present.
        terms: every term without gradient, by name: "stream/task/ground-truth" is the sum of the ground-truth
            losses with their weights; "stream/task/<loss>" and "stream/task/<loss>-unlabelled" are a teacher
            loss on the labelled rows and on the others, without its weights; "<combined task>/<loss>" is a
            coupling loss, without its weight.
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
        losses: the ground-truth losses by task, and the coupling losses of combined tasks; a task not named
            has its head's default losses, a combined one none.
        extra: further losses on every task, against labels or against the teacher.
        ground_truth_weight: factor on the ground-truth losses of a labelled row; by task, 1 for the others.
        sharing: whether labels that are not the stream's own count as labels.

    Raises:
        ValueError: if a stream is for a task without a head, two streams have one name, or a combined task
            has losses that are no coupling losses.
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
        self._couplings: dict[str, CouplingTerms] = {}
        for task, head in heads.items():
            own = (losses or {}).get(task, ())
            if head.members:
                if own:
                    self._couplings[task] = CouplingTerms(task, heads, own)
                continue
            all_losses = [*(own or head.default_losses()), *extra]
            self._terms[task] = TaskTerms(head, all_losses, _weight_of(task, ground_truth_weight))
        modules = [one.modules for one in self._terms.values()]
        modules += [one.modules for one in self._couplings.values()]
        self.stateful = nn.ModuleList(itertools.chain.from_iterable(modules))
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
            mean = total_of(terms) / len(terms)
            tasks[name] = tasks[name] + mean if name in tasks else mean
        for name, coupling in self._couplings.items():
            value, named = self._coupled(coupling, outputs, batch)
            logged |= named
            if value is not None:
                tasks[name] = tasks[name] + value if name in tasks else value
        return Losses(tasks, logged)

    @property
    def lazy(self) -> bool:
        """Whether a loss has parameters that get their sizes from `initialise`."""
        return has_lazy(self)

    @torch.no_grad()
    def initialise(
        self, outputs: Mapping[str, HeadOutput], teacher: Mapping[str, HeadOutput] | None = None
    ) -> None:
        """Give the losses' lazy parameters their sizes, from the outputs of a couple of rows.

        Each loss that has some is called once with no valid row. Initial values come from torch's global
        generator; the state of the losses stays. To be called before an optimizer is made.

        Args:
            outputs: by task, on the device of the objective.
            teacher: the teacher's outputs for the same rows.
        """
        training = self.training
        self.eval()
        for task, terms in self._terms.items():
            if task in outputs:
                terms.initialise(outputs[task], (teacher or {}).get(task))
        for coupling in self._couplings.values():
            coupling.initialise(outputs)
        self.train(training)

    def _coupled(
        self, coupling: CouplingTerms, outputs: Mapping[str, HeadOutput], batch: Batch
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """A combined task's coupling losses over all rows, with the labels that count as such."""
        masks = {task: self._counting(task, batch) for task in coupling.members if task in batch.masks}
        return coupling(outputs, batch.targets, masks)

    def _counting(self, task: str, batch: Batch) -> Tensor:
        """A task's mask without the labels that do not count, see `sharing`."""
        parts = batch.masks[task].split(list(batch.sizes))
        return torch.cat(
            [part if self._counts(index, task) else part & False for index, part in enumerate(parts)]
        )

    def _counts(self, index: int, task: str) -> bool:
        """Whether a stream's labels of a task count."""
        own = self.streams[index].task
        return self.sharing or task in (own, *self.heads[own].members)

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
        head = self.heads[task]
        if task in batch.masks and self._counts(index, task):
            mask = batch.masks[task][rows]
            return Group(batch.targets[task][rows], mask, head.unit_mask(mask), batch.counts[index, task])
        size = rows.stop - rows.start
        nothing = torch.zeros(size, len(head.units), dtype=torch.bool, device=batch.stream.device)
        return Group(None, nothing, nothing, Count(0, nothing.numel()))


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
