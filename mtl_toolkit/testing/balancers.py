"""What holds for balancers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..batch import HeadOutput
from ..plugin import Balancer
from ..seeding import seeded
from .check import Broken, Check, Rule, checks_of, expect, expect_equal, expect_finite
from .recipes import check_recipe

TASKS = ("first", "second", "third")


def check_balancer(recipe: Balancer, *, tasks: Sequence[str] = TASKS) -> list[Check]:
    """The checks of a balancer, on a small network.

    Args:
        recipe: the balancer.
        tasks: names of at least two tasks, if the recipe's fields name some.
    """
    trial = BalancerTrial(recipe, tuple(tasks))
    return [*check_recipe(recipe), *checks_of(recipe, trial, BALANCER_RULES)]


class SmallNetwork(nn.Module):
    """A shared layer, and two layers per task; losses of different sizes whose gradients disagree."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.inputs: Tensor
        generator = torch.Generator().manual_seed(0)
        self.tasks = tuple(tasks)
        self.shared = nn.Parameter(torch.randn(6, 5, generator=generator))
        self.hidden = nn.ParameterList(torch.randn(5, 4, generator=generator) for _ in tasks)
        self.last = nn.ParameterList(torch.randn(4, 2, generator=generator) for _ in tasks)
        self.register_buffer("inputs", torch.randn(7, 6, generator=generator))

    def forward(
        self, present: Sequence[str], zero: str = ""
    ) -> tuple[dict[str, Tensor], dict[str, HeadOutput]]:
        """Losses and outputs of the tasks that are present; that of `zero` is zero."""
        shared = torch.tanh(self.inputs @ self.shared)
        losses, outputs = {}, {}
        for place, task in enumerate(self.tasks):
            features = torch.tanh(shared @ self.hidden[place])
            values = features @ self.last[place]
            outputs[task] = HeadOutput(values, features)
            if task in present:
                goal = values.detach() if task == zero else torch.full_like(values, place - 0.5)
                losses[task] = 10.0**place * F.mse_loss(values, goal)
        return losses, outputs


class BalancerTrial:
    """A balancer, and losses to try it on."""

    def __init__(self, recipe: Balancer, tasks: tuple[str, ...]) -> None:
        self.recipe = recipe
        self.tasks = tasks

    def live(self) -> Any:
        """A fresh balancer."""
        return self.recipe.build(list(self.tasks))

    def network(self) -> SmallNetwork:
        """A fresh network, always the same."""
        return SmallNetwork(self.tasks)

    def step(
        self,
        network: SmallNetwork,
        live: Any = None,
        present: Sequence[str] = (),
        scale: Any = 1.0,
        zero: str = "",
        seed: int = 0,
    ) -> dict[str, Tensor | None]:
        """One backward pass; the gradients after it."""
        losses, outputs = network(present or self.tasks, zero)
        with seeded(seed):
            (live or self.live()).backward(losses, outputs, scale)
        return {name: parameter.grad for name, parameter in network.named_parameters()}


def gradient_reaches_parameters(trial: BalancerTrial) -> None:
    """`backward` leaves a finite gradient in `.grad` of all parameters of the tasks present, at each step."""
    network, live = trial.network(), trial.live()
    for _ in range(3):
        network.zero_grad()
        for name, gradient in trial.step(network, live).items():
            if gradient is None:
                raise Broken(f"{name} gets none")
            expect_finite([gradient], f"the gradient of {name}")
        expect(
            network.shared.grad is not None and network.shared.grad.any(), "that of the shared layer is zero"
        )


def tasks_may_be_absent(trial: BalancerTrial) -> None:
    """Any tasks but one may be absent in a step: they get no gradient, and take none from the others."""
    for count in range(1, len(trial.tasks)):
        live = trial.live()
        for present in itertools.combinations(trial.tasks, count):
            network = trial.network()
            trial.step(network, live, present)
            for task, last in zip(trial.tasks, network.last, strict=True):
                if task not in present:
                    expect(
                        last.grad is None or not last.grad.any(), f"{task!r} is absent and gets a gradient"
                    )
            gradient = network.shared.grad
            expect(gradient is not None and gradient.any(), f"with {list(present)} alone there is none")


def one_task_keeps_its_direction(trial: BalancerTrial) -> None:
    """A task that is alone in a step is trained along its own gradient."""
    network, plain = trial.network(), trial.network()
    trial.step(network, present=trial.tasks[:1])
    losses, _ = plain(trial.tasks[:1])
    losses[trial.tasks[0]].backward()
    if network.shared.grad is None or plain.shared.grad is None:
        raise Broken("there is no gradient")
    cosine = F.cosine_similarity(network.shared.grad.reshape(-1), plain.shared.grad.reshape(-1), dim=0)
    expect(cosine > 0.999, f"the cosine of the two is {float(cosine):g}")


