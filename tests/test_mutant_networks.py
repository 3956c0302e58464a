"""Backbones, architectures, temporal networks and balancers with one mistake each, all caught."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from mtl_toolkit import Architecture, Backbone, Balancer, Recipe, Temporal
from mtl_toolkit.testing import (
    Check,
    check_architecture,
    check_backbone,
    check_balancer,
    check_temporal,
)
from tests.mutants import Mutant, assert_caught, uncaught


def variant(base: type[Recipe], **members: Any) -> Any:
    """A recipe that differs from a sound one in some members."""
    return attrs.frozen(type("With", (base,), {"__doc__": "Broken.", **members}), kw_only=True)()


def undecorated(base: type[Recipe]) -> Any:
    return type("Undecorated", (base,), {"__doc__": "Broken."})()


def without_doc(base: type[Recipe]) -> Any:
    return attrs.frozen(type("NoDoc", (base,), {"__annotations__": {"x": int}, "x": 1}), kw_only=True)()


def halves(base: type[Recipe]) -> Any:
    field = attrs.field(default=1.0, converter=lambda value: value / 2, metadata={"doc": "factor"})
    members = {"__doc__": "Broken.", "__annotations__": {"x": "float"}, "x": field, "__module__": __name__}
    return attrs.frozen(type("Halves", (base,), members), kw_only=True)()


def of_any_kind(base: type[Recipe], checks: Callable[[Any], list[Check]]) -> list[Mutant]:
    """The mistakes that recipes of every kind can have."""
    made = (
        ("its class is not decorated", undecorated(base), "loadable"),
        ("a field without a doc", without_doc(base), "documented"),
        ("a converter changes what was converted", halves(base), "toml-round-trip"),
        ("its class cannot be found by name", variant(base), "pickles"),
    )
    return [Mutant(mistake, partial(checks, recipe), name) for mistake, recipe, name in made]


class Noise(nn.Module):
    """Random numbers in eval mode."""

    def forward(self, inputs):
        return inputs + torch.rand(inputs.shape)


class OverTheBatch(nn.Module):
    """Subtracts the mean over the rows."""

    def forward(self, inputs):
        return inputs - inputs.mean(0)


class Forgets(nn.Module):
    """Keeps a running mean that is no buffer."""

    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(())

    def forward(self, inputs):
        if self.training:
            self.mean = self.mean + inputs.detach().mean() + 1
        return inputs * (1 + self.mean)


class Overflows(nn.Module):
    """Exp of numbers of some hundred."""

    def forward(self, inputs):
        return (inputs * 300).exp().log() / 300


class WithLen(nn.Module):
    """Takes the number of rows as a Python number."""

    def forward(self, inputs):
        return inputs.reshape(len(inputs), *inputs.shape[1:])


class Unused(nn.Module):
    """A parameter that has no part in the output."""

    def __init__(self):
        super().__init__()
        self.forgotten = nn.Parameter(torch.ones(3))

    def forward(self, inputs):
        return inputs


class FromNumpy(nn.Module):
    """Initial values from numpy."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(float(np.random.default_rng().random())))

    def forward(self, inputs):
        return inputs * self.factor


class Detach(nn.Module):
    """No gradient goes further down."""

    def forward(self, inputs):
        return inputs.detach()


EVERY_NETWORK = (
    (FromNumpy, "built-alike"),
    (Noise, "same-in-eval-mode"),
    (OverTheBatch, "rows-apart"),
    (Unused, "gradient-reaches-parameters"),
    (Forgets, "state-round-trip"),
    (Overflows, "bf16-autocast"),
    (WithLen, "exports"),
)


def of_networks(base: type[Recipe], checks: Callable[[Any], list[Check]], *, inputs: bool) -> list[Mutant]:
    """The mistakes that every network can have, put behind a sound one (Detach: before it)."""
    broken = [*EVERY_NETWORK, *([(Detach, "gradient-reaches-inputs")] if inputs else [])]
    return [
        Mutant(str(part.__doc__), partial(checks, variant(base, part=part)), name) for part, name in broken
    ]


# Backbones


