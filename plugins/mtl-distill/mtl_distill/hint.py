"""Feature distillation: the student's features, projected, are near the teacher's."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from mtl_toolkit import ConfigError, Head, HeadOutput, Loss, TeacherLoss, hookimpl, suggestion

FEATURES = "features"


@attrs.frozen(kw_only=True)
class Hint(TeacherLoss):
    """Mean squared error between the student's features and the teacher's: the hint of FitNets.

    Romero et al. (ICLR 2015), who match a middle layer, by half the squared distance, in a stage before the
    others. Here the features are those under a head's last layer, or an extra of the network by name, beside
    other losses. The student's go through a linear layer that learns with it, so that the widths may differ.
    One value for the task, the mean over the rows and the features. A row of which some units are labelled
    counts among the labelled rows and among the others.
    """

    name: ClassVar[str] = "hint"
    of: str = attrs.field(
        default=FEATURES,
        metadata={"doc": '"features" under the last layer, or an extra that both networks give'},
    )
    projection: Literal["linear", "none"] = attrs.field(
        default="linear", metadata={"doc": "what the student's go through; none: the widths must be the same"}
    )
    normalise: bool = attrs.field(
        default=False,
        metadata={"doc": "scale both sides to a mean square of 1, so that the loss is 2 - 2 cosine"},
    )

    def build(self, head: Head) -> nn.Module:
        """For any head."""
        return _Hint(self.of, self.normalise, linear=self.projection == "linear")


class _Hint(nn.Module):
    def __init__(self, of: str, normalise: bool, *, linear: bool) -> None:
        super().__init__()
        self.of, self.normalise = of, normalise
        self.projection = _Projection() if linear else None

    def forward(self, output: HeadOutput, teacher: HeadOutput, mask: Tensor) -> Tensor:
        rows = mask.any(1)
        ours = _rows_of(_part(output, self.of, "student"), rows)
        goal = _rows_of(_part(teacher, self.of, "teacher").detach(), rows)
        if self.projection is not None:
            ours = self.projection(ours, goal)
        elif ours.shape != goal.shape:
            raise ConfigError(
                f'hint: projection = "none" needs as many {self.of} of the student as of the teacher '
                f"(got {ours.shape[1]} and {goal.shape[1]})"
            )
        if self.normalise:
            ours, goal = (F.normalize(side, dim=1) * side.shape[1] ** 0.5 for side in (ours, goal))
        losses = torch.where(rows, (ours - goal).square().mean(1), 0.0)
        return losses.sum() / rows.sum().clamp(min=1)


class _Projection(LazyModuleMixin, nn.Module):
    """A linear layer from the width of one argument to that of another; neither is known before."""

    weight: UninitializedParameter
    bias: UninitializedParameter

    def __init__(self) -> None:
        super().__init__()
        self.weight = UninitializedParameter()
        self.bias = UninitializedParameter()

    def initialize_parameters(self, ours: Tensor, goal: Tensor) -> None:
        """As `nn.Linear` does; those that came with a state dict stay."""
        if not self.has_uninitialized_params():
            return
        layer = nn.Linear(ours.shape[1], goal.shape[1])
        with torch.no_grad():
            for mine, drawn in ((self.weight, layer.weight), (self.bias, layer.bias)):
                mine.materialize(drawn.shape)
                mine.copy_(drawn)

    def forward(self, ours: Tensor, goal: Tensor) -> Tensor:
        return F.linear(ours, self.weight, self.bias)


def _part(output: HeadOutput, name: str, side: str) -> Tensor:
    if name == FEATURES:
        return output.features.float()
    if name not in output.extras:
        raise ConfigError(f"hint: the {side}'s network gives no {name!r}{suggestion(name, output.extras)}")
    return output.extras[name].float()


def _rows_of(part: Tensor, rows: Tensor) -> Tensor:
    """As [rows, features], zeros where a row does not count."""
    return torch.where(rows[:, None], part.flatten(1), 0.0)


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """The hint loss."""
    return [Hint]
