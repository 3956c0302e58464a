"""The network: preprocessing, a trunk shared by the tasks, and a head per task."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .batch import Features, HeadOutput
from .batch_norm import RowGroups, group_batch_norms
from .config import Model, Windows, plain
from .errors import ConfigError
from .plugin import Head, Temporal
from .preprocessing import CentreCrop, Normalise, Preprocessing


class FeatureTrunk(nn.Module):
    """Stands in for a trunk where the inputs are features already: cuts each task's out of a row.

    Args:
        columns: by task, the first column of its features and the one after the last.
    """

    def __init__(self, columns: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.columns = dict(columns)
        self.num_features: Mapping[str, int] = {task: stop - start for task, (start, stop) in columns.items()}

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """[rows, columns] to [rows, features] by task."""
        return {task: inputs[:, slice(*self.columns[task])] for task in tasks}


class MultiTaskModel(nn.Module):
    """A trunk that gives features by task, a temporal network on each if there are any, and a head.

    Extras of the trunk, see `Features`, are passed on in the outputs; a temporal network drops them.

    Args:
        trunk: called with (inputs, tasks), gives features by task; what `Architecture.build` returns.
        heads: modules from features to `HeadOutput`, by task.
        preprocess: run on the inputs first.
        temporal: networks over the frames of a window, by task; what `Temporal.build` returns.
        batch_statistics: over which rows batch norm in trunk and heads takes its statistics in training;
            `in_groups` tells it the groups of a batch.
    """

    def __init__(
        self,
        trunk: nn.Module,
        heads: Mapping[str, nn.Module],
        preprocess: nn.Module | None = None,
        temporal: Mapping[str, nn.Module] | None = None,
        batch_statistics: Literal["joint", "stream", "dataset"] = "joint",
    ) -> None:
        super().__init__()
        self.preprocess = preprocess or nn.Identity()
        self.trunk = trunk
        self.tasks = tuple(heads)
        # The suffix keeps a task called `values` or `type` apart from ModuleDict's own attributes.
        self.heads = nn.ModuleDict({f"{task}_head": head for task, head in heads.items()})
        self.temporal = nn.ModuleDict({f"{task}_frames": one for task, one in (temporal or {}).items()})
        self.row_groups: RowGroups | None = None
        if batch_statistics != "joint":
            self.row_groups = group_batch_norms([trunk, self.heads], batch_statistics)

    def forward(
        self, inputs: Tensor, tasks: Sequence[str] | None = None, windows: Sequence[int] | None = None
    ) -> dict[str, HeadOutput]:
        """One joint pass over all rows.

        Args:
            inputs: [rows, ...].
            tasks: limits the heads that are run.
            windows: rows of each window of frames, see `Batch`; None: all rows are one window. Only temporal
                networks look at it.

        Raises:
            ValueError: if a temporal network's windows do not add up to the rows.
        """
        wanted = list(self.tasks) if tasks is None else list(tasks)
        features = self._features(inputs, wanted, windows)
        return {task: self._output(task, features[task]) for task in wanted}

    def features(
        self, inputs: Tensor, tasks: Sequence[str], windows: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """What the heads read: [rows, features] by task."""
        return {task: one.values for task, one in self._features(inputs, tasks, windows).items()}

    def _output(self, task: str, features: Features) -> HeadOutput:
        output: HeadOutput = self.heads[f"{task}_head"](features.values)
        return output._replace(extras={**features.extras, **output.extras}) if features.extras else output

    def _features(
        self, inputs: Tensor, tasks: Sequence[str], windows: Sequence[int] | None
    ) -> dict[str, Features]:
        found: Mapping[str, Tensor | Features] = self.trunk(self.preprocess(inputs), list(tasks))
        features = {task: Features.of(one) for task, one in found.items()}
        if self.temporal:
            windows = windows or [len(inputs)]
            if sum(windows) != len(inputs):
                raise ValueError(
                    f"windows must add up to the {len(inputs)} rows of inputs (got {sum(windows)})"
                )
            frames = Frames(windows, inputs.device)
            return {
                task: Features.of(frames.run(self.temporal[f"{task}_frames"], features[task].values))
                for task in tasks
            }
        return features


class Frames:
    """Rows that are the frames of windows, and how they become a tensor with a dimension for time.

    Args:
        windows: rows of each window.
        device: where the rows are.
    """

    def __init__(self, windows: Sequence[int], device: torch.device) -> None:
        self.windows, self.longest = len(windows), max(windows, default=0)
        self.place: Tensor | None = None
        self.mask: Tensor | None = None
        if min(windows, default=0) != self.longest:
            lengths = torch.tensor(windows)
            mask = torch.arange(self.longest) < lengths[:, None]
            self.place = mask.reshape(-1).nonzero()[:, 0].to(device, non_blocking=True)
            self.mask = mask.to(device, non_blocking=True)

    def run(self, module: nn.Module, rows: Tensor) -> Tensor:
        """[rows, features] through a module that wants [windows, frames, features] and a mask."""
        if self.place is None:
            result: Tensor = module(rows.reshape(self.windows, self.longest, -1), None)
            return result.reshape(len(rows), -1)
        padded = rows.new_zeros(self.windows * self.longest, rows.shape[1]).index_copy(0, self.place, rows)
        result = module(padded.reshape(self.windows, self.longest, -1), self.mask)
        return result.reshape(self.windows * self.longest, -1)[self.place]


def preprocessing_of(model: Model) -> Preprocessing:
    """The preprocessing that a model's table asks for; raises ConfigError for unfit statistics."""
    mean, std = model.backbone.statistics()
    mean, std = model.mean or mean, model.std or std
    if len(mean) != len(std):
        raise ConfigError(
            f"model.mean: must have as many values as model.std (got {len(mean)} and {len(std)})"
        )
    return Preprocessing(model.image_size, model.read_size, tuple(mean), tuple(std))


