"""What holds for architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..batch import Features
from ..plugin import Architecture, Chain
from ..seeding import seeded
from .check import Broken, Check, Rule, checks_of, expect, expect_equal
from .modules import ModuleTrial, module_rules, named
from .recipes import check_recipe

# Names that users give to tasks, and that are attributes of torch's ModuleDict.
TASKS = ("values", "expr.va", "type")
SIDE = 16


def check_architecture(recipe: Architecture) -> list[Check]:
    """The checks of an architecture, over a small backbone and three tasks."""
    trial = ArchitectureTrial(recipe)
    network = checks_of(recipe, trial.network(), module_rules(inputs_learn=False), "network")
    return [*check_recipe(recipe), *checks_of(recipe, trial, ARCHITECTURE_RULES), *network]


class SmallBackbone(nn.Module):
    """Two convolutions and batch normalisation: [n, 3, height, width] to [n, 8]."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, stride=2)
        )
        self.pool = MeanOverPlaces()

    def forward(self, inputs: Tensor) -> Tensor:
        """Features, the mean over the picture."""
        features: Tensor = self.pool(self.layers(inputs))
        return features

    def chain(self) -> Chain:
        """Its layers as blocks: `layers.0` to `layers.3`."""
        blocks = {f"layers.{name}": layer for name, layer in self.layers.named_children()}
        return Chain(blocks, self.pool, self.num_features)


class MeanOverPlaces(nn.Module):
    """Maps [rows, channels, height, width] to [rows, channels]."""

    def forward(self, maps: Tensor) -> Tensor:
        """The mean over height and width."""
        return maps.mean((2, 3))


class ArchitectureTrial:
    """An architecture, and pictures to try it on."""

    def __init__(self, recipe: Architecture) -> None:
        self.recipe = recipe

    def pictures(self, rows: int) -> Tensor:
        """Float [rows, 3, 16, 16]."""
        return torch.randn(rows, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(rows))

    def network(self, tasks: Sequence[str] = TASKS) -> ModuleTrial:
        """The trunk, and how it is called."""

        def call(module: nn.Module, pictures: Tensor) -> Mapping[str, Tensor]:
            found = module(pictures, list(tasks)).items()
            return {name: part for task, one in found for name, part in named(task, one).items()}

        return ModuleTrial(lambda: self.recipe.build(SmallBackbone, list(tasks)), self.pictures, call)


def shape(trial: ArchitectureTrial) -> None:
    """The trunk gives float [n, num_features[task]] for the tasks asked for, and for no others."""
    for tasks in (TASKS, TASKS[:1]):
        module = trial.network(tasks).module()
        widths = dict(module.num_features)  # type: ignore[arg-type] # a trunk's own attribute
        expect(set(widths) == set(tasks), f"num_features names {sorted(widths)} of {sorted(tasks)}")
        for wanted in (tasks, tasks[:1], tasks[-1:]):
            with torch.no_grad():
                found = module(trial.pictures(2), list(wanted))
            expect(set(found) == set(wanted), f"gives {sorted(found)} for {sorted(wanted)}")
            for task, one in found.items():
                features, _ = Features.of(one)
                right = features.shape == (2, widths[task]) and features.is_floating_point()
                expect(
                    right, f"{task}: {features.dtype} {tuple(features.shape)}, num_features {widths[task]}"
                )


def tasks_asked_for_do_not_matter(trial: ArchitectureTrial) -> None:
    """A task's features do not depend on which other tasks are asked for, or in which order.

    Training asks for all tasks, validation for some.
    """
    network, pictures = trial.network(), trial.pictures(3)
    module = network.module()
    wanted = network.run(module, pictures)
    for tasks in (TASKS[::-1], TASKS[1:], *([task] for task in TASKS)):
        with torch.no_grad():
            for task, one in module(pictures, list(tasks)).items():
                for name, found in named(task, one).items():
                    expect_equal(found, wanted[name], f"{name} asked for with {list(tasks)} and with all")


def every_task_trains_a_backbone(trial: ArchitectureTrial) -> None:
    """The gradient of each task reaches a backbone that `backbone()` made."""
    made: list[nn.Module] = []

    def backbone() -> nn.Module:
        made.append(SmallBackbone())
        return made[-1]

    with seeded():
        module = trial.recipe.build(backbone, list(TASKS)).train()
    expect(made, "backbone() was never called")
    for task in TASKS:
        module.zero_grad()
        total = Features.of(module(trial.pictures(4), list(TASKS))[task]).values.square().sum()
        if total.requires_grad:
            total.backward()
        gradients = [one.grad for part in made for one in part.parameters() if one.grad is not None]
        if not any(float(gradient.abs().max()) > 0 for gradient in gradients):
            raise Broken(f"that of {task!r} does not")


ARCHITECTURE_RULES: tuple[Rule[ArchitectureTrial], ...] = (
    shape,
    tasks_asked_for_do_not_matter,
    every_task_trains_a_backbone,
)
