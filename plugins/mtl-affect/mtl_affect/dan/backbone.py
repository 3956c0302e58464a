"""The backbone of DAN: a network of timm up to its last map, and attention heads on it."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from mtl_std.timm_backbone import FrozenParts, Timm
from torch import Tensor, nn

from mtl_toolkit import Backbone, Chain, ConfigError, Features, hookimpl
from mtl_toolkit.validators import at_least

from .attention import AttentionHeads


@attrs.frozen(kw_only=True)
class Dan(Timm):
    """Attention heads on the last map of a timm network, fused (DAN; Wen et al., arXiv 2109.07270, 2021).

    The paper's network is resnet18, with four heads. The fields of `timm` are those of the network under the
    heads. Losses find the map and the heads' vectors beside the features: `affinity` and `partition`.
    """

    name: ClassVar[str] = "dan"
    attention_heads: int = attrs.field(
        default=4, validator=at_least(1), metadata={"doc": "heads that attend to the last feature map"}
    )

    def build(self, image_size: int, *, weights: bool = True) -> DanNetwork:  # type: ignore[override]
        """Build the network without its own pooling, and the heads on it.

        Raises:
            ConfigError: as for `timm`; or if the network makes no maps [rows, channels, height, width].
        """
        unpooled = attrs.evolve(self, options={**self.options, "global_pool": ""})
        body = Timm.build(unpooled, image_size, weights=weights)
        if not _makes_maps(body):
            raise ConfigError(
                f"model.backbone.name: {self.model!r} makes no feature map [channels, height, width] that "
                "attention heads could look at; resnet18 is one that does"
            )
        return DanNetwork(body, AttentionHeads(body.num_features, self.attention_heads))


class DanNetwork(nn.Module):
    """Gives `Features`: the fused vectors of the heads, and beside them what the losses look at."""

    def __init__(self, body: FrozenParts, attention: AttentionHeads) -> None:
        super().__init__()
        self.backbone = body  # the name is a prefix that weight files are read without
        self.attention = attention
        self.num_features = body.num_features

    def forward(self, pictures: Tensor) -> Features:
        """[rows, 3, size, size] to features [rows, num_features]."""
        features: Features = self.attention(self.backbone(pictures))
        return features

    def chain(self) -> Chain:
        """The blocks of the network under the heads; the heads are the pool.

        Raises:
            ConfigError: if that network is not made of blocks that follow each other.
        """
        chain = self.backbone.chain()
        return chain._replace(pool=nn.Sequential(chain.pool, self.attention))


@torch.no_grad()
def _makes_maps(body: FrozenParts) -> bool:
    maps = body.eval()(torch.zeros(1, *body.shape))
    body.train()
    return bool(maps.ndim == 4 and maps.shape[1] == body.num_features)


@hookimpl
def mtl_backbones() -> list[type[Backbone]]:
    """The backbone of this module."""
    return [Dan]
