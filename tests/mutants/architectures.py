"""Architectures with one mistake each."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import nn

from mtl_toolkit import Architecture
from mtl_toolkit.testing import Check, check_architecture
from mtl_toolkit.testing.architectures import SmallBackbone
from tests.mutants import maker, of_any_kind
from tests.mutants.networks import with_parts


class Trunk(nn.Module):
    """A backbone for all, and one more part behind."""

    def __init__(self, backbone, tasks, part):
        super().__init__()
        self.backbone, self.part = backbone(), part
        self.num_features = dict.fromkeys(tasks, self.backbone.num_features)

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, self.part(self.backbone(inputs)))


class KnowsMore(Trunk):
    """Names a task of its own."""

    def __init__(self, backbone, tasks, part):
        super().__init__(backbone, [*tasks, "shared"], part)


class WrongWidths(Trunk):
    def __init__(self, backbone, tasks, part):
        super().__init__(backbone, tasks, part)
        self.num_features = dict.fromkeys(tasks, 2 * self.backbone.num_features)


class Whole(Trunk):
    def forward(self, inputs, tasks):
        return {task: one.to(torch.int64) for task, one in super().forward(inputs, tasks).items()}


class ComparesTwoTasks(Trunk):
    def __init__(self, backbone, tasks, part):
        super().__init__(backbone, tasks, part)
        self.pair = tasks[0], tasks[1]


class OwnBackbone(Trunk):
    def __init__(self, backbone, tasks, part):
        super().__init__(SmallBackbone, tasks, part)


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


class LayerOnDetached(Trunk):
    """A task has a layer of its own, and keeps its gradient from what is shared."""

    def __init__(self, backbone, tasks, part):
        super().__init__(backbone, tasks, part)
        self.layer = nn.Linear(self.backbone.num_features, self.backbone.num_features)

    def forward(self, inputs, tasks):
        found = super().forward(inputs, tasks)
        return {task: self.layer(one.detach()) if task == "type" else one for task, one in found.items()}


@attrs.frozen(kw_only=True)
class Hard(Architecture):
    """Hard sharing, sound."""

    name: ClassVar[str] = "hard"
    part: ClassVar[type[nn.Module]] = nn.Identity
    trunk: ClassVar[type[Trunk]] = Trunk

    def build(self, backbone, tasks):
        return self.trunk(backbone, tasks, self.part())


of_trunk = maker(check_architecture, Hard, "trunk")

MUTANTS = [
    *of_any_kind(check_architecture, Hard),
    *with_parts(check_architecture, Hard),
    of_trunk("names a task that there is not", KnowsMore, "shape"),
    of_trunk("num_features is wrong", WrongWidths, "shape"),
    of_trunk("whole numbers", Whole, "shape"),
    of_trunk("needs two tasks", ComparesTwoTasks, "shape", raises=IndexError),
    of_trunk("gives all tasks", AllTasks, "shape"),
    of_trunk("divides by the tasks asked for", SharesAmongThoseAskedFor, "tasks-asked-for-do-not-matter"),
    of_trunk("makes its own backbone", OwnBackbone, "every-task-trains-a-backbone", told="never called"),
    of_trunk("a task is detached", OneTaskIsDetached, "every-task-trains-a-backbone"),
    of_trunk("a task's layer is detached", LayerOnDetached, "every-task-trains-a-backbone"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return check_architecture(Hard())
