"""Valence and arousal: two axes in [-1, 1], predicted over 20 bins each."""

from __future__ import annotations

from typing import ClassVar

import attrs
from mtl_std.binned_regression import BinnedRegression

from mtl_toolkit import Head, hookimpl
from mtl_toolkit.validators import not_empty, unique


@attrs.frozen(kw_only=True)
class ValenceArousal(BinnedRegression):
    """Valence and arousal in [-1, 1], as a distribution over bins per axis.

    How pleasant and how activated a state is (Russell, 1980); the bins are those of Vu et al. (ICCV Workshops
    2021).
    """

    name: ClassVar[str] = "valence-arousal"
    axes: tuple[str, ...] = attrs.field(
        default=("valence", "arousal"),
        validator=[not_empty(), unique()],
        metadata={"doc": "names of the axes"},
    )
    label: str = attrs.field(
        default="valence-arousal", metadata={"doc": "the name datasets give to this label"}
    )


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The valence-arousal head."""
    return [ValenceArousal]
