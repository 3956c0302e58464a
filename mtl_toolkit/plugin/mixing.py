"""The mixture of several outputs of one head, as the head's own raw output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

    from .task import Head


def mixture(head: Head, values: Tensor, weights: Tensor) -> Tensor:
    """The raw output whose predictive distribution is the weighted mean of those of `values`.

    In log space, so that nothing is lost of very confident outputs. It takes raw outputs that are the logits
    of a categorical or Bernoulli distribution, up to a constant; others are averaged as they are.

    Args:
        head: whose outputs.
        values: [members, rows, ...].
        weights: [members], not negative, adding up to 1.

    Returns:
        float32 [rows, ...].
    """
    import torch.nn.functional as F
    from torch.distributions import Bernoulli, Categorical

    found = _base(head.distribution(values.flatten(0, 1)))
    weights = weights.float().reshape(-1, *[1] * (values.ndim - 1))
    if not isinstance(found, Bernoulli | Categorical) or found.logits.numel() != values.numel():
        return (values.float() * weights).sum(0)
    logits, shares = found.logits.float().reshape(values.shape), weights.log()
    if isinstance(found, Categorical):  # its logits are logarithms of probabilities
        return (logits + shares).logsumexp(0)
    there = (F.logsigmoid(logits) + shares).logsumexp(0)
    missing = (F.logsigmoid(-logits) + shares).logsumexp(0)
    return there - missing


def _base(distribution: Distribution) -> Distribution:
    from torch.distributions import Independent

    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution
