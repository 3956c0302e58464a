"""Targets that are made of the network's inputs: those of self-supervised heads."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from .batch import Batch, Count
from .plugin import Head


def with_own_targets(batch: Batch, inputs: Tensor, heads: Mapping[str, Head]) -> Batch:
    """A batch with the targets of its self-supervised heads, on the device of the inputs.

    Every row has such a target; labels of other heads stay as they are.

    Args:
        batch: the batch; its inputs are not looked at.
        inputs: what the network sees of its rows, after augmentation: uint8, or floats in [0, 1].
        heads: by task, of any kind.

    Raises:
        ValueError: if a head makes targets of another shape than it says.
    """
    return with_targets(batch, own_targets(inputs, heads))


@torch.no_grad()
def own_targets(inputs: Tensor, heads: Mapping[str, Head]) -> dict[str, Tensor]:
    """The targets of self-supervised heads by task: [rows, *target_shape]; of other heads none.

    Raises:
        ValueError: if a head makes targets of another shape than it says.
    """
    made = {task: head.target_of(inputs) for task, head in heads.items() if head.self_supervised}
    for task, target in made.items():
        wanted = (len(inputs), *heads[task].target_shape)
        if tuple(target.shape) != wanted:
            raise ValueError(f"task {task!r}: target_of must give {wanted} (got {tuple(target.shape)})")
    return made


def with_targets(batch: Batch, targets: Mapping[str, Tensor]) -> Batch:
    """A batch with further targets, of all of its rows."""
    if not targets:
        return batch
    masks = {task: _everywhere(target) for task, target in targets.items()}
    counts = {
        (stream, task): Count(rows * math.prod(target.shape[1:]), 0)
        for task, target in targets.items()
        for stream, rows in enumerate(batch.sizes)
    }
    return attrs.evolve(
        batch,
        targets={**batch.targets, **targets},
        masks={**batch.masks, **masks},
        counts={**batch.counts, **counts},
    )


def _everywhere(target: Tensor) -> Tensor:
    """A mask that is true; one element stands for all, as it would be as large as a picture."""
    return torch.ones((), dtype=torch.bool, device=target.device).expand(target.shape)