class Convolution(nn.Module):
    """A convolution and a mean, with one more part between."""

    num_features = 6

    def __init__(self, part: nn.Module, size: int = 0):
        super().__init__()
        self.layer, self.part = nn.Conv2d(3, 6, 3), part

    def forward(self, inputs):
        return self.part(self.layer(inputs)).mean((2, 3))


class WrongWidth(Convolution):
    num_features = 7


class MemoryOrder(Convolution):
    """Looks at the numbers as they lie in memory."""

    def forward(self, inputs):
        flat = inputs.as_strided((inputs.shape[0], inputs[0].numel()), (inputs[0].numel(), 1))
        return super().forward(flat.reshape(inputs.shape))


class Blind(Convolution):
    def forward(self, inputs):
        return super().forward(torch.ones_like(inputs))


@attrs.frozen(kw_only=True)
class Small(Backbone):
    """One convolution, sound."""

    name: ClassVar[str] = "small"
    part: ClassVar[type[nn.Module]] = nn.Identity
    layers: ClassVar[type[Convolution]] = Convolution

    def statistics(self):
        return (0.5,) * 3, (0.25,) * 3

    def build(self, image_size, *, weights=True):
        return self.layers(self.part())


def of_255(_self):
    return (127.5,) * 3, (64.0,) * 3


def complains(_self):
    return ["the network is small"]


def other_without_weights(self, image_size, *, weights=True):
    return Convolution(nn.Identity() if weights else nn.BatchNorm2d(6))


BACKBONES = [
    *of_any_kind(Small, check_backbone),
    *of_networks(Small, check_backbone, inputs=False),
    Mutant("num_features is wrong", lambda: check_backbone(variant(Small, layers=WrongWidth)), "shape"),
    Mutant("statistics of 0 to 255", lambda: check_backbone(variant(Small, statistics=of_255)), "statistics"),
    Mutant("complains", lambda: check_backbone(variant(Small, problems=complains)), "problems"),
    Mutant(
        "another network without weights",
        lambda: check_backbone(variant(Small, build=other_without_weights)),
        "without-weights",
    ),
    Mutant("looks at memory", lambda: check_backbone(variant(Small, layers=MemoryOrder)), "channels-last"),
    Mutant("does not look", lambda: check_backbone(variant(Small, layers=Blind)), "look-at-the-picture"),
]


# Architectures


class Trunk(nn.Module):
    """A backbone for all, and one more part behind."""

    def __init__(self, backbone, tasks, part):
        super().__init__()
        self.backbone, self.part = backbone(), part
        self.num_features = dict.fromkeys(tasks, self.backbone.num_features)

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, self.part(self.backbone(inputs)))


class AllTasks(Trunk):
    def forward(self, inputs, tasks):
        return super().forward(inputs, list(self.num_features))


class SharesAmongThoseAskedFor(Trunk):
    def forward(self, inputs, tasks):
        return {task: features / len(tasks) for task, features in super().forward(inputs, tasks).items()}


class OneTaskIsDetached(Trunk):
    def forward(self, inputs, tasks):
        found = super().forward(inputs, tasks)
        return {task: one.detach() if task == "type" else one for task, one in found.items()}


@attrs.frozen(kw_only=True)
class Hard(Architecture):
    """Hard sharing, sound."""

    name: ClassVar[str] = "hard"
    part: ClassVar[type[nn.Module]] = nn.Identity
    trunk: ClassVar[type[Trunk]] = Trunk

    def build(self, backbone, tasks):
        return self.trunk(backbone, tasks, self.part())


def of_trunk(mistake: str, trunk: type[Trunk], caught_by: str) -> Mutant:
    return Mutant(mistake, lambda: check_architecture(variant(Hard, trunk=trunk)), caught_by)


ARCHITECTURES = [
    *of_any_kind(Hard, check_architecture),
    *of_networks(Hard, check_architecture, inputs=False),
    of_trunk("gives all tasks", AllTasks, "shape"),
    of_trunk("divides by the tasks asked for", SharesAmongThoseAskedFor, "tasks-asked-for-do-not-matter"),
    of_trunk("a task is detached", OneTaskIsDetached, "every-task-trains-a-backbone"),
]


