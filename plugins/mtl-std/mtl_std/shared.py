"""Hard sharing: one backbone for all tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import attrs
from torch import Tensor, nn

from mtl_toolkit import Architecture, Features, hookimpl


@attrs.frozen(kw_only=True)
class Shared(Architecture):
    """One backbone whose features every head reads (Caruana, 1997)."""

    name: ClassVar[str] = "shared"

    def build(self, backbone: Callable[[], nn.Module], tasks: Sequence[str]) -> SharedTrunk:
        """One backbone."""
        return SharedTrunk(backbone(), tasks)


class SharedTrunk(nn.Module):
    """Gives every task the same features [rows, num_features], with their extras if there are any."""

    def __init__(self, backbone: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features: Mapping[str, int] = dict.fromkeys(tasks, int(backbone.num_features))  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor | Features]:
        """Run the backbone once."""
        return dict.fromkeys(tasks, self.backbone(inputs))


@hookimpl
def mtl_architectures() -> list[type[Architecture]]:
    """The architectures of this package."""
    return [Shared]
