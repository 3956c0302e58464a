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
from ..model import MultiTaskModel, seen_by
from ..objective import Losses, Objective
from ..self_supervision import own_targets, with_targets
from .average import WeightAverage

Teacher = Callable[[Tensor, Sequence[int] | None], Mapping[str, HeadOutput]]


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
    _begins: bool = attrs.field(default=True, init=False)

    def backward(self, batch: Batch, sizes: Sequence[tuple[int, ...]], share: float, seed: int) -> Losses:
        """Add the gradients of a batch to those of the step's earlier batches.

        Args:
            batch: on the device; with several processes, with the labels of all.
            sizes: with several processes, the rows of each stream on each rank; empty for one.
            share: the batch's part in the step's gradient.
            seed: of dropout.
        """
        sow(seed, self.accelerator.device)
        inputs = self.prepare(batch)
        goal = self.teacher(inputs, batch.windows) if self.teacher else None
        with self.accelerator.autocast():
            outputs = self.model(inputs, windows=batch.windows)
        if sizes:
            outputs = distributed.gather_outputs(outputs, sizes)
            goal = distributed.gather_outputs(goal, sizes) if goal is not None else None
        losses: Losses = self.objective(outputs, self._completed(batch, inputs, sizes), goal)
        if self._begins:
            # Not sooner: memory freed before the forward pass costs the CPU thousands of page faults a step.
            self.optimizer.zero_grad()
            self._begins = False
        if losses.tasks:
            self.balancer.backward(losses.tasks, outputs, self._scaled(share))
        return losses

    def update(self) -> None:
        """Change the weights by the gradients."""
        scaler = self.accelerator.scaler
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.accelerator.num_processes > 1:
            distributed.average_gradients(parameters)
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

    def _completed(self, batch: Batch, inputs: Tensor, sizes: Sequence[tuple[int, ...]]) -> Batch:
        """The batch with the targets that inputs make; with several processes, of the inputs of all."""
        if not any(head.self_supervised for head in self.objective.heads.values()):
            return batch
        made = own_targets(seen_by(self.model, inputs), self.objective.heads)
        if sizes:
            made = {task: distributed.gather_rows(target, sizes) for task, target in made.items()}
        return with_targets(batch, made)

    def _scaled(self, share: float) -> Tensor | float:
        scaler = self.accelerator.scaler
        if scaler is None:
            return share
        scaled: Tensor = scaler.scale(torch.full((), share, device=self.accelerator.device))
        return scaled


def sow(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of the device.

    torch.manual_seed would seed every kind of device there may be, each with a look at the call stack.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device.type).manual_seed(seed)
