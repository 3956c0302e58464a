"""Balancers with one mistake each."""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import nn

from mtl_toolkit import Balancer
from mtl_toolkit.testing import Check, check_balancer
from tests.mutants import maker, of_any_kind


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
        for task, loss in losses.items():
            features = outputs[task].features
            (gradient,) = torch.autograd.grad(loss * scale, features, retain_graph=True)
            features.backward(gradient, retain_graph=True)


class HeadsOnly(Total):
    """Takes the gradient away from the shared layers, as a projection with a mistake would."""

    def backward(self, losses, outputs, scale=1.0):
        for output in outputs.values():
            output.features.register_hook(torch.zeros_like)
        super().backward(losses, outputs, scale)


class ByDifferences(Total):
    """Weights of 1 over what a loss has changed, which is nothing at first."""

    def combine(self, losses):
        return torch.stack([loss / (loss - loss).detach() for loss in losses.values()]).sum()


class PenaltyOnAll(Total):
    """A penalty on the outputs of all tasks, those that are absent too."""

    def backward(self, losses, outputs, scale=1.0):
        penalty = torch.stack([output.values.square().mean() for output in outputs.values()]).sum()
        ((self.combine(losses) + 0.01 * penalty) * scale).backward()


class SkipsSingleTasks(Total):
    """There is nothing to balance, it says."""

    def backward(self, losses, outputs, scale=1.0):
        if len(losses) > 1:
            super().backward(losses, outputs, scale)


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


of_balancer = maker(check_balancer, Sums, "live")

MUTANTS = [
    *of_any_kind(check_balancer, Sums),
    of_balancer("trains what is shared only", FeaturesOnly, "gradient-reaches-parameters"),
    of_balancer("trains the tasks' own only", HeadsOnly, "gradient-reaches-parameters"),
    of_balancer("divides by a difference of zero", ByDifferences, "gradient-reaches-parameters"),
    of_balancer("needs all tasks", NeedsAll, "tasks-may-be-absent", raises=KeyError),
    of_balancer("a penalty on absent tasks", PenaltyOnAll, "tasks-may-be-absent"),
    of_balancer("an absent task makes the gradient zero", FullOnly, "tasks-may-be-absent"),
    of_balancer("skips a task that is alone", SkipsSingleTasks, "one-task-keeps-its-direction"),
    of_balancer("climbs", Climbs, "one-task-keeps-its-direction"),
    of_balancer("trains what is shared only", FeaturesOnly, "scale-is-a-factor"),
    of_balancer("ignores the scale", NoScale, "scale-is-a-factor"),
    of_balancer("ignores a scale that is a tensor", NumberScale, "scale-is-a-factor"),
    of_balancer("trains what is shared only", FeaturesOnly, "adds-to-gradients"),
    of_balancer("zeroes the gradients first", Zeroes, "adds-to-gradients"),
    of_balancer("moves a parameter", Moves, "parameters-stay"),
    of_balancer("divides by the loss", Relative, "a-loss-may-be-zero"),
    of_balancer("weights from numpy", Numpy, "same-from-the-same-seed"),
    of_balancer("trains what is shared only", FeaturesOnly, "keeps-no-state"),
    of_balancer("a running mean of the losses", RunningMeans, "keeps-no-state"),
    of_balancer("weights that are learnt", Uncertainty, "keeps-no-state"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return check_balancer(Sums())
