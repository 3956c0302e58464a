"""What holds for samplers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ..batch import Labels
from ..plugin import Head, Sampler
from .check import Check, Rule, checks_of, expect
from .examples import Examples, worst_of
from .recipes import check_recipe

LENGTH = 60


def check_sampler(
    recipe: Sampler, heads: Mapping[str, Head], *, labels: Mapping[str, Labels] | None = None
) -> list[Check]:
    """The checks of a sampler, on sixty samples of which some lack a label.

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

    def order(self, seed: int, labels: Mapping[str, Labels] | None = None) -> np.ndarray:
        """One pass, of a sampler that is built for it."""
        draw = self.recipe.build(LENGTH, self.labels if labels is None else labels, self.heads)
        return draw(np.random.default_rng(seed))


def indices(trial: SamplerTrial) -> None:
    """A pass is an array of integers, at least one, each the index of a sample."""
    for seed in (0, 1):
        found = trial.order(seed)
        whole = isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind in "iu"
        expect(whole, f"gives {found!r:.60}")
        expect(len(found) > 0, "a pass is empty")
        expect(
            found.min() >= 0 and found.max() < LENGTH,
            f"indices from {found.min()} to {found.max()} of {LENGTH}",
        )


def function_of_its_generator(trial: SamplerTrial) -> None:
    """The order is a function of the generator's state alone, so that a resumed epoch goes on in it.

    A sampler remembers nothing of the passes before.
    """
    expect(np.array_equal(trial.order(3), trial.order(3)), "one seed gives two orders")
    draw = trial.recipe.build(LENGTH, trial.labels, trial.heads)
    first = draw(np.random.default_rng(3))
    draw(np.random.default_rng(4))
    expect(np.array_equal(draw(np.random.default_rng(3)), first), "it remembers the passes before")


def missing_labels_do_not_matter(trial: SamplerTrial) -> None:
    """What lies where a label is missing does not change the order."""
    changed = {}
    for task, labels in trial.labels.items():
        values = np.where(labels.valid, labels.values, worst_of(labels.values))
        changed[task] = Labels(values, labels.valid)
    expect(np.array_equal(trial.order(0), trial.order(0, changed)), "it does")


SAMPLER_RULES: tuple[Rule[SamplerTrial], ...] = (
    indices,
    function_of_its_generator,
    missing_labels_do_not_matter,
)
