"""Load a trained stage: its network, its heads and its preprocessing, from the checkpoint alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import torch
from torch import Tensor, nn

from ..batch import HeadOutput
from ..checkpoint import DESCRIPTION, load_weights, read_description
from ..config import Model, Windows
from ..config.from_plain import from_plain
from ..data import FeatureLayout
from ..ensemble import Ensemble
from ..errors import RunError, UserError
from ..files import recover_folder
from ..model import MultiTaskModel, build_model
from ..plugin import Head, Temporal
from ..preprocessing import Preprocessing, dtype_problem
from ..registry import Registry
from ..seeding import seeded
from .keep import NETWORK

T = TypeVar("T")


@attrs.frozen(eq=False)
class TrainedStage:
    """A trained network with the meaning of its outputs.

    Attributes:
        model: in eval mode, on the CPU until moved; of an ensemble stage, its members as one.
        heads: the tasks with outputs, by name.
        preprocessing: what is done to pictures before the network.
        description: what the checkpoint says of itself.
        path: where it was loaded from.
        windows: how videos are cut for a temporal network; None if it looks at single pictures.
        network: the network that makes its features of pictures, if it works on features.
    """

    model: MultiTaskModel | Ensemble
    heads: Mapping[str, Head]
    preprocessing: Preprocessing
    description: Mapping[str, Any]
    path: Path
    windows: Windows | None = None
    network: TrainedStage | None = None

    @property
    def predicted(self) -> dict[str, Head]:
        """The heads that predict something of a row: a head that only helps training may have no columns."""
        return {task: head for task, head in self.heads.items() if head.columns}

    @torch.no_grad()
    def outputs(
        self, inputs: Tensor, windows: Sequence[int] | None = None, tasks: Sequence[str] | None = None
    ) -> dict[str, HeadOutput]:
        """Raw outputs by task.

        Args:
            inputs: pictures [rows, 3, side, side], uint8 or floats in [0, 1]; `side` is the preprocessing's
                `read_size`, and the network sees their centre. Where the network works on features, these,
                [rows, width], or pictures, of which they are made first.
            windows: for a temporal network, rows of each window of frames that follow each other; None: all
                rows are one window.
            tasks: whose outputs are wanted; None: of all.

        Raises:
            ValueError: if pictures have another side: faces would be seen at a scale never trained; or if
                they are integers other than uint8.
        """
        side = self.preprocessing.read_size
        if problem := dtype_problem(inputs):
            raise ValueError(problem)
        if inputs.ndim == 4 and inputs.shape[2:] != (side, side):
            raise ValueError(f"pictures must be {side} x {side} (got {tuple(inputs.shape[2:])})")
        self.model.eval()
        if self.network is not None and inputs.ndim == 4:
            inputs = self.features(inputs)
        outputs: dict[str, HeadOutput] = self.model(inputs, tasks, windows)
        return outputs

    @torch.no_grad()
    def features(self, pictures: Tensor) -> Tensor:
        """The features of pictures that this network reads: float32 [rows, width].

        Raises:
            ValueError: if it reads pictures.
        """
        if self.network is None:
            raise ValueError("the network reads pictures, not features")
        layout = FeatureLayout(**self.description["features"])
        return feature_rows(self.network.model.eval(), pictures, layout)

    def predict(self, inputs: Tensor, windows: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Estimates by task: class ids [rows], or values [rows, units]; arguments as of `outputs`."""
        outputs = self.outputs(inputs, windows)
        return {task: self.heads[task].estimate(out.values) for task, out in outputs.items()}

    def to(self, device: torch.device | str) -> TrainedStage:
        """Move the network, and the one under it, to a device."""
        self.model.to(device)
        if self.network is not None:
            self.network.to(device)
        return self


def _optional(
    kind: type[T], description: Mapping[str, Any], key: str, registry: Registry, folder: Path
) -> T | None:
    value = description.get(key)
    return None if value is None else from_plain(kind, value, registry, folder)


def task_features(
    model: MultiTaskModel | Ensemble, pictures: Tensor, source: str, tasks: Sequence[str]
) -> dict[str, Tensor]:
    """Features of pictures by task, see `FeatureLayout.source`."""
    if source == "trunk":
        return model.features(pictures, tasks)
    return {task: output.features for task, output in model(pictures, tasks).items()}