# Temporal networks


class Average(nn.Module):
    """Each frame beside the mean of its window's frames, with one more part before."""

    def __init__(self, features, part):
        super().__init__()
        self.num_features, self.part = 8, part
        self.layer = nn.Linear(2 * features, 8)

    def forward(self, inputs, mask=None):
        frames = self.part(inputs)
        if mask is None:
            mask = torch.ones_like(frames[..., 0], dtype=torch.bool)
        frames = torch.where(mask[..., None], frames, 0.0)
        return self.layer(torch.cat([frames, self.mean(frames, mask).expand_as(frames)], -1))

    def mean(self, frames, mask):
        return frames.sum(1, keepdim=True) / mask.sum(1)[:, None, None]


class LastFrame(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, mask)[:, -1]


class IgnoresLengths(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, None)


class IgnoresLengthsInTraining(Average):
    def forward(self, inputs, mask=None):
        return super().forward(inputs, None if self.training else mask)


class ZeroTimesOutside(Average):
    """Nothing outside is seen, and its gradient is a little more than none."""

    def forward(self, inputs, mask=None):
        return super().forward(inputs, mask) + 1e-3 * (inputs - inputs.detach()).sum()


class FrameByFrame(Average):
    def mean(self, frames, mask):
        return frames


@attrs.frozen(kw_only=True)
class Averages(Temporal):
    """Means over windows, sound."""

    name: ClassVar[str] = "averages"
    part: ClassVar[type[nn.Module]] = nn.Identity
    layers: ClassVar[type[Average]] = Average

    def build(self, features):
        return self.layers(features, self.part())


def of_temporal(mistake: str, layers: type[Average], caught_by: str) -> Mutant:
    return Mutant(mistake, lambda: check_temporal(variant(Averages, layers=layers)), caught_by)


TEMPORALS = [
    *of_any_kind(Averages, check_temporal),
    *of_networks(Averages, check_temporal, inputs=True),
    of_temporal("the last frame only", LastFrame, "shape"),
    of_temporal("ignores the mask", IgnoresLengths, "frames-outside-change-nothing"),
    of_temporal("ignores the mask in training", IgnoresLengthsInTraining, "frames-outside-change-nothing"),
    of_temporal("a gradient outside the mask", ZeroTimesOutside, "masked-gradient"),
    of_temporal("looks at single frames", FrameByFrame, "frames-are-seen-together"),
]


# Balancers


class Total:
    """The sum of the losses, sound."""

    def __init__(self, tasks):
        self.tasks = list(tasks)

    def combine(self, losses):
        return torch.stack(list(losses.values())).sum()

    def backward(self, losses, outputs, scale=1.0):
        (self.combine(losses) * scale).backward()


class FeaturesOnly(Total):
    """The shared layers get a gradient, the tasks' own do not."""

    def backward(self, losses, outputs, scale=1.0):
        features = next(iter(outputs.values())).features
        (gradient,) = torch.autograd.grad(self.combine(losses) * scale, features)
        features.backward(gradient)


class NeedsAll(Total):
    def combine(self, losses):
        return torch.stack([losses[task] for task in self.tasks]).sum()


class FullOnly(Total):
    """A zero row for an absent task, as in a minimum over all tasks."""

    def combine(self, losses):
        present = len(losses) == len(self.tasks) or len(losses) == 1
        return super().combine(losses) * (1.0 if present else 0.0)


class Climbs(Total):
    def combine(self, losses):
        return -super().combine(losses)


class NoScale(Total):
    def backward(self, losses, outputs, scale=1.0):
        super().backward(losses, outputs)


class NumberScale(Total):
    """A scalar tensor is taken as 1."""

    def backward(self, losses, outputs, scale=1.0):
        super().backward(losses, outputs, scale if isinstance(scale, float) else 1.0)


