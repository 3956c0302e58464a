"""Mixup: rows are mixed in pairs, and so are their losses (Zhang et al., ICLR 2018).

A loss L over partly missing labels cannot take mixed labels, so it takes both: share * L(own labels) +
(1 - share) * L(the partner's). For cross-entropy that is the loss of the mixed (soft) labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from ..batch import Batch
from ..objective import Losses


@attrs.frozen(eq=False)
class Mixing:
    """How the rows of a step are mixed.

    Attributes:
        share: what a row keeps of itself, in [0, 1]; its partner gives the rest.
        partners: int64 [rows], the partner of each row among the inputs of this process.
        labels_of: int64 [rows], the same among the rows of all processes, whose labels a batch holds.
    """

    share: float
    partners: Tensor
    labels_of: Tensor

    def inputs(self, inputs: Tensor) -> Tensor:
        """Mix the inputs of this process: float32 [rows, ...]; pictures of uint8 become floats in [0, 1]."""
        values = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
        return torch.lerp(values[self.partners.to(values.device)], values, self.share)

    def partners_labels(self, batch: Batch) -> Batch:
        """The batch with each row's labels replaced by its partner's; the counts of a stream stay."""

        def of_partners(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {task: tensor[self.labels_of.to(tensor.device)] for task, tensor in tensors.items()}

        return attrs.evolve(batch, targets=of_partners(batch.targets), masks=of_partners(batch.masks))

    def losses(self, own: Losses, partners: Losses) -> Losses:
        """Mix the losses of own and partners' labels, and their terms."""

        def mixed(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: self.share * left[name] + (1 - self.share) * right[name] for name in left}

        return Losses(mixed(own.tasks, partners.tasks), mixed(own.terms, partners.terms))


def draw_mixing(alpha: float, seed: int, sizes: Sequence[Sequence[int]], rank: int = 0) -> Mixing:
    """Draw one share for the step, from Beta(alpha, alpha), and each row's partner.

    A row's partner is of the same stream and process, and may be the row itself. Every process draws the
    same for all of them.

    Args:
        alpha: above 0.
        seed: of the step.
        sizes: the rows of each stream on each rank.
        rank: this process.
    """
    generator = np.random.default_rng(seed)
    share = float(generator.beta(alpha, alpha))
    drawn = [[generator.permutation(rows) for rows in of_rank] for of_rank in sizes]
    counts = np.array(sizes)  # [ranks, streams]
    before = np.cumsum(counts[rank]) - counts[rank]
    partners = [rows + start for rows, start in zip(drawn[rank], before, strict=True)]
    # Labels lie stream after stream, and in a stream rank after rank.
    starts = (np.cumsum(counts.T) - counts.T.ravel()).reshape(counts.T.shape)
    labels_of = [
        drawn[one][stream] + starts[stream, one]
        for stream in range(counts.shape[1])
        for one in range(counts.shape[0])
    ]
    return Mixing(
        share, torch.from_numpy(np.concatenate(partners)), torch.from_numpy(np.concatenate(labels_of))
    )