@torch.no_grad()
def feature_layout(
    model: MultiTaskModel | Ensemble, tasks: Sequence[str], part: Literal["heads", "trunk"], side: int
) -> FeatureLayout:
    """What rows of a network's features are made of.

    It is found on an empty picture: only the network, in eval mode, knows how wide its features are.

    Args:
        model: the network.
        tasks: whose features are kept.
        part: which, see `FeatureLayout.source`.
        side: of pictures, in pixels.
    """
    device = next(model.parameters()).device
    picture = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device)
    features = task_features(model, picture, part, tasks)
    parts: dict[str, int] = {}
    readers: dict[str, str] = {}
    for task, values in features.items():
        # Tasks that share a trunk share its features: they are kept once.
        same = [other for other in readers if features[other] is values]
        readers[task] = readers[same[0]] if same else task
        parts[readers[task]] = int(values.shape[1])
    return FeatureLayout(part, parts, readers)


def feature_rows(model: MultiTaskModel | Ensemble, pictures: Tensor, layout: FeatureLayout) -> Tensor:
    """Features of pictures as rows of a layout: float32 [rows, width]."""
    reader = {part: task for task, part in layout.tasks.items()}
    features = task_features(model, pictures, layout.source, list(reader.values()))
    return torch.cat([features[reader[part]].float() for part in layout.parts], dim=1)


def load_stage(path: Path | str, registry: Registry | None = None) -> TrainedStage:
    """Load a trained stage.

    Args:
        path: a stage's folder in a run directory (its best checkpoint is taken), or a checkpoint's folder.
        registry: the plugins; by default all that are installed.

    Raises:
        RunError: if there is no checkpoint, or it cannot be read.
        PluginError: if a plugin that the checkpoint needs is not installed.
    """
    return _load(find_checkpoint(Path(path)), registry or Registry.load())


def _load(folder: Path, registry: Registry, *, network: bool = True) -> TrainedStage:
    """Load a checkpoint; with the network that makes its features, if asked for."""
    description = read_description(folder)
    members: list[TrainedStage] = []
    if description.get("kind") == "ensemble":
        # All read the same features: the network that makes them is loaded once.
        members = [
            _load(folder / one["folder"], registry, network=network and place == 0)
            for place, one in enumerate(description["members"])
        ]
    try:
        heads = {
            task: from_plain(Head, table["head"], registry, folder)  # type: ignore[type-abstract]
            for task, table in description["tasks"].items()
        }
        preprocessing = from_plain(Preprocessing, description["preprocessing"], registry, folder)
        windows = _optional(Windows, description, "windows", registry, folder)
        model = (
            join_members([one.model for one in members], heads, description)
            if members
            else _network(description, heads, preprocessing, registry, folder)
        )
    except (UserError, KeyError) as error:
        raise RunError(f"{folder / DESCRIPTION}: does not fit the installed plugins: {error}") from error
    if members:
        under = members[0].network
    else:
        load_weights(folder, model)
        under = load_stage(folder / NETWORK, registry) if network and description.get("features") else None
    return TrainedStage(model.eval(), heads, preprocessing, description, folder, windows, under)


def _network(
    description: Mapping[str, Any],
    heads: Mapping[str, Head],
    preprocessing: Preprocessing,
    registry: Registry,
    folder: Path,
) -> MultiTaskModel:
    recipe = from_plain(Model, description["model"], registry, folder)
    temporal = _optional(Temporal, description, "temporal", registry, folder)  # type: ignore[type-abstract]
    made = description.get("features")
    columns = FeatureLayout(**made).columns() if made else None
    with seeded():  # the weights are replaced
        return build_model(recipe, heads, preprocessing, weights=False, temporal=temporal, columns=columns)


def join_members(
    models: Sequence[nn.Module], heads: Mapping[str, Head], description: Mapping[str, Any]
) -> Ensemble:
    """The members of an ensemble as one network, combined as its description says."""
    majority = [task for task, how in description["combine"].items() if how == "majority"]
    return Ensemble(models, heads, weights=description["weights"], majority=majority)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint's folder in a stage's folder, or the folder itself.

    Raises:
        RunError: if there is none.
    """
    for folder in (path / "best", path):
        recover_folder(folder)
        if (folder / DESCRIPTION).is_file():
            return folder
    found = [*path.glob(f"*/best/{DESCRIPTION}"), *path.glob(f"*/*/best/{DESCRIPTION}")]
    stages = sorted(file.parent.parent.relative_to(path).as_posix() for file in found)
    near = f"; name a stage of this run: {', '.join(stages)}" if stages else ""
    raise RunError(f"{path}: no checkpoint there (neither best/{DESCRIPTION} nor {DESCRIPTION}){near}")
