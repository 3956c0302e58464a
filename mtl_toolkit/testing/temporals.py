"""What holds for temporal networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..plugin import Temporal
from ..seeding import seeded
from .check import Check, Rule, checks_of, expect, expect_equal
from .examples import FEATURES
from .modules import ModuleTrial, module_rules
from .recipes import check_recipe

FRAMES = 6


def check_temporal(recipe: Temporal) -> list[Check]:
    """The checks of a temporal network, on windows of up to six frames."""
    trial = TemporalTrial(recipe)
    network = checks_of(recipe, trial.network(), module_rules(inputs_learn=True), "network")
    return [*check_recipe(recipe), *checks_of(recipe, trial, TEMPORAL_RULES), *network]


class TemporalTrial:
    """A temporal network, and windows to try it on."""

    def __init__(self, recipe: Temporal) -> None:
        self.recipe = recipe

    def windows(self, count: int, frames: int = FRAMES) -> Tensor:
        """Float [windows, frames, features]."""
        return torch.randn(count, frames, FEATURES, generator=torch.Generator().manual_seed(count))

    def network(self) -> ModuleTrial:
        """The network on full windows."""

        def call(module: nn.Module, windows: Tensor) -> Mapping[str, Tensor]:
            return {"features": module(windows, None)}

        return ModuleTrial(lambda: self.recipe.build(FEATURES), self.windows, call)


def shape(trial: TemporalTrial) -> None:
    """A module with an int `num_features` maps float [windows, frames, features] to float of that width.

    For one window of one frame, and for more and longer ones.
    """
    module = trial.network().module()
    width = getattr(module, "num_features", None)
    expect(isinstance(width, int) and width > 0, f"num_features is {width!r}")
    for windows, frames in ((1, 1), (2, 3), (3, FRAMES), (1, 40)):
        with torch.no_grad():
            found = module(trial.windows(windows, frames), None)
        wanted = (windows, frames, width)
        expect(found.shape == wanted, f"gives {tuple(found.shape)} instead of {wanted}")
        expect(found.is_floating_point(), f"gives {found.dtype}")


def frames_outside_change_nothing(trial: TemporalTrial) -> None:
    """What lies outside the mask changes nothing inside; a short window is as it would be alone."""
    module, windows = trial.network().trained(), trial.windows(3)
    lengths = (FRAMES, 4, 1)
    mask = torch.arange(FRAMES) < torch.tensor(lengths)[:, None]
    far = torch.where(mask[..., None], windows, 1000.0)
    for mode in (True, False):
        module.train(mode)
        with torch.no_grad():
            with seeded():  # of dropout
                found = module(windows, mask)
            with seeded():
                other = module(far, mask)
        what = f"frames inside, with other values outside, in {'training' if mode else 'eval mode'}"
        expect_equal(other[mask], found[mask], what, 1e-3, 1e-4)
    with torch.no_grad():
        for place, length in enumerate(lengths):
            alone = module(windows[place : place + 1, :length], None)[0]
            expect_equal(
                found[place, :length], alone, f"a window of {length} frames in a batch and alone", 1e-3, 1e-4
            )


def masked_gradient(trial: TemporalTrial) -> None:
    """Frames outside the mask get no gradient."""
    module, windows = trial.network().module(), trial.windows(2).requires_grad_()
    mask = torch.arange(FRAMES) < torch.tensor([FRAMES, 2])[:, None]
    module(windows, mask)[mask].square().sum().backward()
    gradient = torch.zeros_like(windows) if windows.grad is None else windows.grad
    expect(gradient[mask].abs().max() > 0, "frames inside get none either")
    expect(not gradient[~mask].any(), f"they get up to {float(gradient[~mask].abs().max()):g}")


def frames_are_seen_together(trial: TemporalTrial) -> None:
    """A frame's output depends on other frames of its window: without that a head would do."""
    module, windows = trial.network().trained(), trial.windows(1)
    changed = windows.clone()
    changed[0, 2] += 1.0
    with torch.no_grad():
        moved = (module(changed, None) - module(windows, None)).abs().amax((0, 2))
    others = [frame for frame in range(FRAMES) if frame != 2 and moved[frame] > 0]
    expect(others, "a changed frame changes its own output only")


TEMPORAL_RULES: tuple[Rule[TemporalTrial], ...] = (
    shape,
    frames_outside_change_nothing,
    masked_gradient,
    frames_are_seen_together,
)
