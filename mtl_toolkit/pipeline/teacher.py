"""Teachers: one joint pass a step in eval mode without gradients, one network or one per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..batch import HeadOutput
from ..registry import Registry
from .load import TrainedStage, load_stage


class Teachers:
    """Runs the teachers' networks on the student's inputs.

    Args:
        networks: each with the tasks it teaches.
        device: where they run.
        autocast: the precision they run in.
    """

    def __init__(
        self,
        networks: Sequence[tuple[nn.Module, Sequence[str]]],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._networks = [(network.to(device).eval(), tasks) for network, tasks in networks]
        for network, _ in self._networks:
            network.requires_grad_(requires_grad=False)
        self._autocast = autocast

    @torch.no_grad()
    def __call__(self, inputs: Tensor, windows: Sequence[int] | None = None) -> dict[str, HeadOutput]:
        """The outputs of every taught task."""
        outputs: dict[str, HeadOutput] = {}
        with self._autocast():
            for network, tasks in self._networks:
                outputs |= network(inputs, tasks, windows)
        return outputs


def load_teachers(
    references: Mapping[str, Path], tasks: Sequence[str], registry: Registry
) -> list[tuple[TrainedStage, tuple[str, ...]]]:
    """Load the teachers of a stage.

    Args:
        references: checkpoint folders by task; '' stands for every task.
        tasks: the student's tasks.
        registry: the plugins.
    """
    tasks_of: dict[Path, list[str]] = {}
    for task, path in references.items():
        tasks_of.setdefault(path, []).extend([task] if task else tasks)
    return [(load_stage(path, registry), tuple(taught)) for path, taught in tasks_of.items()]
