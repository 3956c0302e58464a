"""Parts of networks with one mistake each, to be put into sound ones of every kind."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import torch
from torch import nn

from mtl_toolkit import Recipe
from tests.mutants import Checks, Mutant, broken


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


class LargeOffset(nn.Module):
    """A large number is added and taken away."""

    def forward(self, inputs):
        return inputs + 300 - 300


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


class NamedByCounter(nn.Module):
    """A parameter named by a counter that goes on."""

    made = itertools.count()

    def __init__(self):
        super().__init__()
        self.register_parameter(f"factor{next(self.made)}", nn.Parameter(torch.ones(())))

    def forward(self, inputs):
        return inputs * next(self.parameters())


class CountsCalls(nn.Module):
    """Counts its calls in eval mode too."""

    def __init__(self):
        super().__init__()
        self.calls: torch.Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs):
        self.calls += 1
        return inputs


class RootOfZero(nn.Module):
    """A square root at zero, where it has no finite gradient."""

    def forward(self, inputs):
        return inputs + (inputs - inputs.detach()).sqrt()


class TimesZero(nn.Module):
    """Multiplies by zero."""

    def forward(self, inputs):
        return inputs * 0


class OtherWhenExported(nn.Module):
    """A short cut for the compiler that is not the same."""

    def forward(self, inputs):
        return inputs * (1.1 if torch.compiler.is_exporting() else 1.0)


PARTS = (
    (NamedByCounter, "built-alike"),
    (FromNumpy, "built-alike"),
    (Noise, "same-in-eval-mode"),
    (CountsCalls, "same-in-eval-mode"),
    (OverTheBatch, "rows-apart"),
    (Unused, "gradient-reaches-parameters"),
    (Forgets, "state-round-trip"),
    (WithLen, "exports"),
    (OtherWhenExported, "exports"),
)
BEHIND = (
    (LargeOffset, "bf16-autocast"),
    (RootOfZero, "gradient-reaches-parameters", "the gradient of"),
    (TimesZero, "gradient-reaches-parameters"),
    (RootOfZero, "bf16-autocast"),
)
IN_FRONT = ((Detach, "gradient-reaches-inputs"), (RootOfZero, "gradient-reaches-inputs"))


def with_parts(checks: Checks, base: type[Recipe], *, in_front: bool = False) -> list[Mutant]:
    """The mistakes that every network can have, as the part of a sound one.

    Args:
        checks: makes the checks of a recipe.
        base: the class of the sound recipe.
        in_front: whether the part is before the parameters, not behind them.
    """
    parts = [*PARTS, *(IN_FRONT if in_front else BEHIND)]
    return [
        Mutant(str(part.__doc__), partial(checks, broken(base, part=part)), name, *told)
        for part, name, *told in parts
    ]
