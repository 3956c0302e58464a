"""Sharpness-aware minimisation: step by the gradient at the worst point nearby (Foret et al., ICLR 2021)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import attrs
import torch
from torch import Tensor, nn

from ..validators import above

TINY = 1e-12  # keeps a gradient that is zero from making weights that are no numbers
STEADY = 0.01  # eta of ASAM: weights that are zero can move too


@attrs.frozen
class Sharpness:
    """How far, and by which measure, the weights climb before the gradient is taken that they follow.

    Attributes:
        rho: length of the climb.
        adaptive: measure each weight's way by its size, so that the climb does not depend on the scale of the
            weights (ASAM: Kwon et al., ICML 2021); a rho some ten times as large is usual.
    """

    rho: float = attrs.field(validator=above(0))
    adaptive: bool = False

    @contextlib.contextmanager
    def climbed(self, parameters: Iterable[Tensor]) -> Iterator[None]:
        """Inside, the parameters stand where the loss is about largest within `rho`; then where they stood.

        That is w + rho * g / ||g|| (equation 2), with the norm over all parameters that have a gradient;
        adaptive, w + rho * T^2 g / ||T g|| with T = |w| + 0.01. They come back
        bit for bit.
        """
        moved = [parameter for parameter in parameters if parameter.grad is not None]
        before = [parameter.detach().clone() for parameter in moved]
        with torch.no_grad():
            for parameter, way in zip(moved, self._climb(moved), strict=True):
                parameter.add_(way)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(moved, before, strict=True):
                    parameter.copy_(value)

    def _climb(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return []
        sizes = [parameter.abs() + STEADY for parameter in parameters] if self.adaptive else None
        if sizes is not None:
            gradients = [gradient * size for gradient, size in zip(gradients, sizes, strict=True)]
        norm = torch.nn.utils.get_total_norm(gradients)
        ways = [gradient * (self.rho / (norm + TINY)) for gradient in gradients]
        return ways if sizes is None else [way * size for way, size in zip(ways, sizes, strict=True)]


@contextlib.contextmanager
def keeping_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """What happens inside does not move the modules' buffers, such as batch norm's statistics.

    They are put back at the end and not sooner: a backward pass inside may still need them.
    """
    buffers = [buffer for module in modules for buffer in module.buffers()]
    before = [buffer.detach().clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
