"""The network: preprocessing, a trunk shared by the tasks, and a head per task."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from .batch import HeadOutput
from .config import Model, plain
from .errors import ConfigError
from .plugin import Head


@attrs.frozen
class Preprocessing:
    """What is done to a picture before the network sees it; part of every checkpoint.

    Attributes:
        image_size: side in pixels of the square that the network sees.
        read_size: side of the picture that it is cut from, around the centre.
        channels: colour order.
        resize: filter used to bring pictures to `read_size`.
        mean: per channel, of pictures scaled to [0, 1].
        std: likewise.
    """

    image_size: int
    read_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str = "RGB"
    resize: str = "bilinear, antialiased"


class CentreCrop(nn.Module):
    """Cut the centre out of pictures larger than `size`; other inputs pass as they are.

    Training cuts its squares before the network, at random. Both see faces at one scale (Touvron et al.,
    "Fixing the train-test resolution discrepancy", NeurIPS 2019).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, channels, height, width] to [rows, channels, size, size]."""
        if inputs.ndim != 4 or min(inputs.shape[2:]) < self.size:
            return inputs
        top, left = ((side - self.size) // 2 for side in inputs.shape[2:])
        return inputs[:, :, top : top + self.size, left : left + self.size]


class Normalise(nn.Module):
    """Scale uint8 pictures to [0, 1], or take floats as they are, and normalise their channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, channels, height, width] to the same, normalised."""
        if inputs.dtype == torch.uint8:
            # One multiply-add; equal to (inputs / 255 - mean) / std.
            scale = 1 / (255 * self.std)
            return torch.addcmul(-self.mean / self.std, inputs.to(self.mean.dtype), scale)
        return (inputs - self.mean) / self.std


class MultiTaskModel(nn.Module):
    """A trunk that gives features by task, and a head on each.

    Args:
        trunk: called with (inputs, tasks), gives features by task; what `Architecture.build` returns.
        heads: modules from features to `HeadOutput`, by task.
        preprocess: run on the inputs first.
    """

    def __init__(
        self, trunk: nn.Module, heads: Mapping[str, nn.Module], preprocess: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.preprocess = preprocess or nn.Identity()
        self.trunk = trunk
        self.tasks = tuple(heads)
        # The suffix keeps a task called `values` or `type` apart from ModuleDict's own attributes.
        self.heads = nn.ModuleDict({f"{task}_head": head for task, head in heads.items()})

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, HeadOutput]:
        """One joint pass over all rows; `tasks` limits the heads that are run."""
        wanted = list(self.tasks) if tasks is None else list(tasks)
        features = self.trunk(self.preprocess(inputs), wanted)
        return {task: self.heads[f"{task}_head"](features[task]) for task in wanted}


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
) -> MultiTaskModel:
    """Build the network for some tasks; initial values come from torch's global generator.

    Args:
        model: the model's table.
        heads: the tasks with outputs.
        preprocessing: of a checkpoint; by default what the table asks for, now.
        weights: load pretrained weights that the backbone names.
    """
    build = functools.partial(model.backbone.build, model.image_size, weights=weights)
    trunk = model.architecture.build(build, list(heads))
    sizes: Mapping[str, int] = trunk.num_features  # type: ignore[assignment] # a trunk's own attribute
    modules = {task: head.build(sizes[task]) for task, head in heads.items()}
    preprocessing = preprocessing or preprocessing_of(model)
    normalise = Normalise(preprocessing.mean, preprocessing.std)
    return MultiTaskModel(trunk, modules, nn.Sequential(CentreCrop(preprocessing.image_size), normalise))


def parameter_groups(
    model: MultiTaskModel, backbone: Mapping[str, Any], heads: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Optimizer groups with options of their own: the trunk, and the heads; without frozen parameters."""
    parts = {"backbone": (model.trunk, backbone), "heads": (model.heads, heads)}
    groups = []
    for name, (module, options) in parts.items():
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if parameters:
            groups.append({"params": parameters, "name": name, **options})
    return groups


def describe(model: Model, heads: Mapping[str, Head]) -> dict[str, Any]:
    """All that is needed to build the network again and read its outputs, in plain JSON types."""
    return {
        "model": plain(model),
        "preprocessing": plain(preprocessing_of(model)),
        "tasks": {task: {"head": plain(head), "meaning": head.meaning()} for task, head in heads.items()},
    }
