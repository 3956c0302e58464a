"""Losses with one mistake each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_distill.distillation import Distillation
from mtl_std.losses import CrossEntropy
from mtl_std.regression import Regression
from torch import Tensor, nn

from mtl_toolkit import Head, Labels, Loss, TeacherLoss
from mtl_toolkit.testing import Check, check_loss
from tests.mutants import Mutant, broken, couplings, maker, of_any_kind


def row_losses(output, target, mask):
    """Cross-entropy of each row, zero outside the mask: what the mutants below begin with."""
    values = torch.where(mask[:, None], output.values, 0.0)
    losses = F.cross_entropy(values, torch.where(mask, target, 0), reduction="none")
    return torch.where(mask, losses, 0.0)


def mean(losses, mask):
    return losses.sum() / mask.sum().clamp(min=1)


def sound(output, target, mask):
    return mean(row_losses(output, target, mask), mask)


def as_a_number(output, target, mask):
    return sound(output, target, mask).item()


def one_per_row(output, target, mask):
    return row_losses(output, target, mask)


def integer(output, target, mask):
    return sound(output, target, mask).long()


def over_one_row_less(output, target, mask):
    return row_losses(output, target, mask).sum() / (mask.sum() - 1)


def root_of_each_row(output, target, mask):
    """Where the prediction is right, the square root has no finite gradient."""
    blank = torch.where(mask, output.values - target, 0.0)
    return mean(blank.square().sum(1).sqrt(), mask.any(1))


def of_estimates(output, target, mask):
    return mean((output.values.argmax(-1) != torch.where(mask, target, 0)).float() * mask, mask)


def times_mask(output, target, mask):
    return mean(F.cross_entropy(output.values, target.clamp(0, 6), reduction="none") * mask, mask)


def where_after_log(output, target, mask):
    """The value is right; the gradient of what `where` leaves out is NaN."""
    losses = F.cross_entropy(output.values, target.clamp(0, 6), reduction="none")
    return mean(torch.where(mask, losses, 0.0), mask)


def features_where_after_square(output, target, mask):
    """The gradient of the features that `where` leaves out is NaN."""
    return sound(output, target, mask) + torch.where(mask, output.features.square().sum(1), 0.0).sum() * 0.01


def gradients_changed(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Sound, but for the gradient of the logits."""

    def loss(output, target, mask):
        if output.values.requires_grad:
            output.values.register_hook(change)
        return sound(output, target, mask)

    return loss


def mean_over_all(output, target, mask):
    return row_losses(output, target, mask).mean()


def plus_one(output, target, mask):
    return sound(output, target, mask) + 1


def no_clamp(output, target, mask):
    return row_losses(output, target, mask).sum() / mask.sum()


def plain_sum(output, target, mask):
    return row_losses(output, target, mask).sum()


def labels_by_place(output, target, mask):
    return sound(output, target, mask) + (torch.where(mask, target, 0) * torch.arange(len(mask))).sum()


def mean_of_labels(output, target, mask):
    return sound(output, target, mask) + 0.1 * target.float().mean()


def noisy(output, target, mask):
    return sound(output, target, mask) * (1 + 0.1 * torch.rand(()))


def writes_into_target(output, target, mask):
    target[~mask] = 0
    return sound(output, target, mask)


def log_of_softmax(output, target, mask):
    likely = torch.where(mask[:, None], output.values, 0.0).softmax(-1).log()
    return mean(-likely.gather(1, torch.where(mask, target, 0)[:, None])[:, 0] * mask, mask)


@attrs.frozen(kw_only=True)
class Function(Loss):
    """Cross-entropy, broken or not."""

    name: ClassVar[str] = "function"
    function: ClassVar[Any] = staticmethod(sound)

    def build(self, head: Head) -> Any:
        return self.function


def clamped_log(output, target, mask):
    """The value is finite; its gradient is not."""
    likely = torch.where(mask[:, None], output.values, 0.0).softmax(-1).log().clamp(min=-100)
    return mean(-likely.gather(1, torch.where(mask, target, 0)[:, None])[:, 0] * mask, mask)


class UnusedParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, target, mask):
        return sound(output, target, mask)


