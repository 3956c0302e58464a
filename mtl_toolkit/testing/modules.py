"""What holds for the networks that recipes build: heads, backbones, trunks, temporal networks."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ..batch import Features
from ..checkpoint import tensors_of
from ..seeding import seeded
from .check import Broken, Rule, expect, expect_equal, expect_finite

BF16 = 5e-2  # relative: bf16 has 8 bits, and a network several layers


@attrs.frozen(eq=False)
class ModuleTrial:
    """A network to try.

    Attributes:
        build: makes it, with initial values from torch's global generator.
        inputs: makes the inputs of a number of rows.
        call: runs it; gives its outputs by name, each with the rows first.
        learns: the outputs that a loss is taken of; by default all.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    call: Callable[[nn.Module, Tensor], Mapping[str, Tensor]]
    learns: tuple[str, ...] = ()

    def module(self, seed: int = 0) -> nn.Module:
        """The network in eval mode, the same for the same seed."""
        with seeded(seed):
            return self.build().eval()

    def trained(self, seed: int = 0) -> nn.Module:
        """As after some steps: a parameter that begins at zero, as of a residual branch, is no longer so."""
        module, generator = self.module(seed), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
        return module

    def run(self, module: nn.Module, inputs: Tensor) -> Mapping[str, Tensor]:
        """Its outputs, without gradient."""
        with torch.no_grad():
            return self.call(module, inputs)

    def loss(self, module: nn.Module, inputs: Tensor, seed: int = 0) -> Tensor:
        """A number that depends on all outputs that are learnt from, with gradient; `seed` is of dropout."""
        with seeded(seed):
            outputs = self.call(module, inputs)
        generator = torch.Generator().manual_seed(5)
        terms = []
        for name, output in outputs.items():
            if name in self.learns or not self.learns:
                weights = torch.randn(output.shape, generator=generator)
                terms.append((output.float() * weights.to(output.device)).mean())
        return torch.stack(terms).sum()


def built_alike(trial: ModuleTrial) -> None:
    """Two networks built from one seed of torch's global generator are the same.

    Initial values drawn from numpy's or Python's own generators would make another network in every run.
    """
    one, other = trial.module().state_dict(), trial.module().state_dict()
    expect(one.keys() == other.keys(), f"other tensors: {sorted(one.keys() ^ other.keys())}")
    for name, tensor in one.items():
        expect(torch.equal(tensor, other[name]), f"{name} differs")


def same_in_eval_mode(trial: ModuleTrial) -> None:
    """In eval mode the same rows give the same outputs every time, and nothing in the network changes."""
    module, inputs = trial.module(), trial.inputs(3)
    before = copy.deepcopy(module.state_dict())
    first, second = trial.run(module, inputs), trial.run(module, inputs)
    for name, output in first.items():
        expect(torch.equal(output, second[name]), f"{name} differs when run again")
    for name, tensor in module.state_dict().items():
        expect(torch.equal(tensor, before[name]), f"{name} has changed")


def rows_apart(trial: ModuleTrial) -> None:
    """In eval mode a row's output depends on that row alone, whatever stands beside it in the batch."""
    module, inputs = trial.module(), trial.inputs(4)
    together = trial.run(module, inputs)
    for row in range(len(inputs)):
        alone = trial.run(module, inputs[row : row + 1])
        for name, output in alone.items():
            expect_equal(
                output[0], together[name][row], f"{name} of a row alone and among others", 1e-3, 1e-4
            )


def gradient_reaches_parameters(trial: ModuleTrial) -> None:
    """In training every parameter that is not frozen gets a finite gradient, some of them not zero."""
    module, inputs = trial.trained().train(), trial.inputs(8)
    learning = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    if not learning:
        return  # such as a fixed filter, or a frozen network
    for seed in range(8):  # layers may be dropped at random
        _backward(trial.loss(module, inputs, seed))
        if all(one.grad is not None for _, one in learning):
            break
    named = [(name, one.grad) for name, one in learning]
    for name, gradient in named:
        if gradient is None:
            raise Broken(f"{name} gets none: it has no part in the output")
        expect_finite([gradient], f"the gradient of {name}")
    some = any(gradient is not None and gradient.abs().max() > 0 for _, gradient in named)
    expect(some, "all are zero")


