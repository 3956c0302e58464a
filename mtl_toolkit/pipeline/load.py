"""Load a trained stage: its network, its heads and its preprocessing, from the checkpoint alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from ..batch import HeadOutput
from ..checkpoint import DESCRIPTION, load_weights, read_description
from ..config import Model
from ..config.from_plain import from_plain
from ..errors import RunError, UserError
from ..files import recover_folder
from ..model import MultiTaskModel, Preprocessing, build_model
from ..plugin import Head
from ..registry import Registry


@attrs.frozen(eq=False)
class TrainedStage:
    """A trained network with the meaning of its outputs.

    Attributes:
        model: in eval mode, on the CPU until moved.
        heads: the tasks with outputs, by name.
        preprocessing: what is done to pictures before the network.
        description: what the checkpoint says of itself.
        path: where it was loaded from.
    """

    model: MultiTaskModel
    heads: Mapping[str, Head]
    preprocessing: Preprocessing
    description: Mapping[str, Any]
    path: Path

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> dict[str, HeadOutput]:
        """Raw outputs by task.

        Args:
            inputs: uint8 pictures [rows, 3, side, side]; `side` is the preprocessing's `read_size`, and the
                network sees their centre.

        Raises:
            ValueError: if pictures have another side: faces would be seen at a scale never trained.
        """
        side = self.preprocessing.read_size
        if inputs.ndim == 4 and inputs.shape[2:] != (side, side):
            raise ValueError(f"pictures must be {side} x {side} (got {tuple(inputs.shape[2:])})")
        self.model.eval()
        outputs: dict[str, HeadOutput] = self.model(inputs)
        return outputs

    def predict(self, inputs: Tensor) -> dict[str, Tensor]:
        """Estimates by task: class ids [rows], or values [rows, units]."""
        return {task: self.heads[task].estimate(out.values) for task, out in self.outputs(inputs).items()}


def load_stage(path: Path | str, registry: Registry | None = None) -> TrainedStage:
    """Load a trained stage.

    Args:
        path: a stage's folder in a run directory (its best checkpoint is taken), or a checkpoint's folder.
        registry: the plugins; by default all that are installed.

    Raises:
        RunError: if there is no checkpoint, or it cannot be read.
        PluginError: if a plugin that the checkpoint needs is not installed.
    """
    folder = find_checkpoint(Path(path))
    description = read_description(folder)
    registry = registry or Registry.load()
    try:
        model_recipe = from_plain(Model, description["model"], registry, folder)
        heads = {
            task: from_plain(Head, table["head"], registry, folder)  # type: ignore[type-abstract]
            for task, table in description["tasks"].items()
        }
        preprocessing = from_plain(Preprocessing, description["preprocessing"], registry, folder)
        model = build_model(model_recipe, heads, preprocessing, weights=False)
    except (UserError, KeyError) as error:
        raise RunError(f"{folder / DESCRIPTION}: does not fit the installed plugins: {error}") from error
    load_weights(folder, model)
    return TrainedStage(model.eval(), heads, preprocessing, description, folder)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint's folder in a stage's folder, or the folder itself.

    Raises:
        RunError: if there is none.
    """
    for folder in (path / "best", path):
        recover_folder(folder)
        if (folder / DESCRIPTION).is_file():
            return folder
    raise RunError(f"{path}: no checkpoint there (neither best/{DESCRIPTION} nor {DESCRIPTION})")
