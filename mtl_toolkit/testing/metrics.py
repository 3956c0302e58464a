"""What holds for metrics."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from ..batch import HeadOutput, Labels
from ..plugin import Head, Metric
from .check import Broken, Check, Rule, checks_of, expect
from .examples import Examples, Rows
from .recipes import check_recipe

if TYPE_CHECKING:
    from torchmetrics import Metric as LiveMetric

NEAR = 1e-5  # of values of order one; sums in another order differ in the last digits


def check_metric(recipe: Metric, head: Head, *, labels: Labels | None = None) -> list[Check]:
    """The checks of a metric on the outputs of a head.

    Args:
        recipe: the metric.
        head: a task that it is for.
        labels: labels to try it on; by default made from the head's own estimates.
    """
    trial = MetricTrial(recipe, head, labels)
    return [*check_recipe(recipe), *checks_of(recipe, trial, METRIC_RULES)]


class MetricTrial:
    """A metric, and rows to try it on."""

    def __init__(self, recipe: Metric, head: Head, labels: Labels | None = None) -> None:
        self.recipe = recipe
        self.head = head
        self.examples = Examples(head, labels)

    @cached_property
    def rows(self) -> Rows:
        """Forty rows, some without a label."""
        return self.examples.some_missing(40)

    def after(self, parts: Iterable[Rows]) -> LiveMetric:
        """The metric after some batches."""
        metric = self.recipe.build(self.head)
        for part in parts:
            metric.update(HeadOutput(part.values, part.features), part.target, part.mask)
        return metric

    def values(self, metric: LiveMetric) -> dict[str, float]:
        """What it reports, by name."""
        found: Any = metric.compute()
        named = found if isinstance(found, Mapping) else {self.recipe.name: found}
        return {name: float(value) for name, value in named.items()}

    def of(self, *parts: Rows) -> dict[str, float]:
        """What it reports after some batches."""
        return self.values(self.after(parts))


def names(trial: MetricTrial) -> None:
    """`compute()` gives finite scalars under just the names that `outputs(head)` says."""
    metric = trial.after([trial.rows])
    found: Any = metric.compute()
    named = found if isinstance(found, Mapping) else {trial.recipe.name: found}
    wanted = trial.recipe.outputs(trial.head)
    expect(sorted(named) == sorted(wanted), f"reports {sorted(named)}, announces {sorted(wanted)}")
    for name, value in named.items():
        expect(torch.as_tensor(value).numel() == 1, f"{name} is no scalar")
        expect(torch.isfinite(torch.as_tensor(value)).all(), f"{name} is {float(value)}")


def batches_do_not_matter(trial: MetricTrial) -> None:
    """However the rows are cut into batches, the metric is the same.

    Keep sums over rows, never means over batches.
    """
    whole = trial.of(trial.rows)
    for sizes in ([1] * 8 + [32], [37, 3], [10, 10, 10, 10]):
        _expect_same(trial.of(*_cut(trial.rows, sizes)), whole, f"in batches of {sizes} and at once")


def shards_add_up(trial: MetricTrial) -> None:
    """Over several processes, each with some of the rows, the metric is that of all rows.

    Register state with `add_state` and a `dist_reduce_fx`; torchmetrics gathers it.
    """
    whole = trial.of(trial.rows)
    first, *others = _cut(trial.rows, [15, 8, 5, 12])
    ranks = [trial.after([first, others.pop(0)]), *(trial.after([part]) for part in others)]
    metric = joined(ranks)
    try:
        found = trial.values(metric)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Broken(f"compute() fails on gathered states: {error}; is a dist_reduce_fx missing?") from None
    _expect_same(found, whole, "over three processes and on one")


def masked_rows_change_nothing(trial: MetricTrial) -> None:
    """What lies outside the mask (NaN, any integer) must not change the metric."""
    found = trial.of(trial.rows.poisoned())
    _expect_same(found, trial.of(trial.rows), "with NaN outside the mask, and without")


def masked_rows_do_not_count(trial: MetricTrial) -> None:
    """Rows without a label are as if they were not there."""
    rows = trial.examples.rows(30)
    mask = rows.mask.clone()
    mask[1::3] = False
    masked = rows.masked(trial.head, mask)
    alone = trial.of(masked.take(masked.units.any(1)))
    _expect_same(trial.of(masked), alone, "with and without rows that have no label")


def all_masked_is_finite(trial: MetricTrial) -> None:
    """Without any valid row the metric is a number: no NaN and no error, as a feed may lack a label."""
    rows = trial.examples.rows(4)
    found = trial.of(rows.masked(trial.head, torch.zeros_like(rows.mask)).poisoned())
    for name, value in found.items():
        expect(abs(value) < float("inf"), f"{name} is {value}")


def order_of_rows_does_not_matter(trial: MetricTrial) -> None:
    """In another order the rows give the same metric."""
    wanted = trial.of(trial.rows)
    for seed in range(4):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        _expect_same(trial.of(trial.rows.take(order)), wanted, "in another order")


def sees_the_outputs(trial: MetricTrial) -> None:
    """A metric depends on both outputs and labels."""
    rows, wanted = trial.examples.rows(40), trial.of(trial.examples.rows(40))
    noise = torch.randn(rows.values.shape, generator=torch.Generator().manual_seed(0))
    if trial.of(attrs.evolve(rows, values=0.5 * rows.values + noise)) != wanted:
        return
    for turn in (1, 2, 3):
        turned = attrs.evolve(rows, values=rows.values.roll(turn, 0), features=rows.features.roll(turn, 0))
        if trial.of(turned) != wanted:
            return
    raise Broken("the outputs of other rows give the same values")


def reset_forgets(trial: MetricTrial) -> None:
    """After `reset()` it is as new, for the next epoch; and `compute()` may be called twice."""
    metric = trial.after([trial.examples.rows(25, seed=4)])
    trial.values(metric)
    metric.reset()
    metric.update(HeadOutput(trial.rows.values, trial.rows.features), trial.rows.target, trial.rows.mask)
    _expect_same(trial.values(metric), trial.of(trial.rows), "after a reset and as new")
    _expect_same(trial.values(metric), trial.values(metric), "computed twice")


def arguments_stay(trial: MetricTrial) -> None:
    """`update` leaves its arguments as they are: other metrics get the same tensors."""
    rows = trial.rows
    before = copy.deepcopy(rows)
    trial.of(rows)
    for name in ("values", "features", "target", "mask"):
        expect(torch.equal(getattr(rows, name), getattr(before, name)), f"it writes into the {name}")


def on_a_gpu(trial: MetricTrial) -> None:
    """On a GPU it is what it is on the CPU; its states move with `.to(device)`.

    Only tried where there is a GPU.
    """
    metric, rows = trial.recipe.build(trial.head).to("cuda"), trial.rows
    output = HeadOutput(rows.values.cuda(), rows.features.cuda())
    metric.update(output, rows.target.cuda(), rows.mask.cuda())
    _expect_same(trial.values(metric), trial.of(rows), "on the GPU and on the CPU", 1e-4)


METRIC_RULES: tuple[Rule[MetricTrial], ...] = (
    names,
    batches_do_not_matter,
    shards_add_up,
    masked_rows_change_nothing,
    masked_rows_do_not_count,
    all_masked_is_finite,
    order_of_rows_does_not_matter,
    sees_the_outputs,
    reset_forgets,
    arguments_stay,
    on_a_gpu,
)


def joined(ranks: list[LiveMetric]) -> LiveMetric:
    """The first process's metric, which on `compute()` gathers the states of all, as torchmetrics does it."""
    from torchmetrics import Metric as LiveMetric

    inner = [[one for one in rank.modules() if isinstance(one, LiveMetric)] for rank in ranks]
    for first, *others in zip(*inner, strict=True):
        first.distributed_available_fn = lambda: True
        first.dist_sync_fn = _Gather(others)
    return ranks[0]


class _Gather:
    """Stands in for torchmetrics' gathering of one tensor from all processes.

    It is called for the states in the order in which they were added.
    """

    def __init__(self, others: list[LiveMetric]) -> None:
        self._others = [_tensors_of(other) for other in others]

    def __call__(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        return [tensor, *(next(tensors) for tensors in self._others)]


def _tensors_of(metric: LiveMetric) -> Iterator[Tensor]:
    from torchmetrics.utilities import dim_zero_cat

    for name, state in metric.metric_state.items():
        if not isinstance(state, list):
            yield state
        elif metric._reductions[name] is not dim_zero_cat:
            raise Broken(
                f'the list {name!r} is not reduced by "cat": processes may have lists of other lengths'
            )
        elif state:
            yield dim_zero_cat(state)


def _cut(rows: Rows, sizes: list[int]) -> list[Rows]:
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [rows.take(slice(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def _expect_same(
    found: Mapping[str, float], wanted: Mapping[str, float], what: str, near: float = NEAR
) -> None:
    for name, value in wanted.items():
        if not abs(found[name] - value) <= near * max(1.0, abs(value)):
            raise Broken(f"{name} {what}: {found[name]:g} and {value:g}")