def gradient_reaches_inputs(trial: ModuleTrial) -> None:
    """The gradient goes on to the features that are read, so that what lies under them is trained too."""
    module, inputs = trial.trained().train(), trial.inputs(8).requires_grad_()
    _backward(trial.loss(module, inputs))
    gradient = torch.zeros_like(inputs) if inputs.grad is None else inputs.grad
    expect_finite([gradient], "the gradient of the inputs")
    expect(gradient.any(), "none arrives: is something detached, or rounded?")


def state_round_trip(trial: ModuleTrial) -> None:
    """All that a network has learnt is in its state dict: one built anew with that state is the same.

    Keep what changes and is not a parameter in a buffer.
    """
    module, inputs = trial.trained(seed=1).train(), trial.inputs(8)
    with seeded():
        for _ in range(2):  # running statistics move
            trial.call(module, inputs)
    module.eval()
    again = trial.module(seed=3)
    again.load_state_dict({name: tensor.clone() for name, tensor in tensors_of(module).items()})
    other = trial.run(again, inputs)
    for name, output in trial.run(module, inputs).items():
        expect_equal(output, other[name], f"{name} before and after")


def bf16_autocast(trial: ModuleTrial) -> None:
    """Under bf16 autocast it trains: outputs are near those of fp32, gradients finite."""
    module, inputs = trial.module(), trial.inputs(8)
    exact = trial.run(module, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = trial.run(module, inputs)
    for name, output in rough.items():
        size = float(exact[name].nan_to_num().abs().max().clamp(min=0.1))
        expect_equal(output.float(), exact[name], f"{name} in bf16 and fp32", BF16, BF16 * size)
    module.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = trial.loss(module, inputs)
    if loss.requires_grad:
        loss.backward()
    gradients = [one.grad for one in module.parameters() if one.grad is not None]
    expect_finite([loss, *gradients], "loss or gradient in bf16")


def exports(trial: ModuleTrial) -> None:
    """`torch.export` can take the network, for any number of rows (x.shape[0]; len(x) becomes a constant).

    An exported network runs without its Python code.
    """
    module, inputs = trial.module(), trial.inputs(3)
    wrapped = _Outputs(module, trial)
    rows = torch.export.Dim("rows", min=2, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its parts that are to go
        try:
            program = torch.export.export(wrapped, (inputs,), dynamic_shapes=({0: rows},))
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    more = trial.inputs(5)
    wanted = trial.run(module, more)
    found: Any = program.module()(more)
    for name, output in zip(wanted, found, strict=True):
        expect_equal(output, wanted[name], f"{name} exported and not", 1e-3, 1e-4)


def on_a_gpu(trial: ModuleTrial) -> None:
    """Moved to a GPU a network gives what it gives on the CPU.

    Make tensors in `forward` on the device of the inputs. Only tried where there is a GPU.
    """
    module, inputs = trial.module(), trial.inputs(8)
    wanted = trial.run(module, inputs)
    moved = copy.deepcopy(module).to("cuda")
    found = trial.run(moved, inputs.to("cuda"))
    for name, output in wanted.items():
        expect(found[name].device.type == "cuda", f"{name} is on {found[name].device}")
        expect_equal(found[name], output, f"{name} on the GPU and on the CPU", 1e-2, 1e-3)


def _backward(loss: Tensor) -> None:
    expect(loss.requires_grad, "the outputs have none: is something detached, or under no_grad?")
    loss.backward()


def named(name: str, found: Tensor | Features) -> dict[str, Tensor]:
    """Features under a name, and the extras beside them under longer ones."""
    values, extras = Features.of(found)
    return {name: values, **{f"{name}: {extra}": tensor for extra, tensor in extras.items()}}


class _Outputs(nn.Module):
    """A network whose outputs are a tuple."""

    def __init__(self, module: nn.Module, trial: ModuleTrial) -> None:
        super().__init__()
        self.module, self.trial = module, trial

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.trial.call(self.module, inputs).values())


def module_rules(*, inputs_learn: bool = True) -> tuple[Rule[ModuleTrial], ...]:
    """The rules of all networks; with `inputs_learn` also that the gradient goes on to their inputs."""
    learning = (gradient_reaches_inputs,) if inputs_learn else ()
    return (
        built_alike,
        same_in_eval_mode,
        rows_apart,
        gradient_reaches_parameters,
        *learning,
        state_round_trip,
        bf16_autocast,
        exports,
        on_a_gpu,
    )
