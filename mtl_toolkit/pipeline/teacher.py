"""Teachers: one joint pass a step in eval mode without gradients, one network or one per task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..batch import HeadOutput
from ..errors import suggestion
from ..registry import Registry
from .load import TrainedStage, load_stage


class Teachers:
    """Runs the teachers' networks on the student's inputs.

    Args:
        stages: the trained networks, each with the tasks it teaches.
        device: where they run.
        autocast: the precision they run in.
    """

    def __init__(
        self,
        stages: Sequence[tuple[TrainedStage, tuple[str, ...]]],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._networks = [(stage.model.to(device).eval(), tasks) for stage, tasks in stages]
        for network, _ in self._networks:
            network.requires_grad_(requires_grad=False)
        self._autocast = autocast

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> dict[str, HeadOutput]:
        """The outputs of every taught task."""
        outputs: dict[str, HeadOutput] = {}
        with self._autocast():
            for network, tasks in self._networks:
                outputs |= network(inputs, tasks)
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


def misfits(
    who: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], tasks: Sequence[str]
) -> Iterator[str]:
    """In what a network that teaches or starts a stage means something else: tasks, classes, preprocessing.

    Args:
        who: what messages call it.
        theirs: what its checkpoint says of it, as `model.describe` has it.
        ours: the same of the stage.
        tasks: those that it must have.
    """
    for task in tasks:
        if task not in ours["tasks"]:
            yield f"{who}: the stage does not train task {task!r}"
        elif task not in theirs["tasks"]:
            yield f"{who}: has no task {task!r}{suggestion(task, theirs['tasks'])}"
        else:
            known, wanted = (side["tasks"][task]["meaning"] for side in (theirs, ours))
            yield from (
                f"{who}: task {task!r} has {key} {known.get(key)!r}, the stage {wanted.get(key)!r}"
                for key in dict.fromkeys([*known, *wanted])
                if known.get(key) != wanted.get(key)
            )
    known, wanted = theirs["preprocessing"], ours["preprocessing"]
    yield from (
        f"{who}: preprocessing {key} is {known.get(key)!r}, the stage's {wanted[key]!r}"
        for key in wanted
        if known.get(key) != wanted[key]
    )