def build_model(
    model: Model,
    heads: Mapping[str, Head],
    preprocessing: Preprocessing | None = None,
    *,
    weights: bool = True,
    temporal: Temporal | None = None,
    columns: Mapping[str, tuple[int, int]] | None = None,
) -> MultiTaskModel:
    """Build the network for some tasks; initial values come from torch's global generator.

    Args:
        model: the model's table.
        heads: the tasks with outputs.
        preprocessing: of a checkpoint; by default what the table asks for, now.
        weights: load pretrained weights that the backbone names.
        temporal: a network over the frames of a window, one for each task.
        columns: of the features that stand in for pictures, by task, see `FeatureTrunk`.
    """
    preprocess: nn.Module | None = None
    trunk: nn.Module
    if columns is None:
        build = functools.partial(model.backbone.build, model.image_size, weights=weights)
        trunk = model.architecture.build(build, list(heads))
        preprocessing = preprocessing or preprocessing_of(model)
        normalise = Normalise(preprocessing.mean, preprocessing.std)
        preprocess = nn.Sequential(CentreCrop(preprocessing.image_size), normalise)
    else:
        trunk = FeatureTrunk(columns)
    sizes: Mapping[str, int] = trunk.num_features  # type: ignore[assignment] # a trunk's own attribute
    over = model.batch_statistics
    if temporal is None:
        layers = {task: head.build(sizes[task]) for task, head in heads.items()}
        return MultiTaskModel(trunk, layers, preprocess, batch_statistics=over)
    over_time = {task: temporal.build(sizes[task]) for task in heads}
    last = {task: head.build_last(int(over_time[task].num_features)) for task, head in heads.items()}  # type: ignore[arg-type]
    return MultiTaskModel(trunk, last, preprocess, over_time, over)


def parameter_groups(
    model: MultiTaskModel, backbone: Mapping[str, Any], heads: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Optimizer groups with options of their own: the trunk, and all after it; without frozen parameters."""
    parts: dict[str, tuple[list[nn.Module], Mapping[str, Any]]] = {
        "backbone": ([model.trunk], backbone),
        "heads": ([model.temporal, model.heads], heads),
    }
    groups = []
    for name, (modules, options) in parts.items():
        parameters = [one for module in modules for one in module.parameters() if one.requires_grad]
        if parameters:
            groups.append({"params": parameters, "name": name, **options})
    return groups


def describe(
    model: Model,
    heads: Mapping[str, Head],
    *,
    temporal: Temporal | None = None,
    windows: Windows | None = None,
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any]:
    """What is needed to build the network again and read its outputs, in plain JSON types.

    Args:
        model: the model's table.
        heads: the tasks with outputs.
        temporal: the network over the frames of a window.
        windows: how videos were cut for it.
        preprocessing: that of the network whose features stand in for pictures; by default the model's own.
    """
    return {
        "model": plain(model),
        "temporal": None if temporal is None else plain(temporal),
        "windows": None if windows is None else plain(windows),
        "preprocessing": plain(preprocessing or preprocessing_of(model)),
        "tasks": {task: {"head": plain(head), "meaning": head.meaning()} for task, head in heads.items()},
    }
