"""Teachers: one joint pass a step in eval mode without gradients, one network or one per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from ..batch import HeadOutput
from ..config import plain
from ..errors import ConfigError, suggestion
from ..model import Preprocessing
from ..plugin import Head
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
    references: Mapping[str, Path],
    heads: Mapping[str, Head],
    preprocessing: Preprocessing,
    registry: Registry,
) -> list[tuple[TrainedStage, tuple[str, ...]]]:
    """Load the teachers of a stage and check that they speak the student's language.

    Args:
        references: checkpoint folders by task; '' stands for every task.
        heads: the student's tasks.
        preprocessing: the student's.
        registry: the plugins.

    Raises:
        ConfigError: if a teacher lacks a task, or its classes, bins or preprocessing differ.
    """
    tasks_of: dict[Path, list[str]] = {}
    for task, path in references.items():
        tasks_of.setdefault(path, []).extend([task] if task else list(heads))
    problems = []
    teachers = []
    for path, tasks in tasks_of.items():
        teacher = load_stage(path, registry)
        problems += _problems(teacher, tasks, heads, preprocessing)
        teachers.append((teacher, tuple(tasks)))
    if problems:
        raise ConfigError(*problems)
    return teachers


def _problems(
    teacher: TrainedStage, tasks: Sequence[str], heads: Mapping[str, Head], preprocessing: Preprocessing
) -> list[str]:
    problems = []
    for task in tasks:
        if task not in heads:
            problems.append(f"teacher of task {task!r}: the student does not train it")
        elif task not in teacher.heads:
            near = suggestion(task, teacher.heads)
            problems.append(f"teacher {teacher.path}: has no task {task!r}{near}; or name a teacher per task")
        else:
            theirs, ours = teacher.description["tasks"][task]["meaning"], heads[task].meaning()
            problems += [
                f"teacher {teacher.path}: task {task!r} has {key} {theirs.get(key)!r}, "
                f"the student {ours.get(key)!r}"
                for key in dict.fromkeys([*theirs, *ours])
                if theirs.get(key) != ours.get(key)
            ]
    theirs, ours = plain(teacher.preprocessing), plain(preprocessing)
    problems += [
        f"teacher {teacher.path}: preprocessing {key} is {theirs[key]!r}, the student's {ours[key]!r}"
        for key in ours
        if theirs.get(key) != ours[key]
    ]
    return problems
