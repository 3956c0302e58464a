"""Losses that couple tasks, with one mistake each."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from torch import nn

from mtl_toolkit import CouplingLoss, Head
from mtl_toolkit.testing import Check, check_loss
from tests.mutants import Mutant, broken, maker

HEADS: dict[str, Head] = {"expr": Expression(), "au": ActionUnits()}


def row_losses(outputs, targets, masks):
    """The squared distance of the mean logits of a row, more where there are labelled units."""
    known = torch.where(masks["au"], targets["au"], 0.0).mean(1)
    return (outputs["expr"].values.mean(1) - outputs["au"].values.mean(1) - known).square()


def sound(outputs, targets, masks):
    return row_losses(outputs, targets, masks).mean()


def whole(outputs, targets, masks):
    return sound(outputs, targets, masks).long()


def over_one_row_less(outputs, targets, masks):
    losses = row_losses(outputs, targets, masks)
    return losses.sum() / (len(losses) - 1)


def root(outputs, targets, masks):
    """The square root has no finite gradient at zero."""
    nothing = (outputs["expr"].values - outputs["expr"].values.detach()).square().sum()
    return sound(outputs, targets, masks) + nothing.sqrt()


def detached(outputs, targets, masks):
    return sound({**outputs, "au": outputs["au"].map(torch.Tensor.detach)}, targets, masks)


def times_mask(outputs, targets, masks):
    return sound(outputs, targets, masks) + (targets["au"] * masks["au"]).mean()


def where_after_product(outputs, targets, masks):
    """The value is right; the gradient of what `where` leaves out is NaN."""
    products = torch.where(masks["au"], outputs["au"].values * targets["au"], 0.0)
    return sound(outputs, targets, masks) + products.mean()


def features_where_after_product(outputs, targets, masks):
    """The gradient of the features that `where` leaves out is NaN."""
    products = outputs["au"].features[:, :1] * targets["au"][:, :1]
    return sound(outputs, targets, masks) + torch.where(masks["au"][:, :1], products, 0.0).mean()


def over_labelled_rows(outputs, targets, masks):
    rows = masks["expr"]
    return (row_losses(outputs, targets, masks) * rows).sum() / rows.sum()


class ReturnsEarly(nn.Module):
    """A lazy layer that a call without labels does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(1)

    def forward(self, outputs, targets, masks):
        loss = sound(outputs, targets, masks)
        if masks["expr"].any():
            loss = loss + self.layer(outputs["expr"].features).square().mean()
        return loss


class Lazy(ReturnsEarly):
    """Sound."""

    def forward(self, outputs, targets, masks):
        return sound(outputs, targets, masks) + self.layer(outputs["expr"].features).square().mean()


@attrs.frozen(kw_only=True)
class Coupling(CouplingLoss):
    """The mean logits of two tasks are near, broken or not."""

    name: ClassVar[str] = "coupling"
    function: ClassVar[Any] = staticmethod(sound)

    def build_joint(self, heads):
        return self.function


@attrs.frozen(kw_only=True)
class LazyCoupling(CouplingLoss):
    """Sound, with a lazy layer."""

    name: ClassVar[str] = "lazy-coupling"

    def build_joint(self, heads):
        return Lazy()


@attrs.frozen(kw_only=True)
class OneSided(Coupling):
    """Sound: it says that one task is only looked at."""

    name: ClassVar[str] = "one-sided"
    function: ClassVar[Any] = staticmethod(detached)


def checks_of(recipe: CouplingLoss) -> list[Check]:
    return check_loss(recipe, HEADS)


of_coupling = maker(checks_of, Coupling, "function")

MUTANTS: list[Mutant] = [
    of_coupling("a value per row", row_losses, "scalar"),
    of_coupling("a whole number", whole, "scalar"),
    of_coupling("divides by one row less than there are", over_one_row_less, "scalar"),
    of_coupling("a root of zero", root, "gradient-reaches-every-task", told="nan"),
    of_coupling("one task is detached", detached, "gradient-reaches-every-task", told="that of 'au' is zero"),
    of_coupling("multiplies with the mask", times_mask, "labels-outside-the-masks-change-nothing"),
    of_coupling("masks after computing", where_after_product, "labels-outside-the-masks-change-nothing"),
    of_coupling(
        "masks features after computing",
        features_where_after_product,
        "labels-outside-the-masks-change-nothing",
    ),
    of_coupling("divides by no rows", over_labelled_rows, "without-labels"),
    of_coupling(
        "a lazy layer that is skipped without labels",
        broken(Coupling, build_joint=lambda _, _heads: ReturnsEarly()),
        "lazy-parameters-get-sizes",
    ),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    one_sided = check_loss(OneSided(), HEADS, without_gradient=("au",))
    return [*checks_of(Coupling()), *checks_of(LazyCoupling()), *one_sided]
