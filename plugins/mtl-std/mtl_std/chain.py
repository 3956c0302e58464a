"""Networks of timm, and their parts: blocks that follow each other, what is frozen in them, and the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Self

import torch
from torch import Tensor, nn

IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d)  # layers that change nothing in eval mode
EXAMPLES = "resnet18, efficientnet_b0, mobilenetv3_small_100, convnext_atto, regnetx_002, densenet121"


class Kept(nn.Module):
    """A network, or a part of one, of which some modules are not trained: no gradient, always in eval mode.

    Args:
        network: the network.
        frozen: modules that are not trained, with all that is in them; others than its own do not matter.
    """

    def __init__(self, network: nn.Module, frozen: Collection[nn.Module] = ()) -> None:
        super().__init__()
        self.network = network
        inside = {one for module in frozen for one in module.modules()}
        self._frozen = tuple(module for module in network.modules() if module in inside)
        for module in self._frozen:
            module.requires_grad_(requires_grad=False)
            module.eval()

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """The modules that are not trained."""
        return self._frozen

    def forward(self, inputs: Tensor) -> Tensor:
        """Run the network."""
        outputs: Tensor = self.network(inputs)
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Switch to training, all but the frozen modules."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


class AfterMaps(nn.Module):
    """What timm's network does after its last feature map, without the blocks before it.

    Args:
        network: the network; it stays as it is.
        blocks: names of the children that come before.
    """

    def __init__(self, network: nn.Module, blocks: Collection[str]) -> None:
        super().__init__()
        # A second view of the network. Its method knows what its layers do not: dropout, flattening.
        view = network.__new__(type(network))
        view.__dict__ = network.__dict__.copy()
        view._modules = {name: child for name, child in network._modules.items() if name not in blocks}
        self.network = view

    def forward(self, maps: Tensor) -> Tensor:
        """[rows, channels, height, width] to [rows, features]."""
        features: Tensor = self.network.forward_head(maps)  # type: ignore[operator] # a method of timm's
        return features


@torch.no_grad()
def blocks_of(network: nn.Module, pictures: Tensor) -> dict[str, nn.Module] | None:
    """The blocks that make the last feature map of timm's network, one after the other, by name.

    They are its children in order, where those do the same as `network.forward_features`, tried on pictures;
    what is an `nn.Sequential` is opened.

    Args:
        network: in eval mode.
        pictures: [rows, channels, size, size].

    Returns:
        None if the children do not follow each other, or make no square maps [rows, channels, side, side].
    """
    wanted = network.forward_features(pictures)  # type: ignore[operator] # a method of timm's
    if not isinstance(wanted, Tensor) or wanted.ndim != 4 or wanted.shape[2] != wanted.shape[3]:
        return None
    blocks = dict(_opened(network))
    last = _place_of(wanted, list(blocks.values()), pictures)
    return dict(list(blocks.items())[:last]) if last else None


def _opened(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Children by name; instead of an nn.Sequential, what is in it."""
    for name, child in network.named_children():
        if type(child) is nn.Sequential:
            yield from _opened(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _place_of(wanted: Tensor, blocks: list[nn.Module], pictures: Tensor) -> int:
    """After how many blocks there is what is wanted; 0: never.

    Blocks that change nothing as yet, as residual ones do whose last layer begins at zero, are among them.
    """
    found, last = pictures, 0
    for place, block in enumerate(blocks, 1):
        # After a map of one place, pooling changes nothing either.
        if last and not (isinstance(block, IDLE) or any(True for _ in block.parameters())):
            return last
        try:
            found = block(found)
        except Exception:
            # It does not take what the one before gives. That may show in any way.
            return last
        same = isinstance(found, Tensor) and found.shape == wanted.shape and torch.allclose(found, wanted)
        if last and not same:
            return last
        last = place if same else 0
    return last
