"""Appearance: what a face looks like, as an auxiliary task beside what it expresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from mtl_std.metrics import ConcordanceCorrelation
from mtl_std.regression import Regression

from mtl_toolkit import Head, Metric, hookimpl
from mtl_toolkit.validators import above, not_empty, unique

AXES = (
    *("skin_red", "skin_green", "skin_blue"),
    *("hair_red", "hair_green", "hair_blue", "hair_volume", "hair_length"),
    *("width", "jaw_square", "beard", "glasses"),
)


@attrs.frozen(kw_only=True)
class Appearance(Regression):
    """What a face looks like: colours and shapes that stay when its expression changes, each in [-1, 1].

    The loss is the mean over the axes, so that many of them weigh no more than few. The default axes are
    some of those of `synthetic-faces`.
    """

    name: ClassVar[str] = "appearance"
    combine = "mean"
    axes: tuple[str, ...] = attrs.field(
        default=AXES, validator=[not_empty(), unique()], metadata={"doc": "names of the axes"}
    )
    range: tuple[float, float] | None = attrs.field(
        default=(-1.0, 1.0), metadata={"doc": "lowest and highest valid target; none: any"}
    )
    scale: float = attrs.field(
        default=0.5,
        validator=above(0),
        metadata={"doc": "standard deviation of the predictive distribution, in the target's unit"},
    )
    label: str = attrs.field(default="appearance", metadata={"doc": "the name datasets give to this label"})

    def default_metrics(self) -> tuple[Metric, ...]:
        """The mean of the axes' CCC."""
        return (ConcordanceCorrelation(each=False),)

    def default_selection(self) -> Mapping[str, float]:
        """The mean of the axes' CCC."""
        return {"ccc": 1.0}


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The appearance head."""
    return [Appearance]
