"""Metrics with one mistake each."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.regression import Regression
from torchmetrics import Metric as LiveMetric

from mtl_toolkit import Head, Metric
from mtl_toolkit.testing import Check, check_metric
from tests.mutants import maker, of_any_kind


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


class PerAxis(Counting):
    def compute(self):
        return {"squared-error": self.total.repeat(2)}


class EmptyClass(Counting):
    """A mean over classes, one of which has no rows."""

    def compute(self):
        return torch.stack([super().compute(), self.total / (0 * self.count)]).mean()


class ComputesOn(Counting):
    """Computing changes the state, and is not cached."""

    def __init__(self, head):
        super().__init__(head)
        self.compute_with_cache = False

    def compute(self):
        self.total = self.total * 2
        return super().compute()


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


class Stacked(Counting):
    """The number of rows of each process comes as a row of its own."""

    def __init__(self, head):
        super().__init__(head)
        self.add_state("rows", torch.zeros((), dtype=torch.float64))

    def update(self, output, target, mask):
        super().update(output, target, mask)
        self.rows = self.rows + mask.sum()

    def compute(self):
        return self.total / self.rows.clamp(min=1)


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


class WritesIntoMask(Counting):
    def update(self, output, target, mask):
        super().update(output, target, mask)
        mask &= target > 0


class WritesIntoValues(Counting):
    def update(self, output, target, mask):
        super().update(output, target, mask)
        output.values.sigmoid_()


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


def checks_of(recipe: Metric, head: Head | None = None) -> list[Check]:
    return check_metric(recipe, head or ValenceArousal())


of_metric = maker(checks_of, SquaredError, "live")

MUTANTS = [
    *of_any_kind(checks_of, SquaredError),
    of_metric("reports another name than it announces", Named, "names"),
    of_metric("a value per axis under one name", PerAxis, "names"),
    of_metric("a class without rows", EmptyClass, "names"),
    of_metric("a mean of the batches' means", BatchMeans, "batches-do-not-matter"),
    of_metric("a count that no process adds up", Unreduced, "shards-add-up"),
    of_metric("a state without a reduction", Stacked, "shards-add-up"),
    of_metric("a list that is gathered one by one", Gathered, "shards-add-up"),
    of_metric("multiplies with the mask", Multiplies, "masked-rows-change-nothing"),
    of_metric("counts rows without a label", CountsAllRows, "masked-rows-do-not-count"),
    of_metric("divides by no rows", DividesByZero, "all-masked-is-finite"),
    of_metric("the first row counts twice", FirstRow, "order-of-rows-does-not-matter"),
    of_metric("looks at the labels only", LooksAtLabelsOnly, "sees-the-outputs"),
    of_metric("a reset forgets half", Remembers, "reset-forgets"),
    of_metric("computing changes it", ComputesOn, "reset-forgets"),
    of_metric("writes into the mask", WritesIntoMask, "arguments-stay"),
    of_metric("writes into the values", WritesIntoValues, "arguments-stay"),
    of_metric("writes into the target", WritesIntoTarget, "arguments-stay"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return [*checks_of(SquaredError()), *checks_of(SquaredError(), Regression(axes=("x", "y")))]