class RootOfParameter(nn.Module):
    """Begins where the square root has no finite gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, output, target, mask):
        return sound(output, target, mask) * (1 + self.scale.sqrt())


class LeaksInTraining(nn.Module):
    def forward(self, output, target, mask):
        return (times_mask if self.training else sound)(output, target, mask)


class LeaksInEvalMode(nn.Module):
    def forward(self, output, target, mask):
        return (sound if self.training else times_mask)(output, target, mask)


class StateOutsideBuffers(nn.Module):
    """Divides by what the loss was, in training."""

    def __init__(self) -> None:
        super().__init__()
        self.before = 1.0

    def forward(self, output, target, mask):
        loss = sound(output, target, mask)
        if not self.training:
            return loss
        before, self.before = self.before, 0.5 * self.before + float(loss.detach())
        return loss / before


class StateOfEvalMode(StateOutsideBuffers):
    """Keeps in training what it divides by in eval mode."""

    def forward(self, output, target, mask):
        loss = sound(output, target, mask)
        if self.training:
            self.before = 0.5 * self.before + float(loss.detach())
            return loss
        return loss / self.before


@attrs.frozen(kw_only=True)
class TeachesAllRows(TeacherLoss):
    """Broken."""

    name: ClassVar[str] = "teaches-all"

    def build(self, head):
        return lambda output, teacher, _mask: F.mse_loss(output.values, teacher.values)


@attrs.frozen(kw_only=True)
class Unnamed(CrossEntropy):
    """Broken."""

    name: ClassVar[str] = "two words"


@attrs.frozen(kw_only=True)
class ComparedByIdentity(CrossEntropy):
    """Broken."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@attrs.frozen(kw_only=True)
class OtherType(CrossEntropy):
    """Broken."""

    sharpness: int = attrs.field(default=0.5, metadata={"doc": "factor"})


