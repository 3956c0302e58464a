"""An optimizer step: the gradients of its batches, and the update of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from .. import distributed
from ..batch import Batch, HeadOutput
from ..batch_norm import in_groups
from ..model import MultiTaskModel
from ..objective import Losses, Objective
from ..preprocessing import seen_by
from ..seeding import derive_seed
from ..self_supervision import own_targets, with_targets
from .average import WeightAverage
from .mixup import Mixing, draw_mixing
from .sharpness import Sharpness, keeping_buffers

Teacher = Callable[[Tensor, Sequence[int] | None], Mapping[str, HeadOutput]]


@attrs.define(eq=False)
class Pass:
    """A batch, with all that makes a second pass over it the same as the first."""

    batch: Batch
    sizes: Sequence[tuple[int, ...]]
    share: float
    seed: int
    mixing: Mixing | None
    goal: Mapping[str, HeadOutput] | None = None


@attrs.define(eq=False, kw_only=True)
class OptimizerStep:
    """Backward passes over one batch or several, and an update; then the next ones.

    Attributes:
        model: on the device of the accelerator.
        objective: turns outputs into losses; on the same device.
        balancer: turns losses into gradients, see `Balancer.build`.
        optimizer: over the parameters of the model and the objective.
        accelerator: device, precision and processes.
        teacher: from inputs and windows to the teacher's outputs, without gradient.
        prepare: from a batch on the device to the model's inputs (augmentation).
        clip_norm: largest gradient norm.
        average: follows the model, update by update.
        sharpness: look for the gradient at the worst point nearby, in a second pass over the step's batches.
        mixup: rows mixed in pairs keep a share of themselves drawn from Beta(mixup, mixup); 0: no mixing.
        seed: dropout and mixing are functions of it and the position in training.
    """

    model: MultiTaskModel
    objective: Objective
    balancer: Any
    optimizer: Optimizer
    accelerator: Accelerator
    teacher: Teacher | None = None
    prepare: Callable[[Batch], Tensor]
    clip_norm: float | None = None
    average: WeightAverage | None = None
    sharpness: Sharpness | None = None
    mixup: float = 0.0
    seed: int = 0
    _begins: bool = attrs.field(default=True, init=False)
    _passes: list[Pass] = attrs.field(factory=list, init=False)

    def backward(
        self, batch: Batch, sizes: Sequence[tuple[int, ...]], share: float, position: tuple[int, int]
    ) -> Losses:
        """Add the gradients of a batch to those of the step's earlier batches.

        Args:
            batch: on the device; with several processes, with the labels of all.
            sizes: with several processes, the rows of each stream on each rank; empty for one.
            share: the batch's part in the step's gradient.
            position: its epoch and its number in the epoch, of which all that is random is a function.

        Raises:
            ValueError: if rows that are frames of windows are to be mixed.
        """
        rank = int(self.accelerator.process_index)
        mixing = None
        if self.mixup:
            if batch.windows is not None:
                raise ValueError("mixup: mixes single rows, but these are the frames of windows")
            seed = derive_seed(self.seed, *position, "mixup")
            mixing = draw_mixing(self.mixup, seed, sizes or [batch.sizes], rank)
        one = Pass(batch, sizes, share, derive_seed(self.seed, *position, rank), mixing)
        losses = self._backward(one)
        if self.sharpness is not None:
            self._passes.append(one)
        return losses

    def _backward(self, one: Pass) -> Losses:
        sow(one.seed, self.accelerator.device)
        inputs = self.prepare(one.batch)
        if one.mixing is not None:
            inputs = one.mixing.inputs(inputs)
        if self.teacher is not None and one.goal is None:
            one.goal = _gathered(self.teacher(inputs, one.batch.windows), one.sizes)
        mine = one.sizes[self.accelerator.process_index] if one.sizes else one.batch.sizes
        with self.accelerator.autocast(), in_groups(self.model, one.batch, mine):
            outputs = self.model(inputs, windows=one.batch.windows)
        outputs = _gathered(outputs, one.sizes)
        losses = self._losses(one, outputs, self._own_targets(inputs, one.sizes))
        if self._begins:
            # Not sooner: memory freed before the forward pass costs the CPU thousands of page faults a step.
            self.optimizer.zero_grad()
            self._begins = False
        if losses.tasks:
            self.balancer.backward(losses.tasks, outputs, self._scaled(one.share))
        return losses

    def _losses(self, one: Pass, outputs: Mapping[str, HeadOutput], made: Mapping[str, Tensor]) -> Losses:
        """The losses, those of mixed rows with the labels of both; `made` are targets of the inputs."""
        losses: Losses = self.objective(outputs, with_targets(one.batch, made), one.goal)
        if one.mixing is None:
            return losses
        partners = with_targets(one.mixing.partners_labels(one.batch), made)
        return one.mixing.losses(losses, self.objective(outputs, partners, one.goal))

    def update(self) -> None:
        """Change the weights by the gradients."""
        scaler = self.accelerator.scaler
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.sharpness is not None:
            self._climb(self.sharpness, parameters)
        self._average_gradients(parameters)
        if self.accelerator.num_processes > 1:
            distributed.average_buffers(self.model)
        if scaler is not None and any(p.grad is not None for p in parameters):
            scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        if scaler is None:
            self.optimizer.step()
        elif any(p.grad is not None for p in parameters):
            scaler.step(self.optimizer)
            scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self._begins = True

    def _climb(self, sharpness: Sharpness, parameters: Sequence[Tensor]) -> None:
        """Replace the gradients by those at the sharpest point nearby, over the same batches."""
        self._average_gradients(parameters)
        passes, self._passes = self._passes, []
        with sharpness.climbed(parameters), keeping_buffers([self.model, self.objective]):
            self._begins = True
            for one in passes:
                self._backward(one)

    def _average_gradients(self, parameters: Sequence[Tensor]) -> None:
        if self.accelerator.num_processes > 1:
            distributed.average_gradients(parameters)

    def _own_targets(self, inputs: Tensor, sizes: Sequence[tuple[int, ...]]) -> dict[str, Tensor]:
        """The targets that inputs make; with several processes, of the inputs of all."""
        heads = self.objective.heads
        if not any(head.self_supervised for head in heads.values()):
            return {}
        made = own_targets(seen_by(self.model, inputs), heads)
        if sizes:
            made = {task: distributed.gather_rows(target, sizes) for task, target in made.items()}
        return made

    def _scaled(self, share: float) -> Tensor | float:
        scaler = self.accelerator.scaler
        if scaler is None:
            return share
        scaled: Tensor = scaler.scale(torch.full((), share, device=self.accelerator.device))
        return scaled


def _gathered(
    outputs: Mapping[str, HeadOutput], sizes: Sequence[tuple[int, ...]]
) -> Mapping[str, HeadOutput]:
    return distributed.gather_outputs(outputs, sizes) if sizes else outputs


def sow(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of the device.

    torch.manual_seed would seed every kind of device there may be, each with a look at the call stack.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device.type).manual_seed(seed)
