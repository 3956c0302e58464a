"""Batch norm over groups of rows: the statistics of each stream, or of each dataset, apart.

Databases differ in style. Taken over all rows of a step, mean and variance mix them; domain-specific batch
normalisation (Chang et al., CVPR 2019) takes them over the rows of each domain. Here the groups share weight,
bias and running statistics, so that evaluation needs to know of no group, and checkpoints are the same.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from .batch import Batch
from .errors import RunError

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Over = Literal["stream", "dataset"]


@attrs.frozen(eq=False)
class Groups:
    """The groups of the rows of one pass.

    Attributes:
        sizes: rows of each group, of two and more.
        lone: rows that are the only one of their group; they come last.
        order: the rows group by group: int64 [rows]; None if they lie so.
        back: the inverse of `order`.
    """

    sizes: tuple[int, ...]
    lone: int
    order: Tensor | None = None
    back: Tensor | None = None

    @property
    def rows(self) -> int:
        """Rows of the pass."""
        return sum(self.sizes) + self.lone

    @classmethod
    def of(cls, numbers: np.ndarray, device: torch.device) -> Groups | None:
        """The groups of rows whose group has a number, int64 [rows]; None if that leaves nothing to do."""
        _, members, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        alone = counts[members] == 1
        sizes = tuple(counts[counts > 1].tolist())
        if not sizes or (len(sizes) == 1 and not alone.any()):
            return None
        order = np.lexsort((members, alone))
        if (order[1:] > order[:-1]).all():
            return cls(sizes, int(alone.sum()))
        both = (torch.from_numpy(one).to(device, non_blocking=True) for one in (order, np.argsort(order)))
        return cls(sizes, int(alone.sum()), *both)


class RowGroups:
    """Tells the batch norms of a network which rows of the current pass belong together.

    Args:
        over: what makes a group.
    """

    def __init__(self, over: Over) -> None:
        self.over = over
        self.now: Groups | None = None

    @contextlib.contextmanager
    def of(self, batch: Batch, sizes: Sequence[int]) -> Iterator[None]:
        """Group the rows of a batch for the time of a pass.

        Args:
            batch: whose rows they are.
            sizes: rows of each stream in the pass.

        Raises:
            ValueError: if groups are of datasets and the batch does not know its rows'.
        """
        numbers = np.repeat(np.arange(len(sizes)), sizes)
        if self.over == "dataset":
            if len(batch.datasets) != len(numbers):
                raise ValueError(
                    f"batch.datasets must have the dataset of each of {len(numbers)} rows "
                    f"(got {len(batch.datasets)})"
                )
            numbers = np.asarray(batch.datasets)
        self.now = Groups.of(numbers, batch.inputs.device)
        try:
            yield
        finally:
            self.now = None


def group_batch_norms(modules: Sequence[nn.Module], over: Over) -> RowGroups:
    """Let the batch norms in some modules take their statistics over groups of rows.

    Their class changes to a subclass of it; parameters, buffers and their names stay.
    """
    groups = RowGroups(over)
    for module in modules:
        for norm in module.modules():
            if isinstance(norm, KINDS) and not isinstance(norm, GroupedNorm):
                kind: type = type(norm)
                norm.__class__ = _grouped(kind)
                norm.row_groups = groups  # type: ignore[assignment] # no module, no tensor
    return groups


def in_groups(model: nn.Module, batch: Batch, sizes: Sequence[int]) -> AbstractContextManager[None]:
    """For the time of a training pass over a batch, a model's batch norms look at its groups, if at any."""
    groups = getattr(model, "row_groups", None)
    return groups.of(batch, sizes) if isinstance(groups, RowGroups) else contextlib.nullcontext()


def has_grouped_norms(model: nn.Module) -> bool:
    """Whether a model, in training mode, has a batch norm over groups that is not frozen."""
    return any(isinstance(module, GroupedNorm) and module.training for module in model.modules())


class GroupedNorm(nn.Module):
    """In training, normalises each group of rows by its own mean and variance.

    It comes in front of a batch norm in the order of base classes. A row that is alone in its group has no
    variance: it is normalised by the statistics of all rows of the pass. Running statistics move towards the
    mean over the groups, weighted by their rows; lone rows add nothing to it. So the running mean is what it
    would be without groups, and the running variance lacks what the groups' means differ in.
    """

    row_groups: RowGroups
    momentum: float | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, channels, ...] to the same, normalised.

        Raises:
            RunError: if the first dimension is not that of the rows of the pass.
        """
        norm: Callable[[Tensor], Tensor] = super().forward
        groups = self.row_groups.now if self.training else None
        if groups is None:
            return norm(inputs)
        if len(inputs) != groups.rows:
            raise RunError(
                f"model.batch_statistics: a batch norm sees {len(inputs)} rows in a pass of {groups.rows}, "
                'whose groups it cannot know; set it to "joint"'
            )
        rows = inputs if groups.order is None else _Permuted.apply(inputs, groups.order, groups.back)
        parts, found = [], []
        with self._statistics_apart():
            for piece in rows.split([*groups.sizes, groups.lone])[: len(groups.sizes)]:
                parts.append(norm(piece))
                found.append(self._statistics())
            if groups.lone:
                parts.append(norm(rows)[-groups.lone :])
        self._move(found, groups.sizes)
        whole = torch.cat(parts)
        return whole if groups.back is None else _Permuted.apply(whole, groups.back, groups.order)

    @contextlib.contextmanager
    def _statistics_apart(self) -> Iterator[None]:
        """Leave the running statistics as they are; others take their place, and are just those of a pass."""
        kept = self.running_mean, self.running_var, self.num_batches_tracked, self.momentum
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean = torch.zeros_like(self.running_mean)
            self.running_var = torch.ones_like(self.running_var)
            self.momentum = 1.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked = self.num_batches_tracked.clone()
        try:
            yield
        finally:
            self.running_mean, self.running_var, self.num_batches_tracked, self.momentum = kept

    def _statistics(self) -> list[Tensor]:
        """Mean and variance as the last pass left them: [channels] each."""
        both = (self.running_mean, self.running_var)
        return [one.clone() for one in both if one is not None]

    @torch.no_grad()
    def _move(self, found: Sequence[Sequence[Tensor]], sizes: Sequence[int]) -> None:
        """Move the running statistics towards the mean of those of the groups."""
        if self.running_mean is None or self.running_var is None:
            return
        step = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            step = 1.0 / float(self.num_batches_tracked) if step is None else step
        weights = [size / sum(sizes) for size in sizes]
        moving = (self.running_mean, self.running_var)
        for running, values in zip(moving, zip(*found, strict=True), strict=True):
            mean = torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum(0)
            running.lerp_(mean, step or 0.0)


class _Permuted(torch.autograd.Function):
    """Rows in another order, forth and back: the gradient of indexing alone would be added up row by row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return _taken(rows, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _taken(gradients[0], ctx.back), None, None


def _taken(rows: Tensor, order: Tensor) -> Tensor:
    """Rows in another order, in the memory format they have, which indexing alone would lose."""
    if rows.ndim != 4 or not rows.is_contiguous(memory_format=torch.channels_last):
        return rows.index_select(0, order)
    found = torch.empty_like(rows)
    torch.index_select(rows.permute(0, 2, 3, 1), 0, order, out=found.permute(0, 2, 3, 1))
    return found


@functools.cache
def _grouped(kind: type) -> type:
    """A kind of batch norm over groups; it goes by the same name."""
    return type(kind.__name__, (GroupedNorm, kind), {"__doc__": kind.__doc__, "__module__": kind.__module__})