class SkippedWithoutLabels(nn.Module):
    """A lazy layer that a call without a valid row does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(1)

    def forward(self, output, target, mask):
        if not mask.any():
            return output.values.where(mask[:, None], 0.0).sum()
        features = torch.where(mask[:, None], output.features, 0.0)
        return sound(output, target, mask) + mean(self.layer(features).square()[:, 0] * mask, mask)


class WithLazyLayer(SkippedWithoutLabels):
    """Sound."""

    def forward(self, output, target, mask):
        features = torch.where(mask[:, None], output.features, 0.0)
        return sound(output, target, mask) + mean(self.layer(features).square()[:, 0] * mask, mask)


@attrs.frozen(kw_only=True)
class Lazy(Loss):
    """Sound: a lazy layer on the features."""

    name: ClassVar[str] = "lazy"

    def build(self, head: Head) -> Any:
        return WithLazyLayer()


def mean_of_all_labels(self, _head, labels):
    return attrs.evolve(self, weight=1.0 + abs(float(labels.values.sum())))


def mean_of_some_labels(self, _head, labels):
    return attrs.evolve(self, weight=1 / len(labels))


def checks_of(recipe: Loss, head: Head | None = None) -> list[Check]:
    return check_loss(recipe, head or Expression())


of_loss = maker(checks_of, Function, "function")


def of_extras(output, _target, mask):
    """Looks at a map that the network gives beside its features, soundly."""
    maps = torch.where(mask[:, None, None], output.extras["map"], 0.0)
    return mean(maps.square().mean((1, 2)), mask)


def of_extras_masked_late(output, _target, mask):
    return mean(torch.where(mask, output.extras["map"].square().mean((1, 2)), 0.0), mask)


@attrs.frozen(kw_only=True)
class WithExtras(Function):
    """Sound, on extras."""

    function: ClassVar[Callable[..., Tensor]] = staticmethod(of_extras)


def checks_with_extras(function: Callable[..., Tensor]) -> list[Check]:
    recipe = broken(Function, function=staticmethod(function))
    return check_loss(recipe, Expression(), extras={"map": (2, 3)})


def of_module(mistake: str, module: type[nn.Module], caught_by: str) -> Mutant:
    return of_loss(mistake, broken(Function, build=lambda _, _head: module()), caught_by)


def without_labels() -> list[Check]:
    return check_loss(Function(), Expression(), labels=Labels.missing(20, (), np.dtype(np.int64)))


MUTANTS = [
    *of_any_kind(checks_of, Function),
    of_loss("a name of two words", Unnamed(), "loadable"),
    of_loss("compares by identity", ComparedByIdentity(), "toml-round-trip"),
    of_loss("a default of another type", OtherType(), "toml-round-trip"),
    of_loss("compares by identity", ComparedByIdentity(), "pickles"),
    Mutant("is tried on labels that are all missing", without_labels, "shape"),
    of_loss("a Python number", as_a_number, "shape"),
    of_loss("a value per row", one_per_row, "shape"),
    of_loss("a whole number", integer, "shape"),
    of_loss("divides by one row less than there are", over_one_row_less, "shape"),
    of_loss("a root of zero", root_of_each_row, "gradient-reaches-outputs", Regression(), told="nan"),
    of_loss("of estimates, which have no gradient", of_estimates, "gradient-reaches-outputs"),
    of_loss("multiplies with the mask", times_mask, "masked-rows-change-nothing"),
    of_loss("adds the mean of all labels", mean_of_labels, "masked-rows-change-nothing"),
    of_loss("masks after computing", where_after_log, "masked-rows-change-nothing"),
    of_loss("masks features after computing", features_where_after_square, "masked-rows-change-nothing"),
    Mutant(
        "masks extras after computing",
        functools.partial(checks_with_extras, of_extras_masked_late),
        "masked-rows-change-nothing",
        told="the features' gradient",
    ),
    of_loss("centres gradients", gradients_changed(lambda g: g - g.mean(0)), "masked-rows-change-nothing"),
    of_module("multiplies with the mask in training", LeaksInTraining, "masked-rows-change-nothing"),
    of_module("multiplies with the mask in eval mode", LeaksInEvalMode, "masked-rows-change-nothing"),
    of_loss("a teacher of rows outside the mask", TeachesAllRows(), "masked-rows-change-nothing"),
    of_loss("a mean over all rows", mean_over_all, "masked-rows-do-not-count"),
    of_loss("adds a constant", plus_one, "all-masked-is-zero"),
    of_loss("divides by no rows", no_clamp, "all-masked-is-zero"),
    of_module("multiplies with the mask in training", LeaksInTraining, "all-masked-is-zero"),
    of_module("multiplies with the mask in eval mode", LeaksInEvalMode, "all-masked-is-zero"),
    of_loss("masks after computing", where_after_log, "all-masked-is-zero"),
    of_loss("a sum", plain_sum, "mean-over-rows"),
    of_loss("adds the labels times their places", labels_by_place, "order-of-rows-does-not-matter"),
    of_loss(
        "weighs gradients by place",
        gradients_changed(lambda g: g * torch.arange(len(g))[:, None]),
        "order-of-rows-does-not-matter",
    ),
    of_loss("draws random numbers in eval mode", noisy, "same-when-called-again"),
    of_loss("writes into the target", writes_into_target, "same-when-called-again"),
    of_module("a parameter without a part", UnusedParameter, "parameters-learn"),
    of_module("the root of a parameter that is zero", RootOfParameter, "parameters-learn"),
    of_module("state of training that is no buffer", StateOutsideBuffers, "parameters-learn"),
    of_module("state of eval mode that is no buffer", StateOfEvalMode, "parameters-learn"),
    of_module(
        "a lazy layer that is skipped without labels", SkippedWithoutLabels, "lazy-parameters-get-sizes"
    ),
    of_loss("is fitted to nothing", broken(Function, fitted=lambda *_: None), "fitted-to-labels"),
    of_loss("reads missing labels", broken(Function, fitted=mean_of_all_labels), "fitted-to-labels"),
    of_loss(
        "divides by the number of labels",
        broken(Function, fitted=mean_of_some_labels),
        "fitted-to-labels",
        raises=ZeroDivisionError,
    ),
    of_loss("log of a softmax", log_of_softmax, "large-outputs", told="the loss: inf"),
    of_loss("a clamped log of a softmax", clamped_log, "large-outputs"),
    *couplings.MUTANTS,
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    looks_at_extras = check_loss(WithExtras(), Expression(), extras={"map": (2, 3)})
    return [
        *check_loss(Function(), Expression()),
        *check_loss(Distillation(), ActionUnits()),
        *looks_at_extras,
        *couplings.sound_checks(),
        *check_loss(Lazy(), Expression()),
        *check_loss(CrossEntropy(class_weights="balanced"), Expression()),
    ]
