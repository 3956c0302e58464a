"""Losses and metrics with one mistake each: the conformance kit catches all, and each check can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_distill.distillation import Distillation
from mtl_std.losses import CrossEntropy
from mtl_std.metrics import Accuracy
from mtl_std.regression import Regression
from torch import Tensor, nn
from torchmetrics import Metric as LiveMetric

from mtl_toolkit import Head, Loss, Metric, TeacherLoss
from mtl_toolkit.testing import check_loss, check_metric
from tests.mutants import Mutant, assert_caught, uncaught


def row_losses(output, target, mask):
    """Cross-entropy of each row, zero outside the mask: what the mutants below begin with."""
    values = torch.where(mask[:, None], output.values, 0.0)
    losses = F.cross_entropy(values, torch.where(mask, target, 0), reduction="none")
    return torch.where(mask, losses, 0.0)


def mean(losses, mask):
    return losses.sum() / mask.sum().clamp(min=1)


def sound(output, target, mask):
    return mean(row_losses(output, target, mask), mask)


def one_per_row(output, target, mask):
    return row_losses(output, target, mask)


def integer(output, target, mask):
    return sound(output, target, mask).long()


def of_estimates(output, target, mask):
    return mean((output.values.argmax(-1) != torch.where(mask, target, 0)).float() * mask, mask)


def times_mask(output, target, mask):
    return mean(F.cross_entropy(output.values, target.clamp(0, 6), reduction="none") * mask, mask)


def where_after_log(output, target, mask):
    """The value is right; the gradient of what `where` leaves out is NaN."""
    losses = F.cross_entropy(output.values, target.clamp(0, 6), reduction="none")
    return mean(torch.where(mask, losses, 0.0), mask)


def mean_over_all(output, target, mask):
    return row_losses(output, target, mask).mean()


def no_clamp(output, target, mask):
    return row_losses(output, target, mask).sum() / mask.sum()


def plain_sum(output, target, mask):
    return row_losses(output, target, mask).sum()


def neighbours(output, target, mask):
    return (
        sound(output, target, mask)
        + mask[0] * torch.where(mask[:, None], output.values, 0.0)[0].square().sum()
    )


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


def loss_of(function: Callable[..., Tensor]) -> Loss:
    members = {"function": staticmethod(function), "__doc__": "Broken."}
    return attrs.frozen(type("With", (Function,), members), kw_only=True)()


class UnusedParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, target, mask):
        return sound(output, target, mask)


class LeaksInTraining(nn.Module):
    def forward(self, output, target, mask):
        return (times_mask if self.training else sound)(output, target, mask)


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


@attrs.frozen(kw_only=True)
class Unlearning(CrossEntropy):
    """Broken."""

    def build(self, head):
        return UnusedParameter()


@attrs.frozen(kw_only=True)
class WithModule(Unlearning):
    """Broken."""

    module: ClassVar[type[nn.Module]] = LeaksInTraining

    def build(self, head):
        return self.module()


@attrs.frozen(kw_only=True)
class Forgetful(WithModule):
    """Broken."""

    module: ClassVar[type[nn.Module]] = StateOutsideBuffers


@attrs.frozen(kw_only=True)
class NoDoc(CrossEntropy):
    """Broken."""

    sharpness: float = 1.0


@attrs.frozen(kw_only=True)
class Unnamed(CrossEntropy):
    """Broken."""

    name: ClassVar[str] = "two words"


@attrs.frozen(kw_only=True)
class Halves(CrossEntropy):
    """Broken."""

    sharpness: float = attrs.field(default=1.0, converter=lambda value: value / 2, metadata={"doc": "factor"})


def local_class() -> Loss:
    @attrs.frozen(kw_only=True)
    class Local(CrossEntropy):
        """Broken."""

    return Local()


@attrs.frozen(kw_only=True)
class TeachesAllRows(TeacherLoss):
    """Broken."""

    name: ClassVar[str] = "teaches-all"

    def build(self, head):
        return lambda output, teacher, _mask: F.mse_loss(output.values, teacher.values)


def of_loss(
    mistake: str, loss: Loss | Callable[..., Tensor], caught_by: str, head: Head | None = None
) -> Mutant:
    recipe = loss if isinstance(loss, Loss) else loss_of(loss)
    return Mutant(mistake, lambda: check_loss(recipe, head or Expression()), caught_by)


LOSSES = [
    of_loss("a name of two words", Unnamed(), "loadable"),
    of_loss("a field without a doc", NoDoc(), "documented"),
    of_loss("a converter changes what was converted", Halves(), "toml-round-trip"),
    of_loss("its class cannot be found by name", local_class(), "pickles"),
    of_loss("a value per row", one_per_row, "shape"),
    of_loss("a whole number", integer, "shape"),
    of_loss("of estimates, which have no gradient", of_estimates, "gradient-reaches-outputs"),
    of_loss("multiplies with the mask", times_mask, "masked-rows-change-nothing"),
    of_loss("masks after computing", where_after_log, "masked-rows-change-nothing"),
    of_loss("multiplies with the mask in training", WithModule(), "masked-rows-change-nothing"),
    of_loss("a teacher of rows outside the mask", TeachesAllRows(), "masked-rows-change-nothing"),
    of_loss("a mean over all rows", mean_over_all, "masked-rows-do-not-count"),
    of_loss("divides by no rows", no_clamp, "all-masked-is-zero"),
    of_loss("a sum", plain_sum, "mean-over-rows"),
    of_loss("the first row counts more", neighbours, "order-of-rows-does-not-matter"),
    of_loss("draws random numbers in eval mode", noisy, "same-when-called-again"),
    of_loss("writes into the target", writes_into_target, "same-when-called-again"),
    of_loss("a parameter without a part", Unlearning(), "parameters-learn"),
    of_loss("state of training that is no buffer", Forgetful(), "parameters-learn"),
    of_loss("log of a softmax", log_of_softmax, "large-outputs"),
]


class Counting(LiveMetric):
    """Squared error of the estimates, sound; the mutants below change a part."""

    full_state_update = False

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def errors(self, output, target, mask):
        error = torch.where(mask, self.head.estimate(output.values), 0.0) - torch.where(mask, target, 0.0)
        return error.double().square()

    def update(self, output, target, mask):
        self.total = self.total + self.errors(output, target, mask).sum()
        self.count = self.count + mask.sum()

    def compute(self):
        return self.total / self.count.clamp(min=1)


class BatchMeans(Counting):
    def update(self, output, target, mask):
        self.total = self.total + self.errors(output, target, mask).sum() / mask.sum().clamp(min=1)
        self.count = self.count + 1


class Unreduced(Counting):
    """The number of rows is not added up over processes."""

    def __init__(self, head):
        super().__init__(head)
        self.rows = 0

    def update(self, output, target, mask):
        super().update(output, target, mask)
        self.rows += int(mask.sum())

    def compute(self):
        return self.total / max(self.rows, 1)

    def reset(self):
        super().reset()
        self.rows = 0


class Gathered(Counting):
    """A list that processes gather one by one: they wait for each other if one has fewer batches."""

    def __init__(self, head):
        super().__init__(head)
        self.add_state("batches", [], dist_reduce_fx=None)

    def update(self, output, target, mask):
        self.batches.append(self.errors(output, target, mask).sum())
        self.count = self.count + mask.sum()

    def compute(self):
        return torch.stack(list(self.batches)).sum() / self.count.clamp(min=1)


class Multiplies(Counting):
    def errors(self, output, target, mask):
        return ((self.head.estimate(output.values) - target) * mask).double().square()


class CountsAllRows(Counting):
    def update(self, output, target, mask):
        super().update(output, target, mask)
        self.count = self.count + (~mask).sum()


class DividesByZero(Counting):
    def compute(self):
        return self.total / self.count


class FirstRow(Counting):
    def update(self, output, target, mask):
        super().update(output, target, mask)
        self.total = self.total + self.errors(output, target, mask)[0].sum()


class LooksAtLabelsOnly(Counting):
    def errors(self, output, target, mask):
        return torch.where(mask, target, 0.0).double().square()


class Remembers(Counting):
    """A reset forgets the sum, and not the number of rows."""

    def reset(self):
        kept = self.count
        super().reset()
        self.count = kept


class WritesIntoTarget(Counting):
    def update(self, output, target, mask):
        target[~mask] = 0
        super().update(output, target, mask)


class Named(Counting):
    def compute(self):
        return {"error": super().compute()}


@attrs.frozen(kw_only=True)
class SquaredError(Metric):
    """Squared error, broken or not."""

    name: ClassVar[str] = "squared-error"
    live: ClassVar[type[Counting]] = Counting

    def build(self, head: Head) -> LiveMetric:
        return self.live(head)


def metric_of(live: type[Counting]) -> Metric:
    return attrs.frozen(type("With", (SquaredError,), {"live": live, "__doc__": "Broken."}), kw_only=True)()


@attrs.frozen(kw_only=True)
class UndocumentedMetric(Accuracy):
    """Broken."""

    top: int = 1


@attrs.frozen(kw_only=True)
class ArrayField(Accuracy):
    """Broken."""

    weights: Any = attrs.field(factory=lambda: np.ones(2), metadata={"doc": "weights"})


class Undecorated(Accuracy):
    """Broken."""


def local_metric() -> Metric:
    @attrs.frozen(kw_only=True)
    class Local(Accuracy):
        """Broken."""

    return Local()


def of_metric(
    mistake: str, metric: Metric | type[Counting], caught_by: str, head: Head | None = None
) -> Mutant:
    recipe = metric if isinstance(metric, Metric) else metric_of(metric)
    return Mutant(mistake, lambda: check_metric(recipe, head or ValenceArousal()), caught_by)


METRICS = [
    of_metric("its class is not decorated", Undecorated(), "loadable"),
    of_metric("a field without a doc", UndocumentedMetric(), "documented"),
    of_metric("a field that TOML cannot hold", ArrayField(), "toml-round-trip"),
    of_metric("its class cannot be found by name", local_metric(), "pickles"),
    of_metric("reports another name than it announces", Named, "names"),
    of_metric("a mean of the batches' means", BatchMeans, "batches-do-not-matter"),
    of_metric("a count that no process adds up", Unreduced, "shards-add-up"),
    of_metric("a list that is gathered one by one", Gathered, "shards-add-up"),
    of_metric("multiplies with the mask", Multiplies, "masked-rows-change-nothing"),
    of_metric("counts rows without a label", CountsAllRows, "masked-rows-do-not-count"),
    of_metric("divides by no rows", DividesByZero, "all-masked-is-finite"),
    of_metric("the first row counts twice", FirstRow, "order-of-rows-does-not-matter"),
    of_metric("looks at the labels only", LooksAtLabelsOnly, "sees-the-outputs"),
    of_metric("a reset forgets half", Remembers, "reset-forgets"),
    of_metric("writes into the target", WritesIntoTarget, "arguments-stay"),
]


@pytest.mark.parametrize("mutant", [*LOSSES, *METRICS])
def test_the_mistake_is_caught(mutant):
    assert_caught(mutant)


def test_every_check_can_fail():
    """A check that no mistake makes fail would promise nothing."""
    assert uncaught(LOSSES, check_loss(Function(), Expression())) == set()
    assert uncaught(METRICS, check_metric(SquaredError(), ValenceArousal())) == set()


@pytest.mark.parametrize(
    "checks",
    [
        check_loss(Function(), Expression()),
        check_metric(SquaredError(), ValenceArousal()),
        check_metric(SquaredError(), Regression(axes=("x", "y"))),
        check_loss(Distillation(), ActionUnits()),
    ],
)
def test_the_sound_originals_pass(checks):
    for check in checks:
        check()