class Zeroes(Total):
    def backward(self, losses, outputs, scale=1.0):
        total = self.combine(losses) * scale
        leaves = []
        queue = [total.grad_fn]
        while queue:
            node = queue.pop()
            if node is not None:
                leaves += [node.variable] if hasattr(node, "variable") else []
                queue += [following for following, _ in node.next_functions]
        for leaf in leaves:
            leaf.grad = None
        total.backward()


class Moves(Total):
    def backward(self, losses, outputs, scale=1.0):
        node = next(iter(outputs.values())).features.grad_fn
        while not hasattr(node, "variable"):
            node = next(one for one, _ in node.next_functions if one is not None)
        super().backward(losses, outputs, scale)
        with torch.no_grad():
            node.variable.sub_(0.1 * node.variable.grad)


class Relative(Total):
    def combine(self, losses):
        return torch.stack([(loss / loss.detach()) for loss in losses.values()]).sum()


class Numpy(Total):
    def combine(self, losses):
        weights = np.random.default_rng().random(len(losses))
        return torch.stack([float(w) * loss for w, loss in zip(weights, losses.values(), strict=True)]).sum()


class RunningMeans(Total):
    """Weights by a running mean of the losses, which no checkpoint holds."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.means = dict.fromkeys(tasks, 1.0)

    def combine(self, losses):
        for task, loss in losses.items():
            self.means[task] = 0.5 * self.means[task] + 0.5 * float(loss.detach())
        return torch.stack([loss / (1 + self.means[task]) for task, loss in losses.items()]).sum()


class Uncertainty(nn.Module):
    """Weights that would have to be learnt."""

    def __init__(self, tasks):
        super().__init__()
        self.sigma = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def backward(self, losses, outputs, scale=1.0):
        terms = [(-self.sigma[task]).exp() * loss + self.sigma[task] for task, loss in losses.items()]
        (torch.stack(terms).sum() * scale).backward()


@attrs.frozen(kw_only=True)
class Sums(Balancer):
    """The sum, sound."""

    name: ClassVar[str] = "sums"
    live: ClassVar[type[Total]] = Total

    def build(self, tasks):
        return self.live(tasks)


def of_balancer(mistake: str, live: type[Total], caught_by: str) -> Mutant:
    return Mutant(mistake, lambda: check_balancer(variant(Sums, live=live)), caught_by)


BALANCERS = [
    *of_any_kind(Sums, check_balancer),
    of_balancer("trains what is shared only", FeaturesOnly, "gradient-reaches-parameters"),
    of_balancer("needs all tasks", NeedsAll, "tasks-may-be-absent"),
    of_balancer("an absent task makes the gradient zero", FullOnly, "tasks-may-be-absent"),
    of_balancer("climbs", Climbs, "one-task-keeps-its-direction"),
    of_balancer("ignores the scale", NoScale, "scale-is-a-factor"),
    of_balancer("ignores a scale that is a tensor", NumberScale, "scale-is-a-factor"),
    of_balancer("zeroes the gradients first", Zeroes, "adds-to-gradients"),
    of_balancer("moves a parameter", Moves, "parameters-stay"),
    of_balancer("divides by the loss", Relative, "a-loss-may-be-zero"),
    of_balancer("weights from numpy", Numpy, "same-from-the-same-seed"),
    of_balancer("a running mean of the losses", RunningMeans, "keeps-no-state"),
    of_balancer("weights that are learnt", Uncertainty, "keeps-no-state"),
]

KINDS = {
    "backbone": (BACKBONES, check_backbone, Small()),
    "architecture": (ARCHITECTURES, check_architecture, Hard()),
    "temporal": (TEMPORALS, check_temporal, Averages()),
    "balancer": (BALANCERS, check_balancer, Sums()),
}


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, id=f"{kind}-{mutant.__name__}")
        for kind, (mutants, _, _) in KINDS.items()
        for mutant in mutants
    ],
)
def test_the_mistake_is_caught(mutant):
    assert_caught(mutant)


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_can_fail(kind):
    """A check that no mistake makes fail would promise nothing."""
    mutants, checks, sound = KINDS[kind]
    assert uncaught(mutants, checks(sound)) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_the_sound_originals_pass(kind):
    _, checks, sound = KINDS[kind]
    for check in checks(sound):
        check()
