"""What holds for backbones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..batch import Features
from ..errors import ConfigError
from ..plugin import Backbone, Chain
from ..seeding import seeded
from .check import Broken, Check, Rule, checks_of, expect, expect_equal
from .modules import ModuleTrial, module_rules, named
from .recipes import check_recipe


def check_backbone(recipe: Backbone, *, image_size: int = 64) -> list[Check]:
    """The checks of a backbone.

    Args:
        recipe: the backbone.
        image_size: side in pixels of the pictures it is tried on.
    """
    trial = BackboneTrial(recipe, image_size)
    network = checks_of(recipe, trial.network(), module_rules(inputs_learn=False), "network")
    return [*check_recipe(recipe), *checks_of(recipe, trial, BACKBONE_RULES), *network]


class BackboneTrial:
    """A backbone, and pictures to try it on."""

    def __init__(self, recipe: Backbone, image_size: int) -> None:
        self.recipe = recipe
        self.size = image_size

    def pictures(self, rows: int) -> Tensor:
        """Pictures as they come out of the normalisation: float [rows, 3, size, size]."""
        return torch.randn(rows, 3, self.size, self.size, generator=torch.Generator().manual_seed(rows))

    def network(self) -> ModuleTrial:
        """The network."""

        def call(module: nn.Module, pictures: Tensor) -> Mapping[str, Tensor]:
            return named("features", module(pictures))

        return ModuleTrial(lambda: self.recipe.build(self.size), self.pictures, call)


def shape(trial: BackboneTrial) -> None:
    """A module with an int `num_features` maps float [n, 3, size, size] to float [n, num_features].

    With tensors beside them for losses to look at, it gives `Features`; these are float [n, ...].
    """
    module = trial.network().module()
    width = getattr(module, "num_features", None)
    expect(isinstance(width, int) and width > 0, f"num_features is {width!r}")
    for rows in (1, 2, 3):
        with torch.no_grad():
            found = module(trial.pictures(rows))
        expect(isinstance(found, Tensor | Features), f"gives {type(found).__name__}")
        values, extras = Features.of(found)
        expect(values.shape == (rows, width), f"gives {tuple(values.shape)}, with num_features = {width}")
        expect(values.is_floating_point(), f"gives {values.dtype}")
        for name, extra in extras.items():
            right = extra.shape[:1] == (rows,) and extra.is_floating_point()
            expect(right, f"extra {name!r}: {extra.dtype} {tuple(extra.shape)} for {rows} rows")


def statistics(trial: BackboneTrial) -> None:
    """`statistics` gives mean and deviation of three channels, of pictures scaled to [0, 1]."""
    mean, std = trial.recipe.statistics()
    expect(len(mean) == len(std) == 3, f"{len(mean)} means and {len(std)} deviations")
    expect(all(0 <= one <= 1 for one in mean), f"means {list(mean)}")
    expect(all(0 < one <= 1 for one in std), f"deviations {list(std)}")


def problems(trial: BackboneTrial) -> None:
    """`problems` is empty for a recipe that can be built."""
    found = trial.recipe.problems()
    expect(found == [], f"says {found}")


def without_weights(trial: BackboneTrial) -> None:
    """With `weights=False` it is the same network without pretrained weights: a checkpoint has its own."""
    with seeded():
        bare = trial.recipe.build(trial.size, weights=False).state_dict()
    full = trial.network().module().state_dict()
    expect(bare.keys() == full.keys(), f"other tensors: {sorted(bare.keys() ^ full.keys())[:3]}")
    for name, tensor in full.items():
        expect(
            bare[name].shape == tensor.shape, f"{name}: {tuple(bare[name].shape)} and {tuple(tensor.shape)}"
        )


def channels_last(trial: BackboneTrial) -> None:
    """In the channels_last memory format, which training uses, it gives the same features."""
    network, pictures = trial.network(), trial.pictures(2)
    wanted = network.run(network.module(), pictures)["features"]
    module = network.module()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stubs lack it
    found = network.run(module, pictures.contiguous(memory_format=torch.channels_last))["features"]
    expect_equal(found, wanted, "features in channels_last and not", 1e-3, 1e-4)


def look_at_the_picture(trial: BackboneTrial) -> None:
    """Other pictures give other features."""
    network = trial.network()
    found = network.run(network.trained(), trial.pictures(2))["features"]
    if torch.equal(found[0], found[1]):
        raise Broken("two pictures give the same features")


def chain(trial: BackboneTrial) -> None:
    """If the module has a method `chain`, the blocks in order and then the pool give the same features.

    Its parts hold all parameters, and leave in eval mode what the whole does. A network that cannot be taken
    apart raises a ConfigError.
    """
    network, pictures = trial.network(), trial.pictures(2)
    module = network.module()
    if (parts := _chain_of(module)) is None:
        return
    with torch.no_grad():
        maps = pictures
        for block in parts.blocks.values():
            maps = block(maps)
        found = network.call(parts.pool, maps)
    expect(
        maps.ndim == 4 and maps.shape[1] == parts.channels,
        f"the last block gives {tuple(maps.shape)}, with channels = {parts.channels}",
    )
    for name, wanted in network.run(module, pictures).items():
        expect_equal(found[name], wanted, f"{name} in parts and whole")
    _expect_parts_of(module, nn.ModuleList([*parts.blocks.values(), parts.pool]))


def _chain_of(module: nn.Module) -> Chain | None:
    """The parts of a backbone's module; None where it has no such method, or cannot be taken apart."""
    try:
        return module.chain() if hasattr(module, "chain") else None  # type: ignore[operator] # its own method
    except ConfigError:
        return None


def _expect_parts_of(whole: nn.Module, parts: nn.ModuleList) -> None:
    held = {id(parameter) for parameter in parts.parameters()}
    missing = [name for name, parameter in whole.named_parameters() if id(parameter) not in held]
    expect(not missing, f"parameters are in none of the parts: {missing[:3]}")
    training = {module: module.training for module in whole.train().modules()}
    for module in parts.train().modules():
        if module.training != training.get(module, module.training):
            raise Broken(f"a frozen {type(module).__name__} leaves eval mode with its part")


BACKBONE_RULES: tuple[Rule[BackboneTrial], ...] = (
    shape,
    statistics,
    problems,
    without_weights,
    channels_last,
    look_at_the_picture,
    chain,
)
