"""Networks built on trial: what keeps one from being built is told before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
from torch import nn

from ..batch_norm import has_grouped_norms
from ..config import Config, ExtractStage, Repeat, Stage, expand, plain, stage_model
from ..data import FeatureLayout, open_features
from ..errors import DataError, UserError
from ..model import MultiTaskModel, build_model
from ..seeding import seeded
from .data import feature_file, stage_heads
from .keep import has_features
from .load import feature_layout
from .network import network_problems, placing_problems


@attrs.frozen
class Built:
    """What is known of a network that was built on trial and let go.

    Attributes:
        shapes: of its parameters and buffers, by name.
        grouped: whether a batch norm in it takes statistics over groups.
    """

    shapes: Mapping[str, tuple[int, ...]]
    grouped: bool


class TrialNetworks:
    """Builds each distinct network of a configuration's stages once, without weights.

    Args:
        config: the configuration, with all its defaults.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stages = {one.name: one for one in expand(config).stages}
        self._built: dict[str, Built | UserError] = {}
        self._layouts: dict[tuple[str, str], FeatureLayout] = {}

    def of(self, stage: Stage) -> Built | None:
        """What a stage's network is; None if it reads features of a width not known yet.

        Raises:
            UserError: if it cannot be built.
        """
        layout = self.layout(stage)
        if stage.features is not None and layout is None:
            return None
        key = _key(self.config, stage, layout)
        if key not in self._built:
            try:
                model = self._build(stage, layout)
                shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
                self._built[key] = Built(shapes, has_grouped_norms(model.train()))
            except UserError as error:
                self._built[key] = error
        found = self._built[key]
        if isinstance(found, UserError):
            raise found
        return found

    def layout(self, stage: Stage) -> FeatureLayout | None:
        """Of the features that a stage reads, as far as that is known; None if it reads none."""
        return None if stage.features is None else self._layout(stage, stage.features)

    def problems(self) -> Iterator[str]:
        """What keeps networks from being built, one line each, with the first stage that it keeps."""
        if list(network_problems(self.config)):
            return  # told without building anything
        told: set[str] = set()
        built: list[Built | None] = []
        for stage in self.config.trainings:
            try:
                built.append(self.of(stage))
            except UserError as error:
                built.append(None)
                for problem in error.problems:
                    if problem not in told:
                        told.add(problem)
                        here = problem.startswith("stages.")
                        yield problem if here else f"stages.{stage.name}: {problem}"
        over = self.config.model.batch_statistics
        if over != "joint" and not any(one is None or one.grouped for one in built):
            yield (
                "model.batch_statistics: has no effect, since no stage's network has a batch norm that is "
                f"trained (got {over!r})"
            )

    def _build(self, stage: Stage, layout: FeatureLayout | None) -> MultiTaskModel:
        heads = stage_heads(self.config, stage)
        columns = None if layout is None else layout.columns()
        with seeded(), placing_problems(stage):
            return build_model(
                stage_model(self.config, stage),
                heads,
                weights=False,
                temporal=stage.temporal,
                columns=columns,
            )

    def _layout(self, stage: Stage, reference: str) -> FeatureLayout | None:
        """The layout of features that are there, or will be made by a network of this run."""
        extract = self._stages.get(reference)
        if not isinstance(extract, ExtractStage):
            return _layout_there(stage, Path(reference))
        network = self._stages.get(extract.network)
        if not isinstance(network, Stage) or network.features is not None or network.temporal is not None:
            return None  # a checkpoint or an ensemble, not worth loading for this; or one that is refused
        key = (network.origin if isinstance(network, Repeat) else network.name, extract.part)
        if key not in self._layouts:
            try:
                model = self._build(network, None)
            except UserError:
                return None  # told of that stage
            self._layouts[key] = self._layout_of(model.eval(), extract)
        layout = self._layouts[key]
        # A task that the network lacks is told elsewhere.
        return layout if layout.tasks.keys() >= stage_heads(self.config, stage).keys() else None

    def _layout_of(self, model: nn.Module, extract: ExtractStage) -> FeatureLayout:
        assert isinstance(model, MultiTaskModel)
        return feature_layout(model, model.tasks, extract.part, self.config.model.read_size)


def _layout_there(stage: Stage, folder: Path) -> FeatureLayout | None:
    if not has_features(str(folder)):
        return None
    file = folder / feature_file(stage.streams[0].datasets[0])
    try:
        return open_features(file).layout
    except DataError:
        return None  # told with the stage's data


def _key(config: Config, stage: Stage, layout: FeatureLayout | None) -> str:
    """The same for networks that are built alike."""
    model = stage_model(config, stage)
    heads = {task: plain(head) for task, head in stage_heads(config, stage).items()}
    parts = [plain(model), heads, None if stage.temporal is None else plain(stage.temporal)]
    return json.dumps([*parts, None if layout is None else layout.columns()], default=str)
