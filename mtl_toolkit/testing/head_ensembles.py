"""What holds for heads in ensembles: averages, votes, and decisions that are fitted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints, kl_divergence

from ..batch import Labels
from ..config import plain
from ..errors import ConfigError
from ..plugin import Head
from .check import Rule, expect, expect_equal
from .head_trial import INTERVAL, HeadTrial, support_of


def average_of_copies(trial: HeadTrial) -> None:
    """An `average` of copies of one output is, at any temperature, what the output is.

    A student may learn from it. Very confident outputs are tried too.
    """
    head, weights = trial.recipe, torch.tensor([0.5, 0.3, 0.2])
    for values in _outputs(trial):
        found = head.average(values.expand(3, *values.shape), weights)
        kind = f"{found.dtype} {tuple(found.shape)}"
        expect(found.shape == values.shape and found.dtype == torch.float32, f"gives {kind}")
        for temperature in (1.0, 3.0):
            apart = kl_divergence(
                head.distribution(values, temperature), head.distribution(found, temperature)
            )
            expect_equal(apart, torch.zeros_like(apart), f"KL to one of the copies at {temperature:g}")


def average_of_members(trial: HeadTrial) -> None:
    """The predictions of an `average` are the weighted mean of the members' predictions, row by row.

    A weight may be zero. Very confident outputs are tried too.
    """
    head, weights = trial.recipe, torch.tensor([0.5, 0.0, 0.3, 0.2])
    for members in zip(*(_outputs(trial, seed) for seed in range(4)), strict=True):
        values = torch.stack(members)
        found = head.average(values, weights)
        mean = torch.stack([w * head.predictions(one) for w, one in zip(weights, members, strict=True)]).sum(
            0
        )
        expect_equal(head.predictions(found), mean, "predictions of the average, and their mean")
        alone = head.average(values[:, 3:4], weights)
        expect_equal(alone[0], found[3], "the average of a row alone and among others")


def vote_of_most(trial: HeadTrial) -> None:
    """`vote` gives an output that decides as most members do; or it is a ConfigError."""
    head, values = trial.recipe, trial.values(9)
    members = torch.stack([trial.values(9, seed=1), values, values])
    try:
        found = head.vote(members, torch.full((3,), 1 / 3))
    except ConfigError:
        return
    expect(torch.isfinite(found).all(), "it is not finite")
    expect_equal(head.estimate(found), head.estimate(values), "decided by vote, and by two of three")


def tuned_head(trial: HeadTrial) -> None:
    """`tuned` gives a head of the same meaning and predictions, whatever lies outside the mask.

    Only what it decides may differ.
    """
    head, rows = trial.recipe, trial.examples.some_missing(30)
    sound, poisoned = (
        head.tuned(head.predictions(one.values).numpy(), Labels(one.target.numpy(), one.mask.numpy()))
        for one in (rows, rows.poisoned())
    )
    expect(isinstance(sound, Head), f"gives {type(sound).__name__}")
    for name in ("units", "columns"):
        expect(getattr(sound, name) == getattr(head, name), f"its {name} are {getattr(sound, name)}")
    expect(sound.meaning() == head.meaning(), f"its meaning is {sound.meaning()}")
    expect_equal(sound.predictions(rows.values), head.predictions(rows.values), "predictions of both")
    expect(plain(sound) == plain(poisoned), "it changes with what lies outside the mask")


ENSEMBLE_RULES: tuple[Rule[HeadTrial], ...] = (
    average_of_copies,
    average_of_members,
    vote_of_most,
    tuned_head,
)


def _outputs(trial: HeadTrial, seed: int = 0) -> list[Tensor]:
    """Random outputs; very confident ones too where the support is bounded: else nothing says how far."""
    values = trial.values(9, seed=seed)
    support = support_of(trial.recipe.distribution(values))
    bounded = isinstance(support, INTERVAL) or support is constraints.boolean
    return [values, trial.values(9, 20.0, seed)] if bounded else [values]
