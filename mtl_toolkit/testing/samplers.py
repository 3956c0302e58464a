"""What holds for samplers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from ..batch import Labels
from ..plugin import Head, Sampler
from .check import Check, Rule, checks_of, expect
from .examples import Examples, worst_of
from .recipes import check_recipe

LENGTH = 60
Draw = Callable[[np.random.Generator], np.ndarray]
SIZES = (37, 3, 20)  # of the datasets that a stream may have, one after the other


def check_sampler(
    recipe: Sampler, heads: Mapping[str, Head], *, labels: Mapping[str, Labels] | None = None
) -> list[Check]:
    """The checks of a sampler, on sixty samples of one dataset and of three, of which some lack a label.

    Args:
        recipe: the sampler.
        heads: tasks that it can draw for.
        labels: labels to draw from, by task; by default made from the heads' own estimates.
    """
    trial = SamplerTrial(recipe, heads, labels)
    return [*check_recipe(recipe), *checks_of(recipe, trial, SAMPLER_RULES)]


class SamplerTrial:
    """A sampler, and labels to draw by."""

    def __init__(
        self, recipe: Sampler, heads: Mapping[str, Head], labels: Mapping[str, Labels] | None = None
    ) -> None:
        self.recipe = recipe
        self.heads = dict(heads)
        self.given = dict(labels or {})

    @cached_property
    def labels(self) -> dict[str, Labels]:
        """Labels of sixty samples, by task."""
        examples = {task: Examples(head, self.given.get(task)) for task, head in self.heads.items()}
        rows = {task: one.some_missing(LENGTH) for task, one in examples.items()}
        return {task: Labels(one.target.numpy(), one.mask.numpy()) for task, one in rows.items()}

    def draws(self, labels: Mapping[str, Labels] | None = None) -> dict[str, Draw]:
        """The sampler built for a stream of one dataset, and for one of three."""
        labels = self.labels if labels is None else labels
        three = np.repeat(np.arange(len(SIZES)), SIZES)
        return {
            "one dataset": self.recipe.build(LENGTH, labels, self.heads),
            "three datasets": self.recipe.build_over(three, labels, self.heads),
        }


def indices(trial: SamplerTrial) -> None:
    """A pass is an array of integers, at least one, each the index of a sample."""
    for of, draw in trial.draws().items():
        for seed in (0, 1):
            found = draw(np.random.default_rng(seed))
            whole = isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind in "iu"
            expect(whole, f"of {of} it gives {found!r:.60}")
            expect(len(found) > 0, f"a pass of {of} is empty")
            expect(
                found.min() >= 0 and found.max() < LENGTH,
                f"of {of}: indices from {found.min()} to {found.max()} of {LENGTH}",
            )


def function_of_its_generator(trial: SamplerTrial) -> None:
    """The order is a function of the generator's state alone, so that a resumed epoch goes on in it.

    A sampler remembers nothing of the passes before.
    """
    again = trial.draws()
    for of, draw in trial.draws().items():
        first = draw(np.random.default_rng(3))
        same = np.array_equal(again[of](np.random.default_rng(3)), first)
        expect(same, f"of {of} one seed gives two orders")
        draw(np.random.default_rng(4))
        kept = draw(np.random.default_rng(3))
        expect(np.array_equal(kept, first), f"of {of} it remembers the passes before")


def missing_labels_do_not_matter(trial: SamplerTrial) -> None:
    """What lies where a label is missing does not change the order."""
    changed = {}
    for task, labels in trial.labels.items():
        values = np.where(labels.valid, labels.values, worst_of(labels.values))
        changed[task] = Labels(values, labels.valid)
    others = trial.draws(changed)
    for of, draw in trial.draws().items():
        one, other = (it(np.random.default_rng(0)) for it in (draw, others[of]))
        expect(np.array_equal(one, other), f"of {of} it does")


def one_dataset(trial: SamplerTrial) -> None:
    """`build_over` with all samples of one dataset is `build`."""
    over = trial.recipe.build_over(np.zeros(LENGTH, np.int64), trial.labels, trial.heads)
    one, other = (draw(np.random.default_rng(5)) for draw in (trial.draws()["one dataset"], over))
    expect(np.array_equal(one, other), "they draw in different orders")


SAMPLER_RULES: tuple[Rule[SamplerTrial], ...] = (
    indices,
    function_of_its_generator,
    missing_labels_do_not_matter,
    one_dataset,
)
