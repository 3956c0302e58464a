"""Networks over the frames of a window: recurrent, convolutional, and with attention.

What all of them promise: a frame outside the mask reaches neither a value nor a gradient, whatever it holds,
and the outputs there are zero.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from mtl_toolkit import Temporal, hookimpl
from mtl_toolkit.validators import Rule, at_least, between

from .temporal_layers import ConvolutionLayers, RecurrentLayers, TransformerLayers

ODD = Rule("must be odd and at least 1", lambda value: value >= 1 and value % 2 == 1)


@attrs.frozen(kw_only=True)
class GRU(Temporal):
    """Gated recurrent units, then ReLU, as in Vu et al. (ICCV Workshops 2021)."""

    name: ClassVar[str] = "gru"
    hidden: int = attrs.field(
        default=64, validator=at_least(1), metadata={"doc": "units per layer and direction"}
    )
    layers: int = attrs.field(
        default=1, validator=at_least(1), metadata={"doc": "recurrent layers, one on the other"}
    )
    bidirectional: bool = attrs.field(
        default=True, metadata={"doc": "read the window backwards too, which doubles the outputs"}
    )
    dropout: float = attrs.field(
        default=0.0,
        validator=between(0, 1),
        metadata={"doc": "probability of dropout between the layers and after the last"},
    )

    def build(self, features: int) -> RecurrentLayers:
        """To `hidden` outputs per direction, forward ones first."""
        return RecurrentLayers(
            features, self.hidden, self.layers, self.dropout, bidirectional=self.bidirectional
        )


@attrs.frozen(kw_only=True)
class TCN(Temporal):
    """Residual blocks of two dilated convolutions each (Bai et al., 2018); the dilation doubles by block.

    The receptive field is 1 + 2 (kernel - 1) (2^layers - 1) frames: 61 by default.
    """

    name: ClassVar[str] = "tcn"
    channels: int = attrs.field(
        default=128, validator=at_least(1), metadata={"doc": "outputs of every layer"}
    )
    layers: int = attrs.field(
        default=4,
        validator=at_least(1),
        metadata={"doc": "residual blocks; the dilation of the n-th is 2^(n-1)"},
    )
    kernel: int = attrs.field(
        default=3, validator=ODD, metadata={"doc": "frames that a convolution reads; odd"}
    )
    dropout: float = attrs.field(
        default=0.1,
        validator=between(0, 1),
        metadata={"doc": "probability of dropout after every convolution"},
    )
    causal: bool = attrs.field(default=False, metadata={"doc": "read no later frames"})

    def build(self, features: int) -> ConvolutionLayers:
        """To `channels` outputs."""
        return ConvolutionLayers(
            features, self.channels, self.layers, self.kernel, self.dropout, causal=self.causal
        )


@attrs.frozen(kw_only=True)
class Transformer(Temporal):
    """Transformer encoder (Vaswani et al., 2017) with its norms first (Xiong et al., 2020)."""

    name: ClassVar[str] = "transformer"
    width: int = attrs.field(default=128, validator=at_least(1), metadata={"doc": "outputs of every layer"})
    heads: int = attrs.field(
        default=4, validator=at_least(1), metadata={"doc": "attention heads; they share the width evenly"}
    )
    layers: int = attrs.field(default=2, validator=at_least(1), metadata={"doc": "encoder layers"})
    feedforward: int = attrs.field(
        default=256, validator=at_least(1), metadata={"doc": "hidden units of a layer's feed-forward part"}
    )
    dropout: float = attrs.field(
        default=0.1,
        validator=between(0, 1),
        metadata={"doc": "probability of dropout of inputs, attention and layers"},
    )

    @heads.validator
    def _divides_the_width(self, _attribute: Any, value: int) -> None:
        if self.width % value:
            raise ValueError(f"must divide the width, {self.width} (got {value})")

    def build(self, features: int) -> TransformerLayers:
        """To `width` outputs."""
        return TransformerLayers(
            features, self.width, self.heads, self.layers, self.feedforward, self.dropout
        )


@hookimpl
def mtl_temporals() -> list[type[Temporal]]:
    """The temporal networks of this package."""
    return [GRU, TCN, Transformer]