def scale_is_a_factor(trial: BalancerTrial) -> None:
    """The gradient is multiplied by `scale`, a number or a scalar tensor.

    Accumulation over batches and the loss scaler of fp16 rely on it.
    """
    whole = trial.step(trial.network())
    for scale in (0.25, torch.tensor(0.25)):
        part = trial.step(trial.network(), scale=scale)
        for name, gradient in whole.items():
            found = part[name]
            if gradient is None or found is None:
                raise Broken(f"{name} gets no gradient")
            expect_equal(found, 0.25 * gradient, f"{name} with scale {scale!r}, and a quarter of that with 1")


def adds_to_gradients(trial: BalancerTrial) -> None:
    """`backward` adds to the gradients that are there: only the trainer zeroes them."""
    network = trial.network()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    wanted = trial.step(trial.network())
    for name, gradient in trial.step(network).items():
        expected = wanted[name]
        if gradient is None or expected is None:
            raise Broken(f"{name} gets no gradient")
        expect_equal(gradient, 1 + expected, f"{name} with ones in front, and ones plus the gradient alone")


def parameters_stay(trial: BalancerTrial) -> None:
    """`backward` makes gradients; it does not move the parameters."""
    network, before = trial.network(), trial.network()
    trial.step(network)
    for (name, now), was in zip(network.named_parameters(), before.parameters(), strict=True):
        expect(torch.equal(now, was), f"{name} has moved")


def a_loss_may_be_zero(trial: BalancerTrial) -> None:
    """A task whose loss and gradient are zero gives no NaN: divide and take logarithms with care."""
    network, live = trial.network(), trial.live()
    for zero in (trial.tasks[0], trial.tasks[0]):
        network.zero_grad()
        gradients = trial.step(network, live, zero=zero)
        expect_finite([one for one in gradients.values() if one is not None], "a gradient")


def same_from_the_same_seed(trial: BalancerTrial) -> None:
    """With torch's generator in the same state it gives the same gradients, or resuming would not."""
    one, other = trial.step(trial.network()), trial.step(trial.network())
    for name, gradient in one.items():
        found = other[name]
        same = (gradient is None and found is None) or (
            gradient is not None and found is not None and torch.equal(gradient, found)
        )
        expect(same, f"{name} differs")


def keeps_no_state(trial: BalancerTrial) -> None:
    """What a balancer does in a step does not depend on the steps before, and it has nothing to learn.

    Checkpoints hold no state of balancers yet, so that a run which goes on would differ.
    """
    live = trial.live()
    learnt = list(live.parameters()) if isinstance(live, nn.Module) else []
    expect(not learnt, f"it has {len(learnt)} parameters, which no optimizer would train")
    first, last = trial.tasks[0], trial.tasks[-1]
    for present, zero in ((trial.tasks, first), ((first, last), ""), ((last,), ""), (trial.tasks, last)):
        trial.step(trial.network(), live, present, zero=zero)
    wanted = trial.step(trial.network())
    for name, gradient in trial.step(trial.network(), live).items():
        expected = wanted[name]
        if gradient is None or expected is None:
            raise Broken(f"{name} gets no gradient")
        expect_equal(gradient, expected, f"{name} after other steps, and as the first")


def on_a_gpu(trial: BalancerTrial) -> None:
    """On a GPU it gives the gradients that it gives on the CPU.

    One that draws random numbers is not compared: the generators differ. Only tried where there is a GPU.
    """
    wanted, other = trial.step(trial.network()), trial.step(trial.network(), seed=1)
    found = trial.step(trial.network().to("cuda"))
    for name, gradient in found.items():
        expected, drawn = wanted[name], other[name]
        if gradient is None or expected is None or drawn is None:
            raise Broken(f"{name} gets no gradient")
        if torch.equal(expected, drawn):
            expect_equal(gradient, expected, f"{name} on the GPU and on the CPU", 1e-2, 1e-3)


BALANCER_RULES: tuple[Rule[BalancerTrial], ...] = (
    gradient_reaches_parameters,
    tasks_may_be_absent,
    one_task_keeps_its_direction,
    scale_is_a_factor,
    adds_to_gradients,
    parameters_stay,
    a_loss_may_be_zero,
    same_from_the_same_seed,
    keeps_no_state,
    on_a_gpu,
)
