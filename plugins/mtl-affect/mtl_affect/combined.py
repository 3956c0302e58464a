"""Several tasks labelled together: a head without outputs of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NoReturn

import attrs
from torch import Tensor

from mtl_toolkit import Head, Labels, Loss, Metric, hookimpl
from mtl_toolkit.validators import not_empty, unique

NO_OUTPUTS = "a combined head has no outputs of its own; use its members'"


@attrs.frozen(kw_only=True)
class Combined(Head):
    """Stands for several tasks whose labels come together, and reuses their heads.

    By default the rows of its streams enter the members' averages over streams, as in Vu et al. (ICCV
    Workshops 2021); with `reduction = "separate"` they make a loss of their own, which a balancer can weigh.
    """

    name: ClassVar[str] = "combined"
    tasks: tuple[str, ...] = attrs.field(
        validator=[not_empty(), unique()], metadata={"doc": "the member tasks"}
    )
    reduction: Literal["members", "separate"] = attrs.field(
        default="members", metadata={"doc": "whether its rows join the members' losses or make their own"}
    )

    @property
    def members(self) -> tuple[str, ...]:
        """The member tasks."""
        return self.tasks

    @property
    def separate(self) -> bool:
        """Whether its streams make a loss of their own."""
        return self.reduction == "separate"

    @property
    def units(self) -> tuple[str, ...]:
        """None: the members have them."""
        return ()

    @property
    def target_shape(self) -> tuple[int, ...]:
        """It has no targets: the members have them."""
        return (0,)

    def meaning(self) -> dict[str, Any]:
        """The members."""
        return {"kind": "combined", "tasks": list(self.tasks)}

    def check_labels(self, labels: Labels) -> str | None:
        """It has no labels."""
        return None

    def build(self, features: int) -> NoReturn:
        """It has no layers."""
        raise TypeError(NO_OUTPUTS)

    def estimate(self, values: Tensor) -> NoReturn:
        """It has no outputs."""
        raise TypeError(NO_OUTPUTS)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> NoReturn:
        """It has no outputs."""
        raise TypeError(NO_OUTPUTS)

    def default_losses(self) -> tuple[Loss, ...]:
        """None: the members have them."""
        return ()

    def default_metrics(self) -> tuple[Metric, ...]:
        """None: the members have them."""
        return ()

    def default_selection(self) -> Mapping[str, float]:
        """Nothing: the members have it."""
        return {}


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The combined head."""
    return [Combined]
